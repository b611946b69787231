"""Every candidate becomes an MLflow run of its own, exactly once, off the search's critical path.

The search's journal is the truth. A thread of the search's process makes the runs. It knows by
their tag
``candidate`` (the search's key and the candidate's identity) which exist already, so a search that
was
killed and goes on neither loses nor repeats one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Thread, get_native_id
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag, ViewType

from scalenet.config.params import Params
from scalenet.pipeline import Unavailable, stores
from scalenet.records import journal
from scalenet.records.documents import FINALS

METRICS = ("accuracy", "probability", "score", "predicted", "flops", "params", "depth", "width")
METRICS += ("resolution", "stage", "iteration", "generation", "seconds", "number")
PARAMS = ("network", "base", "scaling", "phase")
CHARTED = (
    "accuracy",
    "probability",
    "score",
)  # logged at step = FLOPs: MLflow charts metrics by step
PAGE = 1000  # runs per page of a query
NICE = 10


class Delivery:
    """Delivers the candidates of one search; give it the stage's records, and ``finish`` it."""

    def __init__(self, root: Path, params: Params, search_run: str):
        self.root, self.params, self.search_run = root, params, search_run
        self.records: SimpleQueue[Mapping[str, Any] | None] = SimpleQueue()
        self.thread: Thread | None = None
        self.error: Exception | None = None
        self.wanted: set[tuple[str, bool]] = set()  # networks, as finalists or not
        self.delivered = 0

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Take a record of the search: its journal, whose candidates come first, or a candidate."""
        if record["event"] == "journal":
            self.thread = Thread(target=self._work, args=(record["key"],), daemon=True)
            self.thread.start()
            for known in journal.read(record["path"], record["key"]):
                self._put(known)
        elif record["event"] == "candidate":
            self._put(record)

    def _put(self, record: Mapping[str, Any]) -> None:
        """Have a candidate delivered once: the journal may hold it before the search tells of
        it."""
        candidate = (record["network"], record["phase"] in FINALS)
        if candidate not in self.wanted:
            self.wanted.add(candidate)
            self.records.put(record)

    def _work(self, key: str) -> None:
        """Make runs until there are no more records; keep the error that ended it."""
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, get_native_id(), NICE)  # a thread's own, on Linux
        try:
            client = stores.connect(self.root)
            name = stores.candidate_experiment(self.params)
            runs = Runs(client, stores.experiment_id(client, self.root, name), key, self.search_run)
            while (record := self.records.get()) is not None:
                runs.deliver(record)
            self.delivered = runs.count()
        except (ValueError, *stores.AWAY) as error:
            self.error = error

    def finish(self) -> None:
        """Wait until everything is delivered; ``Unavailable`` if a candidate could not be."""
        if self.thread is None:
            return
        self.records.put(None)
        self.thread.join()
        if self.error or self.delivered != len(self.wanted):
            why = self.error or f"MLflow has {self.delivered} of them"
            raise Unavailable(
                f"the search's {len(self.wanted)} candidates could not all be delivered to MLflow "
                f"({why}); its journal has them, and the next run delivers what is missing"
            )


class Runs:
    """The candidates' runs of one search key in MLflow, and what they still lack."""

    def __init__(self, client: MlflowClient, experiment: str, key: str, search_run: str):
        self.client, self.experiment, self.key, self.search_run = (
            client,
            experiment,
            key,
            search_run,
        )
        self.known = self._load()

    def _load(self) -> dict[str, Run]:
        """Return every candidate's run; a second one (a request that was answered twice) is
        deleted."""
        known: dict[str, Run] = {}
        for run in self._all():
            if known.setdefault(run.data.tags["candidate"], run) is not run:
                self.client.delete_run(run.info.run_id)
        return known

    def _all(self) -> Iterator[Run]:
        wanted, token = f"tags.candidate LIKE '{self.key} %'", None
        while token != "":
            page = self.client.search_runs(
                [self.experiment],
                wanted,
                ViewType.ACTIVE_ONLY,
                PAGE,
                ["attributes.start_time ASC"],
                token,
            )
            yield from page
            token = page.token or ""

    def deliver(self, record: Mapping[str, Any]) -> None:
        """Make a candidate's run, or what it lacks: a process that was killed leaves one
        half-written."""
        final = f" {record['phase']}" if record["phase"] in FINALS else ""
        candidate, now = f"{self.key} {record['network']}{final}", int(time.time() * 1000)
        run = self.known.get(candidate)
        if run is None:
            run = self.client.create_run(
                self.experiment,
                start_time=now - int(1000 * record["seconds"]),
                tags={"candidate": candidate, "search_run": self.search_run},
                run_name=f"s{record['stage']} {record['scaling']} {record['base']}{final}",
            )
        if any((lacks := self._lacks(run, record, now)).values()):
            self.client.log_batch(run.info.run_id, **lacks)
        if run.info.status != "FINISHED":
            self.client.set_terminated(run.info.run_id, "FINISHED", now)

    def _lacks(self, run: Run, record: Mapping[str, Any], now: int) -> dict[str, list]:
        """Return the metrics, params and tags that a run does not have yet."""
        numbers = {name: float(record[name]) for name in METRICS if record[name] is not None}
        metrics = [Metric(name, value, now, step(name, numbers)) for name, value in numbers.items()]
        params = [Param(name, str(record[name])) for name in PARAMS if name not in run.data.params]
        theirs = run.data.tags["search_run"] == self.search_run
        return {
            "metrics": [] if run.data.metrics == numbers else metrics,
            "params": params,
            "tags": [] if theirs else [RunTag("search_run", self.search_run)],
        }

    def count(self) -> int:
        """Ask MLflow how many candidates have a complete run that belongs to this search run."""
        return sum(
            run.info.status == "FINISHED" and run.data.tags["search_run"] == self.search_run
            for run in self._load().values()
        )


def step(name: str, numbers: Mapping[str, float]) -> int:
    """Return the step to log a metric at: MLflow's page then draws accuracy against FLOPs by
    itself."""
    return int(numbers["flops"]) if name in CHARTED else 0
