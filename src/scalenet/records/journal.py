"""An append-only journal of records that survives interruption."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalenet.records.files import write_bytes


def read(path: Path, key: str) -> list[dict[str, Any]]:
    """Return the complete records of a journal; none if there is no journal of this work."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []  # a torn last line is none
    if not lines or lines[0] != _header(key):
        return []
    return [json.loads(line) for line in lines[1:]]


def _header(key: str) -> bytes:
    return json.dumps({"key": key}).encode()


class Journal:
    """An append-only file of records (a JSON object a line), fsynced one by one.

    A torn last line is dropped. The first line holds the key of the work; a journal of other work
    is begun anew.
    """

    def __init__(self, path: Path, key: str):
        self.path = path
        self.records = read(path, key)
        lines = [_header(key), *(json.dumps(record).encode() for record in self.records)]
        write_bytes(path, b"".join(line + b"\n" for line in lines))
        self._file = path.open("ab")

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record for good."""
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records.append(dict(record))

    def close(self) -> None:
        self._file.close()
