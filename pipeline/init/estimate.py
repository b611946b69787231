"""How long each stage will take on this machine: a sum over what a run counts.

A training step costs seconds of its own and, for each image, its network's multiply-accumulates;
the rates are measured by ``probe``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import mul

import numpy as np

from scalenet.config.params import Params
from scalenet.config.recipe import Recipe
from scalenet.config.space import Scalings, Space
from scalenet.pipeline.watch import progress
from scalenet.search.evolution import planned
from scalenet.space import cost
from scalenet.space.budget import Budget
from scalenet.space.network import Network, Task
from scalenet.space.scale import scale
from scalenet.training.member import lengthened
from scalenet.training.supernet import HISTOGRAM

START = 15.0  # seconds that `scalenet run` takes to start: imports, a server, a database
STAGE = 2.5  # seconds that DVC and MLflow add to a stage or a member
REGISTER = 1.5  # seconds that registering a member takes
BESIDE = 1.2  # times that a stage takes longer while another runs on the next core
PAIR = 4e-6  # seconds of the SVM for each pair of its images
DRAWN = 8  # base models that tell how many strategies meet the budgets, and of what
DESCRIBED = 6e-7  # seconds of describing an image to it, for each pixel


@dataclass(frozen=True)
class Rates:
    """What was measured on a machine, in seconds and multiply-accumulates (MACs) a second.

    A training step takes ``step`` and MACs at ``trained`` a second, of the super-supernet
    ``shared`` more; judging an image takes ``image`` and MACs at ``judged`` a second; drawing a
    network that meets its budget takes ``draw``; reading an image ``decode``; a step of the
    residual network of each width ``residual``. All of it takes ``busy`` times as long while other
    work shares the machine.
    """

    step: float
    trained: float
    shared: float
    image: float
    judged: float
    draw: float
    decode: float
    residual: tuple[float, ...]
    busy: float

    def training(self, recipe: Recipe, flops: float, extra: float = 0.0) -> float:
        """Return the seconds of a training of networks of these FLOPs, on average."""
        return recipe.steps * (self.step + extra + recipe.batch * flops / self.trained)

    def judging(self, images: int, flops: float) -> float:
        """Return the seconds of judging images with a network."""
        return images * (self.image + flops / self.judged)


def seconds(
    params: Params, images: int, counts: Mapping[str, int], task: Task, rates: Rates
) -> dict[str, float]:
    """Return the seconds of each stage and member, alone on a core, in the order of a run.

    ``images`` are all that the source has, which ``prepare`` reads; ``counts`` those of train,
    select and test.
    """
    members = {
        name: STAGE + _member(params, counts, task, rates, entry.multiple)
        for name, entry in params.family.items()
    }
    stages = {
        "start": START,
        "prepare": STAGE + images * rates.decode / rates.busy,  # timed as busy
        "supernet": STAGE + _supernet(params, task, rates),
        "search": STAGE + _search(params, counts, task, rates),
        "extrapolate": STAGE,
        **members,
        "baselines": STAGE + _baselines(params, counts, rates),
        "publish": STAGE + REGISTER * len(members),
    }
    return {stage: took * rates.busy for stage, took in stages.items()}


def wall(took: Mapping[str, float], members: Iterable[str], workers: int) -> float:
    """Return the seconds of a run whose stages take these, at most so many side by side.

    Stages begin as `scalenet run` begins them: the largest members first, then in order.
    """
    family = list(reversed(list(members)))
    after = {
        "prepare": {"start"},
        "supernet": {"prepare"},
        "search": {"supernet"},
        "extrapolate": {"search"},
        **{name: {"extrapolate"} for name in family},
        "baselines": {"prepare"},
        "publish": {*family, "baselines"},
    }
    ordered = {name: took[name] for name in ("start", *family, *after)}
    return progress.wall(ordered, after, workers, BESIDE)


def _baselines(params: Params, counts: Mapping[str, int], rates: Rates) -> float:
    section, pixels = params.baselines, params.data.size**2
    images = min(section.svm, counts["train"])
    described = images + counts["select"] + counts["test"]
    svm = described * pixels * DESCRIBED + images**2 * PAIR
    net = section.residual
    if net is None:
        return svm
    middle = len(net.widths) // 2  # which width is chosen changes little: steps are for seconds
    trials = sum(map(mul, net.trial, rates.residual))
    return svm + trials + (net.member[middle] + net.run[middle]) * rates.residual[middle]


def flops(params: Params, task: Task, multiple: float) -> float:
    """Return the FLOPs of a network of so many base budgets: where these are in FLOPs, that many;
    else what such networks have on average."""
    if params.scaling.measure == "flops":
        return params.scaling.budget * multiple
    typical = _typical(params.space, params.scaling, task)
    size = params.scaling.searched(multiple)
    last = len(typical) - 1
    return typical[last] * multiple / 2**last if size is None else typical[size]


def sizes(params: Params, task: Task) -> list[float]:
    """Return the FLOPs of networks of each searched size."""
    return [flops(params, task, 2**size) for size in range(len(params.scaling.stages))]


def _supernet(params: Params, task: Task, rates: Rates) -> float:
    section, targets = params.supernet, sizes(params, task)
    mean = float(np.average(targets, weights=section.stage_weights))
    histogram = min(HISTOGRAM, section.recipe.steps) * section.sampled * rates.draw
    extra = rates.shared + (section.sampled - 1) * rates.step
    watched = _watching(section.recipe, section.watch, [targets[0], targets[-1]], rates)
    return histogram + rates.training(section.recipe, mean * section.sampled, extra) + watched


def _watching(recipe: Recipe, images: int, flops: list[float], rates: Rates) -> float:
    """Return the seconds of judging networks at each checkpoint, calibrated on as many images."""
    times = -(-recipe.steps // recipe.checkpoint)
    return times * sum(rates.judging(2 * images, each) for each in flops)


def _search(params: Params, counts: Mapping[str, int], task: Task, rates: Rates) -> float:
    search, mean = params.search, float(np.mean(sizes(params, task)))
    offered = sum(map(len, _feasible(params.space, params.scaling, task))) / DRAWN
    each = rates.judging(search.calibration + (search.images or counts["select"]), mean)
    return planned(search, offered, len(params.scaling.stages)) * each


@cache
def _feasible(space: Space, scalings: Scalings, task: Task) -> list[list[Network]]:
    """Return, of each size, the networks within budget of a few base models."""
    budget, generator = Budget(space, scalings, task), np.random.default_rng(0)
    bases = [budget.draw(generator) for _ in range(DRAWN)]
    return [
        [scale(space, base, by) for base in bases for by in budget.feasible(base, size)]
        for size in range(len(scalings.stages))
    ]


@cache
def _typical(space: Space, scalings: Scalings, task: Task) -> list[float]:
    """Return the mean FLOPs of networks within each size's budget; of a size that none of a few
    base models reaches, twice those of the one before."""
    means: list[float] = []
    for networks in _feasible(space, scalings, task):
        found = [cost.flops(network, task) for network in networks]
        means.append(float(np.mean(found)) if found else 2 * means[-1])
    return means


def _member(
    params: Params, counts: Mapping[str, int], task: Task, rates: Rates, multiple: float
) -> float:
    section, count = lengthened(params.retrain, multiple), flops(params, task, multiple)
    tested = rates.judging(section.calibration + counts["test"], count)
    watched = 0 if section.use_select else section.watch
    judged = _watching(section.recipe, watched, [count], rates)
    return rates.training(section.recipe, count) + tested + judged
