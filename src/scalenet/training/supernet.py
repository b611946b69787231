"""Training of the super-supernet: one set of weights for all networks of all sizes (method §3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalenet.config.params import Params
from scalenet.data.augmentation import class_weights
from scalenet.data.images import Images
from scalenet.nets import group
from scalenet.nets.blocks import drop_path
from scalenet.nets.elastic import Elastic
from scalenet.records.emit import Emit
from scalenet.space import cost
from scalenet.space.budget import Budget, Budgeted
from scalenet.space.network import Network, Task
from scalenet.space.sampling import Sample, Sampler
from scalenet.space.scale import largest, smallest
from scalenet.space.scaling import all_strategies
from scalenet.space.table import Table
from scalenet.training import loop, views, watch

SAMPLINGS = ("budgeted", "hierarchical", "uniform")
HISTOGRAM = 2000  # steps whose networks' FLOPs are written down, for every way of sampling
WATCHED = ("select_first", "select_last")  # accuracies of a network of the first and the last size
Draw = Callable[[np.random.Generator], Sample]


def sampler(params: Params, task: Task, way: str) -> Draw:
    """Return how a way of sampling draws a network."""
    space, scaling, weights = params.space, params.scaling, params.supernet.stage_weights
    if way == "budgeted":
        return Budgeted(Budget(space, scaling, task), weights).draw
    return Sampler(space, scaling, weights, way == "uniform").draw


def samples(params: Params, draw: Draw, step: int) -> list[Sample]:
    """Return a step's random networks."""
    generator = np.random.default_rng([params.supernet.seed, step])
    return [draw(generator) for _ in range(params.supernet.sampled)]


def ends(params: Params) -> list[tuple[Network, int]]:
    """Return the largest and the smallest network and their sizes; none without the sandwich rule.

    The rule: Yu et al. 2019, Universally Slimmable Networks.
    """
    if not params.supernet.sandwich:
        return []
    last = len(params.scaling.stages) - 1
    space, scaling = params.space, params.scaling
    return [(largest(space, scaling), last), (smallest(space, scaling), 0)]


def draws(params: Params, draw: Draw, step: int) -> list[tuple[Network, int]]:
    """Return a step's networks and their sizes."""
    drawn = samples(params, draw, step)
    return [*ends(params), *((sample.network, sample.size) for sample in drawn)]


def judge(params: Params, net: Elastic, train: Images, select: Images) -> watch.Judge | None:
    """Return what judges two networks on select while they train: one within S0's budget, and one
    within the last size's, each drawn once."""
    budget = Budget(params.space, params.scaling, net.task)
    sizes = len(params.scaling.stages)
    ends = [tuple(float(i == size) for i in range(sizes)) for size in (0, sizes - 1)]
    networks = [
        Budgeted(budget, weights).draw(np.random.default_rng(0)).network for weights in ends
    ]

    def evaluator(network: Network, weights: Mapping[str, Tensor], calibration: list[Tensor]):
        return Elastic(weights, params.supernet.coupling).evaluator(network, calibration)

    return watch.judge_of(networks, evaluator, train, select, params.supernet.watch)


def train(
    params: Params, net: Elastic, images: Images, state: Path | None, emit: Emit
) -> loop.History:
    """Train in place; a step runs its networks on the same images, each at its own resolution."""
    section, recipe = params.supernet, params.supernet.recipe
    batches = views.batches(images, recipe, section.seed)
    batch = batches.order.batch
    share = group.share(batch)
    draw = sampler(params, net.task, section.sampling)
    weights = class_weights(images.labels, recipe.balance)

    def backward(step: int) -> Tensor:
        seen, teacher = batches.at(step), None
        total = torch.zeros((), dtype=torch.double, device=images.device)
        chosen = draws(params, draw, step)
        for network, _ in chosen:
            generator = loop.step_generator(section.seed, step)  # the same view for every network
            view, targets = views.of_step(
                *seen, batch, network.resolution, recipe.augment, generator
            )
            drop = drop_path(recipe.drop_path, generator, batch)
            with loop.autocast(recipe, images.device):
                logits = net(view, network, net.sides[step % len(net.sides)], drop)
                if teacher is None:
                    loss = targets.loss(logits, recipe.label_smoothing, weights)
                else:
                    loss = _soft(logits, teacher)
                loss = loss * share / len(chosen)
            loss.backward()
            total += loss.detach()
            if section.distill and teacher is None:
                teacher = logits.detach().float().softmax(1)
        return total

    with batches:
        return loop.train(net.weights, recipe, backward, state, emit)


def _soft(logits: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy with the largest network's predictions, all images alike.

    BigNAS's in-place distillation (Yu et al. 2020).
    """
    return F.cross_entropy(logits.float(), teacher)


def budgeted_draws(params: Params) -> int:
    """Return how many networks training and its histogram draw within budgets."""
    steps = params.supernet.recipe.steps
    seen = steps if params.supernet.sampling == "budgeted" else min(steps, HISTOGRAM)
    return seen * params.supernet.sampled


def histogram(params: Params, task: Task) -> list[tuple[str, int, int]]:
    """Return (sampling, size, FLOPs) of the first steps' networks, for every way of sampling."""
    return [row for way in SAMPLINGS for row in sampled_flops(params, task, way, HISTOGRAM)]


def sampled_flops(params: Params, task: Task, way: str, most: int) -> list[tuple[str, int, int]]:
    """Return (sampling, size, FLOPs) of the first ``most`` steps' networks, sampled that way."""
    table = Table(params.space, all_strategies(params.scaling), task)
    fixed = [(size, cost.flops(network, task)) for network, size in ends(params)]
    steps, draw = range(min(most, params.supernet.recipe.steps)), sampler(params, task, way)
    drawn = [sample for step in steps for sample in samples(params, draw, step)]
    flops = table.costs(table.encode((s.base, s.scaling) for s in drawn))[:, 0]
    random = [(s.size, int(count)) for s, count in zip(drawn, flops, strict=True)]
    return [(way, *row) for row in random + fixed * len(steps)]
