"""Processes end with the one that started them, however that ends."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from scalenet.config.interrupts import end_with_parent, heard_again

POLL = 0.5  # seconds between two looks at a process that is no parent
TRIES = 40  # reads of a lock that others write


def belong_to_parent() -> None:
    """Leave Ctrl-C to the process that started this one, and end when that one ends, however it
    does."""
    os.setsid()
    heard_again()
    end_with_parent()


def belong_to_dvc(root: Path) -> None:
    """End when the DVC that started this process ends, or a shell between them; nothing if it was
    started otherwise. ``ValueError`` if that DVC is gone already.

    A killed DVC leaves its stage running, which could overwrite what the next one makes. DVC names
    itself in its lock on what a stage writes, so an orphan is known however early it became one.
    """
    if "DVC_STAGE" not in os.environ:
        return
    import psutil

    parent = os.getppid()
    writers = _writers(root)
    for ancestor in psutil.Process().parents():
        if ancestor.pid in writers:
            threading.Thread(target=_end_with, args=(ancestor, parent), daemon=True).start()
            return
    raise ValueError(
        f"the DVC that started stage {os.environ['DVC_STAGE']} has ended; run `dvc repro` again"
    )


def _writers(root: Path) -> set[int]:
    """Return the processes that DVC's locks name as computing stages of a folder."""
    folder = next((place for place in (root, *root.parents) if (place / ".dvc").is_dir()), root)
    file = folder / ".dvc" / "tmp" / "rwlock"
    for _ in range(TRIES):
        with suppress(ValueError):  # another DVC is writing it
            holders = json.loads(file.read_text(encoding="utf-8")).get("write", {})
            return {holder["pid"] for holder in holders.values()}
        time.sleep(POLL / 10)
    raise ValueError(f"{file} cannot be read, though DVC runs; remove it when no DVC runs any more")


def _end_with(process: Any, parent: int) -> None:
    import psutil

    with suppress(psutil.NoSuchProcess):  # it ended between two questions
        while (
            os.getppid() == parent
            and process.is_running()
            and process.status() != psutil.STATUS_ZOMBIE
        ):
            time.sleep(POLL)
    os._exit(1)
