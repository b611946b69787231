"""Documents become MLflow runs: one run a stage, with its parameters, metrics, loss curve and small files."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from scalenet.config import yamlfile
from scalenet.config.params import Params
from scalenet.pipeline import Unavailable, home

GRAPH = Path(__file__).parents[1] / "dvc.yaml"
FOLDERS = {"prepare": ("data",), "extrapolate": ("law", "plan"), "publish": ("family",)}  # others: as the stage
SHOWN = (".json", ".csv", ".svg", ".png")
SMALL = 2**20  # bytes; larger files are DVC's
BATCH = {"metrics": 1000, "params": 100}  # MLflow's limits of one log_batch
PATIENCE = {  # of the first contact with a server, so that a wrong address is told in seconds
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}


# --- where runs go --------------------------------------------------------------------------------


def local_database(root: Path) -> Path | None:
    """Return the project's own SQLite file, or None if MLFLOW_TRACKING_URI names another store."""
    return None if os.environ.get("MLFLOW_TRACKING_URI") else home(root) / "mlflow.db"


def uri(root: Path) -> str:
    """Return MLFLOW_TRACKING_URI, or the URI of the project's own SQLite file."""
    database = local_database(root)
    return f"sqlite:///{database}" if database else os.environ["MLFLOW_TRACKING_URI"]


def connect(root: Path) -> MlflowClient:
    """Return a client of the project's store; ``ValueError`` within seconds if it cannot be reached."""
    address, database = uri(root), local_database(root)
    with _environment({"MLFLOW_TRACKING_URI": address, "MLFLOW_REGISTRY_URI": address}):  # MLflow sets them for good
        mlflow.set_tracking_uri(address)
        mlflow.set_registry_uri(address)
    try:
        client = MlflowClient(address, address)
        with _alone(database), _environment(PATIENCE):
            client.search_experiments(max_results=1)
            if database:
                _write_ahead(database)
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        reason = str(error).splitlines()[0][:300]
        raise Unavailable(
            f"MLflow cannot be reached at {address} ({reason}); start that server, give another MLFLOW_TRACKING_URI, "
            "or unset it to use mlflow.db in the project's folder"
        ) from error
    return client


def _write_ahead(database: Path) -> None:
    """Switch SQLite to its write-ahead log: a run is written a fifth quicker, and readers wait for nobody."""
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


@contextmanager
def _alone(database: Path | None) -> Iterator[None]:
    """Let one process at a time create the project's database."""
    if database is None:
        yield
        return
    lock = database.parent / ".state" / "mlflow.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def stage_experiment(params: Params) -> str:
    """Name the experiment of the stages' runs."""
    return params.data.name


def candidate_experiment(params: Params) -> str:
    """Name the experiment of the candidates: flat runs of their own, so that MLflow charts them at once."""
    return f"{params.data.name}/candidates"


def experiment_id(client: MlflowClient, root: Path, name: str) -> str:
    """Return the id of an experiment, which is made if there is none; ``ValueError`` if it was deleted."""
    known = client.get_experiment_by_name(name)
    if known is None:
        local = local_database(root)
        location = (local.parent / "mlruns" / name).as_uri() if local else None
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            known = client.get_experiment_by_name(name)  # another process was quicker
    if known.lifecycle_stage != "active":
        raise ValueError(
            f"the MLflow experiment {name!r} was deleted; run `mlflow experiments restore -x {known.experiment_id}` "
            "or give data.name another value"
        )
    return known.experiment_id


