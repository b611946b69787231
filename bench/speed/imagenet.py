"""A dry run of a preset for large data, by default ImageNet's, on photographs that nobody took.

It takes them in and streams them, half of them first: memory must not grow with their number. It
builds the super-supernet, counts every strategy, trains two steps of as many images as fit, stops
and resumes in the middle of an epoch. It estimates a whole run: its days by its
multiply-accumulates, a device's memory by steps of a few images, the images a second that devices
ask for, and the cores that decode those.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import psutil
import torch

from bench.speed.common import PASSES, invented, options, params_of, peak, write
from bench.speed.gpu import pictures
from bench.speed.store import photographs
from scalenet.config.params import Params
from scalenet.data import store
from scalenet.data.batches import Order
from scalenet.data.images import Filed, Images, on_device
from scalenet.nets import elastic
from scalenet.space import cost
from scalenet.space.network import Task
from scalenet.space.sampling import sample_base
from scalenet.space.scaling import all_strategies
from scalenet.space.table import Table
from scalenet.stages import prepare
from scalenet.training import supernet
from scalenet.training.loop import ignore

CLASSES, DEVICES = 1000, (1, 8, 64)
BASES, STEPS = 100, 200  # models that are counted, and steps whose networks are
FEW = (2, 4)  # images of a step whose memory is measured; others' is on the line through both
SPARE = 0.5  # of the memory that is free, that two steps may take
FLAT = 64  # MB more than for half as many images, at most
CPU = {"precision": "float32"}  # of a recipe: what a CPU computes in
DECODE = 0.005  # seconds of a core that a photograph takes


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
    return {"seconds": time.perf_counter() - start, "bytes": size, "peak": peak()}


def streamed(images: Images, batch: int) -> dict[str, float]:
    """Read a whole epoch in its order, as training does."""
    order, start, read = Order(len(images), batch, 0), time.perf_counter(), 0
    steps = range(len(images) // order.batch)
    for pixels in images.coming(map(order.at, steps)):
        read += len(pixels)
    seconds = time.perf_counter() - start
    return {"images": read, "images_per_second": read / seconds, "peak": peak()}


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
    return {"seconds": seconds, "resumes": same, "parameters": parameters, "peak": peak()}


def counted(params: Params, task: Task) -> dict[str, Any]:
    """Count what every strategy makes of random base models."""
    start, generator = time.perf_counter(), np.random.default_rng(0)
    strategies = all_strategies(params.scaling)
    table = Table(params.space, strategies, task)
    bases = [sample_base(params.space, generator) for _ in range(BASES)]
    flops = table.costs(table.encode(product(bases, strategies)))[:, 0]
    seconds, ends = time.perf_counter() - start, {"least": flops.min(), "most": flops.max()}
    ends = {name: int(count) for name, count in ends.items()}
    return {"strategies": len(strategies), "networks": len(flops), **ends, "seconds": seconds}


def largest_step(params: Params, task: Task, batch: int, place: torch.device) -> float:
    """Return the bytes that a step of so many images takes at its peak on the largest network that
    the first steps train."""
    draw = supernet.sampler(params, task, params.supernet.sampling)
    drawn = [one for step in range(STEPS) for one in supernet.draws(params, draw, step)]
    largest = max(drawn, key=lambda one: cost.flops(one[0], task))
    recipe = params.supernet.recipe.model_copy(update={"steps": 1, "batch": batch})
    section = params.supernet.model_copy(update={"recipe": recipe})
    params = params.model_copy(update={"supernet": section})
    images, before = pictures(params, invented(params), place), 2**20 * peak()
    generator = torch.Generator().manual_seed(0)
    net = elastic.build(params.space, params.scaling, task, section.coupling, generator).to(place)
    with mock.patch.object(supernet, "draws", lambda *_: [largest]):
        supernet.train(params, net, images, None, ignore)
    if place.type == "cuda":
        return float(torch.cuda.max_memory_allocated(place))
    return 2**20 * peak() - before


def estimate(
    params: Params, task: Task, rate: float, memory: dict[int, float]
) -> list[dict[str, float]]:
    """Return what training takes on devices of a rate in multiply-accumulates a second: days, GB on
    each for its part of the super-supernet's batch, and the photographs a second that all read for
    the super-supernet and for the smallest member, with the cores that these take.

    An estimate from counts alone: devices that wait for each other or for images take longer.
    ``memory`` is the bytes of two steps by their images.
    """
    recipe, budget = params.supernet.recipe, params.scaling.budget
    sampled = supernet.sampled_flops(params, task, params.supernet.sampling, STEPS)
    mean = float(np.mean([flops for _, _, flops in sampled]))
    draw = supernet.sampler(params, task, params.supernet.sampling)
    image = len(supernet.draws(params, draw, 0)) * PASSES * mean  # all networks of a step
    once = recipe.steps * recipe.batch * image
    retrain, multiples = params.retrain.recipe, [m.multiple for m in params.family.values()]
    members = retrain.steps * retrain.batch * PASSES * budget * sum(multiples)
    (few, low), (more, high) = sorted(memory.items())
    each = (high - low) / (more - few)
    rows, days = [], 86400 * rate
    for n in DEVICES:
        part = math.ceil(recipe.batch / n)
        read, read_smallest = n * rate / image, n * rate / (PASSES * budget * min(multiples))
        rows.append({
            "devices": n, "supernet_days": once / days / n, "members_days": members / days / n,
            "supernet_gb": (low + (part - few) * each) / 2**30,
            "supernet_reads": read, "supernet_cores": read * DECODE,
            "smallest_reads": read_smallest, "smallest_cores": read_smallest * DECODE,
        })  # fmt: skip
    return rows


# --- a process each -------------------------------------------------------------------------------


def apart(chosen: Any, what: str, count: int, root: Path) -> Any:
    """Return what a process of its own finds: of so many photographs, or of a step's images."""
    options = {"preset": chosen.preset, "batch": chosen.batch, "device": chosen.device}
    options |= {"one": what, "images": count, "root": root}
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "bench.speed.imagenet", *given]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def one(params: Params, task: Task, chosen: Any) -> Any:
    """Find one thing in this process."""
    device, root = torch.device(chosen.device), Path(chosen.root)
    if chosen.one == "step":
        return largest_step(params, task, chosen.images, device)
    root.mkdir()
    made = taken_in(params, chosen.images, root)
    images = split(params, root, device)
    return {"prepare": made, "stream": streamed(images, params.supernet.recipe.batch)}


