"""Where labelled images come from: bundled digits, a folder or an archive; listed first, decoded when asked."""

from __future__ import annotations

import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps
from sklearn.datasets import load_digits

from stages.params import Data

BUNDLED = "data/digits"  # stands for scikit-learn's digits: a path, so that DVC can watch any source
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
OWN_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "select"), "select"),
}
BROKEN = (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, RuntimeError)
WANTED = f"give {BUNDLED!r}, or a folder or an archive (.zip, .tar, .tar.gz, .tar.xz) with one folder of images a class"


@dataclass(frozen=True)
class Source:
    """Labelled images that nobody has decoded yet.

    ``labels`` int64 (N); ``own`` (N) names the split that an image's own folder puts it in, "" for none;
    ``pixels`` maps indices (n) to uint8 (n, C, H, W).
    """

    classes: list[str]
    labels: np.ndarray
    own: np.ndarray
    pixels: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Files:
    """The images of a folder or an archive: paths joined by ``/``, every folder, and their bytes in any order."""

    origin: Path
    names: list[str]
    folders: set[str]
    read: Callable[[set[str]], Iterator[tuple[str, bytes]]]


def find(params: Data, root: Path) -> Source:
    """List the source of params; ``ValueError`` names the folder, archive or class that is wrong."""
    if params.source == BUNDLED:
        return digits(params)
    path = root / params.source
    if path.is_dir():
        return labelled(params, folder(path))
    if not path.exists():
        raise ValueError(f"data.source: {path} does not exist; {WANTED}")
    try:
        if zipfile.is_zipfile(path):
            return labelled(params, zipped(path))
        if tarfile.is_tarfile(path):
            return labelled(params, tarred(path))
    except BROKEN as error:
        raise _unreadable(path, error) from error
    raise ValueError(f"data.source: {path} is neither a folder nor an archive; {WANTED}")


def digits(params: Data) -> Source:
    """Return scikit-learn's 1,797 handwritten digits, 8×8, grey levels 0…16 spread over 0…255."""
    bunch = load_digits()
    grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)

    def pixels(index: np.ndarray) -> np.ndarray:
        return np.stack([as_array(Image.fromarray(image), params) for image in grey[index]])

    labels = bunch.target.astype(np.int64)
    return Source([str(name) for name in bunch.target_names], labels, np.full(len(labels), ""), pixels)


# --- folders and archives -------------------------------------------------------------------------


def folder(path: Path) -> Files:
    """List a folder's images; links are followed."""
    names, folders = [], set()
    for at, inside, files in os.walk(path, followlinks=True):
        inside[:] = sorted(name for name in inside if _seen(name))
        here = Path(at).relative_to(path)
        folders |= {(here / name).as_posix() for name in inside}
        names += [(here / name).as_posix() for name in files]

    def read(wanted: set[str]) -> Iterator[tuple[str, bytes]]:
        return ((name, _bytes(path / name)) for name in sorted(wanted))

    return Files(path, _images(names), folders, read)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _no_image(file, error) from error


def tarred(path: Path) -> Files:
    """List a tar archive's images; it is read from front to back, once to list and once to decode."""
    with tarfile.open(path, "r|*") as archive:
        members = [
            (_clean(member.name), member.isfile(), member.isdir()) for member in archive if not _link(path, member)
        ]

    def read(wanted: set[str]) -> Iterator[tuple[str, bytes]]:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if member.isfile() and _clean(member.name) in wanted:
                    yield _clean(member.name), archive.extractfile(member).read()

    names = [name for name, is_file, _ in members if is_file]
    return Files(path, _images(names), {name for name, _, is_folder in members if is_folder and _seen(name)}, read)


def _link(path: Path, member: tarfile.TarInfo) -> bool:
    """Tell links from files; refuse a link that stands for an image, which would be missed in silence."""
    linked = member.islnk() or member.issym()
    if linked and _images([_clean(member.name)]):
        raise ValueError(
            f"data.source: {path} holds {member.name} as a link to another file; pack it with `tar "
            "--hard-dereference --dereference`, or unpack it into a folder"
        )
    return linked


def zipped(path: Path) -> Files:
    """List a zip archive's images."""
    with zipfile.ZipFile(path) as archive:
        entries = {_clean(entry.filename): entry for entry in archive.infolist()}

    def read(wanted: set[str]) -> Iterator[tuple[str, bytes]]:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(wanted):
                yield name, archive.read(entries[name])

    names = [name for name, entry in entries.items() if not entry.is_dir()]
    return Files(path, _images(names), {n for n, entry in entries.items() if entry.is_dir() and _seen(n)}, read)


def _clean(name: str) -> str:
    return str(PurePosixPath(name.replace("\\", "/")))


