"""A training step whose images' shrunk copies are kept, against one that shrinks them each time.

For members of the first size, a middle one and the last, and for the super-supernet's first steps
together; every image has been seen before, as in a training of more than a few epochs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bench.speed.common import interleaved, invented, options, params_of, ratio, show, write
from bench.speed.gpu import pictures, step_of
from bench.speed.step import networks
from scalenet.config.params import Params
from scalenet.data.images import Images
from scalenet.data.shrunk import Shrunk
from scalenet.nets import child, elastic
from scalenet.space.network import Network, Task
from scalenet.training import device, fixed, loop, supernet

SHARED = 12  # steps of the super-supernet


def trained(params: Params, network: Network, task: Task, images: Images) -> Callable[[], Any]:
    """Return a step of a member's training."""
    net = child.build(network, task, torch.Generator().manual_seed(0)).to(images.device)
    step = step_of(fixed.train, net, images, params.retrain.recipe, 0)
    return lambda: step(0)


def shared(params: Params, task: Task, images: Images) -> Callable[[], Any]:
    """Return the first steps of the super-supernet's training, with networks of their own each."""
    generator, coupling = torch.Generator().manual_seed(0), params.supernet.coupling
    net = elastic.build(params.space, params.scaling, task, coupling, generator).to(images.device)
    step = step_of(supernet.train, params, net, images, None, loop.ignore)
    return lambda: [step(number) for number in range(SHARED)]


def main() -> None:
    """Take steps in turn, print and write."""
    chosen = options(__doc__, repeats=20, preset="photographs")
    params, found = params_of(chosen.preset), {}
    about, place = invented(params), device.prepare(params.compute)
    images, drawn = pictures(params, about, place), networks(params)
    sets = {"kept": Shrunk(images), "shrunk": Shrunk(images, 0)}
    for network in (drawn[0], drawn[len(drawn) // 2], drawn[-1]):
        steps = {name: trained(params, network, about.task, own) for name, own in sets.items()}
        times = interleaved(steps, chosen.repeats, place.type)
        found[str(network)] = ratio(times, "kept", "shrunk")
        show(f"kept / shrunk each time, r{network.resolution}", found[str(network)])
    steps = {name: shared(params, about.task, own) for name, own in sets.items()}
    found["super-supernet"] = ratio(
        interleaved(steps, chosen.repeats, place.type), "kept", "shrunk"
    )
    show("kept / shrunk each time, super-supernet", found["super-supernet"])
    write("shrunk", place.type, ratios=found, preset=chosen.preset, repeats=chosen.repeats)


if __name__ == "__main__":
    main()
