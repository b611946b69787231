"""Named tensors on disk: atomic, checked, and read without executing anything that a file holds."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scalenet.records.files import unreadable, write_bytes
from scalenet.records.shortage import ran_out


def write(path: Path, content: Mapping[str, Any], meta: Mapping[str, str]) -> None:
    """Write tensors (and plain values) with what they are; equal content gives equal bytes."""
    buffer = io.BytesIO()
    torch.save({"format": 1, "meta": dict(meta), "content": dict(content)}, buffer)
    write_bytes(path, buffer.getvalue())


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read (content, meta) on the CPU.

    ``ValueError`` names a file that holds something else, or of which a byte of content is not as
    it was written: the file is a zip archive, whose checksums ``torch.load`` does not look at.
    What the machine refuses says nothing about the file: ``Unread``, or that memory ran out.
    """
    try:
        _check(path)
        file = torch.load(path, map_location="cpu", weights_only=True)
        return file["content"], file["meta"]
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # torch.load raises many kinds; all mean the same to a user
        if ran_out(error):
            raise
        raise ValueError(
            f"{path}: cannot be read as tensors ({error}); run `dvc repro` or `dvc pull`"
        ) from error


def _check(path: Path) -> None:
    """Compare every entry's content with its checksum."""
    with _opened(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"its entry {damaged} is damaged")


def _opened(path: Path) -> zipfile.ZipFile:
    """Open an archive; ``OSError`` is what the machine refuses, of which zipfile says that the
    file is none."""
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
