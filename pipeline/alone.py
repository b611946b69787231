"""A stage is computed by one process at a time, which is known by name."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from scalenet.records import files
from scalenet.records.paths import Paths

ASKED = 1  # seconds: another process may hold the lock only to ask who has it
HOLDER = "holder.json"  # beside the lock: who has it, or had it last


def place(root: Path) -> str:
    """Name a project's folder among all that may share a server: a hash of host and path."""
    return files.digest(platform.node(), str(root.resolve()))


@contextmanager
def alone(root: Path, work: str) -> Iterator[None]:
    """Hold the lock of a stage's (or a member's) state; ``ValueError`` names who holds it."""
    folder = Paths(root).state(work)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=ASKED):
            files.write_json(folder / HOLDER, _me())
            yield
    except Timeout as error:
        raise ValueError(
            f"{work}: {_named(folder / HOLDER)} computes it; wait for that one, or end it"
        ) from error


def is_held(root: Path, work: str) -> bool:
    """Tell whether some process computes a stage (or a member) now."""
    file = Paths(root).state(work) / "lock"
    if not file.exists():
        return False
    try:
        with FileLock(file, timeout=0):
            return False
    except Timeout:
        return True


def _me() -> dict[str, str | int]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": platform.node(), "since": since, "command": command}


def _named(file: Path) -> str:
    if not file.exists():  # it has the lock, and has not written yet who it is
        return "another process"
    holder = files.read_json(file)
    return "process {pid} on {host} ({command}, since {since})".format(**holder)
