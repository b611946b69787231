"""What MLflow is told of a stage: its figures while it runs, the rest from disk, exactly once.

When a stage was computed, everything that MLflow lacks is in a folder of ``.state/mlflow``: a
report. It is removed once it is delivered. So a stage is committed though MLflow is away or this
process is killed; the next run, or ``scalenet register``, delivers what waits. A family's report
stays until somebody who has the family's files registers it.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event, Lock, Thread, get_native_id
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric

from scalenet.config import params as config
from scalenet.config.params import Params
from scalenet.pipeline import STATE
from scalenet.pipeline.remember import late, stores, tracking
from scalenet.pipeline.remember.candidates import Candidates
from scalenet.pipeline.runs.alone import is_held
from scalenet.pipeline.watch.progress import Work
from scalenet.records import files
from scalenet.records.paths import Paths

if TYPE_CHECKING:
    from scalenet.pipeline.remember.post import Post

PERIOD = 2.0  # seconds between two deliveries of the figures of a stage that runs
NICE = 10
CONTENT = "report.json"  # a folder that has it is a whole report
TOLD = "unregistered.json"  # instead of it, when MLflow lacks the registration alone
JOURNAL = "candidates.jsonl"
COPIED = (*tracking.SHOWN, ".svg", ".html")  # of a stage's documents; others are DVC's alone
Row = tuple[str, float, int, int]  # a metric: name, value, milliseconds since 1970, step


class Report:
    """One stage as MLflow is told of it; give it the stage's records, then ``keep`` it."""

    def __init__(
        self, post: Post, params: Params, stage: str, member: str | None, tags: Mapping[str, str]
    ):
        self.post, self.params, self.stage, self.member = post, params, stage, member
        self.began, self.run, self.seconds = _now(), None, 0.0
        work = member or stage
        self.folder = folder_of(post.root) / f"{self.began}-{os.getpid()}-{work}"
        self.tags = {**tags, "report": self.folder.name}
        self.candidates = Candidates(post.root, params)
        self.metrics: list[Row] = []
        self.guard, self.ended = Lock(), Event()
        self.thread = Thread(target=self._work, daemon=True)
        self.thread.start()

    def __call__(self, work: Work, record: Mapping[str, Any]) -> None:
        """Take a record of the stage, after the stage was changed by it."""
        now, rows = _now(), figures(work, record)
        with self.guard:
            self.metrics += [(name, value, now, step) for name, value, step in rows]
        self.candidates(record)

    def _work(self) -> None:
        """Tell MLflow what there is, again and again, until the stage is over."""
        step_back()
        while True:
            try:
                if client := self.post.client():
                    self._tell(client)
            except (ValueError, *stores.AWAY) as error:
                self.post.lost(error)
            if self.ended.wait(PERIOD):
                return

    def _tell(self, client: MlflowClient) -> None:
        with self.guard:
            batch = self.metrics[: tracking.BATCH["metrics"]]
        if self.run is None:
            end_abandoned(client, self.post.root, self.params, self.tags.get("key"))
        elif not batch and not self.candidates.records:
            return
        if self.run is None or stores.active_run(client, self.run) is None:  # somebody deleted it
            about = (self.params, self.stage, self.member)
            self.run = tracking.begin_run(client, self.post.root, *about, self.tags)
        if batch:
            client.log_batch(self.run, metrics=[Metric(*row) for row in batch])
            with self.guard:
                del self.metrics[: len(batch)]
        self.candidates.deliver(client, self.run, PERIOD)

    def keep(self, status: str) -> None:
        """Keep on disk what MLflow lacks when the stage is over; another call says another
        status."""
        self.ended.set()
        if self.folder.exists():
            self._write(self.folder, status)
            return
        paths, begun = Paths(self.post.root), _partial(self.folder)
        shutil.rmtree(begun, ignore_errors=True)  # a disk was full when it was written first
        begun.mkdir(parents=True)
        if status == "FINISHED":
            for folder in tracking.folders(paths, self.stage, self.member):
                _link(folder, begun / folder.relative_to(paths.root))
            _link(paths.data, begun / "artifacts" / "data")
        if self.candidates.path:
            shutil.copyfile(self.candidates.path, begun / JOURNAL)
        self._write(begun, status)
        begun.rename(self.folder)

    def _write(self, folder: Path, status: str) -> None:
        with self.guard:
            metrics = list(self.metrics)
        content = {"status": status, "stage": self.stage, "member": self.member}
        content |= {"began": self.began, "ended": _now(), "key": self.candidates.key}
        content |= {"params": self.params.model_dump(mode="json"), "tags": self.tags}
        content |= {"place": late.place_of(self.post.root), "metrics": metrics}
        files.write_json(folder / CONTENT, content)


def step_back() -> None:
    """Have this thread wait for those that compute; one that is nicer than that already stays so,
    since only root may take it back."""
    if sys.platform == "linux":  # where it is a thread's own
        thread = get_native_id()
        nice = max(NICE, os.getpriority(os.PRIO_PROCESS, thread))
        os.setpriority(os.PRIO_PROCESS, thread, nice)


