"""A member's answers by two processes against one: seconds, and processor time of the slowest.

A network of the last size answers noise. Processes are begun anew each round, in turn one and two,
with one thread each; what they take to start is not measured, as a training has started them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.speed.common import CLASSES, invented, options, ratio, show, spread, write
from bench.speed.step import networks
from scalenet.config import params as stage_params
from scalenet.config.params import Params
from scalenet.data.images import on_device
from scalenet.nets import child
from scalenet.nets.group import from_first
from scalenet.records.emit import Emit
from scalenet.training import fixed
from scalenet.training.launch import together


def answer(emit: Emit, params: Params, count: int) -> None:
    """Time this process's part of the answers and what is exchanged; tell both times."""
    torch.set_num_threads(1)
    about, rng = invented(params), np.random.default_rng(0)
    form = (count, about.channels, params.data.size, params.data.size)
    split = rng.integers(0, 256, form, dtype=np.uint8), np.arange(count) % CLASSES
    images = on_device(split, about.mean, about.std, torch.device("cpu"))
    net = child.build(networks(params)[-1], about.task, torch.Generator().manual_seed(0)).eval()
    fixed.predict(net, images, params.retrain.batch)  # warm
    from_first([torch.zeros(1)])  # they begin together
    start, processor = time.perf_counter(), time.process_time()
    fixed.predict(net, images, params.retrain.batch)
    seconds = time.perf_counter() - start
    emit({"event": "timed", "seconds": seconds, "processor": time.process_time() - processor})


def timed(processes: int, params: Params, count: int) -> Mapping[str, Any]:
    """Return what the first of so many processes tells."""
    told: list[Mapping[str, Any]] = []
    together(processes, answer, (params, count), told.append)
    return told[0]


def main() -> None:
    """Answer by one process and by two, in turn."""
    chosen = options(__doc__, repeats=7, images=30_720)
    params = stage_params.load(Path("params.yaml"))
    rounds = [[timed(n, params, chosen.images) for n in (1, 2)] for _ in range(chosen.repeats)]
    figures = {}
    for what in ("seconds", "processor"):
        times = {name: [told[i][what] for told in rounds] for i, name in enumerate(("one", "two"))}
        figures[what] = {name: spread(values) for name, values in times.items()}
        figures[what]["ratio"] = ratio(times, "two", "one")
        show(f"{what}, one process", figures[what]["one"], "s")
        show(f"{what}, two processes / one", figures[what]["ratio"])
    write("evaluation", "cpu", images=chosen.images, repeats=chosen.repeats, **figures)


if __name__ == "__main__":
    main()
