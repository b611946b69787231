"""Programs of trained members are stored by a process beside this one, while the next member
trains."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Self

from scalenet.config import params as config
from scalenet.config.interrupts import kept_from_children
from scalenet.pipeline.runs import children


class Exports:
    """The members whose programs are being stored.

    What could not be stored here is stored by the registration that follows, which says why it
    cannot.
    """

    def __init__(self, root: Path):
        self.root = root
        start = children.belong_to_parent
        self.pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=start)
        self.pending: list[Future] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)

    def submit(self, member: str) -> None:
        """Begin to store a member's program; if its process was killed, registration stores it."""
        with suppress(BrokenExecutor), kept_from_children():
            self.pending.append(self.pool.submit(_store, self.root, member))

    def finish(self) -> None:
        """Wait until nothing is being stored any more."""
        wait(self.pending)


def _store(root: Path, member: str) -> None:
    from scalenet.pipeline.models import registry  # seconds of imports, in the other process

    registry.store(root, config.load(root / "params.yaml"), member)
