"""The image files of a folder or an archive: listed first, read when asked."""

from __future__ import annotations

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}

# what a broken archive raises
BROKEN = (
    *(OSError, EOFError, RuntimeError),
    *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error),
)


@dataclass(frozen=True)
class Files:
    """The images of a folder or an archive: paths joined by ``/``, and every folder.

    ``read`` yields (name, bytes) of the names asked for, in any order.
    """

    origin: Path
    names: list[str]
    folders: set[str]
    read: Callable[[set[str]], Iterator[tuple[str, bytes]]]


def folder(path: Path) -> Files:
    """List a folder's images; links are followed."""
    names, folders = [], set()
    for place, inside, files in os.walk(path, followlinks=True):
        inside[:] = sorted(name for name in inside if _seen(name))
        here = Path(place).relative_to(path)
        folders |= {(here / name).as_posix() for name in inside}
        names += [(here / name).as_posix() for name in files]

    def read(wanted: set[str]) -> Iterator[tuple[str, bytes]]:
        return ((name, _content(path / name)) for name in sorted(wanted))

    return Files(path, _images(names), folders, read)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise no_image(file, error) from error


def tarred(path: Path) -> Files:
    """List a tar archive's images; it is read front to back, once to list, once to decode."""
    with tarfile.open(path, "r|*") as archive:
        members = [
            (_clean(member.name), member.isfile(), member.isdir())
            for member in archive
            if not _link(path, member)
        ]

    def read(wanted: set[str]) -> Iterator[tuple[str, bytes]]:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if member.isfile() and _clean(member.name) in wanted:
                    yield _clean(member.name), archive.extractfile(member).read()

    names = [name for name, is_file, _ in members if is_file]
    folders = {name for name, _, is_folder in members if is_folder and _seen(name)}
    return Files(path, _images(names), folders, read)


def _link(path: Path, member: tarfile.TarInfo) -> bool:
    """Tell links from files; refuse a link to an image, which would be missed in silence."""
    linked = member.islnk() or member.issym()
    if linked and _images([_clean(member.name)]):
        raise ValueError(
            f"data.source: {path} holds {member.name} as a link to another file; pack it with "
            "`tar --hard-dereference --dereference`, or unpack it into a folder"
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
    folders = {name for name, entry in entries.items() if entry.is_dir() and _seen(name)}
    return Files(path, _images(names), folders, read)


def _clean(name: str) -> str:
    return str(PurePosixPath(name.replace("\\", "/")))


def _seen(name: str) -> bool:
    """Tell whether no part of a path is hidden or what macOS adds to archives."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _images(names: Iterable[str]) -> list[str]:
    """Return the names of images among those of files, sorted, each once."""
    images = {name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES}
    return sorted(filter(_seen, images))


def unreadable(path: Path, error: Exception) -> ValueError:
    """Say that an archive breaks off."""
    return ValueError(
        f"data.source: {path} cannot be read to its end ({error}); "
        "replace it, or unpack it into a folder"
    )


def no_image(path: Path, error: Exception) -> ValueError:
    """Say that a file is no image."""
    return ValueError(
        f"{path}: not a readable image ({error}); replace it or take it out of the source"
    )
