"""Stage 2: train the super-supernet, one set of weights for every network of every size."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch

from scalenet.data import overlap, store
from scalenet.data.images import on_device
from scalenet.nets import elastic, group, inherit
from scalenet.nets.elastic import Elastic
from scalenet.records import files
from scalenet.records.documents import DataInfo
from scalenet.records.emit import Emit
from scalenet.records.paths import Paths
from scalenet.space.budget import Budget
from scalenet.stages import state_key
from scalenet.training import device as devices
from scalenet.training import supernet
from scalenet.training.watch import Watch, columns


class SupernetInputs(NamedTuple):
    """What ``supernet`` reads; another super-supernet only where it starts from one."""

    info: DataInfo
    train: files.Split
    select: files.Split
    start: Elastic | None = None


class SupernetOutputs(NamedTuple):
    """What ``supernet`` makes: weights, watched loss curve, (sampling, size, FLOPs) of networks."""

    elastic: Elastic
    history: list[tuple]
    sampled: list[tuple[str, int, int]]

    def metrics(self) -> dict[str, float]:
        """Return the last loss, and how many parameters there are."""
        count = sum(p.numel() for p in self.elastic.parameters())
        return {"loss": self.history[-1][1], "parameters": count}


def run(
    params: SimpleNamespace,
    inputs: SupernetInputs,
    *,
    state: Path | None,
    generator: torch.Generator,
    device: torch.device,
    emit: Emit,
) -> SupernetOutputs:
    """Refuse budgets that nothing meets, then train."""
    info = inputs.info
    budget = Budget(params.space, params.scaling, info.task)
    budget.check(np.random.default_rng(params.supernet.seed), draws=supernet.budgeted_draws(params))
    sampled = supernet.histogram(params, info.task)  # a draw that finds nothing ends no training
    net = elastic.build(
        params.space, params.scaling, info.task, params.supernet.coupling, generator
    ).to(device)
    if inputs.start is not None:
        inherit.supernet(net, inputs.start)
    train, select = (
        on_device(split, info.mean, info.std, device) for split in (inputs.train, inputs.select)
    )
    judge = supernet.judge(params, net, train, select)
    watch = Watch(supernet.WATCHED, judge, state, emit)
    history = supernet.train(params, net, train, state, watch)
    return SupernetOutputs(net, watch.joined(history), sampled)


def main(params: SimpleNamespace, paths: Paths, emit: Emit) -> None:
    """Read train and select; write the weights, the loss curve, a histogram of what was sampled."""
    overlap.refuse_seen(params.supernet.init, paths)
    splits = (store.read(paths.data / f"{name}.npz") for name in ("train", "select"))
    inputs = SupernetInputs(paths.info(), *splits, inherit.read(params.supernet.init, paths.root))
    state = paths.state("supernet", state_key(params, paths, "supernet"))
    generator = torch.Generator().manual_seed(params.supernet.seed)
    device, out = devices.prepare(params.compute), paths.supernet
    made = run(params, inputs, state=state, generator=generator, device=device, emit=emit)
    if not group.is_first():
        return
    elastic.write(out / "weights.pt", made.elastic, params.supernet.coupling)
    files.write_table(out / "training.csv", columns(supernet.WATCHED), made.history)
    files.write_table(out / "sampled.csv", ("sampling", "stage", "flops"), made.sampled)
    files.write_json(out / "metrics.json", made.metrics())
