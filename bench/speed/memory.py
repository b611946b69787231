"""Memory of super-supernet training against that of training its largest child alone.

Both are peaks of a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from bench.speed.common import CLASSES, options, peak, show, spread, write
from bench.speed.step import networks, stepper
from scalenet.config import params as stage_params
from scalenet.nets import child, elastic
from scalenet.space import scale
from scalenet.space.network import Task

STEPS = 6


def added(what: str, batch: int, device: str) -> float:
    """Train for a few steps in this process; return the bytes that training added at its peak."""
    params, generator = stage_params.load(Path("params.yaml")), torch.Generator().manual_seed(0)
    largest = scale.largest(params.space, params.scaling)
    task = Task(params.data.channels, CLASSES)
    torch.set_num_threads(1)
    # the libraries' own memory
    torch.nn.functional.conv2d(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 3, 3))
    before = peak()
    px = largest.resolution
    images = torch.randn(batch, task.channels, px, px, device=device)
    if what == "alone":
        net = child.build(largest, task, generator).to(device).train()
        step = stepper(params, net, net, images)
    else:
        net = elastic.build(params.space, params.scaling, task, "left", generator).to(device)
        # a step takes the next: the largest, then sampled ones
        drawn = iter([largest, *networks(params)])
        step = stepper(params, net, lambda x: net(x, next(drawn)), images)
    for _ in range(STEPS):
        step()
    if device.startswith("cuda"):
        return float(torch.cuda.max_memory_allocated(device))
    return 2**20 * (peak() - before)


def main() -> None:
    """Measure both in processes of their own, in turns."""
    chosen = options(__doc__, repeats=5, batch=256, what="")
    if chosen.what:
        print(added(chosen.what, chosen.batch, chosen.device))
        return
    peaks: dict[str, list[float]] = {"inside": [], "alone": []}
    for _ in range(chosen.repeats):
        for what, found in peaks.items():
            command = [sys.executable, "-m", "bench.speed.memory", "--what", what]
            command += ["--batch", str(chosen.batch)]
            done = subprocess.run(
                [*command, "--device", chosen.device], capture_output=True, text=True, check=True
            )
            found.append(float(done.stdout))
    share = spread([a / b for a, b in zip(peaks["inside"], peaks["alone"], strict=True)])
    show("memory inside / alone", share)
    megabytes = {what: spread([value / 2**20 for value in found]) for what, found in peaks.items()}
    write(
        "memory",
        chosen.device,
        ratio=share,
        megabytes=megabytes,
        batch=chosen.batch,
        repeats=chosen.repeats,
    )


if __name__ == "__main__":
    main()
