"""The store: memory by the number of images, a step's wait for them, and what cores gain prepare.

Every measurement runs in a process of its own. Memory is that process's peak; those that decode or
read ahead for it hold a few images each. Synthetic images are made as they are asked for.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.speed.common import options, peak, ratio, show, write
from scalenet.config import params as stage_params
from scalenet.config.params import Data, Params
from scalenet.data import store
from scalenet.data.augmentation import augment, draw
from scalenet.data.batches import Batches, Order
from scalenet.data.images import Arrays, on_device
from scalenet.data.source import Source
from scalenet.nets import child
from scalenet.records import files
from scalenet.space import scale
from scalenet.space.network import Task
from scalenet.stages import prepare
from scalenet.training.loop import Training, ignore, step_generator

CLASSES, BATCH, STEPS = 10, 64, 200
TINY, PHOTO = 16, 224  # px
JPEGS = 64  # different photographs; a few bytes of each copy tell it from the others


def section(size: int, kind: str) -> Data:
    """Return the section ``data`` of params.yaml for synthetic colour images."""
    given = stage_params.load(Path("params.yaml")).data
    return given.model_copy(update={"channels": 3, "size": size, "store": kind})


def tiny(count: int) -> Source:
    """Return so many images of noise, of ``TINY`` px."""

    def read(index: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        for part in np.array_split(index, max(1, len(index) // 1000)):
            rng = np.random.default_rng(int(part[0]))
            noise = rng.integers(0, 256, (len(part), 3, TINY, TINY), dtype=np.uint8)
            yield from zip(part.tolist(), noise, strict=True)

    return _source(count, read)


def photographs(count: int) -> Source:
    """Return so many JPEGs of 400 x 300 pixels."""
    rng = np.random.default_rng(0)
    contents = [_jpeg(rng) for _ in range(JPEGS)]

    def read(index: np.ndarray) -> Iterator[tuple[int, bytes]]:
        return ((i, contents[i % JPEGS]) for i in index.tolist())

    return _source(count, read)


def _source(count: int, read: Any) -> Source:
    labels = np.arange(count) % CLASSES
    return Source([str(i) for i in range(CLASSES)], labels, np.full(count, ""), read)


def _jpeg(rng: np.random.Generator) -> bytes:
    content, rough = io.BytesIO(), rng.integers(0, 256, (19, 25, 3), dtype=np.uint8)
    Image.fromarray(rough).resize((400, 300)).save(content, "jpeg", quality=90)
    return content.getvalue()


# --- a process each -------------------------------------------------------------------------------


def measured(root: Path, what: str, **about: Any) -> dict[str, float]:
    """Return what a process of its own measures: seconds, peak memory and more.

    Those that decode for it import its main module too: a stage's has no PyTorch, as here.
    """
    code = "from bench.speed.store import main; main()"
    command = [sys.executable, "-c", code, "--one", what]
    done = subprocess.run(
        [*command, "--root", root, "--about", json.dumps(about)],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def one(what: str, root: Path, about: dict[str, Any]) -> dict[str, float]:
    """Measure one thing in this process; before it, what the imports alone took is told apart."""
    if cores := about.pop("cores", None):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    params, before, start = stage_params.load(Path("params.yaml")), peak(), time.perf_counter()
    found = {"prepare": prepared, "train": trained}[what](params, root, **about)
    return {"seconds": time.perf_counter() - start, "peak": peak(), "before": before, **found}


def prepared(params: Params, root: Path, kind: str, count: int, keep: str) -> dict[str, float]:
    """Run the stage on synthetic images and write the splits."""
    source = tiny(count) if kind == "tiny" else photographs(count)
    data = SimpleNamespace(data=section(TINY if kind == "tiny" else PHOTO, keep))
    made = prepare.run(data, source, state=root, generator=None, device=None, emit=ignore)
    for name, split in made.splits.items():
        store.write(root / f"{name}.npz", **split)
    return {"bytes": sum((root / f"{name}.npz").stat().st_size for name in files.SPLITS)}


def trained(params: Params, root: Path) -> dict[str, float]:
    """Train the smallest default network, at the images' size, for some steps.

    The time that a step waits for its images is told in ms and as a share of the whole step.
    """
    torch.set_num_threads(1)
    images = on_device(store.read(root / "train.npz"), [0.5] * 3, [0.25] * 3, torch.device("cpu"))
    network, recipe = scale.smallest(params.space, params.scaling), params.retrain.recipe
    side, waited = images.pixels(torch.arange(1)).shape[-1], 0.0
    generator = torch.Generator().manual_seed(0)
    net = child.build(replace(network, resolution=side), Task(3, CLASSES), generator).train()
    training = Training(net.weights, recipe)

    def backward(step: int) -> torch.Tensor:
        nonlocal waited
        asked = time.perf_counter()
        seen, index = batches.at(step)
        read = Arrays(seen.pixels(index), seen.labels[index], seen.mean, seen.std)
        waited += time.perf_counter() - asked
        draws = draw(BATCH, images.channels, recipe.augment, step_generator(0, step))
        view, targets = augment(read, torch.arange(BATCH), side, recipe.augment, draws)
        loss = targets.loss(net(view), recipe.label_smoothing)
        loss.backward()
        return loss.detach()

    with Batches(images, Order(len(images), BATCH, 0), STEPS) as batches:
        training.step(backward, 0)  # begins those that read ahead, and is not counted
        waited, start = 0.0, time.perf_counter()
        for step in range(1, STEPS):
            training.step(backward, step)
        seconds = time.perf_counter() - start
    wait = {"wait": 1000 * waited / (STEPS - 1), "share": waited / seconds}
    return {**wait, "ahead": batches.ahead}


def memory(counts: list[int]) -> list[dict[str, float]]:
    """Measure what prepare and training take, by the number of tiny images."""
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            made = measured(Path(folder), "prepare", kind="tiny", count=count, keep="raw")
            used = measured(Path(folder), "train")
        rows.append({"images": count, "prepare": made, "train": used})
        print(
            f"{count:9,} images: prepare {made['peak']:6.0f} MB ({made['before']:.0f} before, "
            f"{made['seconds']:.0f} s), training {used['peak']:6.0f} MB, of a step "
            f"{used['share']:.2%} waits for images ({used['wait']:.2f} ms)",
            flush=True,
        )
    return rows


def gain(count: int, repeats: int, keep: str) -> dict[str, float]:
    """Return how many times as fast as one core two are, by turns, in taking in photographs that
    are kept as pixels (``raw``) or as files (``encoded``)."""
    times: dict[str, list[float]] = {"one": [], "two": []}
    for _ in range(repeats):
        for name, cores in (("one", 1), ("two", 2)):
            with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
                about = {"kind": "photographs", "count": count, "keep": keep, "cores": cores}
                times[name].append(measured(Path(folder), "prepare", **about)["seconds"])
    return ratio(times, "one", "two")


def main() -> None:
    """Measure memory by the number of images, then the gain by cores."""
    chosen = options(__doc__, repeats=5, most=1_000_000, photographs=3000,
                     one="", root="", about="{}")  # fmt: skip
    if chosen.one:
        found = one(chosen.one, Path(chosen.root), json.loads(chosen.about))
        print(json.dumps(found))
        return
    load = os.getloadavg()[0]
    counts = sorted({chosen.most // 100, chosen.most // 10, chosen.most})
    rows = memory(counts)
    growth = {
        what: 2**20 * (rows[-1][what]["peak"] - rows[0][what]["peak"]) / (counts[-1] - counts[0])
        for what in ("prepare", "train")
    }
    print("bytes of memory an image more:", {name: round(value) for name, value in growth.items()})
    times = {}
    for keep in ("raw", "encoded"):
        times[keep] = gain(chosen.photographs, chosen.repeats, keep)
        show(f"prepare, photographs kept {keep}: one core / two, seconds", times[keep])
    write("store", "cpu", load=load, memory=rows, growth=growth, gain=times)


if __name__ == "__main__":
    main()
