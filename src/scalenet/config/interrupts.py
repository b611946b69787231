"""Ctrl-C is for the process that a user started, from the first moment of those that it starts,
and these end with it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process, resource_tracker


@contextmanager
def kept_from_children() -> Iterator[None]:
    """Start processes in the body that Ctrl-C does not reach while they import; they call
    ``heard_again`` once they have left the terminal, or never."""
    resource_tracker.ensure_running()  # beginning it, the first process would hear again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heard_again() -> None:
    """Forget what this process was not told, and hear it from now on."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which drops what waits
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, handler)


def end_with_parent() -> None:
    """End this process when the one that started it ends, even if that one is killed."""

    def end() -> None:
        parent_process().join()
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