def _seen(name: str) -> bool:
    """Tell whether no part of a path is hidden or what macOS adds to archives."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _images(names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES and _seen(name)})


def labelled(params: Data, files: Files) -> Source:
    """Take classes, and splits where the files come with their own, from the folders' names.

    Folders that hold everything are passed through. ``train`` beside ``test`` and/or ``val`` are splits; a lone
    ``val`` is the test, as on ImageNet.
    """
    parts = [tuple(name.split("/")) for name in files.names]
    top = _root(parts)
    splits = _own_splits(files.origin, {own[top:] for own in parts if len(own) > top + 1})
    at = top + bool(splits)
    kept = [own for own in parts if len(own) > at + 1]
    folders = {name.split("/")[at] for name in files.folders if name.count("/") == at}
    classes = sorted(folders | {own[at] for own in kept})
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number[own[at]] for own in kept], dtype=np.int64)
    own_split = np.array([splits.get(own[top], "") for own in kept], dtype=str)
    _check_classes(files.origin, classes, labels, own_split)
    names = ["/".join(own) for own in kept]
    return Source(classes, labels, own_split, lambda index: decode(params, files, [names[i] for i in index]))


def _root(parts: list[tuple[str, ...]]) -> int:
    """Return how many leading folders hold everything but loose images."""
    top = 0
    while True:
        inside = [own for own in parts if len(own) > top + 1]
        if len({own[top] for own in inside}) != 1 or all(len(own) == top + 2 for own in inside):
            return top
        top += 1


def _own_splits(origin: Path, parts: set[tuple[str, ...]]) -> dict[str, str]:
    """Return the split that each top folder stands for; none unless train and another are all there is.

    ``ValueError`` for a folder beside train that is no split, if both hold the same folders: an image would otherwise
    be labelled by its split.
    """
    inside: dict[str, set[str]] = {}
    for own in parts:
        inside.setdefault(own[0], set()).update(own[1:-1][:1])
    splits = {name: OWN_SPLITS.get(name.lower(), "") for name in inside}
    train = next((name for name, split in splits.items() if split == "train" and inside[name]), None)
    if train is None and len(splits) > 1 and all(splits.values()) and set.intersection(*inside.values()):
        raise ValueError(f"data.source: {origin} has {', '.join(sorted(splits))} but no folder called train; add it")
    if train is None or len(splits) < 2:
        return {}
    odd = sorted(name for name, split in splits.items() if not split)
    if odd and any(inside[name] & inside[train] for name in splits if name != train):
        raise ValueError(
            f"data.source: {origin} has {', '.join(odd)} beside {train}; splits are called "
            f"{', '.join(OWN_SPLITS)}: rename or take out {', '.join(odd)}"
        )
    if odd:
        return {}
    return splits if "test" in splits.values() else {name: s.replace("select", "test") for name, s in splits.items()}


def _check_classes(origin: Path, classes: list[str], labels: np.ndarray, own: np.ndarray) -> None:
    """Refuse fewer than two classes, and a class without images, overall or in one of the source's own splits."""
    wanted = f"needs at least two folders, each with images ({', '.join(sorted(SUFFIXES))})"
    if len(classes) < 2:
        raise ValueError(f"data.source: {origin} {wanted}; it has {len(classes)}: {', '.join(classes) or 'none'}")
    for split in sorted(set(own)) or [""]:
        empty = sorted(set(range(len(classes))) - set(labels[own == split].tolist()))
        if empty:
            where = f" in its {split} split" if split else ""
            raise ValueError(f"data.source: {origin} {wanted}; {', '.join(classes[i] for i in empty)} has none{where}")


# --- decoding -------------------------------------------------------------------------------------


def decode(params: Data, files: Files, names: list[str]) -> np.ndarray:
    """Return named images (n, C, size, size) uint8; ``ValueError`` names the one that cannot be read."""
    place = {name: i for i, name in enumerate(names)}
    pixels = np.empty((len(names), params.channels, params.size, params.size), dtype=np.uint8)
    try:
        for name, content in files.read(set(names)):
            pixels[place[name]] = _decoded(params, files.origin / name, content)
    except BROKEN as error:
        raise _unreadable(files.origin, error) from error
    return pixels


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"data.source: {path} cannot be read to its end ({error}); replace it, or unpack it into a folder"
    )


def _decoded(params: Data, path: Path, content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.draft(None, (params.size, params.size))  # a JPEG far larger than that is decoded at 1/2, 1/4 or 1/8
            return as_array(ImageOps.exif_transpose(image), params)  # upright, as a camera noted it
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _no_image(path, error) from error


def _no_image(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: not a readable image ({error}); replace it or take it out of the source")


def as_array(image: Image.Image, params: Data) -> np.ndarray:
    """Return (C, size, size) uint8: the shorter side resized, the centre cropped."""
    if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip to 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    image = image.convert("L" if params.channels == 1 else "RGB")
    scale = params.size / min(image.size)
    if scale != 1:
        image = image.resize([max(params.size, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)
    left, top = ((side - params.size) // 2 for side in image.size)
    image = image.crop((left, top, left + params.size, top + params.size))
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if params.channels == 1 else array.transpose(2, 0, 1)
