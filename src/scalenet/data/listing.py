"""The files of a folder or an archive: listed first, read when asked."""

from __future__ import annotations

import io
import lzma
import os
import shlex
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path, PurePosixPath
from typing import IO

from scalenet.data.names import HEAD, HIDDEN, NOTE, UNKNOWN, needs_head, reason, seen, shown
from scalenet.data.pixels import LACKING, POINTER

LARGEST = 2**28  # bytes of one file that are read at most: an archive may claim anything
LONGEST_END = 2**16 + 2**10  # bytes at a zip archive's end that tell of the whole of it
OUTWARD = ("/", "//", "..")  # how names that lead out of an archive's folder begin
UNPACK = ", or unpack it into a folder"
TOO_LARGE = f"larger than {LARGEST >> 20} MiB"
SPECIAL = "no file but a device, a pipe or a socket"
LOOP = "a link back to a folder around it"
LOOSE = "in no class folder"
UNREADABLE = "not a readable image"
UNLISTED = "not in the table"
TWICE = "rows that say the same again"
LONGEST_REASON = 200  # characters of what a library says of damage
IGNORED = (HIDDEN, NOTE, LOOP, LOOSE, UNLISTED, TWICE)  # reasons that nobody needs to mend

UNMARKED = (
    "the archive has no end mark, so it may have been cut between two files, and what followed is "
    "missing: compare the counts with what was packed, or pack it again"
)

# what a broken archive raises
BROKEN = (
    *(OSError, EOFError, RuntimeError, UnicodeError),
    *(tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error),
)


@dataclass(frozen=True)
class Files:
    """The images of a folder or an archive: paths joined by ``/``, and every folder.

    ``read`` yields (name, bytes) of the names asked for, in any order; the bytes may be the error
    that one file met. ``others`` maps the remaining files to the reason why they are no images.
    ``unmarked`` is an archive that nothing tells from one cut between two of its files.
    """

    origin: Path
    names: list[str]
    folders: set[str]
    others: dict[str, str]
    read: Callable[[set[str]], Iterator[tuple[str, bytes | OSError]]]
    unmarked: bool = False


def sorted_out(origin: Path, reasons: dict[str, str], folders: set[str], read) -> Files:
    """Return files by whether they are images; ``reasons`` maps every file to why not, or ""."""
    names = sorted(name for name, why in reasons.items() if not why)
    others = {name: why for name, why in sorted(reasons.items()) if why}
    return Files(origin, names, {name for name in folders if seen(name)}, others, read)


# --- folders --------------------------------------------------------------------------------------


def folder(path: Path) -> Files:
    """List a folder's files. Links to files are followed; to folders, see ``_refuse_link``."""
    reasons: dict[str, str] = {}
    folders: set[str] = set()
    for place, inside, files in os.walk(path, onerror=_closed):
        here = Path(place).relative_to(path)
        _refuse_no_utf8(path, here, [*inside, *files])
        reasons |= {(here / name).as_posix(): HIDDEN for name in inside if not seen(name)}
        inside[:] = sorted(name for name in inside if seen(name))
        for name in [name for name in inside if (path / here / name).is_symlink()]:
            _refuse_link(path, here / name)
            inside.remove(name)
            reasons[(here / name).as_posix()] = LOOP
        folders |= {(here / name).as_posix() for name in inside}
        reasons |= {n: _why(path / n, n) for n in ((here / name).as_posix() for name in files)}

    def read(wanted: set[str]) -> Iterator[tuple[str, bytes | OSError]]:
        return ((name, _content(path / name)) for name in sorted(wanted))

    return sorted_out(path, reasons, folders, read)


def _closed(error: OSError) -> None:
    raise ValueError(
        f"data.source: {error.filename} cannot be listed ({error.strerror}); "
        "give the right to read it, or take it out of the source"
    ) from error


def _refuse_no_utf8(path: Path, here: Path, names: list[str]) -> None:
    """Refuse names that are no UTF-8, as old archives leave them: DVC cannot hash such a folder."""
    raw = [os.fsencode(here / name) for name in sorted(names)]
    if odd := [name for name in raw if not _is_utf8(name)]:
        where, archive = shlex.quote(str(path)), shlex.quote(f"{path.name}.tar")
        raise ValueError(
            f"data.source: {path} holds {odd[0].decode('utf-8', 'backslashreplace')}, a name that "
            "is no UTF-8, which DVC cannot read; rename such files and folders (`convmv -r --notest"
            f" -f latin1 -t utf8 {where}`, or gbk for latin1), or pack the folder (`tar -cf "
            f"{archive} -C {where} .`) and give the archive"
        )


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _refuse_link(path: Path, name: Path) -> None:
    """Refuse a link to a folder, unless it leads back up: then what it shows is listed already.

    DVC hashes a source without looking behind links to folders: images that are added there
    later would change nothing.
    """
    target = (path / name).resolve()
    if not (path / name).parent.resolve().is_relative_to(target):
        raise ValueError(
            f"data.source: {path} holds {shown(name.as_posix())} as a link to the folder {target}; "
            "DVC does not see what changes behind such a link: give the folder that holds the "
            "real ones as data.source, or copy it (`cp -rL`); links to single images are fine"
        )


