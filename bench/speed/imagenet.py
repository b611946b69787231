"""A dry run of a preset for large data, by default ImageNet's, on photographs that nobody took.

It takes them in, streams them, builds the super-supernet, counts every strategy, trains two steps,
stops and resumes in the middle of an epoch, and estimates a whole run by its multiply-accumulates.
"""

from __future__ import annotations

import resource
import tempfile
import time
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from bench.speed.common import options, params_of, write
from bench.speed.store import photographs
from scalenet.config.params import Params
from scalenet.data import store
from scalenet.data.images import Filed, Images, Order, on_device
from scalenet.nets import elastic
from scalenet.space import cost
from scalenet.space.network import Task
from scalenet.space.sampling import sample_base
from scalenet.space.scaling import all_strategies
from scalenet.stages import prepare
from scalenet.training import supernet
from scalenet.training.loop import ignore

CLASSES, DEVICES = 1000, (1, 8, 64)
BASES = 100
PASSES = 3  # a forward and a backward pass, in forward passes


class Stopped(Exception):
    """Ends a training where its checkpoint was written."""


def taken_in(params: Params, count: int, root: Path) -> dict[str, Any]:
    """Write the splits of so many photographs as stage prepare does."""
    start = time.perf_counter()
    made = prepare.run(
        SimpleNamespace(data=params.data), photographs(count),
        state=root, generator=None, device=None, emit=ignore,
    )  # fmt: skip
    for name, split in made.splits.items():
        store.write(root / f"{name}.npz", **split)
    size = sum(file.stat().st_size for file in root.glob("*.npz"))
    return {"seconds": time.perf_counter() - start, "bytes": size, "peak": _peak()}


def streamed(images: Images, batch: int) -> dict[str, float]:
    """Read a whole epoch in its order, as training does."""
    order, start, read = Order(len(images), batch, 0), time.perf_counter(), 0
    steps = range(len(images) // order.batch)
    for pixels in images.coming(map(order.at, steps)):
        read += len(pixels)
    seconds = time.perf_counter() - start
    return {"images": read, "images_per_second": read / seconds, "peak": _peak()}


def two_steps(params: Params, images: Images, task: Task, root: Path) -> dict[str, Any]:
    """Train two steps at once, and again with a stop after the first; compare all weights."""
    section = params.supernet
    recipe = section.recipe.model_copy(update={"steps": 2, "log": 1, "checkpoint": 1})
    params = params.model_copy(update={"supernet": section.model_copy(update={"recipe": recipe})})

    def stop(record: Any) -> None:
        if record["event"] == "step" and record["step"] == 2:
            raise Stopped

    def trained(state: Path | None, emit: Any) -> elastic.Elastic:
        generator = torch.Generator().manual_seed(0)
        net = elastic.build(params.space, params.scaling, task, section.coupling, generator)
        supernet.train(params, net.to(images.device), images, state, emit)
        return net

    start = time.perf_counter()
    straight = trained(None, ignore)
    seconds = (time.perf_counter() - start) / 2
    try:
        trained(root / "state", stop)
    except Stopped:
        resumed = trained(root / "state", ignore)
    same = all(torch.equal(w, resumed.weights[name]) for name, w in straight.weights.items())
    parameters = sum(w.numel() for w in straight.weights.values())
    return {"seconds": seconds, "resumes": same, "parameters": parameters, "peak": _peak()}


def counted(params: Params, task: Task) -> dict[str, Any]:
    """Count what every strategy makes of random base models."""
    start, generator = time.perf_counter(), np.random.default_rng(0)
    strategies = all_strategies(params.scaling)
    table = cost.Table(params.space, strategies, task)
    bases = [sample_base(params.space, generator) for _ in range(BASES)]
    flops = table.costs(table.encode(product(bases, strategies)))[:, 0]
    seconds, ends = time.perf_counter() - start, {"least": flops.min(), "most": flops.max()}
    ends = {name: int(count) for name, count in ends.items()}
    return {"strategies": len(strategies), "networks": len(flops), **ends, "seconds": seconds}


def estimate(params: Params, task: Task, rate: float) -> list[dict[str, float]]:
    """Return the days that training takes on devices of a rate in multiply-accumulates a second.

    An estimate from counts alone: devices that wait for each other or for images take longer.
    """
    recipe, budget = params.supernet.recipe, params.scaling.budget
    sampled = supernet.sampled_flops(params, task, params.supernet.sampling, 200)
    mean = float(np.mean([flops for _, _, flops in sampled]))
    draw = supernet.sampler(params, task, params.supernet.sampling)
    networks = len(supernet.draws(params, draw, 0))  # of a step
    once = recipe.steps * recipe.batch * networks * PASSES * mean
    retrain = params.retrain.recipe
    family = sum(budget * member.multiple for member in params.family.values())
    members = retrain.steps * retrain.batch * PASSES * family
    days = 86400 * rate
    return [
        {"devices": n, "supernet_days": once / days / n, "members_days": members / days / n}
        for n in DEVICES
    ]


def _peak() -> float:
    """Return the peak of this process's memory in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run dry, and write what was found."""
    chosen = options(__doc__, 1, images=100_000, preset="imagenet", batch=0, rate=3e12)
    params, device = params_of(chosen.preset), torch.device(chosen.device)
    recipe = params.supernet.recipe
    changes = {"batch": chosen.batch or recipe.batch}
    if device.type == "cpu":
        changes["precision"] = "float32"
    recipe = recipe.model_copy(update=changes)
    section = params.supernet.model_copy(update={"recipe": recipe})
    params = params.model_copy(update={"supernet": section})
    task, found = Task(params.data.channels, CLASSES), {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        root = Path(name)
        found["prepare"] = _said("prepare", taken_in(params, chosen.images, root))
        pixels, labels = store.read(root / "train.npz")
        constants = ([value] * params.data.channels for value in (0.5, 0.25))
        images = on_device((pixels, labels), *constants, device)
        if not isinstance(images, Filed):  # so few that they fit: from the file all the same
            images = Filed(pixels, images.labels, images.mean, images.std)
        found["stream"] = _said("stream", streamed(images, recipe.batch))
        found["count"] = _said("count", counted(params, task))
        found["steps"] = _said("steps", two_steps(params, images, task, root))
    found["estimate"] = estimate(params, task, chosen.rate)
    for row in found["estimate"]:
        _said("estimate", row)
    write("imagenet", chosen.device, images=chosen.images, batch=recipe.batch, **found)
    if not found["steps"]["resumes"]:
        raise SystemExit("a resumed training is another one")


def _said(what: str, found: dict[str, Any]) -> dict[str, Any]:
    print(f"{what:9}", ", ".join(f"{k} {v:,.6g}" for k, v in found.items()), flush=True)
    return found


if __name__ == "__main__":
    main()
