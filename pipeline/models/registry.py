"""A member in MLflow's model registry: its version, what it says of itself, its program."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.entities.model_registry import ModelVersion

from scalenet.config.params import Params
from scalenet.pipeline import home, made_state
from scalenet.pipeline.remember import stores, tracking
from scalenet.records import files
from scalenet.records.documents import DataInfo, Family, Trained
from scalenet.records.paths import Paths
from scalenet.records.written import percent

LONGEST = 4900  # characters of class names in a tag, which may have 5,000
# tags; a version with the same ones is the same member
IDENTITY = ("member", "weights", "data", "interval", "takes", "names")
TAKES = "image files and arrays"  # earlier versions take stored images alone, and have no such tag
PAGE = 200
ANSWERS = "predictions.npz"  # a member's answers to select and test, beside its weights


def model_name(params: Params) -> str:
    """Name the registered model of a data set."""
    return f"scalenet-{params.data.name}"


def alias(member: str) -> str:
    """Return the alias of a member: ``S2`` is ``s2``."""
    return member.lower()


def is_members(alias: str) -> bool:
    """Tell whether an alias is a member's, which a promotion moves; others are the user's."""
    return alias[:1] == "s" and alias[1:].isdigit()


@dataclass(frozen=True)
class Registry:
    """Where members go: the store, the registered model's name, the experiment of the runs, the
    code's revision."""

    client: MlflowClient
    name: str
    experiment: str
    revision: str | None


def opened(root: Path, params: Params) -> Registry:
    client = stores.connect(root)
    experiment = stores.experiment_id(client, root, stores.stage_experiment(params))
    return Registry(client, model_name(params), experiment, tracking.revision(root))


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the lock of whoever of this project changes its registry."""
    with FileLock(made_state(home(root)) / "registry.lock"):
        yield


# --- what a version says of itself ----------------------------------------------------------------


def tags(trained: Trained, info: DataInfo) -> dict[str, str]:
    """Return the tags of a member's version: what it is and what it was made from."""
    member = trained.member
    return {
        "member": member.name,
        "network": str(member.network),
        "base": str(member.base),
        "scaling": str(member.scaling),
        "origin": member.origin,
        "data": trained.data,
        "weights": trained.weights,
        "takes": TAKES,
        "interval": f"{trained.low:.6f} to {trained.high:.6f} at {trained.confidence:g}",
        "balanced": f"{trained.balanced:.6f}",
        **({"select": f"{trained.select.accuracy:.6f}"} if trained.select else {}),
        "classes": named(info.classes),
        "names": files.digest(info.classes),  # of all of them, of which a tag holds some
    }


def described(trained: Trained) -> str:
    """Return what a version's page says of how good it is."""
    interval = f"{100 * trained.low:.1f} to {100 * trained.high:.1f}"
    test = f"{percent(trained.accuracy)} of {trained.tested:,} test images right"
    balanced = f"mean recall of the classes {percent(trained.balanced)}"
    select = f"; {percent(trained.select.accuracy)} of select" if trained.select else ""
    return f"{test} ({trained.confidence:.0%} interval {interval}), {balanced}{select}"


def named(classes: list[str]) -> str:
    """Return as many class names as a tag holds, as JSON: a name may hold a comma."""
    kept, length = [], 0
    for name in classes:
        length += len(json.dumps(name, ensure_ascii=False)) + 2
        if length > LONGEST:
            kept.append(f"and {len(classes) - len(kept):,} more")
            break
        kept.append(name)
    return json.dumps(kept, ensure_ascii=False)


def identity(tags: dict[str, str]) -> tuple[str | None, ...]:
    """Return what makes a version the same member."""
    return tuple(tags.get(name) for name in IDENTITY)


def generation(family: Family, info: DataInfo) -> str:
    """Return what tells a family from the others of its registered model: a hash of what its
    members are."""
    return files.digest([identity(tags(trained, info)) for trained in family.members])[:8]


def numbers(trained: Trained, latency_ms: float) -> dict[str, float]:
    """Return the numbers to search a member by."""
    member = trained.member
    return {
        "accuracy": trained.accuracy,
        "low": trained.low,
        "high": trained.high,
        "balanced": trained.balanced,
        **({"select": trained.select.accuracy} if trained.select else {}),
        "flops": member.flops,
        "params": member.params,
        "resolution": member.network.resolution,
        "latency_ms": latency_ms,
    }


# --- the registry ---------------------------------------------------------------------------------


def all_versions(client: MlflowClient, name: str) -> Iterator[ModelVersion]:
    """Yield a registered model's versions, oldest first; none if there is no such model."""
    token, found = None, []
    while token != "":
        page = client.search_model_versions(f"name = '{name}'", PAGE, page_token=token)
        found += page
        token = page.token or ""
    return iter(sorted(found, key=lambda version: int(version.version)))


def is_member(version: ModelVersion) -> bool:
    """Tell whether a version is a member's; others somebody made in MLflow, and say nothing."""
    return "weights" in version.tags


def model_id(version: ModelVersion) -> str:
    """Return the id of the logged model that a version is."""
    return version.source.rpartition("/")[2]


def logged_model(client: MlflowClient, model: str) -> LoggedModel | None:
    """Return a program by its id; None if somebody deleted it."""
    return stores.unless_gone(client.get_logged_model, model)


