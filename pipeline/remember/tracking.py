"""Documents become MLflow runs: one run a stage, with its parameters, metrics, loss curve and
small files."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from scalenet.config.params import Params
from scalenet.pipeline.remember import inputs, notes, stores
from scalenet.pipeline.runs.alone import place
from scalenet.records import files
from scalenet.records.documents import Family
from scalenet.records.paths import Paths
from scalenet.stages import declared, plain

# where a stage's documents lie, if not in a folder of its own name
FOLDERS = {"prepare": ("data",), "extrapolate": ("law", "plan"), "publish": ("family",)}
SHOWN = (".json", ".csv", ".png")
COMPARED = {  # the numbers of metrics.json that runs are compared by; all are in the file
    "supernet": ("parameters",),
    "search": ("score", "measured"),
    "retrain": ("accuracy", "select", "balanced", "flops", "params"),
}
SMALL = 2**23  # bytes; larger files are DVC's (a contact sheet of photographs has 3 MB)
BATCH = {"metrics": 1000, "params": 100}  # MLflow's limits of one log_batch


def revision(root: Path) -> str | None:
    """Return the git revision of a work tree, ending in ``-dirty`` if it has changes; None
    outside of git."""
    if not shutil.which("git"):
        return None
    how = ("--always", "--dirty", "--abbrev=40", "--exclude=*")
    command = ["git", "-C", str(root), "describe", *how]
    found = subprocess.run(command, capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else None


# --- a stage's run --------------------------------------------------------------------------------


def begin_run(
    client: MlflowClient,
    root: Path,
    params: Params,
    stage: str,
    member: str | None,
    tags: Mapping[str, str],
) -> str:
    """Return the run of a report, made unless it is there.

    ``tags`` name the report, whose name begins with the milliseconds at which the stage began.
    """
    experiment = stores.experiment_id(client, root, stores.stage_experiment(params))
    known = client.search_runs([experiment], f"tags.report = '{tags['report']}'", max_results=1)
    if known:
        return known[0].info.run_id
    run = client.create_run(
        experiment,
        start_time=int(tags["report"].partition("-")[0]),
        tags=tags_of(root, stage, member) | dict(tags),
        run_name=f"{params.data.name} · {' '.join(filter(None, (stage, member)))}",
    ).info.run_id
    log_params(client, run, stage_params(params, stage, member))
    return run


def tags_of(root: Path, stage: str, member: str | None) -> dict[str, str]:
    """Return the tags of a stage's run: what it is, where it runs, and the source, as MLflow's
    pages show it."""
    known, work = revision(root), " ".join(filter(None, (stage, member)))
    tags = {"stage": stage, "member": member, "revision": known, "place": place(root)}
    tags |= {"mlflow.source.name": f"scalenet stage {work}", "mlflow.source.type": "LOCAL"}
    if known:
        tags["mlflow.source.git.commit"] = known.removesuffix("-dirty")
    return {name: value for name, value in tags.items() if value is not None}


def describe(
    client: MlflowClient, root: Path, params: Params, run: str, work: tuple[str, str | None]
) -> None:
    """Write what MLflow's pages say of a stage's run, and of what it is a part of; ``work`` is
    the stage and the member."""
    stage, member = work
    notes.of_run(client, run, Paths(root), stage, member)
    if stage == "search":
        notes.of_candidates(client, root, params, run)


def stage_params(params: Params, stage: str, member: str | None) -> dict[str, str]:
    """Return what a stage depends on, flattened to text: ``search.population``,
    ``space.stem.width``."""
    sections = plain(declared(params, stage, member))
    del sections["compute"]  # where it runs does not change what is asked for
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in flatten(sections)
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
    """Log the metrics that a run lacks, as many at a time as MLflow takes.

    What it has of a name at a step, it was told while the stage ran, or by a delivery that was
    interrupted.
    """
    names = {metric.key for metric in metrics} & client.get_run(run).data.metrics.keys()
    there = {(n, m.step) for n in names for m in client.get_metric_history(run, n)}
    lacking = [metric for metric in metrics if (metric.key, metric.step) not in there]
    for start in range(0, len(lacking), BATCH["metrics"]):
        client.log_batch(run, metrics=lacking[start : start + BATCH["metrics"]])


# --- a stage's documents --------------------------------------------------------------------------


def folders(paths: Paths, stage: str, member: str | None) -> list[Path]:
    """Return the folders of what a stage (or a member) writes."""
    names = FOLDERS.get(stage, (stage,))
    return [paths.member(member)] if member else [getattr(paths, name) for name in names]


def log_stage(
    client: MlflowClient, root: Path, params: Params, run: str, work: tuple[str, str | None]
) -> None:
    """Log all that a stage is remembered by, from the documents that lie under ``root``: ``work``
    is the stage and the member."""
    log_documents(client, run, Paths(root), *work)
    inputs.log(client, run, params, Paths(root), work[0])
    describe(client, root, params, run, work)


def log_documents(
    client: MlflowClient, run: str, paths: Paths, stage: str, member: str | None
) -> None:
    """Log what a stage wrote: its metrics, its loss curve, its small files, its candidates, its
    figure."""
    now = int(time.time() * 1000)
    for folder in folders(paths, stage, member):
        numbers = _numbers(folder / "metrics.json", stage, now)
        log_metrics(client, run, [*numbers, *_curve(folder / "training.csv", now)])
        for file in sorted(folder.glob("*")):
            if file.suffix in SHOWN and file.stat().st_size <= SMALL:
                client.log_artifact(run, str(file))
    if stage == "search":
        log_candidates(client, run, paths)
    if stage == "extrapolate":
        log_metrics(client, run, _strategies(paths, now))
    if stage == "retrain":
        weights = paths.trained(member).weights
        client.log_batch(run, tags=[RunTag("weights", weights)])  # how the registry finds this run
    if stage == "publish":
        log_family(client, run, paths, now)


def _numbers(file: Path, stage: str, now: int) -> list[Metric]:
    """Read what runs are compared by from a metrics.json, under dotted names.

    MLflow's page draws a chart for each: few, and those of several networks are a curve instead.
    """
    if stage in ("extrapolate", "publish") or not file.exists():
        return []
    leaves = dict(flatten(json.loads(file.read_bytes())))
    chosen = COMPARED.get(stage, leaves)
    found = {name: leaves[name] for name in chosen if isinstance(leaves.get(name), int | float)}
    return [Metric(name, float(value), now, 0) for name, value in found.items()]


def metric_name(column: str) -> str:
    """Name the metric of a column of training.csv; MLflow's page puts what is before a slash above
    the metrics that are no curves."""
    return f"training/{column.replace('select', 'select_accuracy')}"


def _curve(file: Path, now: int) -> list[Metric]:
    """Read a training.csv: every column but ``step`` is a metric over the steps."""
    return [
        Metric(metric_name(name), float(value), now, int(row["step"]))
        for row in (files.read_table(file) if file.exists() else ())
        for name, value in row.items()
        if name != "step" and value  # an accuracy is judged now and then
    ]


def _strategies(paths: Paths, now: int) -> list[Metric]:
    """Return the strategies of the planned members, over their FLOPs."""
    return [
        Metric(f"strategy/{name}", float(getattr(member.scaling, name)), now, member.flops)
        for member in notes.planned(paths)
        for name in ("depth", "width", "resolution")
    ]


def log_family(client: MlflowClient, run: str, paths: Paths, now: int) -> None:
    """Log the family: its accuracies over FLOPs, its figure, and what its best member confuses."""
    from scalenet.report import confusion, figure  # altair takes a second

    family = Family.read(paths.family / "family.json")
    digest = files.digest(paths.family / "family.json")
    client.log_batch(run, tags=[RunTag("family", digest)])  # how its report finds this run
    judged = {"test_accuracy": lambda t: t, "select_accuracy": lambda t: t.select}
    scores = [
        Metric(f"family/{name}", score.accuracy, now, trained.member.flops)
        for trained in family.members
        for name, of in judged.items()
        if (score := of(trained))
    ]
    log_metrics(client, run, scores)
    client.log_text(run, figure.svg(family), "family.svg")
    counts = confusion.read(paths.family / "confusion.csv")
    if drawn := confusion.svg(family, paths.info().classes, counts):
        client.log_text(run, drawn, "confusion.svg")


def log_candidates(client: MlflowClient, run: str, paths: Paths) -> None:
    """Log the search's candidates as one table (candidates.json), which MLflow shows beside the
    run, and as a figure of all of them, which its own charts are not."""
    from scalenet.report import candidates  # altair takes a second

    rows = files.read_numbers(paths.search / "candidates.csv")
    names = list(rows[0]) if rows else []
    columns = {name: [row[name] for row in rows] for name in names}
    if not any(file.path == "candidates.json" for file in client.list_artifacts(run)):
        client.log_table(run, columns, "candidates.json")  # which adds to a table that is there
    drawn = candidates.chart(rows, client.get_run(run).info.run_name.partition(" · ")[0])
    client.log_text(run, candidates.html(drawn), "candidates.html")
    client.log_text(run, candidates.svg(drawn), "candidates.svg")
