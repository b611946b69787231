"""DVC's list of who reads and writes what, and what a kill leaves in it."""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from dvc.lock import make_lock
from dvc.repo import Repo
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, SCHEMA, rwlock
from voluptuous import Invalid

SLACK = 2.0  # seconds between the clocks that date a process's start and a file


def take(repo: Repo, read: list[str], write: list[str]) -> Any:
    """Return a context that holds the locks on what is read and written."""
    return rwlock(
        repo.tmp_dir,
        repo.fs,
        " ".join(sys.argv),  # as DVC's own locks in this process say, so that they pass each other
        read,
        write,
        repo.config["core"].get("hardlink_lock", False),
    )


def mended(repo: Repo) -> str:
    """Remove DVC's list of locks if it cannot be read, else from it what killed processes hold."""
    file = Path(repo.tmp_dir) / RWLOCK_FILE
    hard = repo.config["core"].get("hardlink_lock", False)
    with make_lock(str(file.with_name(RWLOCK_LOCK)), tmp_dir=repo.tmp_dir, hardlink_lock=hard):
        if not file.exists():
            return ""
        try:
            known = SCHEMA(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, Invalid):
            file.unlink()
            return "DVC was killed while it wrote its list of locks, which is begun anew"
        holds, written = partial(_holds, since=file.stat().st_mtime), known["write"].items()
        readers = {path: [*filter(holds, infos)] for path, infos in known["read"].items()}
        kept = {
            "write": {path: info for path, info in written if holds(info)},
            "read": {path: infos for path, infos in readers.items() if infos},
        }
        if kept == known:
            return ""
        file.write_text(json.dumps(kept), encoding="utf-8")
    return "DVC's list of locks named processes that are gone; their locks are removed"


def _holds(info: dict[str, Any], since: float) -> bool:
    """Tell whether a lock's process lives. One that began after the list was written does not have
    it: it was given the number of one that was killed, as happens soon in a container."""
    if not psutil.pid_exists(info["pid"]):
        return False
    try:
        process = psutil.Process(info["pid"])
        zombie = process.status() == psutil.STATUS_ZOMBIE
        return not zombie and process.create_time() < since + SLACK
    except psutil.Error:  # another user's, of which nothing is told
        return True


def told(refusal: str) -> str:
    """Say in a line who holds a file, where DVC names a process once for each of its locks, and
    would have the list removed; other refusals as they are."""
    held = re.match("'(.*)' is busy", refusal)
    holders = dict.fromkeys(re.findall(r"^ *\(PID (\d+)\): (.*)$", refusal, re.MULTILINE))
    if not held or not holders:
        return refusal
    who = ", ".join(f"{command} (PID {pid})" for pid, command in holders)
    return f"{held[1]} is in use by {who}; wait until that has ended, or end it, and run it again"
