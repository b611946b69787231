"""The published family in MLflow's model registry: a version per member, found by alias (s0, s1, …) or by numbers."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from pipeline import tracking
from stages import artifacts, retrain
from stages.artifacts import DataInfo, Family, Paths, Trained
from stages.nets.child import Deployed
from stages.params import Params

IDENTITY = ("member", "weights", "data", "interval")  # tags; a version with the same ones is the same member
REPEATS = 30  # timed forward passes behind a latency
CLOSE = 1e-4  # allowed difference between a member's logits and its exported program's, as a share of the largest
PACKAGES = ("torch", "mlflow", "numpy")  # all that loading a member needs
PAGE = 200


def model_name(params: Params) -> str:
    """Name the registered model of a data set."""
    return f"scalenet-{params.data.name}"


def alias(member: str) -> str:
    """Return the alias of a member: ``S2`` is ``s2``."""
    return member.lower()


@dataclass(frozen=True)
class Registry:
    """Where members go: the store, the registered model's name, the experiment of the runs, the code's revision."""

    client: MlflowClient
    name: str
    experiment: str
    revision: str | None


def register(root: Path, params: Params) -> dict[str, str]:
    """Register the published members that are not there yet; return every member's version.

    Aliases move only after all versions exist, and members that left the family lose theirs.
    """
    paths = Paths(root)
    family, info = Family.read(paths.family / "family.json"), DataInfo.read(paths.data / "info.json")
    client = tracking.connect(root)
    experiment = tracking.experiment_id(client, root, tracking.stage_experiment(params))
    registry = Registry(client, model_name(params), experiment, tracking.revision(root))
    _create(registry)
    known = {identity(version.tags): str(version.version) for version in _versions(client, registry.name)}
    found = {}
    for trained in family.members:
        key = identity(tags(trained, info))
        found[trained.member.name] = known.get(key) or _publish(registry, trained, info, paths)
    _point(registry, found)
    return found


def versions(root: Path, params: Params) -> dict[str, str]:
    """Return the version of every member whose weights lie here; what is not registered is left out."""
    paths = Paths(root)
    database = tracking.local_database(root)
    if not (paths.family / "family.json").exists() or (database and not database.exists()):
        return {}
    family, info = Family.read(paths.family / "family.json"), DataInfo.read(paths.data / "info.json")
    known = {identity(v.tags): str(v.version) for v in _versions(tracking.connect(root), model_name(params))}
    keys = {trained.member.name: identity(tags(trained, info)) for trained in family.members}
    return {name: known[key] for name, key in keys.items() if key in known}


# --- what a version says of itself ----------------------------------------------------------------


def tags(trained: Trained, info: DataInfo) -> dict[str, str]:
    """Return the tags of a member's version: what it is and what it was made from."""
    member = trained.member
    return {
        "member": member.name,
        "network": member.network,
        "base": member.base,
        "scaling": member.scaling,
        "origin": member.origin,
        "data": trained.data,
        "weights": trained.weights,
        "interval": f"{trained.low:.6f} to {trained.high:.6f} at {trained.confidence:g}",
        "classes": ",".join(info.classes)[:5000],
    }


def identity(tags: dict[str, str]) -> tuple[str | None, ...]:
    """Return what makes a version the same member."""
    return tuple(tags.get(name) for name in IDENTITY)


def numbers(trained: Trained, latency_ms: float) -> dict[str, float]:
    """Return the numbers to search a member by."""
    member = trained.member
    return {
        "accuracy": trained.accuracy,
        "low": trained.low,
        "high": trained.high,
        "flops": member.flops,
        "params": member.params,
        "resolution": int(member.network.partition("-")[0][1:]),
        "latency_ms": latency_ms,
    }


# --- the registry ---------------------------------------------------------------------------------


