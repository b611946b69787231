"""Tar archives read front to back, to their real end: one that is damaged is refused.

A plain one that ends with a whole member but has no end mark is listed, and known as unmarked: it
was written so, or cut just there. A compressed one has a checksum, and with it an end of its own.

Python's own stream mode verifies no checksum of a compressed archive, and takes any block that is
no header for the archive's end.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from scalenet.data import listing
from scalenet.data.listing import (
    SPECIAL,
    TOO_LARGE,
    Files,
    clean,
    refuse_packed_link,
    sorted_out,
    unpacked,
)
from scalenet.data.names import HEAD, NOTE, needs_head, reason

OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open, b"]\0\0": lzma.open}
DAMAGED = (
    tarfile.TruncatedHeaderError,
    tarfile.InvalidHeaderError,
    *(ValueError, LookupError, ArithmeticError),  # from the text of an extended header
)


class StrictHeader(tarfile.TarInfo):
    """A header that may end an archive by the end of the file or by zeros, as tar writes them."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except DAMAGED as error:
            raise tarfile.ReadError(f"no header and no end mark: {error}") from error


def is_tarred(path: Path) -> bool:
    """Tell whether a file begins as a tar archive does, though its first header be damaged."""
    try:
        return tarfile.is_tarfile(path)
    except DAMAGED:
        return True


def tarred(path: Path) -> Files:
    """List a tar archive's files; it is read front to back, once to list, once to decode."""
    reasons, folders = {}, set()
    with _opened(path) as archive:
        for member in _members(archive):
            name = clean(member.name)
            if member.isdir():
                folders.add(name)
            elif member.islnk() or member.issym():
                refuse_packed_link(path, name, reason(name, b""))
                reasons[name] = NOTE  # the others are refused
            else:
                reasons[name] = _why(archive, member, name) if member.isfile() else SPECIAL
        unmarked = not _is_marked(archive)

    def read(wanted: set[str]) -> Iterator[tuple[str, bytes]]:
        with _opened(path) as archive:
            for member in _members(archive):
                if member.isfile() and clean(member.name) in wanted:
                    yield clean(member.name), unpacked(archive.extractfile(member))

    return replace(sorted_out(path, reasons, folders, read), unmarked=unmarked)


def _why(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> str:
    """Return why a member is no image; its beginning is read if its name says too little."""
    if not needs_head(name):
        why = reason(name, b"")
        return TOO_LARGE if not why and member.size > listing.LARGEST else why
    return reason(name, archive.extractfile(member).read(HEAD))


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive to be read to its end; a compressed one must have its end mark there."""
    with path.open("rb") as file:
        start = file.read(8)
    opener = next((o for magic, o in OPENERS.items() if start.startswith(magic)), open)
    with (
        opener(path, "rb") as content,
        tarfile.open(fileobj=content, mode="r|", tarinfo=StrictHeader) as archive,
    ):
        yield archive
        if opener is not open and not _is_marked(archive):
            raise tarfile.ReadError("no end mark")


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield an archive's members; after the last, make sure that nothing was missed."""
    for member in archive:
        archive.members = []  # it would remember a million of them
        yield member
        _pass(archive)
    while rest := archive.fileobj.read(2**20):  # to the end, where the checksum is verified
        if rest.strip(b"\0"):
            raise tarfile.ReadError("it goes on after its end mark")


def _pass(archive: tarfile.TarFile) -> None:
    """Read on to where the next header is; ``ReadError`` if the file ends before.

    Python's own stream does not look whether it has ended: of a size that is damaged, or made up,
    it reads nothing for years.
    """
    while (left := archive.offset - archive.fileobj.tell()) > 0:
        if not archive.fileobj.read(min(left, 2**20)):
            raise tarfile.ReadError("unexpected end of data")


def _is_marked(archive: tarfile.TarFile) -> bool:
    """Tell whether there was a block behind the last member of an archive that was read."""
    return archive.fileobj.tell() > archive.offset
