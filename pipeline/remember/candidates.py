"""Every candidate becomes an MLflow run of its own, exactly once, off the search's critical path.

The search's journal is the truth. What is made of it is known by the tag ``candidate`` (the
search's key and the candidate's identity), so a search that was killed and goes on, or a delivery
that was, neither loses nor repeats one. Clones that make the same search at once share the runs:
each belongs to the search that made it.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag, ViewType

from scalenet.config.away import Unavailable
from scalenet.config.params import Params
from scalenet.pipeline.remember import stores
from scalenet.records import journal
from scalenet.records.documents import FINALS

METRICS = ("accuracy", "probability", "score", "predicted", "flops", "params", "depth", "width")
METRICS += ("resolution", "stage", "iteration", "generation", "seconds", "number")
PARAMS = ("network", "base", "scaling", "phase")
CHARTED = ("accuracy", "probability", "score")  # at step = FLOPs: MLflow charts metrics by step
PAGE = 1000  # runs per page of a query


class Candidates:
    """The candidates of one search: give it the stage's records, and have it deliver them."""

    def __init__(self, root: Path, params: Params):
        self.root, self.params = root, params
        self.path: Path | None = None  # of the journal
        self.key = ""
        self.records: deque[Mapping[str, Any]] = deque()
        self.wanted: set[tuple[str, bool]] = set()  # networks, as finalists or not
        self.runs: Runs | None = None

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Take a record of the search: its journal, whose candidates come first, or a candidate."""
        if record["event"] == "journal":
            self.path, self.key = record["path"], record["key"]
            for known in journal.read(self.path, self.key):
                self._put(known)
        elif record["event"] == "candidate":
            self._put(record)

    def _put(self, record: Mapping[str, Any]) -> None:
        """Have a candidate delivered once: the journal may hold it before the search tells of
        it."""
        candidate = (record["network"], record["phase"] in FINALS)
        if candidate not in self.wanted:
            self.wanted.add(candidate)
            self.records.append(record)

    def deliver(self, client: MlflowClient, search_run: str, seconds: float = math.inf) -> None:
        """Make the runs of the candidates that are there; stop after so many seconds."""
        if not self.records:
            return
        if self.runs is None or self.runs.search_run != search_run:
            name = stores.candidate_experiment(self.params)
            experiment = stores.experiment_id(client, self.root, name)
            self.runs = Runs(client, experiment, self.key, search_run)
        until = time.monotonic() + seconds
        try:
            while self.records and time.monotonic() < until:
                self.runs.deliver(self.records[0])  # it stays until it is delivered
                self.records.popleft()
        except BaseException:
            self.runs = None  # what MLflow has is asked anew
            raise

    def check(self) -> None:
        """Raise ``Unavailable`` unless MLflow has every candidate."""
        there = self.runs.count() if self.runs else 0
        if there < len(self.wanted):
            raise Unavailable(f"MLflow has {there} of the search's {len(self.wanted)} candidates")


class Runs:
    """The candidates' runs of one search key in MLflow, and what they still lack."""

    def __init__(self, client: MlflowClient, experiment: str, key: str, search_run: str):
        self.client, self.experiment = client, experiment
        self.key, self.search_run = key, search_run
        self.owners: dict[str, Run | None] = {}
        self.known = self._load()

    def _load(self) -> dict[str, Run]:
        """Return every candidate's run, a complete one if there is. A second one is deleted: a
        request that was answered twice, or another search that makes the same; but what that one
        is writing stays until it is complete."""
        found: dict[str, list[Run]] = defaultdict(list)
        for run in self._all():
            found[run.data.tags["candidate"]].append(run)
        known = {}
        for candidate, runs in found.items():
            known[candidate], *others = sorted(runs, key=_rank)
            for run in others:
                if run.info.status == "FINISHED" or not self._is_anothers(run):
                    self.client.delete_run(run.info.run_id)
        return known

    def _is_anothers(self, run: Run) -> bool:
        """Tell whether a candidate's run belongs to a search in another place, unless that one was
        killed or failed."""
        ours, owner = (self._search(r) for r in (self.search_run, run.data.tags["search_run"]))
        if not ours or not owner or owner.info.status not in ("RUNNING", "FINISHED"):
            return False
        return owner.data.tags.get("place") != ours.data.tags.get("place")

    def _search(self, run_id: str) -> Run | None:
        """Return the run of a search, None if it is there no more; MLflow is asked once."""
        if run_id not in self.owners:
            self.owners[run_id] = stores.active_run(self.client, run_id)
        return self.owners[run_id]

    def _all(self) -> Iterator[Run]:
        wanted, token = f"tags.candidate LIKE '{self.key} %'", None
        while token != "":
            how = (ViewType.ACTIVE_ONLY, PAGE, ["attributes.start_time ASC"], token)
            page = self.client.search_runs([self.experiment], wanted, *how)
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
        stays = run.data.tags["search_run"] == self.search_run or self._is_anothers(run)
        return {
            "metrics": [] if run.data.metrics == numbers else metrics,
            "params": params,
            "tags": [] if stays else [RunTag("search_run", self.search_run)],
        }

    def count(self) -> int:
        """Ask MLflow how many candidates of the search's key have a complete run."""
        return sum(run.info.status == "FINISHED" for run in self._load().values())


def _rank(run: Run) -> tuple[bool, int, str]:
    """Return what runs of one candidate are sorted by, the same for who asks at the same time."""
    return run.info.status != "FINISHED", run.info.start_time, run.info.run_id


def step(name: str, numbers: Mapping[str, float]) -> int:
    """Return the step to log a metric at: MLflow's page then draws accuracy against FLOPs by
    itself."""
    return int(numbers["flops"]) if name in CHARTED else 0