def _why(file: Path, name: str) -> str:
    """Return why a file is no image; it is opened if its name says too little."""
    if not seen(name):
        return reason(name, b"")
    try:
        about = file.stat()
        if not stat.S_ISREG(about.st_mode):
            return SPECIAL
        if about.st_size > LARGEST:
            return reason(name, b"") or TOO_LARGE
        if not needs_head(name):
            return reason(name, b"")
        with file.open("rb") as opened:
            return reason(name, opened.read(HEAD))
    except OSError:  # said when it is read, if its name is an image's
        return reason(name, b"")


def _content(file: Path) -> bytes | OSError:
    try:
        return file.read_bytes()
    except OSError as error:
        return error


# --- archives -------------------------------------------------------------------------------------


def zipped(path: Path) -> Files:
    """List a zip archive's files; one with more or fewer than its end says is damaged."""
    with zipfile.ZipFile(path) as archive:
        if (found := len(archive.infolist())) != (count := _counted(path)):
            raise zipfile.BadZipFile(f"its list has {found:,} entries, its end says {count:,}")
        entries, reasons = {}, {}
        for entry in archive.infolist():
            name = clean(_text(entry))
            entries[name], why = entry, _why_zipped(archive, name, entry)
            if not entry.is_dir():
                reasons[name] = why

    def read(wanted: set[str]) -> Iterator[tuple[str, bytes]]:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(wanted):
                with archive.open(entries[name]) as opened:
                    yield name, unpacked(opened)

    return sorted_out(path, reasons, set(entries) - set(reasons), read)


def _counted(path: Path) -> int:
    """Return how many entries a zip archive has by its end, with which Python compares nothing."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LONGEST_END))
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    large = tail.rfind(b"PK\6\6", 0, end)  # of an archive with 65,535 entries and more, or GiB
    if tail[end - 20 : end - 16] == b"PK\6\7" and large >= 0:
        return struct.unpack_from("<Q", tail, large + 32)[0]
    return struct.unpack_from("<H", tail, end + 10)[0]


def _text(entry: zipfile.ZipInfo) -> str:
    """Return an entry's name; many tools write UTF-8 without the flag that says so."""
    if entry.flag_bits & 0x800:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode()
    except UnicodeError:
        return entry.filename


def _why_zipped(archive: zipfile.ZipFile, name: str, entry: zipfile.ZipInfo) -> str:
    if stat.S_ISLNK(entry.external_attr >> 16):
        refuse_packed_link(Path(archive.filename), name, reason(name, b""))
    with archive.open(entry) as opened:  # which compares its name in the list and at its content
        why = reason(name, opened.read(HEAD) if needs_head(name) else b"")
    return TOO_LARGE if not why and entry.file_size > LARGEST else why


def unpacked(file: IO[bytes]) -> bytes:
    """Return a member's bytes; archives would hold them two or three times while they read."""
    content = io.BytesIO()
    shutil.copyfileobj(file, content, 2**20)
    return content.getvalue()


def refuse_packed_link(path: Path, name: str, why: str) -> None:
    """Refuse an archive's link to an image or a folder, which would be missed in silence."""
    if not why or why.startswith(UNKNOWN):
        raise ValueError(
            f"data.source: {path} holds {shown(name)} as a link to another file or folder; pack it "
            "with the files themselves (`tar --hard-dereference --dereference`, `zip` without "
            "`--symlinks`), or unpack it into a folder"
        )


def clean(name: str) -> str:
    """Return an archive's name for a file with ``/`` between its parts and none at its end; of one
    that leads out of the folder what is left of it where tar and unzip unpack."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return str(PurePosixPath(*dropwhile(OUTWARD.__contains__, parts)))


# --- messages -------------------------------------------------------------------------------------


def unreadable(path: Path, error: Exception, also: str = "") -> ValueError:
    """Say that a file of images is damaged or breaks off, and what else than replacing it helps."""
    if _is_pointer(path):
        return ValueError(f"data.source: {path} is {LACKING}")
    why = " ".join(str(error).split())[:LONGEST_REASON]  # libraries quote what is damaged
    return ValueError(
        f"data.source: {path} cannot be read to its end ({why}); replace it by a whole copy{also}"
    )


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(POINTER)) == POINTER
    except OSError:  # which was said already
        return False


def no_image(path: Path, error: Exception | str) -> ValueError:
    """Say that a file is no image."""
    return ValueError(
        f"{shown(str(path))}: not a readable image ({error}); replace it or take it out of the "
        "source, or let data.most_skipped allow a share of such files"
    )
