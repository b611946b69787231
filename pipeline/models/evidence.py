"""What is known of a version in the registry: its numbers, its answers to images, its faults."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from scalenet.data import store
from scalenet.laws import scores, verdict
from scalenet.pipeline.models import registry
from scalenet.records import files, predictions
from scalenet.records.documents import DataInfo
from scalenet.records.paths import Paths
from scalenet.records.predictions import Predictions
from scalenet.records.written import percent

BATCH = 256  # images that a program is asked about at once
TOLERANCE = 1e-3  # of accuracy: a program's last digits may differ from the training's


def numbers(client: MlflowClient, version: ModelVersion) -> dict[str, float]:
    """Return a version's accuracies, FLOPs and parameters; none if its program is gone."""
    model = registry.logged_model(client, registry.model_id(version))
    return {metric.key: metric.value for metric in (model and model.metrics) or ()}


def gone(client: MlflowClient, version: ModelVersion) -> str:
    """Say what somebody removed of a version's program; "" if it is there."""
    model = registry.logged_model(client, registry.model_id(version))
    if model is None:
        return "its program was deleted"
    place = model.artifact_location
    return "" if registry.has_files(model) else f"the files of its program are gone from {place}"


def answers(
    root: Path, client: MlflowClient, version: ModelVersion, split: str = "select"
) -> Predictions:
    """Return a version's answers to a split: those recorded with it, else its program's to the
    images that lie here.

    ``ValueError`` says why there are none.
    """
    recorded = _recorded(client, registry.model_id(version), split)
    if recorded is not None:
        return recorded
    info = Paths(root).data / "info.json"
    if not info.exists() or DataInfo.read(info).digest != version.tags["data"]:
        raise ValueError("its answers are not recorded, and its images do not lie here")
    return _asked(root, version, split)


def _recorded(client: MlflowClient, model: str, split: str) -> Predictions | None:
    """Return the answers that lie beside a program; None if there are none."""
    try:
        place = client.get_logged_model(model).artifact_location
        there = mlflow.artifacts.list_artifacts(artifact_uri=place)
    except (MlflowException, OSError) as error:
        raise ValueError(f"its program is gone ({_line(error)})") from error
    if not there:
        raise ValueError(f"the files of its program are gone from {place}")
    if registry.ANSWERS not in {Path(file.path).name for file in there}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source = f"{place}/{registry.ANSWERS}"
        path = mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=folder)
        [said] = predictions.read(Path(path)).values()
    return said.get(split)


def _asked(root: Path, version: ModelVersion, split: str) -> Predictions:
    """Ask a program, stored before answers were recorded with it: floats in 0…1 in, logits out."""
    import torch

    pixels, labels = store.read(Paths(root).data / f"{split}.npz")
    try:
        program = mlflow.pytorch.load_model(version.source)
    except (MlflowException, OSError) as error:
        raise ValueError(f"its program cannot be loaded ({_line(error)})") from error
    starts = range(0, len(labels), BATCH)
    images = (torch.from_numpy(pixels[start : start + BATCH]) for start in starts)
    with torch.no_grad():
        parts = [program(part.float() / 255).softmax(1) for part in images]
    shares, truth = torch.cat(parts), torch.from_numpy(labels)
    probability, predicted = shares.max(1)
    columns = (truth.int(), predicted.int(), probability, shares.gather(1, truth[:, None])[:, 0])
    groups = store.groups(Paths(root).data, [split])
    return Predictions(*(column.numpy() for column in columns), groups=groups.get(split))


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]


# --- what must not be deployed --------------------------------------------------------------------


def faults(
    root: Path, client: MlflowClient, version: ModelVersion, confidence: float
) -> Iterator[str]:
    """Yield what is wrong with a version, whatever it is compared with; nothing of a sound one."""
    if why := gone(client, version):
        remedy = "`scalenet register` where that family lies stores it again"
        yield f"cannot be judged: {why}; {remedy}"
        return
    yield from _program_faults(root, client, version)
    told = version.tags.get("select")
    split = "test" if told is None else "select"  # who was trained on select knows its answers
    try:
        said = answers(root, client, version, split)
    except ValueError as error:
        yield f"cannot be judged: {error}"
        return
    share = scores.score(said).accuracy
    if told is not None and abs(share - float(told)) > TOLERANCE:
        known = percent(float(told))
        yield f"answers {percent(share)} of select right, and is registered with {known}"
    yield from answer_faults(said, confidence, split)


def _program_faults(root: Path, client: MlflowClient, version: ModelVersion) -> Iterator[str]:
    """Yield what is wrong with the weights of a version, as far as they are at hand."""
    model = client.get_logged_model(registry.model_id(version))
    if (
        model.status != LoggedModelStatus.READY
        or model.tags.get("weights") != version.tags["weights"]
    ):
        yield "its program is not that of its weights"
    paths, member = Paths(root), version.tags["member"]
    folder = paths.member(member)
    if not all((folder / name).exists() for name in ("trained.json", "weights.pt")):
        return
    mine = paths.trained(member).weights == version.tags["weights"]
    if mine and files.digest(folder / "weights.pt") != version.tags["weights"]:
        yield "its weights have another digest than those that were tested: `dvc checkout`"


def answer_faults(said: Predictions, confidence: float, split: str) -> Iterator[str]:
    """Yield what makes answers to a split worthless: not finite, all one class, no better than
    chance."""
    if said.probability is not None and not np.isfinite(said.probability).all():
        yield "its outputs are not finite"
        return
    if len(np.unique(said.predicted)) == 1 and len(np.unique(said.labels)) > 1:
        yield f"predicts one and the same class for every image of {split}"
        return
    majority = verdict.majority(said)
    if verdict.guesses(said, confidence):
        yield (
            f"{percent(scores.score(said).accuracy)} of {split} is not above the largest class's "
            f"{percent(scores.score(majority).accuracy)} beyond noise"
        )
