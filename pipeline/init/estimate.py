"""How long each stage will take on this machine: a sum over what a run counts.

A training step costs seconds of its own and, for each image, its network's multiply-accumulates;
the rates are measured by ``probe``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from scalenet.config.params import Params
from scalenet.config.recipe import Recipe
from scalenet.config.space import Scalings, Space
from scalenet.space.budget import Budget
from scalenet.space.network import Task
from scalenet.training.supernet import HISTOGRAM

START = 15.0  # seconds that `scalenet run` takes to start: imports, a server, a database
STAGE = 2.5  # seconds that DVC and MLflow add to a stage or a member
REGISTER = 1.5  # seconds that registering a member takes


@dataclass(frozen=True)
class Rates:
    """What was measured on a machine, in seconds and multiply-accumulates (MACs) a second.

    A training step takes ``step`` and MACs at ``trained`` a second, of the super-supernet
    ``shared`` more; judging an image takes ``image`` and MACs at ``judged`` a second; drawing a
    network that meets its budget takes ``draw``; reading an image ``decode``. All of it takes
    ``busy`` times as long while other work shares the machine.
    """

    step: float
    trained: float
    shared: float
    image: float
    judged: float
    draw: float
    decode: float
    busy: float

    def training(self, recipe: Recipe, flops: float, extra: float = 0.0) -> float:
        """Return the seconds of a training of networks of these FLOPs, on average."""
        return recipe.steps * (self.step + extra + recipe.batch * flops / self.trained)

    def judging(self, images: int, flops: float) -> float:
        """Return the seconds of judging images with a network."""
        return images * (self.image + flops / self.judged)


def seconds(
    params: Params, counts: Mapping[str, int], task: Task, rates: Rates
) -> dict[str, float]:
    """Return the seconds of each stage and member in the order of a run.

    ``counts`` are the images of train, select and test. Their sum is a run's, as stages run one
    after the other.
    """
    scaling = params.scaling
    members = {
        name: STAGE + _member(params, counts, rates, scaling.budget * entry.multiple)
        for name, entry in params.family.items()
    }
    stages = {
        "start": START,
        "prepare": STAGE + sum(counts.values()) * rates.decode / rates.busy,  # timed as busy
        "supernet": STAGE + _supernet(params, rates),
        "search": STAGE + _search(params, counts, task, rates),
        "extrapolate": STAGE,
        **members,
        "publish": STAGE + REGISTER * len(members),
    }
    return {stage: took * rates.busy for stage, took in stages.items()}


def _supernet(params: Params, rates: Rates) -> float:
    section = params.supernet
    targets = [params.scaling.target(size) for size in range(len(params.scaling.stages))]
    mean = float(np.average(targets, weights=section.stage_weights))
    histogram = min(HISTOGRAM, section.recipe.steps) * section.sampled * rates.draw
    extra = rates.shared + (section.sampled - 1) * rates.step
    return histogram + rates.training(section.recipe, mean * section.sampled, extra)


def _search(params: Params, counts: Mapping[str, int], task: Task, rates: Rates) -> float:
    search, sizes = params.search, len(params.scaling.stages)
    offered = _feasible(params.space, params.scaling, task)
    after_first = (search.random_bases - 1 + search.iterations) / search.surrogate
    bred = search.iterations * search.population * search.generations
    mean = float(np.mean([params.scaling.target(size) for size in range(sizes)]))
    each = rates.judging(search.calibration + counts["select"], mean)
    return (offered * (1 + after_first) + bred * sizes) * each


@cache
def _feasible(space: Space, scalings: Scalings, task: Task) -> float:
    """Return how many strategies meet a base model's budgets, of all sizes, on average."""
    budget, generator = Budget(space, scalings, task), np.random.default_rng(0)
    bases = [budget.draw(generator, scalings.tries) for _ in range(8)]
    sizes = range(len(scalings.stages))
    return float(np.mean([sum(len(budget.feasible(b, size)) for size in sizes) for b in bases]))


def _member(params: Params, counts: Mapping[str, int], rates: Rates, flops: float) -> float:
    section = params.retrain
    tested = rates.judging(section.calibration + counts["test"], flops)
    return rates.training(section.recipe, flops) + tested
