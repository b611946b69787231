"""Training of the super-supernet: one set of weights for every network of every scaling stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalenet.config.params import Params
from scalenet.data.augmentation import Targets, augment
from scalenet.data.images import Images, Order
from scalenet.nets import elastic
from scalenet.nets.blocks import drop_path
from scalenet.nets.elastic import Elastic
from scalenet.records.documents import DataInfo
from scalenet.space import cost, scale, scaling
from scalenet.space.budget import Budget, Budgeted
from scalenet.space.network import Network
from scalenet.space.sampling import Sample
from scalenet.training import loop

SAMPLINGS = ("budgeted", "hierarchical", "uniform")
HISTOGRAM = 2000  # steps whose networks' FLOPs are written down, for every way of sampling
Draw = Callable[[np.random.Generator], Sample]


@dataclass(frozen=True)
class Trained:
    """The trained weights, the loss curve and the FLOPs of every network sampled."""

    elastic: Elastic
    history: loop.History
    sampled: list[tuple[str, int, int]]  # (sampling, scaling stage, FLOPs), every way of sampling, the first steps


def sampler(params: Params, info: DataInfo, sampling: str) -> Draw:
    """Return how a way of sampling draws a network."""
    section = params.supernet
    if sampling == "budgeted":
        budget = Budget(params.space, params.scaling, info.channels, len(info.classes))
        return Budgeted(budget, section.stage_weights, params.scaling.tries).draw
    return sampling.Sampler(params.space, params.scaling, section.stage_weights, sampling == "uniform").draw


def samples(params: Params, draw: Draw, step: int) -> list[Sample]:
    """Return a step's random networks."""
    generator = np.random.default_rng([params.supernet.seed, step])
    return [draw(generator) for _ in range(params.supernet.sampled)]


def ends(params: Params) -> list[tuple[Network, int]]:
    """Return the largest and the smallest network and their scaling stages: the sandwich rule's; none without it."""
    if not params.supernet.sandwich:
        return []
    last = len(params.scaling.stages) - 1
    return [(scale.largest(params.space, params.scaling), last), (scale.smallest(params.space, params.scaling), 0)]


def draws(params: Params, draw: Draw, step: int) -> list[tuple[Network, int]]:
    """Return a step's networks and their scaling stages."""
    return [*ends(params), *((sample.network, sample.stage) for sample in samples(params, draw, step))]


def run(params: Params, images: Images, info: DataInfo, on: torch.device, checkpoint: Path | None, key: str) -> Trained:
    """Train; a step runs each of its networks on the same images, each at its own resolution."""
    section, recipe = params.supernet, params.supernet.recipe
    generator = torch.Generator().manual_seed(section.seed)
    shape = info.channels, len(info.classes)
    net = elastic.build(params.space, params.scaling, shape, section.coupling, generator).to(on)
    order = Order(len(images), recipe.batch, section.seed)
    draw = sampler(params, info, section.sampling)

    def backward(step: int) -> float:
        index = order.at(step)
        total, teacher = 0.0, None
        chosen = draws(params, draw, step)
        for network, _ in chosen:
            generator = loop.step_generator(section.seed, step)  # the same view of the images for every network
            view, targets = augment(images, index, network.resolution, recipe.augment, generator)
            drop = drop_path(recipe.drop_path, generator)
            with loop.autocast(recipe, on):
                logits = net(view, network, net.sides[step % len(net.sides)], drop)
                loss = _loss(logits, targets, teacher, recipe.label_smoothing) / len(chosen)
            loss.backward()
            total += loss.item()
            if section.distill and teacher is None:
                teacher = logits.detach().softmax(1)
        return total

    sampled = [row for way in SAMPLINGS for row in sampled_flops(params, info, way, HISTOGRAM)]
    history = loop.train(net.weights, recipe, backward, checkpoint, key)
    return Trained(net, history, sampled)


def _loss(logits: Tensor, targets: Targets, teacher: Tensor | None, smoothing: float) -> Tensor:
    """Cross-entropy with the labels, or with the largest network's predictions (in-place distillation, BigNAS)."""
    return targets.loss(logits, smoothing) if teacher is None else F.cross_entropy(logits.float(), teacher)


def sampled_flops(params: Params, info: DataInfo, sampling: str, most: int) -> list[tuple[str, int, int]]:
    """Return (sampling, scaling stage, FLOPs) of the networks of the first ``most`` steps, were that way the chosen."""
    images = info.channels, len(info.classes)
    table = cost.Table(params.space, scaling.all_strategies(params.scaling), *images)
    fixed = [(stage, cost.flops(network, *images)) for network, stage in ends(params)]
    steps, draw = range(min(most, params.supernet.recipe.steps)), sampler(params, info, sampling)
    drawn = [sample for step in steps for sample in samples(params, draw, step)]
    flops = table.costs(table.encode((sample.base, sample.scaling) for sample in drawn))[:, 0]
    random = [(sample.stage, int(count)) for sample, count in zip(drawn, flops, strict=True)]
    return [(sampling, *row) for row in random + fixed * len(steps)]
