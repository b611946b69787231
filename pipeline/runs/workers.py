"""Stages are computed by processes beside this one, each one stage at a time.

DVC, MLflow and Prefect stay in this process, which is told what happens in a stage, record by
record. A process keeps what it has imported for the next stage.
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Sequence
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any, Self

from scalenet.config.away import Unavailable
from scalenet.config.interrupts import kept_from_children
from scalenet.config.params import Compute, Params
from scalenet.pipeline import Killed, Stopped, environment
from scalenet.pipeline.runs import children
from scalenet.records.emit import Emit
from scalenet.stages import run_stage

Work = tuple[Path, str, str | None, Params | None]  # what stages.run_stage takes
SPAWN = get_context("spawn")  # a forked copy of PyTorch's, Prefect's and SQLite's threads hangs
FIRST = "scalenet.stages.retrain"  # what a process imports before it is asked for anything
GOES_ON = "it goes on from its last checkpoint"


def count(compute: Compute) -> int:
    """Return how many stages may run at once: ``compute.workers``; for ``auto`` as many as this
    machine has room for, each with its ``compute.processes``."""
    if compute.workers != "auto":
        return compute.workers
    from scalenet.training import device  # and torch

    return device.room(compute, compute.processes)


def for_machine(compute: Compute) -> Workers:
    """Return processes that share this machine's CUDA devices, if it has any, among themselves."""
    from scalenet.training import device

    return Workers(device.shares(compute, compute.processes))


class Workers:
    """Processes that compute stages: begun when all others are busy, ended with the ``with``.

    Where there are ``shares`` of CUDA devices, each process sees the one that fewest others do.
    """

    def __init__(self, shares: Sequence[str] = ()):
        self.shares = shares
        self.lock = Lock()
        self.begun: list[Worker] = []
        self.idle: list[Worker] = []
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.ended = True
        for worker in self.begun:
            worker.end()

    def run_stage(
        self, root: Path, stage: str, member: str | None, emit: Emit, params: Params | None = None
    ) -> None:
        """Run a stage as ``stages.run_stage`` does, in another process; from any thread.

        Its ``ValueError`` is raised here; ``Killed`` if that process ends before the stage does.
        """
        worker = self._take()
        try:
            worker.compute((root, stage, member, params), emit)
        except BaseException:
            worker.end()
            raise
        self._keep(worker)

    def warm(self) -> None:
        """Begin a process if none is idle, to import while this one does other things."""
        self._keep(self._take())

    def _take(self) -> Worker:
        with self.lock:
            if self.ended:
                raise Stopped("the run has ended")
            if not self.idle:
                self.begun.append(Worker(self._share()))
                return self.begun[-1]
            return self.idle.pop()

    def _share(self) -> str | None:
        taken = [worker.share for worker in self.begun if not worker.unwanted]
        return min(self.shares, key=taken.count, default=None)

    def _keep(self, worker: Worker) -> None:
        with self.lock:
            self.idle.append(worker)


class Worker:
    """One such process, and the connection to it; of CUDA devices it sees its share, if any."""

    def __init__(self, share: str | None = None):
        self.share = share
        self.connection, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_serve, args=(theirs,))  # it may have its own
        seen = {} if share is None else {"CUDA_VISIBLE_DEVICES": share}
        with environment(seen), kept_from_children():
            self.process.start()
        theirs.close()  # so that this end learns when the process is gone
        self.unwanted = False

    def compute(self, work: Work, emit: Emit) -> None:
        """Have a stage computed; tell ``emit`` what happens meanwhile."""
        name = " ".join(filter(None, work[1:3]))
        kind, content = self._answer(name, work)
        while kind == "told":
            emit(content)
            kind, content = self._answer(name)
        if kind == "away":
            raise Unavailable(content)
        if kind == "refused":
            raise ValueError(content)
        if kind == "failed":
            raise RuntimeError(f"{name}, in a process of its own:\n{content}")

    def _answer(self, name: str, work: Any = None) -> tuple[str, Any]:
        """Return what the process says next, after giving it work."""
        try:
            if work is not None:
                self.connection.send(work)
            return self.connection.recv()
        except (EOFError, OSError) as error:
            if self.unwanted:
                raise Stopped(f"{name}: stopped with the run; later {GOES_ON}") from error
            raise Killed(f"{name}: {self._how()}; run it again, and {GOES_ON}") from error

    def _how(self) -> str:
        """Say how the process ended."""
        self.process.join()
        code = self.process.exitcode
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended (code {code})"
        return f"its process {how}: if memory ran out, lower compute.workers"

    def end(self) -> None:
        """End the process, whatever it does: what it writes, it writes at once and whole."""
        self.unwanted = True
        self.process.kill()
        self.process.join()


# --- in the other process -------------------------------------------------------------------------


def _serve(connection: Connection) -> None:
    """Compute what is asked for, one stage after the other."""
    children.belong_to_parent()
    import_module(FIRST)  # while the other process says to DVC and MLflow that a stage begins
    while True:
        connection.send(_outcome(connection, connection.recv()))


def _outcome(connection: Connection, work: Work) -> tuple[str, Any]:
    """Run a stage, whose records are sent as they come; return how it ended."""
    try:
        root, stage, member, params = work
        run_stage(root, stage, member, lambda told: connection.send(("told", told)), params)
    except Unavailable as error:
        return "away", str(error)
    except ValueError as error:
        return "refused", str(error)
    except Exception:
        return "failed", traceback.format_exc()
    return "done", None
