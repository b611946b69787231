"""An append-only journal of records that survives interruption."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalenet.records.files import write_bytes


class Journal:
    """An append-only file of records (a JSON object a line), fsynced one by one; a torn last line is dropped.

    The first line holds the key of the work; a journal of other work is begun anew.
    """

    def __init__(self, path: Path, key: str):
        self.path = path
        self.records: list[dict[str, Any]] = []
        header = json.dumps({"key": key})
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        if lines and lines[0].decode(errors="replace") == header:
            self.records = [json.loads(line) for line in lines[1:]]
        write_bytes(path, b"".join(line + b"\n" for line in [header.encode(), *lines[1 : 1 + len(self.records)]]))
        self._file = path.open("ab")

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record for good."""
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records.append(dict(record))

    def close(self) -> None:
        self._file.close()