def has_files(model: LoggedModel) -> bool:
    """Tell whether a program's files are where they were stored."""
    return bool(mlflow.artifacts.list_artifacts(artifact_uri=model.artifact_location))


# --- a member's program ---------------------------------------------------------------------------


def store(root: Path, params: Params, name: str) -> None:
    """Store a trained member's program as a logged model of its run, if it is not there yet."""
    with locked(root):
        registry, paths = opened(root, params), Paths(root)
        trained = paths.trained(name)
        if _stored(registry, trained, paths.info()) is None:
            _store(registry, trained, paths)


def _stored(registry: Registry, trained: Trained, info: DataInfo) -> LoggedModel | None:
    """Return the complete logged model of a member; None if there is none, its files are gone, or
    the run that its numbers would be recorded with was deleted."""
    found = registry.client.search_logged_models(
        [registry.experiment],
        filter_string=f"tags.weights = '{trained.weights}'",
        order_by=[{"field_name": "creation_timestamp", "ascending": False}],
    )
    wanted = identity(tags(trained, info))
    ready = (m for m in found if m.status == LoggedModelStatus.READY and identity(m.tags) == wanted)
    known = (m for m in ready if stores.active_run(registry.client, m.source_run_id))
    return next(filter(has_files, known), None)


def _store(registry: Registry, trained: Trained, paths: Paths) -> LoggedModel:
    from scalenet.pipeline.models import program  # and torch, which listing versions does without

    run, info = _source_run(registry, trained), paths.info()
    about = _about(registry, trained, info)
    name = alias(trained.member.name)
    model = registry.client.create_logged_model(registry.experiment, name, run, about)
    registry.client.log_outputs(run, [LoggedModelOutput(model.model_id, 0)])
    program.export(program.deployed(paths, trained, info), info, trained, model.model_id)
    return model


def _about(registry: Registry, trained: Trained, info: DataInfo) -> dict[str, str]:
    return tags(trained, info) | ({"revision": registry.revision} if registry.revision else {})


def store_again(registry: Registry, version: ModelVersion, trained: Trained, paths: Paths) -> None:
    """Store the program of a version whose files were removed: its name and aliases stay."""
    from scalenet.pipeline.models import program

    model, info = model_id(version), paths.info()
    program.export(program.deployed(paths, trained, info), info, trained, model)
    _belong(registry, model, trained.member.name, paths, version.tags["generation"])


def create_version(
    registry: Registry, trained: Trained, paths: Paths, belongs: dict[str, str]
) -> str:
    """Make the version of a member in a generation, with its numbers and its answers.

    Its program is the one that is stored; it is stored first if there is none. ``belongs`` are the
    tags of the generation.
    """
    info = paths.info()
    model = _stored(registry, trained, info) or _store(registry, trained, paths)
    if not model.metrics:
        _measure(registry, trained, paths, model)
    member = trained.member.name
    _belong(registry, model.model_id, member, paths, belongs["generation"])
    made = registry.client.create_model_version(
        registry.name,
        f"models:/{model.model_id}",
        model.source_run_id,
        _about(registry, trained, info) | belongs,
        description=described(trained),
        model_id=model.model_id,
    )
    return str(made.version)


def adopt(registry: Registry, version: ModelVersion, paths: Paths, belongs: dict[str, str]) -> None:
    """Make a version that has no generation one of it."""
    _belong(registry, model_id(version), version.tags["member"], paths, belongs["generation"])
    for key, value in belongs.items():
        registry.client.set_model_version_tag(registry.name, version.version, key, value)


def _belong(registry: Registry, model: str, member: str, paths: Paths, generation: str) -> None:
    """Tell a logged model, which may be of many generations, that it is of this one, and record
    the answers that a later one is compared with."""
    belongs = {f"generation_{generation}": member}
    stores.insist(registry.client.set_logged_model_tags, model, belongs)
    if (answers := paths.member(member) / ANSWERS).exists():
        registry.client.log_model_artifact(model, str(answers))


def _measure(registry: Registry, trained: Trained, paths: Paths, model: LoggedModel) -> None:
    """Give a logged model the numbers that it is searched by; its latency is measured here."""
    from scalenet.pipeline.models import program

    now, values = int(time.time() * 1000), numbers(trained, program.latency(paths, trained)).items()
    metrics = [
        Metric(name, float(value), now, 0, model_id=model.model_id) for name, value in values
    ]
    registry.client.log_batch(model.source_run_id, metrics)


def _source_run(registry: Registry, trained: Trained) -> str:
    """Return the run that trained these weights; a run made for them if MLflow never saw it
    (after ``dvc pull``)."""
    wanted = f"tags.stage = 'retrain' and tags.weights = '{trained.weights}'"
    wanted += " and attributes.status = 'FINISHED'"
    known = registry.client.search_runs(
        [registry.experiment], wanted, max_results=1, order_by=["attributes.start_time DESC"]
    )
    if known:
        return known[0].info.run_id
    tags = {"stage": "register", "member": trained.member.name, "weights": trained.weights}
    name = f"register {trained.member.name}"
    run = registry.client.create_run(registry.experiment, tags=tags, run_name=name).info.run_id
    registry.client.set_terminated(run, "FINISHED")
    return run
