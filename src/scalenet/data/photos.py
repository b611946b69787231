"""Photographs that somebody asks about: files and folders become images as they were trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

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

    ``ValueError`` for what does not exist, and for a folder without images.
    """
    Image.init()
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(p for p in place.rglob("*") if p.suffix.lower() in Image.EXTENSION)
            if not inside:
                raise ValueError(f"{place}: holds no image; give a folder with some, or a file")
            found += inside
        elif place.exists():
            found.append(place)
        else:
            raise ValueError(f"{place}: does not exist; give image files or folders of them")
    return found


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
