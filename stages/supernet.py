"""Room 2: train the super-supernet, one set of weights for every network of every scaling stage."""

from __future__ import annotations

import numpy as np

from scalenet.config.params import Params
from scalenet.data.images import on_device
from scalenet.nets import elastic
from scalenet.records import files
from scalenet.records.documents import DataInfo
from scalenet.records.paths import Paths
from scalenet.space.budget import Budget
from scalenet.training import device
from scalenet.training.supernet import run


def main(params: Params, paths: Paths) -> None:
    """Read train, write the weights, the loss curve and the histogram of what was sampled."""
    on = device.prepare(params.compute)
    info = DataInfo.read(paths.data / "info.json")
    budget = Budget(params.space, params.scaling, info.channels, len(info.classes))
    budget.check(np.random.default_rng(params.supernet.seed), params.scaling.tries)
    images = on_device(files.read_split(paths.data / "train.npz"), info.mean, info.std, on)
    key = files.digest(params.space, params.scaling, params.supernet, info, str(on), files.code())
    trained = run(params, images, info, on, paths.state("supernet") / "checkpoint.pt", key)
    out = paths.supernet
    elastic.write(out / "weights.pt", trained.elastic, params.supernet.coupling)
    files.write_table(out / "training.csv", ("step", "loss", "learning_rate"), trained.history)
    files.write_table(out / "sampled.csv", ("sampling", "stage", "flops"), trained.sampled)
    files.write_json(
        out / "metrics.json",
        {"loss": trained.history[-1][1], "parameters": sum(p.numel() for p in trained.elastic.parameters())},
    )
