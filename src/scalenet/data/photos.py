"""Photographs that somebody asks about: files and folders become images as they were trained on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scalenet.data import store
from scalenet.data.intake import hashed
from scalenet.data.names import HEAD, HIDDEN, UNKNOWN, needs_head, reason, seen
from scalenet.data.pixels import DAMAGED, image_array
from scalenet.records.documents import DataInfo

MOST_BYTES = 2**28  # of a file


class Photo(NamedTuple):
    """A file, and its pixels uint8 (C, size, size), or why there are none."""

    path: Path
    pixels: np.ndarray | None
    fault: str = ""


def files(places: Iterable[Path]) -> list[Path]:
    """List files: those that are given, and the images in folders that are given, at any depth.

    What a folder's images are is decided as stage prepare decides it. ``ValueError`` for what does
    not exist, and for a folder without images.
    """
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(path for path in place.rglob("*") if _is_image(place, path))
            if not inside:
                raise ValueError(f"{place}: holds no image; give a folder with some, or a file")
            found += inside
        elif place.exists():
            found.append(place)
        else:
            raise ValueError(f"{place}: does not exist; give image files or folders of them")
    return found


def left_out(places: Iterable[Path]) -> list[Path]:
    """List the files in folders that are of no known kind: neither images, nor what lies beside
    some by intention."""
    inside = ((place, path) for place in places if place.is_dir() for path in place.rglob("*"))
    return sorted(path for place, path in inside if _reason(place, path).startswith(UNKNOWN))


def _is_image(folder: Path, path: Path) -> bool:
    return not _reason(folder, path)


def _reason(folder: Path, path: Path) -> str:
    """Return why a path in a folder is no image, "" if it is one."""
    name = path.relative_to(folder).as_posix()
    if not seen(name) or not path.is_file():
        return HIDDEN
    if not needs_head(name):
        return reason(name, b"")
    try:
        with path.open("rb") as file:
            return reason(name, file.read(HEAD))
    except OSError:  # neither its name nor its content says that it is one
        return reason(name, b"")


def read(paths: Iterable[Path], info: DataInfo) -> Iterator[Photo]:
    """Read images exactly as stage prepare does; one that cannot be read says why."""
    for path in paths:
        try:
            if not path.is_file() or path.stat().st_size > MOST_BYTES:
                raise ValueError(f"no file of at most {MOST_BYTES // 2**20} MiB")
            yield Photo(path, image_array(info, path.read_bytes()))
        except DAMAGED as error:
            why = str(error).partition("<")[0].strip() or type(error).__name__
            yield Photo(path, None, why)


def contents(folder: Path, splits: Iterable[str]) -> set[int]:
    """Return hashes of the images that splits hold, as they are kept; of a split that does not lie
    here, none."""
    paths = [path for name in splits if (path := folder / f"{name}.npz").exists()]
    opened = [store.read(path)[0] for path in paths]
    return {hashed(pixels.entry(i)) for pixels in opened for i in range(len(pixels))}


def among(photo: Photo, known: Collection[int]) -> bool:
    """Tell whether a photograph that could be read is one of those, kept as pixels or as a file."""
    kept = (photo.pixels.tobytes(), photo.path.read_bytes()) if known else ()
    return any(hashed(content) in known for content in kept)
