"""Processes end with the one that started them, however that ends."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from multiprocessing import parent_process
from typing import Any

POLL = 0.5  # seconds between two looks at a process that is no parent


def belong_to_parent() -> None:
    """Leave Ctrl-C to the process that started this one, and end when that one ends, however it
    does."""
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(0)


def belong_to_dvc() -> None:
    """End when the DVC that started this process ends; nothing if it was started otherwise.

    A killed DVC leaves its stage running, which could overwrite what the next one makes.
    """
    if "DVC_STAGE" not in os.environ:
        return
    import psutil

    for ancestor in psutil.Process().parents():
        if "DVC_STAGE" not in _environment(ancestor):
            threading.Thread(target=_end_with, args=(ancestor,), daemon=True).start()
            return


def _environment(process: Any) -> dict[str, str]:
    import psutil

    try:
        return process.environ()
    except psutil.Error:  # another user's, so none that DVC started here
        return {}


def _end_with(process: Any) -> None:
    import psutil

    with suppress(psutil.NoSuchProcess):  # it ended between two questions
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(POLL)
    os._exit(1)
