"""A training step of a network inside the super-supernet, against the same network alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from bench.speed.common import CLASSES, interleaved, options, ratio, show, spread, write
from scalenet.config import params as stage_params
from scalenet.config.params import Params
from scalenet.nets import child, elastic
from scalenet.space import sampling
from scalenet.space.network import Network, Task
from scalenet.training.loop import Training


def stepper(
    params: Params, net: torch.nn.Module, apply: Callable, images: torch.Tensor
) -> Callable[[], None]:
    """Return a function that takes one optimiser step, its moving average included."""
    training = Training(net.weights, params.supernet.recipe)
    labels = torch.arange(len(images), device=images.device) % CLASSES

    def backward(_: int) -> torch.Tensor:
        loss = F.cross_entropy(apply(images), labels)
        loss.backward()
        return loss.detach()

    return lambda: training.step(backward, 1)


def networks(params: Params) -> list[Network]:
    """Return the same few networks of every size each time."""
    drawn = []
    for size in range(len(params.scaling.stages)):
        weights = tuple(float(i == size) for i in range(len(params.scaling.stages)))
        sampler = sampling.Sampler(params.space, params.scaling, weights, uniform=False)
        drawn += [sampler.draw(np.random.default_rng([7, size, i])).network for i in range(2)]
    return drawn


def measure(
    params: Params, network: Network, batch: int, device: str, repeats: int
) -> dict[str, float]:
    """Return the ratio of the two steps for one network, optimiser and average included in both."""
    generator, task = torch.Generator().manual_seed(0), Task(params.data.channels, CLASSES)
    shared = elastic.build(params.space, params.scaling, task, "left", generator).to(device)
    alone = child.build(network, task, generator).to(device).train()
    px = network.resolution
    images = torch.randn(batch, task.channels, px, px, device=device)
    variants = {
        "inside": stepper(params, shared, lambda x: shared(x, network), images),
        "alone": stepper(params, alone, alone, images),
    }
    return ratio(interleaved(variants, repeats, device), "inside", "alone")


def main() -> None:
    """Measure every network, print and write."""
    chosen = options(__doc__, repeats=20, batch=64, params="params.yaml")
    params, found = stage_params.load(Path(chosen.params)), {}
    for network in networks(params):
        found[str(network)] = measure(params, network, chosen.batch, chosen.device, chosen.repeats)
        show(f"inside / alone, r{network.resolution}, {network.depth} layers", found[str(network)])
    overall = spread([values["median"] for values in found.values()])
    show("inside / alone, over networks", overall)
    write(
        "step",
        chosen.device,
        ratio=overall,
        networks=found,
        batch=chosen.batch,
        repeats=chosen.repeats,
    )


if __name__ == "__main__":
    main()
