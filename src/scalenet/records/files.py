"""Atomic writing and checked reading of JSON, tables and arrays; digests."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import pydantic

REMEDIES = {
    errno.ENOSPC: "free space on that disk",
    errno.EDQUOT: "free space in your quota",
    errno.EFBIG: "raise the limit on a file's size (`ulimit -f`)",
    errno.EROFS: "take a folder on a disk that is not mounted read-only, or mount it for writing",
    errno.ENAMETOOLONG: "take a folder with a shorter path",
    errno.ENOTDIR: "remove the file that lies where a folder should be",
    errno.EEXIST: "remove the file that lies where a folder should be",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
    errno.ENOMEM: "raise the limit on memory (`ulimit -v`)",
}
# what is wrong with what lies there (EINVAL: it points outside itself), not with the machine
NO_FILE = (None, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EINVAL)
SPLITS = ("train", "select", "test")
# pixels uint8 (N, C, H, W), or what is indexed as such an array; labels int64 (N)
Split = tuple[np.ndarray, np.ndarray]


class Unread(ValueError):
    """A file that the machine cannot read now: nothing is known of what it holds."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write to a temporary name, flush to disk, then replace: a reader sees all or the old file.

    ``ValueError`` if it cannot be written; the old file is there then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):  # a disk that takes nothing has nothing to remove
                temporary.unlink(missing_ok=True)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Name what the body cannot write, and say what to do: ``ValueError``."""
    try:
        yield
    except OSError as error:
        raise ValueError(unwritable(path, error)) from error


def unwritable(path: Path | str, error: OSError) -> str:
    """Say what cannot be written, why, and what to do about it."""
    why = error.strerror or type(error).__name__
    remedy = REMEDIES.get(error.errno or 0, "make its folder one that you may write")
    return f"{path}: cannot be written ({why}); {remedy}, and run it again: it goes on from there"


def told(error: ValueError | OSError, folder: Path) -> str:
    """Say what was refused, by us or by the system, which may not name the file: in ``folder``
    then. What the system did not refuse to write is raised again."""
    if isinstance(error, ValueError):
        return str(error)
    if error.errno not in REMEDIES and not isinstance(error, PermissionError):
        raise error
    return unwritable(error.filename or folder, error)


def unreadable(path: Path, error: OSError) -> ValueError:
    """Return what says that a file cannot be read, why, and what to do: ``Unread`` if there may
    be one."""
    text = f"{path}: cannot be read ({error.strerror or error})"
    if error.errno in NO_FILE:
        return ValueError(f"{text}; run `dvc repro` or `dvc pull`")
    remedy = REMEDIES.get(error.errno, "make it a file that you may read, on a sound disk")
    return Unread(f"{text}; {remedy}, and run it again: the file stays as it is")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file at once."""
    with replacing(path) as file:
        file.write(content)


def set_aside(path: Path, word: str = "damaged") -> Path:
    """Rename what cannot be used, so that nothing is lost and its place is free; return where.

    What was set aside before stays, too.
    """
    aside, number = path.with_name(f"{path.name}.{word}"), 2
    while aside.exists():
        aside, number = path.with_name(f"{path.name}.{number}.{word}"), number + 1
    path.replace(aside)
    return aside


def write_json(path: Path, content: Any) -> None:
    """Write JSON that is the same for the same content."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON; ``ValueError`` names the file, ``Unread`` one that cannot be read now."""
    try:
        return json.loads(_bytes(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: cannot be read as JSON ({error}); run `dvc repro` or `dvc pull`"
        ) from error


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV table."""
    text = io.StringIO()
    for row in (columns, *rows):
        line = io.StringIO()  # that ends with \r\n: a cell with either sign is quoted then
        csv.writer(line).writerow(["" if cell is None else cell for cell in row])
        text.write(line.getvalue().removesuffix("\r\n") + "\n")
    write_bytes(path, text.getvalue().encode())


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a CSV table, a row a mapping from columns; ``ValueError`` names the file."""
    return list(csv.DictReader(io.StringIO(_bytes(path).decode())))


def read_numbers(path: Path) -> list[dict[str, Any]]:
    """Read a CSV table with cells that are numbers as numbers, and empty ones as None.

    Names of classes stay text, whatever they look like.
    """
    return [
        {name: cell if name == "class" else _typed(cell) for name, cell in row.items()}
        for row in read_table(path)
    ]


def _typed(cell: str) -> Any:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell or None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as .npz; equal arrays give equal bytes."""
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            put_array(archive, f"{name}.npy", array)


def put_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    """Write an array into an archive; numpy's own way has other bytes before Python 3.11.4."""
    content = io.BytesIO()
    np.lib.format.write_array(content, array, allow_pickle=False)
    archive.writestr(zipfile.ZipInfo(name), content.getvalue(), archive.compression)


def digest(*parts: Any) -> str:
    """Return a short hash of bytes, files (paths) and JSON values: the key of a resumable state."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            part = _bytes(part)
        elif isinstance(part, pydantic.BaseModel):
            part = part.model_dump_json().encode()
        elif not isinstance(part, bytes):
            part = json.dumps(part, sort_keys=True).encode()
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:16]


def sha256(path: Path) -> str:
    """Return a file's SHA-256 as ``sha256sum`` prints it; ``ValueError`` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); name a file that is there"
        ) from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
