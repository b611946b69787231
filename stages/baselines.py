"""Stage 6: measure what any family should beat, on the same images and with the same care."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch

from scalenet.baselines import residual, simple, transfer
from scalenet.baselines.measured import Measured
from scalenet.data import store
from scalenet.data.images import join, on_device
from scalenet.laws import scores
from scalenet.records import files, predictions
from scalenet.records.documents import Baseline, DataInfo, Measurements
from scalenet.records.emit import Emit
from scalenet.records.paths import Paths
from scalenet.stages import state_key
from scalenet.training import device as devices
from scalenet.training.watch import Watch

HELD = ("select", "test")


class BaselinesInputs(NamedTuple):
    """What ``baselines`` reads; a relative ``params.baselines.pretrained.file`` is one of ``root``.

    ``splits`` are train, select and test; ``groups`` number the groups of the images of the last
    two, where these come in groups.
    """

    info: DataInfo
    splits: dict[str, files.Split]
    root: Path
    groups: Mapping[str, np.ndarray] = {}


def run(
    params: SimpleNamespace,
    inputs: BaselinesInputs,
    *,
    state: Path | None,
    generator: None,
    device: torch.device,
    emit: Emit,
) -> list[Measured]:
    """Fit every baseline that is asked for to what members are trained on, and ask it."""
    return [
        made._replace(answers=predictions.grouped(made.answers, inputs.groups))
        for made in fitted(params, inputs, state, device, emit)
    ]


def fitted(
    params: SimpleNamespace,
    inputs: BaselinesInputs,
    state: Path | None,
    device: torch.device,
    emit: Emit,
) -> Iterator[Measured]:
    """Yield the baselines, the cheapest first."""
    section, splits = params.baselines, inputs.splits
    train, held = splits["train"], {name: splits[name] for name in HELD}
    if params.retrain.use_select:
        train = store.join(train, splits["select"])
    yield simple.majority(train, held)
    if section.svm:
        emit({"event": "part", "name": "svm", "done": 0.0, "share": 0.0})
        yield simple.svm(train, held, section.svm, section.seed)
    if section.residual:
        quiet = Watch((), None, None, emit)  # nobody judges these: weights stay in this process
        yield from residual.measure(setting(params, inputs, device), state, quiet)
    if section.pretrained:
        yield transfer.transfer(train, held, section.pretrained, inputs.root, section.seed)


def setting(
    params: SimpleNamespace, inputs: BaselinesInputs, device: torch.device
) -> residual.Setting:
    """Return what the residual networks are trained on: the members' images and pixels."""
    info, stem = inputs.info, params.space.stem
    images = {k: on_device(v, info.mean, info.std, device) for k, v in inputs.splits.items()}
    train = images["train"]
    whole = join(train, images["select"]) if params.retrain.use_select else train
    held = {name: images[name] for name in HELD}
    sections = (params.retrain, params.baselines)
    return residual.Setting(*sections, info.task, stem.stride, info.size, train, whole, held)


def described(params: SimpleNamespace, made: Measured) -> Baseline:
    """Describe a baseline after its test; nothing is said of select where it was fitted to it."""
    select = None if params.retrain.use_select else made.answers["select"]
    result = scores.tested(made.answers["test"], select, params.retrain.confidence)
    about = {name: getattr(made, name) for name in ("name", "about", "images")}
    sizes = {name: getattr(made, name) for name in ("steps", "flops", "params")}
    return Baseline(**about, **sizes, **result)


def main(params: SimpleNamespace, paths: Paths, emit: Emit) -> None:
    """Read all splits; write the baselines, what they say of each image, and their loss curves."""
    info, out = paths.info(), paths.baselines
    state = paths.state("baselines", state_key(params, paths, "baselines"))
    splits, groups = store.splits(paths.data), store.groups(paths.data)
    inputs = BaselinesInputs(info, splits, paths.root, groups)
    device = devices.prepare(params.compute)
    made = run(params, inputs, state=state, generator=None, device=device, emit=emit)
    found = [described(params, one) for one in made]
    predictions.write(out / "predictions.npz", {one.name: one.answers for one in made})
    rows = [(name, *entry) for one in made for name, curve in one.curves.items() for entry in curve]
    files.write_table(out / "curves.csv", ("training", "step", "loss", "learning_rate"), rows)
    Measurements(baselines=found).write(out / "baselines.json")
    files.write_json(out / "metrics.json", {b.name: {"accuracy": b.accuracy} for b in found})