def split(params: Params, root: Path, device: torch.device) -> Images:
    """Return the images to train on, from their file."""
    pixels, labels = store.read(root / "train.npz")
    constants = ([value] * params.data.channels for value in (0.5, 0.25))
    images = on_device((pixels, labels), *constants, device)
    if not isinstance(images, Filed):  # so few that they fit: from the file all the same
        images = Filed(pixels, images.labels, images.mean, images.std)
    return images


def asked(chosen: Any) -> Params:
    """Return a preset's params with the batch that is asked for, if one is; float32 on a CPU."""
    params = params_of(chosen.preset)
    changes = {"batch": chosen.batch or params.supernet.recipe.batch}
    return _with_recipe(params, **changes | CPU if chosen.device == "cpu" else changes)


def _with_recipe(params: Params, **changes: Any) -> Params:
    recipe = params.supernet.recipe.model_copy(update=changes)
    section = params.supernet.model_copy(update={"recipe": recipe})
    return params.model_copy(update={"supernet": section})


def fitting(params: Params, memory: dict[int, float], place: torch.device) -> Params:
    """Return params whose super-supernet's batch fits what is free here, by the line through steps
    of a few images."""
    is_cpu = place.type == "cpu"
    free = psutil.virtual_memory().available if is_cpu else torch.cuda.mem_get_info(place)[0]
    (few, low), (more, high) = sorted(memory.items())
    most = few + int((SPARE * free - low) / max(1.0, (high - low) / (more - few)))
    return _with_recipe(params, batch=max(few, min(params.supernet.recipe.batch, most)))


def main() -> None:
    """Run dry, and write what was found."""
    chosen = options(
        __doc__, 1, images=100_000, preset="imagenet", batch=0, rate=3e12, one="", root=""
    )
    params = asked(chosen)
    task, found = Task(params.data.channels, CLASSES), {}
    if chosen.one:
        print(json.dumps(one(params, task, chosen)))
        return
    place = torch.device(chosen.device)
    memory = {few: apart(chosen, "step", few, Path()) for few in FEW}
    found["memory"] = _said("memory", {str(few): size for few, size in memory.items()})
    few = fitting(params, memory, place)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        root = Path(name)
        for part, count in (("half", chosen.images // 2), ("all", chosen.images)):
            found[part] = apart(chosen, "read", count, root / part)
            for what, values in found[part].items():
                _said(f"{what}, {part}", values)
        images = split(params, root / "all", place)
        found["count"] = _said("count", counted(params, task))
        batch = {"batch": few.supernet.recipe.batch}
        found["steps"] = _said("steps", batch | two_steps(few, images, task, root))
    whole = params_of(chosen.preset)
    found["estimate"] = estimate(whole, task, chosen.rate, memory)
    for row in found["estimate"]:
        _said("estimate", row)
    write("imagenet", chosen.device, images=chosen.images, **found)
    if not found["steps"]["resumes"]:
        raise SystemExit("a resumed training is another one")
    for what in ("prepare", "stream"):
        half, full = (found[part][what]["peak"] for part in ("half", "all"))
        if full > half + FLAT:
            raise SystemExit(f"memory grows with images: {what} {half:.0f} MB, then {full:.0f} MB")


def _said(what: str, found: dict[str, Any]) -> dict[str, Any]:
    print(f"{what:13}", ", ".join(f"{k} {v:,.6g}" for k, v in found.items()), flush=True)
    return found


if __name__ == "__main__":
    main()
