"""What is deployed of a member: a torch.export program in MLflow's files, which needs none of
our code."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow.models import Model

from scalenet.nets import child
from scalenet.nets.deployed import Deployed
from scalenet.pipeline.models import flavour
from scalenet.records import files
from scalenet.records.documents import DataInfo, Trained
from scalenet.records.paths import Paths

REPEATS = 30  # timed forward passes behind a latency
CLOSE = 1e-4  # allowed difference of the exported program's logits, as a share of the largest


def example(info: DataInfo) -> np.ndarray:
    """Return images to export and check with: noise (7, C, size, size) in eighths, short in
    JSON."""
    shape = (7, info.channels, info.size, info.size)
    return np.random.default_rng(0).integers(0, 9, shape).astype(np.float32) / 8


def weights(paths: Paths, trained: Trained) -> Path:
    """Return the file of a member's weights; ``ValueError`` if they are not those that were
    tested."""
    file = paths.member(trained.member.name) / "weights.pt"
    if not file.exists() or files.digest(file) != trained.weights:
        raise ValueError(
            f"{file}: missing, or not the weights that were tested; run `dvc repro` or `dvc pull`"
        )
    return file


def deployed(paths: Paths, trained: Trained, info: DataInfo) -> Deployed:
    """Return a member as it is deployed, with its preprocessing."""
    net = child.read(weights(paths, trained), trained.member.network, info.task)
    return Deployed(net, info.mean, info.std).eval()


def export(net: Deployed, info: DataInfo, trained: Trained, model_id: str) -> None:
    """Store a member's program as the files of a logged model, and check it."""
    images = example(info)
    with torch.no_grad(), _quiet(), _one_thread():
        given = {"net": net, "info": info, "images": images[:2], "validate_serving_input": False}
        Model.log(None, flavour, model_id=model_id, **given)
        check(net, images, model_id, trained.member.name)


def check(net: Deployed, images: np.ndarray, model_id: str, member: str) -> None:
    """Load what was stored as its users do and compare logits; ``ValueError`` if they are
    others."""
    stored = mlflow.pyfunc.load_model(f"models:/{model_id}").get_raw_model()
    own, other = (program(torch.from_numpy(images)).detach() for program in (net, stored))
    miss = float((own - other).abs().max() / own.abs().max().clamp_min(1e-12))
    if not miss <= CLOSE:
        raise ValueError(
            f"{member}: the exported program's logits differ by {miss:.2g} of the largest "
            f"(allowed: {CLOSE:g}); this torch exports it wrongly, use the one in constraints.txt"
        )


def latency(paths: Paths, trained: Trained) -> float:
    """Return the median milliseconds of a member's forward pass of one image, on one CPU thread.

    They are that thread's own: what other work takes of the core meanwhile is not counted.
    """
    info, times = paths.info(), []
    net, images = deployed(paths, trained, info), torch.from_numpy(example(info)[:1])
    with torch.no_grad(), _one_thread():
        for _ in range(REPEATS):
            start = time.thread_time()
            net(images)
            times.append(time.thread_time() - start)
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
