"""An append-only journal of records that survives interruption and knows when it was damaged."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalenet.records.files import set_aside, write_bytes, written

DIGEST = 16  # hexadecimal digits before each line


def read(path: Path, key: str) -> list[dict[str, Any]]:
    """Return the records of a journal up to the first damaged one; none of other work's."""
    content = path.read_bytes() if path.exists() else b""
    return _records(_sound(content), key)


def _sound(content: bytes) -> list[bytes]:
    """Return the leading lines whose digests hold, each chained to the one before it."""
    lines: list[bytes] = []
    previous = b""
    for line in content.split(b"\n")[:-1]:
        digest, _, text = line.partition(b" ")
        if digest != _digest(previous, text):
            break
        lines.append(text)
        previous = digest
    return lines


def _digest(previous: bytes, text: bytes) -> bytes:
    return hashlib.sha256(previous + text).hexdigest()[:DIGEST].encode()


def _records(lines: list[bytes], key: str) -> list[dict[str, Any]]:
    if not lines or lines[0] != _header(key):
        return []
    return [json.loads(line) for line in lines[1:]]


def _header(key: str) -> bytes:
    return json.dumps({"key": key}).encode()


class Journal:
    """An append-only file of records (a JSON object a line), fsynced one by one.

    The first line holds the key of the work; a journal of other work is begun anew. Before each
    line stands a digest of it and of the digest before. A torn last line is dropped. From the
    first line on that is not as it was written, the records count as never made: ``damaged`` then
    says so, and the old file is kept beside the new.
    """

    def __init__(self, path: Path, key: str):
        self.path, self.damaged = path, ""
        content = path.read_bytes() if path.exists() else b""
        lines, whole = _sound(content), content.count(b"\n")
        self.records = _records(lines, key)
        if len(lines) < whole:
            aside = set_aside(path)
            self.damaged = (
                f"{path}: line {len(lines) + 1} is damaged; the {len(self.records)} candidates "
                f"before it are kept, the others are measured again (the old file: {aside.name})"
            )
        self._last = b""
        kept = [_header(key), *(json.dumps(record).encode() for record in self.records)]
        write_bytes(path, b"".join(map(self._line, kept)))
        self._file = path.open("ab")

    def _line(self, text: bytes) -> bytes:
        self._last = _digest(self._last, text)
        return self._last + b" " + text + b"\n"

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record for good."""
        with written(self.path):
            self._file.write(self._line(json.dumps(record).encode()))
            self._file.flush()
            os.fsync(self._file.fileno())
        self.records.append(dict(record))

    def close(self) -> None:
        """End; what a full disk did not take is refused once more, in the same words."""
        with written(self.path):
            self._file.close()