def revision(root: Path) -> str | None:
    """Return the git revision of a work tree, ending in ``-dirty`` if it has changes; None outside of git."""
    if not shutil.which("git"):
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    found = subprocess.run(command, capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else None


# --- a stage's run --------------------------------------------------------------------------------


@contextmanager
def stage_run(root: Path, params: Params, stage: str, member: str | None, tags: Mapping[str, str]) -> Iterator[str]:
    """Remember a stage as an MLflow run; yield the run's id.

    The stage's documents, which lie under ``root``, are logged when the body ends; if it raises, the run ends
    as FAILED.
    """
    client = connect(root)
    own = {"stage": stage, "member": member, "revision": revision(root)}
    run = client.create_run(
        experiment_id(client, root, stage_experiment(params)),
        tags={name: value for name, value in own.items() if value is not None} | dict(tags),
        run_name=" ".join(filter(None, (stage, member))),
    ).info.run_id
    try:
        log_params(client, run, stage_params(params, stage, member))
        yield run
        log_documents(client, run, root, stage, member)
    except BaseException as error:
        _end_failed(client, run, error)
        raise
    client.set_terminated(run, "FINISHED")


def _end_failed(client: MlflowClient, run: str, error: BaseException) -> None:
    """End a run as FAILED; if even that fails, the error that is under way says so and goes on."""
    try:
        client.set_terminated(run, "FAILED")
    except (MlflowException, SQLAlchemyError, OSError) as second:
        error.add_note(f"MLflow run {run} could not be ended as FAILED: {second}")


def stage_params(params: Params, stage: str, member: str | None) -> dict[str, str]:
    """Return what dvc.yaml says a stage depends on, flattened to text: ``search.population``, ``space.stem.width``."""
    entry = yamlfile.read(GRAPH)["stages"][stage]
    wanted = tuple(name.replace("${key}", member or "") + "." for name in entry.get("do", entry)["params"])
    leaves = flatten(params.model_dump(mode="json"))
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in leaves
        if f"{name}.".startswith(wanted)
    }


def flatten(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested data under dotted names; a list of plain values is one leaf."""
    if isinstance(content, list) and any(isinstance(item, dict | list) for item in content):
        content = dict(enumerate(content))
    if isinstance(content, dict):
        for key, value in content.items():
            yield from flatten(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, content


def log_params(client: MlflowClient, run: str, values: Mapping[str, str]) -> None:
    """Log parameters, as many at a time as MLflow takes."""
    entries = [Param(name, value) for name, value in values.items()]
    for start in range(0, len(entries), BATCH["params"]):
        client.log_batch(run, params=entries[start : start + BATCH["params"]])


def log_metrics(client: MlflowClient, run: str, metrics: list[Metric]) -> None:
    """Log metrics, as many at a time as MLflow takes."""
    for start in range(0, len(metrics), BATCH["metrics"]):
        client.log_batch(run, metrics=metrics[start : start + BATCH["metrics"]])


# --- a stage's documents --------------------------------------------------------------------------


def log_documents(client: MlflowClient, run: str, root: Path, stage: str, member: str | None) -> None:
    """Log what a stage wrote: its metrics, its loss curve, its small files, its candidates."""
    from scalenet.records.documents import Trained
    from scalenet.records.paths import Paths

    paths, now = Paths(root), int(time.time() * 1000)
    folders = [paths.member(member)] if member else [getattr(paths, name) for name in FOLDERS.get(stage, (stage,))]
    for folder in folders:
        log_metrics(client, run, [*_numbers(folder / "metrics.json", now), *_curve(folder / "training.csv", now)])
        for file in sorted(folder.glob("*")):
            if file.suffix in SHOWN and file.stat().st_size <= SMALL:
                client.log_artifact(run, str(file))
    if stage == "search":
        log_candidates(client, run, paths.state("search") / "candidates.jsonl")
    if stage == "retrain":
        weights = Trained.read(folders[0] / "trained.json").weights
        client.log_batch(run, tags=[RunTag("weights", weights)])  # how the registry finds this run


def _numbers(file: Path, now: int) -> list[Metric]:
    """Read a metrics.json: its numbers under dotted names."""
    leaves = flatten(json.loads(file.read_bytes())) if file.exists() else ()
    return [Metric(name, float(value), now, 0) for name, value in leaves if isinstance(value, int | float)]


def _curve(file: Path, now: int) -> list[Metric]:
    """Read a training.csv: every column but ``step`` is a metric over the steps."""
    if not file.exists():
        return []
    with file.open(newline="") as content:
        rows = list(csv.DictReader(content))
    return [
        Metric(f"training.{name}", float(value), now, int(row["step"]))
        for row in rows
        for name, value in row.items()
        if name != "step"
    ]


def log_candidates(client: MlflowClient, run: str, journal: Path) -> None:
    """Log the search's journal as one table (candidates.json), which MLflow shows beside the run."""
    if not journal.exists():
        raise ValueError(f"{journal}: missing, so the search's candidates cannot be logged; run the search again")
    records = [json.loads(line) for line in journal.read_bytes().split(b"\n")[1:-1]]
    names = list(records[0]) if records else []
    client.log_table(run, {name: [record[name] for record in records] for name in names}, "candidates.json")
