"""Git's command, and its faults in words."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

FULL = ("No space left", "Out of diskspace")  # what git says of a disk, once for each file


def git(folder: Path, *arguments: str) -> str:
    """Return what git prints; ``ValueError`` with its words if it refuses, ``OSError`` if the disk
    is full to which it writes."""
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if any(word in done.stderr for word in FULL):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    if done.returncode:
        raise ValueError(f"git {arguments[0]}: {' '.join(done.stderr.split())}")
    return done.stdout.strip()