def figures(work: Work, record: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """Yield the metrics that a record is: name, value, step.

    Of a training they are those of its curve, which is logged in the end, at the same steps.
    """
    of = f"{work.part}_" if work.part else ""
    if record["event"] == "step":
        yield tracking.metric_name(f"{of}loss"), record["loss"], record["step"]
        yield tracking.metric_name(f"{of}learning_rate"), record["learning_rate"], record["step"]
        if work.pace is not None:
            yield tracking.metric_name(f"{of}steps_per_second"), work.pace, record["step"]
    elif record["event"] == "judged":
        for name, value in work.reached.items():
            yield tracking.metric_name(name), value, record["step"]
    elif record["event"] == "candidate":
        for (phase, size), accuracy in work.best.items():
            if size == record["stage"] and accuracy == record["accuracy"]:
                name = "_".join(filter(None, (f"search/best_stage{size}", phase)))
                yield name, accuracy, record["number"]


# --- on disk --------------------------------------------------------------------------------------


def folder_of(root: Path) -> Path:
    """Return where reports lie until they are delivered."""
    return root / STATE / "mlflow"


def waiting(root: Path) -> list[Path]:
    """Return the reports that are to be delivered, the oldest first."""
    return sorted(file.parent for file in folder_of(root).glob(f"[!.]*/{CONTENT}"))


def to_register(root: Path) -> list[Path]:
    """Return the reports that were delivered, and whose families are not registered."""
    return sorted(file.parent for file in folder_of(root).glob(f"[!.]*/{TOLD}"))


def unregistered(root: Path) -> list[str]:
    """Say of each of them what would register it."""
    return [late.waits(folder, files.read_json(folder / TOLD)) for folder in to_register(root)]


def _waits(folder: Path) -> bool:
    return any((folder / name).exists() for name in (CONTENT, TOLD))


def _partial(folder: Path) -> Path:
    """Name a report that this process makes or removes: nobody else takes it for one, and if this
    process is killed, `scalenet clean` frees it."""
    return folder.with_name(f".{folder.name}.{os.getpid()}.tmp")


def _link(source: Path, target: Path) -> None:
    """Keep the small documents of a folder as they are now: no stage changes a file in place."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.glob("*"):
        if file.suffix in COPIED and file.stat().st_size <= tracking.SMALL:
            copy = target / file.name
            if not copy.exists():
                try:
                    os.link(file, copy)
                except OSError:  # not on this file system
                    shutil.copyfile(file, copy)


def _now() -> int:
    return int(time.time() * 1000)


# --- to MLflow ------------------------------------------------------------------------------------


def end_abandoned(client: MlflowClient, root: Path, params: Params, own: str | None) -> None:
    """End the runs of this project whose processes were killed: nobody holds their key's lock, and
    no report of them waits.

    ``own`` is the key whose lock this process holds.
    """
    experiment = stores.experiment_id(client, root, stores.stage_experiment(params))
    for run in stores.own_runs(client, root, experiment, "RUNNING"):
        work = run.data.tags.get("member") or run.data.tags.get("stage")
        key, report = run.data.tags.get("key"), run.data.tags.get("report", "none")
        if not work or not key or _waits(folder_of(root) / report):
            continue
        if key == own or not is_held(root, work, key):
            client.set_terminated(run.info.run_id, "KILLED")


def deliver(root: Path, folder: Path) -> str:
    """Tell MLflow what it lacks of a report, and remove it; nothing if another process did. Keep
    that of a family that lies nowhere, and say so the first time.

    Return what there is to say of it, if anything.

    ``Unavailable``, or one of ``stores.AWAY``, if MLflow is: whatever it has by then it is not told
    again. Another ``ValueError`` if it is there, and refuses this report.
    """
    with FileLock(folder_of(root) / "lock"), stores.refusing():
        there = [file for file in (folder / CONTENT, folder / TOLD) if file.exists()]
        if not there:
            return ""
        content = files.read_json(there[0])
        params = config.parse(content["params"], str(there[0]))
        client, said = stores.connect(root), ""
        if there[0].name == CONTENT or stores.active_run(client, content["run"]) is None:
            content["run"] = _told(client, root, folder, params, content)
        if content["stage"] == "publish" and content["status"] == "FINISHED":
            said = late.register(client, root, folder, params, content)
        if said is None:
            files.write_json(folder / TOLD, content)
            (folder / CONTENT).unlink(missing_ok=True)
            return late.waits(folder, content) if there[0].name == CONTENT else ""
        shutil.rmtree(folder.rename(_partial(folder)))
        return said


def _told(
    client: MlflowClient, root: Path, folder: Path, params: Params, content: Mapping[str, Any]
) -> str:
    """Tell MLflow of a stage what it lacks, and that it ended; return its run, which is made anew
    if somebody deleted it, or if the store is another one by now."""
    stage, member, tags = content["stage"], content["member"], content["tags"]
    run = tracking.begin_run(client, root, params, stage, member, tags)
    tracking.log_params(client, run, tracking.stage_params(params, stage, member))
    tracking.log_metrics(client, run, [Metric(*row) for row in content["metrics"]])
    if content["key"]:
        _deliver_candidates(client, run, root, params, (folder / JOURNAL, content["key"]))
    if content["status"] == "FINISHED":
        stores.experiment_id(client, root, stores.candidate_experiment(params))
        tracking.log_stage(client, folder, params, run, (stage, member))
    client.set_terminated(run, content["status"], content["ended"])
    return run


def stays(folder: Path, error: ValueError) -> str:
    """Say that a report cannot be delivered, such as one of another version of scalenet."""
    return f"the report {folder.name} is not delivered: {error}; `rm -r {folder}` gives it up"


def _deliver_candidates(
    client: MlflowClient, run: str, root: Path, params: Params, journal: tuple[Path, str]
) -> None:
    candidates = Candidates(root, params)
    candidates({"event": "journal", "path": journal[0], "key": journal[1]})
    candidates.deliver(client, run)
    candidates.check()
