"""What MLflow remembers of a built family, for its report: versions, latencies, seconds, when."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from scalenet.config import params as config
from scalenet.config.params import Params
from scalenet.pipeline import locked, project, status
from scalenet.pipeline.models import generations
from scalenet.pipeline.remember import stores, tracking
from scalenet.records import files
from scalenet.records.documents import Family
from scalenet.records.paths import Paths
from scalenet.report.gathered import Remembered

PACKAGES = ("scalenet-pipeline", "torch", "numpy", "scikit-learn", "mlflow", "dvc", "prefect")


def remembered(root: Path, params: Params) -> Remembered:
    """Return what is known of the family that lies here; nothing where MLflow has no store."""
    about = {name: installed(name) for name in PACKAGES} | {"Python": platform.python_version()}
    local = {"changed": changed(locked.params(root, params)), "packages": about}
    if not stores.is_there(root):
        return Remembered(**local)
    run = published(root, params)
    return Remembered(
        **local,
        versions=generations.versions(root, params),
        latencies=latencies(root, params),
        seconds=dict(reversed(status.last(root, params).items())),  # oldest first: as they ran
        revision=run.data.tags.get("revision") if run else None,
        published=f"{_time(run):%Y-%m-%d %H:%M} UTC" if run else None,
    )


def latencies(root: Path, params: Params) -> dict[str, float]:
    """Return the milliseconds of the members whose weights lie here, as far as they are registered.

    They are those of one image on one CPU thread, measured when the member was registered.
    """
    if not stores.is_there(root):
        return {}
    client = stores.connect(root)
    experiment = _experiment(client, params)
    found: dict[str, float] = {}
    for trained in Family.read(Paths(root).family / "family.json").members if experiment else ():
        models = client.search_logged_models(
            [experiment], filter_string=f"tags.weights = '{trained.weights}'"
        )
        timed = [m for model in models for m in model.metrics or () if m.key == "latency_ms"]
        if timed:
            newest = max(timed, key=lambda metric: metric.timestamp)
            found[trained.member.name] = newest.value
    return found


def published(root: Path, params: Params) -> Run | None:
    """Return the run of stage publish that published the family that lies here."""
    if not stores.is_there(root):
        return None
    client = stores.connect(root)
    experiment = _experiment(client, params)
    digest = files.digest(Paths(root).family / "family.json")
    wanted = f"tags.stage = 'publish' and tags.family = '{digest}'"
    newest = ["attributes.start_time DESC"]
    found = client.search_runs([experiment], wanted, order_by=newest) if experiment else []
    return next((run for run in found if run.info.status == "FINISHED"), None)


def _experiment(client: MlflowClient, params: Params) -> str | None:
    found = client.get_experiment_by_name(stores.stage_experiment(params))
    return found.experiment_id if found else None


def _time(run: Run) -> datetime:
    return datetime.fromtimestamp(run.info.end_time / 1000, UTC)


def changed(params: Params) -> Mapping[str, tuple[str, str]]:
    """Return the keys of params that differ from the packaged defaults: (default, here)."""
    default = config.parse(config.read_yaml(project.DEFAULTS), project.DEFAULTS.name)
    before, now = (
        {name: str(value) for name, value in tracking.flatten(given.model_dump(mode="json"))}
        for given in (default, params)
    )
    names = dict.fromkeys([*now, *before])
    return {
        name: (before.get(name, "–"), now.get(name, "–"))
        for name in names
        if before.get(name) != now.get(name)
    }


def scripts() -> str:
    """Return Vega, Vega-Lite and vega-embed, which the page of `dvc plots show` has inside."""
    page = (project.FILES / "plots/page.html").read_text(encoding="utf-8")
    return page.partition("<script>")[2].partition("</script>")[0]


def log(root: Path, params: Params, page: Path) -> None:
    """Put a report beside the documents of the run that published its family, if there is one."""
    if run := published(root, params):
        stores.connect(root).log_artifact(run.info.run_id, str(page))
