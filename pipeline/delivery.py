"""Every candidate becomes an MLflow run of its own, exactly once, off the search's critical path.

The search appends records to its journal, which is the truth. A follower process tails that file and makes
the runs. It knows by their tag ``candidate`` (the search's key and the candidate's identity) which runs exist already,
so a killed and restarted search neither loses nor repeats one.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from scalenet.config.params import Params
from scalenet.pipeline import Unavailable, tracking
from scalenet.records.documents import FINETUNED, identity

METRICS = ("accuracy", "probability", "score", "predicted", "flops", "params", "depth", "width", "resolution")
METRICS += ("stage", "iteration", "generation", "seconds", "number")
PARAMS = ("network", "base", "scaling", "phase")
COMPLETE = b"complete\n"  # what the search's process tells the follower when the journal will not grow any more
DELIVERED = "delivered "  # what the follower says at its end, and the number of runs
ORPHANED = 3  # exit code of a follower whose search is gone
CHARTED = ("accuracy", "probability", "score")  # logged at step = FLOPs: MLflow charts metrics over their steps
POLL = 0.2  # seconds between looks at the journal
PATIENCE = 30  # seconds that a follower waits for an earlier one, whose search was killed, to end
PAGE = 1000  # runs per page of a query
NICE = 10


# --- in the search's process ----------------------------------------------------------------------


@contextmanager
def delivering(root: Path, params: Params, journal: Path, key: str, search_run_id: str) -> Iterator[None]:
    """Deliver the journal of the search ``key`` while the body runs, and the rest of it when the body ends.

    ``root`` is where MLflow's files lie. ``ValueError`` if a candidate could not be delivered. If the body
    raises, what it left is delivered and its own exception goes on.
    """
    target = [str(root.resolve()), tracking.candidate_experiment(params), str(journal.resolve()), key, search_run_id]
    follower = Follower(target)
    try:
        yield
    except BaseException as error:
        try:
            _finish(follower, target)
        except ValueError as second:
            error.add_note(str(second))
        raise
    expected = _finish(follower, target)
    if expected is None:
        raise ValueError(f"{journal}: is no journal of the search {key}, so no candidate was delivered to MLflow")


def _finish(follower: Follower, target: list[str]) -> int | None:
    """Wait until everything is delivered; return how many candidates there are, None without a journal."""
    journal, key = Path(target[2]), target[3]
    delivered = follower.finish()
    if delivered is None:  # it died on the way: what it left undone is still in the journal
        follower = Follower(target)
        delivered = follower.finish()
    if delivered is None:
        raise Unavailable(f"candidates of {journal} could not be delivered to MLflow: {follower.said}")
    records = read_journal(journal, key)
    if delivered != len(records or ()):
        raise Unavailable(f"{journal} holds {len(records or ())} candidates, but MLflow has {delivered} of them")
    return None if records is None else delivered


class Follower:
    """The process that follows a journal, at low priority; it ends by itself if this process is killed."""

    def __init__(self, target: list[str]):
        self.said = ""
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the follower has ended)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scalenet.pipeline", "deliver", *target],
            stdin=subprocess.PIPE, bufsize=0, stdout=self._output, stderr=self._output, cwd=Path(__file__).parents[1],
            start_new_session=True,  # Ctrl-C reaches the search, which then tells the follower
        )  # fmt: skip

    def finish(self) -> int | None:
        """Tell it that the journal is complete; return how many candidates MLflow has now, None if it failed."""
        with suppress(BrokenPipeError):  # it has failed already; its exit code says so
            self.process.stdin.write(COMPLETE)
        code = self.process.wait()
        self.process.stdin.close()
        with self._output:
            self._output.seek(0)
            lines = self._output.read().decode(errors="replace").splitlines()
        counts = [line.removeprefix(DELIVERED) for line in lines if line.startswith(DELIVERED)]
        self.said = (lines or [f"it ended with {code}"])[-1]
        return int(counts[-1]) if code == 0 else None


# --- the journal ----------------------------------------------------------------------------------


def read_journal(journal: Path, key: str, skip: int = 0) -> list[dict[str, Any]] | None:
    """Return the complete records of the search ``key`` but for the first ``skip``; None if it has no journal yet."""
    try:
        lines = journal.read_bytes().split(b"\n")[:-1]  # a torn last line is no record
    except FileNotFoundError:
        return None
    if not lines or lines[0] != json.dumps({"key": key}).encode():
        return None
    return [json.loads(line) for line in lines[1 + skip :]]


# --- in the follower's process --------------------------------------------------------------------


def deliver(arguments: list[str]) -> int:
    """Follow a journal until told that it is complete; print how many of its candidates MLflow then has."""
    root, experiment, journal, key, search_run = arguments
    os.nice(NICE)
    try:
        with _alone(Path(journal)):
            client = tracking.connect(Path(root))
            runs = Runs(client, tracking.experiment_id(client, Path(root), experiment), key, search_run)
            if not follow(Path(journal), key, runs):
                return ORPHANED
            print(f"{DELIVERED}{runs.count()}")
    except (ValueError, MlflowException, SQLAlchemyError, OSError) as error:
        print(" ".join(str(error).split()))
        return 1
    return 0


@contextmanager
def _alone(journal: Path) -> Iterator[None]:
    """Hold the journal's lock, so that two followers cannot both make a candidate's run."""
    lock, deadline = journal.with_name("delivery.lock"), time.monotonic() + PATIENCE
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise ValueError(f"{journal}: another process delivers it; end that search first") from error
                time.sleep(POLL)
        yield


def follow(journal: Path, key: str, runs: Runs) -> bool:
    """Deliver records as they come; True once the journal is complete, False if the search is gone."""
    search, done, seen = Search(), 0, None
    while not search.gone:
        complete = search.listen(POLL)  # asked before the journal is read, so nothing comes after that reading
        if (now := _state(journal)) != seen:
            seen = now
            for record in read_journal(journal, key, done) or ():
                search.listen(0)
                if search.gone:
                    return False
                runs.deliver(record)
                done += 1
        if complete:
            return True
    return False


def _state(file: Path) -> tuple[int, int, int] | None:
    """Return what changes whenever a file is replaced or grows."""
    if not file.exists():
        return None
    state = file.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


class Search:
    """The search's process, as its follower hears it: a line when the journal is complete, silence when it died."""

    def __init__(self):
        self.complete = self.gone = False

    def listen(self, seconds: float) -> bool:
        """Wait a moment for a word; return whether the journal is complete."""
        if select.select([sys.stdin], [], [], 0 if self.complete else seconds)[0]:
            heard = os.read(sys.stdin.fileno(), len(COMPLETE))
            self.gone = not heard
            self.complete = self.complete or bool(heard)
        return self.complete


