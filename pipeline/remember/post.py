"""What one process has for MLflow: reports of stages, and whether the server answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Self

from mlflow import MlflowClient

from scalenet.config.away import Unavailable
from scalenet.config.params import Params
from scalenet.pipeline import Killed
from scalenet.pipeline.remember import stores
from scalenet.pipeline.remember.reports import (
    CONTENT,
    Report,
    deliver,
    folder_of,
    stays,
    to_register,
    waiting,
)
from scalenet.records.written import counted

AGAIN = 10.0  # seconds until an absent server is asked again


def check_store(root: Path, params: Params) -> None:
    """Refuse a store that does not answer, before anything is computed.

    Not where reports wait for it already: it was there, and went away.
    """
    try:
        client = stores.connect(root)
        for name in (stores.stage_experiment(params), stores.candidate_experiment(params)):
            stores.experiment_id(client, root, name)
    except Unavailable:
        if not waiting(root):
            raise


class Post:
    """What one process has for MLflow: reports, delivered one after the other, and the server.

    ``say`` is told once when the server does not answer, and when it does again.
    """

    def __init__(self, root: Path, say: Callable[[str], None]):
        self.root, self.say = root, say
        self.lock = Lock()
        self.known: MlflowClient | None = None
        self.asked, self.away = -AGAIN, False
        self.pool = ThreadPoolExecutor(1)
        self.jobs: list[Future] = []
        self.reports: list[Path] = []  # of this process

    def __enter__(self) -> Self:
        self.jobs.append(self.pool.submit(self._deliver_waiting))
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown()
        if lacks := self.lacks():
            self.say(lacks)

    def lacks(self) -> str:
        """Say what of this process waits for MLflow; nothing if it has everything."""
        if not (left := sum((folder / CONTENT).exists() for folder in self.reports)):
            return ""
        waiting = counted(left, "report, which waits", "reports, which wait")
        return (
            f"MLflow lacks {waiting} in {folder_of(self.root).resolve()}; the "
            "next run, or `scalenet register`, delivers what it lacks"
        )

    def client(self) -> MlflowClient | None:
        """Return MLflow's client; None while it is away. It is asked again now and then."""
        with self.lock:
            if self.known is None and time.monotonic() - self.asked >= AGAIN:
                self.asked = time.monotonic()
                try:
                    self.known = stores.connect(self.root)
                except ValueError as error:
                    self._lost(error)
            return self.known

    def lost(self, error: Exception) -> None:
        """Take it that MLflow is away, until it is asked again."""
        with self.lock:
            self.known, self.asked = None, time.monotonic()
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        if not self.away:
            self.say(
                f"MLflow cannot be told ({stores.why(error)}); computing goes on, and it is told "
                "later"
            )
        self.away = True

    def _took(self) -> None:
        """Say that a report was delivered again: an answer alone is not enough for that."""
        with self.lock:
            if self.away:
                self.say("MLflow takes reports again")
            self.away = False

    @contextmanager
    def stage(
        self, params: Params, stage: str, member: str | None, tags: Mapping[str, str]
    ) -> Iterator[Report]:
        """Report a stage while the body computes it; what it wrote is kept when the body ends.

        Then ``send`` it. If the body raises, a report of the failure is sent.
        """
        report = Report(self, params, stage, member, tags)
        self.reports.append(report.folder)
        try:
            yield report
            report.keep("FINISHED")
        except BaseException as error:
            report.keep("KILLED" if isinstance(error, Killed | KeyboardInterrupt) else "FAILED")
            self.send(report)
            raise

    def send(self, report: Report, then: Callable[[], None] = lambda: None) -> None:
        """Have a kept report delivered, then something done; nothing here waits for it."""

        def job() -> None:
            report.thread.join()
            if self._deliver(report.folder):
                then()

        self.submit(job)

    def submit(self, job: Callable[[], None]) -> None:
        """Have something done after what was sent until now."""
        try:
            self.jobs.append(self.pool.submit(job))
        except RuntimeError:  # the run is being ended, and nobody waits for its end any more
            job()

    def finish(self) -> None:
        """Wait until everything was delivered or stays; ``ValueError`` tells what is refused."""
        for job in self.jobs:
            job.result()

    def _deliver_waiting(self) -> None:
        for folder in [*waiting(self.root), *to_register(self.root)]:
            try:
                if not self._deliver(folder):
                    return
            except ValueError as error:
                self.say(str(error))  # and the others are delivered

    def _deliver(self, folder: Path) -> bool:
        """Deliver a report; False if MLflow is away, ``ValueError`` if it refuses this one."""
        if self.client() is None:
            return False
        try:
            if said := deliver(self.root, folder):
                self.say(said)
        except (Unavailable, *stores.AWAY) as error:
            self.lost(error)
            return False
        except ValueError as error:
            raise ValueError(stays(folder, error)) from error
        self._took()
        return True
