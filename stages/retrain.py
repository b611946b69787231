"""Stage 5: train one family member, then test it once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch

from scalenet.data import store
from scalenet.data.images import join, on_device
from scalenet.nets import child, elastic, group
from scalenet.nets.child import Child
from scalenet.nets.elastic import Elastic
from scalenet.records import files, predictions
from scalenet.records.documents import DataInfo, Member
from scalenet.records.emit import Emit
from scalenet.records.paths import Paths
from scalenet.records.predictions import Predictions
from scalenet.stages import state_key
from scalenet.training import device as devices
from scalenet.training import fixed
from scalenet.training import member as training
from scalenet.training.watch import Watch, columns


class RetrainInputs(NamedTuple):
    """What ``retrain`` reads; the super-supernet only where members start from it.

    ``groups`` number the groups of select's and test's images, where these come in groups.
    """

    info: DataInfo
    member: Member
    splits: dict[str, files.Split]
    groups: Mapping[str, np.ndarray] = {}
    supernet: Elastic | None = None


class RetrainOutputs(NamedTuple):
    """What ``retrain`` makes: the network, its loss curve, its answers to select and test."""

    net: Child
    history: list[tuple]
    said: dict[str, Predictions]


def run(
    params: SimpleNamespace,
    inputs: RetrainInputs,
    *,
    state: Path | None,
    generator: torch.Generator,
    device: torch.device,
    emit: Emit,
) -> RetrainOutputs:
    """Train on train (and select), calibrate the norms, test."""
    info, member = inputs.info, inputs.member
    section = training.lengthened(params.retrain, member.multiple)
    images = {k: on_device(v, info.mean, info.std, device) for k, v in inputs.splits.items()}
    train = join(images["train"], images["select"]) if section.use_select else images["train"]
    net = training.initial(member, info.task, inputs.supernet, generator).to(device)
    judge = training.judge(section, net, train, images["select"])
    watch, seed = Watch(training.WATCHED, judge, state, emit), params.family[member.name].seed
    history = training.train(section, net, train, seed, state, watch)
    said = {k: fixed.predict(net, images[k], section.batch) for k in ("select", "test")}
    if not section.use_select:
        emit({"event": "answered", "select": float(said["select"].right.mean())})
    return RetrainOutputs(net, watch.joined(history), predictions.grouped(said, inputs.groups))


def main(params: SimpleNamespace, paths: Paths, name: str, emit: Emit) -> None:
    """Read a member's plan and all splits; write weights, loss curve, test and answers."""
    info, member, out = paths.info(), Member.read(paths.plan / f"{name}.json"), paths.member(name)
    weights = [paths.supernet / "weights.pt"] if params.retrain.init == "supernet" else []
    read = (store.splits(paths.data), store.groups(paths.data), *map(elastic.read, weights))
    seed, device = params.family[name].seed, devices.prepare(params.compute)
    made = run(
        params,
        RetrainInputs(info, member, *read),
        state=paths.state(name, state_key(params, paths, "retrain", name)),
        generator=torch.Generator().manual_seed(seed),
        device=device,
        emit=emit,
    )
    if not group.is_first():
        return
    digest = child.write(out / "weights.pt", made.net)
    trained = training.tested(params.retrain, member, info, made.said, digest)
    files.write_table(out / "training.csv", columns(training.WATCHED), made.history)
    trained.write(out / "trained.json")
    predictions.write(out / "predictions.npz", {name: made.said})
    files.write_json(out / "metrics.json", training.metrics(trained, made.history))