class Runs:
    """The candidates' runs of one search key in MLflow, and what they still lack."""

    def __init__(self, client: MlflowClient, experiment: str, key: str, search_run: str):
        self.client, self.experiment, self.key, self.search_run = client, experiment, key, search_run
        self.known = self._load()

    def _load(self) -> dict[str, Run]:
        """Return the run of every candidate; a second run (of a request that a server answered twice) is deleted."""
        known: dict[str, Run] = {}
        for run in self._all():
            if known.setdefault(run.data.tags["candidate"], run) is not run:
                self.client.delete_run(run.info.run_id)
        return known

    def _all(self) -> Iterator[Run]:
        wanted, token = f"tags.candidate LIKE '{self.key} %'", None
        runs: list[Run] = []
        while token != "":
            page = self.client.search_runs(
                [self.experiment], wanted, ViewType.ACTIVE_ONLY, PAGE, ["attributes.start_time ASC"], token
            )
            runs += page
            token = page.token or ""
        return iter(runs)

    def deliver(self, record: dict[str, Any]) -> None:
        """Make a candidate's run, or what it lacks: a killed follower leaves one half-written."""
        candidate, now = f"{self.key} {identity(record)}", int(time.time() * 1000)
        tuned = f" {FINETUNED}" if record["phase"] == FINETUNED else ""
        run = self.known.get(candidate)
        if run is None:
            run = self.client.create_run(
                self.experiment,
                start_time=now - int(1000 * record["seconds"]),
                tags={"candidate": candidate, "search_run": self.search_run},
                run_name=f"s{record['stage']} {record['scaling']} {record['base']}{tuned}",
            )
        numbers = {name: float(record[name]) for name in METRICS if record[name] is not None}
        lacks = {
            "metrics": [Metric(name, value, now, step(name, numbers)) for name, value in numbers.items()],
            "params": [Param(name, str(record[name])) for name in PARAMS if name not in run.data.params],
            "tags": [RunTag("search_run", self.search_run)],
        }
        if run.data.metrics == numbers:
            lacks["metrics"] = []
        if run.data.tags["search_run"] == self.search_run:
            lacks["tags"] = []
        if any(lacks.values()):
            self.client.log_batch(run.info.run_id, **lacks)
        if run.info.status != "FINISHED":
            self.client.set_terminated(run.info.run_id, "FINISHED", now)

    def count(self) -> int:
        """Ask MLflow how many candidates have a complete run that belongs to this search run."""
        runs = self._load().values()
        return sum(run.info.status == "FINISHED" and run.data.tags["search_run"] == self.search_run for run in runs)


def step(name: str, numbers: dict[str, float]) -> int:
    """Return the step to log a metric at: MLflow's chart page then draws accuracy against FLOPs by itself."""
    return int(numbers["flops"]) if name in CHARTED else 0
