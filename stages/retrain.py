"""Stage 5: train one family member, then test it once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch

from scalenet.data.images import join, on_device
from scalenet.nets import child, elastic
from scalenet.nets.child import Child
from scalenet.nets.elastic import Elastic
from scalenet.records import files
from scalenet.records.documents import DataInfo, Member
from scalenet.records.paths import Paths
from scalenet.stages import Emit, work_key
from scalenet.training import device as devices
from scalenet.training import member as training
from scalenet.training.watch import Watch, columns


class RetrainInputs(NamedTuple):
    """What ``retrain`` reads; the super-supernet only where members start from it."""

    info: DataInfo
    member: Member
    splits: dict[str, files.Split]
    supernet: Elastic | None = None


class RetrainOutputs(NamedTuple):
    """What ``retrain`` makes: the network, its loss curve, how many test images it labels right."""

    net: Child
    history: list[tuple]
    correct: int


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
    return RetrainOutputs(
        net, watch.joined(history), training.correct(net, images["test"], section.batch)
    )


def main(params: SimpleNamespace, paths: Paths, name: str, emit: Emit) -> None:
    """Read a member's plan and all splits; write its weights, its loss curve and its test."""
    info, member = paths.info(), Member.read(paths.plan / f"{name}.json")
    weights = [paths.supernet / "weights.pt"] if params.retrain.init == "supernet" else []
    state = paths.state(name, work_key(params, "retrain", info, member, *weights))
    inputs = RetrainInputs(info, member, paths.splits(), *map(elastic.read, weights))
    seed, out = params.family[name].seed, paths.member(name)
    generator, device = torch.Generator().manual_seed(seed), devices.prepare(params.compute)
    made = run(params, inputs, state=state, generator=generator, device=device, emit=emit)
    digest = child.write(out / "weights.pt", made.net)
    trained = training.tested(params.retrain, member, info, made.correct, digest)
    files.write_table(out / "training.csv", columns(training.WATCHED), made.history)
    trained.write(out / "trained.json")
    files.write_json(out / "metrics.json", training.metrics(trained, made.history))