def _create(registry: Registry) -> None:
    try:
        registry.client.create_registered_model(registry.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _versions(client: MlflowClient, name: str) -> Iterator[ModelVersion]:
    """Yield a registered model's versions, oldest first; none if there is no such model."""
    token, found = None, []
    while token != "":
        page = client.search_model_versions(f"name = '{name}'", PAGE, page_token=token)
        found += page
        token = page.token or ""
    return iter(sorted(found, key=lambda version: int(version.version)))


def _point(registry: Registry, found: dict[str, str]) -> None:
    """Move the aliases to these versions, and remove those of members that left the family."""
    wanted = {alias(name): version for name, version in found.items()}
    present = dict(registry.client.get_registered_model(registry.name).aliases)
    for name, version in wanted.items():
        if str(present.get(name)) != str(version):
            registry.client.set_registered_model_alias(registry.name, name, version)
    for name in present.keys() - wanted.keys():
        if name[:1] == "s" and name[1:].isdigit():
            registry.client.delete_registered_model_alias(registry.name, name)


def _publish(registry: Registry, trained: Trained, info: DataInfo, paths: Paths) -> str:
    """Log one member's model with its numbers; return the version made of it."""
    client, file = registry.client, paths.member(trained.member.name) / "weights.pt"
    if not file.exists() or artifacts.digest(file) != trained.weights:
        raise ValueError(f"{file}: missing, or not the weights that were tested; run `dvc repro` or `dvc pull`")
    deployed = Deployed(retrain.load(file, trained.member, info), info.mean, info.std).eval()
    about = tags(trained, info) | ({"revision": registry.revision} if registry.revision else {})
    run = _source_run(registry, trained)
    model = client.create_logged_model(registry.experiment, alias(trained.member.name), run, about)
    client.log_outputs(run, [LoggedModelOutput(model.model_id, 0)])
    images = example(info)
    with torch.no_grad(), _quiet(), _one_thread():
        _log_model(deployed, info, images[:2], model.model_id)
        _check(deployed, images, model.model_id, trained.member.name)
        latency = measure_latency(deployed, images[:1])
    now = int(time.time() * 1000)
    metrics = numbers(trained, latency)
    client.log_batch(run, [Metric(k, float(v), now, 0, model_id=model.model_id) for k, v in metrics.items()])
    source = f"models:/{model.model_id}"
    return str(client.create_model_version(registry.name, source, run, about, model_id=model.model_id).version)


def _source_run(registry: Registry, trained: Trained) -> str:
    """Return the run that trained these weights; a run made for them if MLflow never saw it (after ``dvc pull``)."""
    wanted = f"tags.stage = 'retrain' and tags.weights = '{trained.weights}' and attributes.status = 'FINISHED'"
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


# --- the model ------------------------------------------------------------------------------------


def example(info: DataInfo) -> np.ndarray:
    """Return images to export and check with: noise (7, C, size, size) in eighths, which are short in JSON."""
    shape = (7, info.channels, info.size, info.size)
    return np.random.default_rng(0).integers(0, 9, shape).astype(np.float32) / 8


def _log_model(deployed: Deployed, info: DataInfo, images: np.ndarray, model_id: str) -> None:
    """Store a member as a torch.export program: loads without this project's code, executes nothing."""
    image = (info.channels, info.size, info.size)
    signature = ModelSignature(  # without names: with one, pyfunc would hand the program a dictionary
        Schema([TensorSpec(np.dtype("float32"), (-1, *image))]),
        Schema([TensorSpec(np.dtype("float32"), (-1, len(info.classes)))]),
    )
    mlflow.pytorch.log_model(
        deployed,
        model_id=model_id,
        signature=signature,
        input_example=images,  # two images: one would freeze the batch size
        serialization_format="pt2",
        pip_requirements=[f"{name}=={installed(name).partition('+')[0]}" for name in PACKAGES],
        validate_serving_input=False,
    )


def _check(deployed: Deployed, images: np.ndarray, model_id: str, member: str) -> None:
    """Load what was stored and compare its logits; ``ValueError`` if they are others."""
    stored = mlflow.pytorch.load_model(f"models:/{model_id}")
    own, other = (net(torch.from_numpy(images)).detach() for net in (deployed, stored))
    miss = float((own - other).abs().max() / own.abs().max().clamp_min(1e-12))
    if not miss <= CLOSE:
        raise ValueError(
            f"{member}: the exported program's logits differ by {miss:.2g} of the largest (allowed: {CLOSE:g}); "
            "this torch exports it wrongly, use the version in constraints.txt"
        )


def measure_latency(deployed: Deployed, image: np.ndarray) -> float:
    """Return the median milliseconds of a forward pass of one image on one CPU thread."""
    images, times = torch.from_numpy(image), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        deployed(images)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what MLflow says of every export."""
    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
