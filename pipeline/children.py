"""What every process that is started here does first: it ends with the one that started it."""

from __future__ import annotations

import os
import threading
from multiprocessing import parent_process


def belong_to_parent() -> None:
    """Leave Ctrl-C to the process that started this one, and end when that one ends, however it
    does."""
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(0)
