"""Budgets that a space can reach: the base's, and strategies for each of its doublings.

Depths, widths and resolutions grow together (compound scaling); for each depth and resolution near
the middle of a size, the width is the one that brings typical base models to the size's budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from scalenet.config.space import Latency, Scalings, Space
from scalenet.pipeline.init.frame import Frame
from scalenet.space.measure import Measure, on
from scalenet.space.network import Task
from scalenet.space.sampling import sample_base
from scalenet.space.scaling import BaseModel, Scaling
from scalenet.space.table import Table

WIDTHS = tuple(round(1.15**i, 2) for i in range(-5, 11))  # of the space, 0.5 to 4
FACTORS = np.arange(10, 61) / 10  # widths of strategies
COARSE, CLOSE = 7, 1.25  # every so many-th is tried first; those within this ratio of the best then
DEPTHS = (1.0, 1.5, 2.0)
DEPTH_GROWTH = 0.2  # depth ~ budget^0.2
NEAR = 1.2  # resolutions within this ratio of a size's middle are offered
MOST = 4  # resolutions or widths of a size
TOLERANCES = (0.12, 0.15, 0.2)  # of a size: the least that serves
TOLERANCE = TOLERANCES[0]
TRIES = 4000
COVERED = 0.8  # share of the base models within budget that have a strategy in every size
SAMPLED = 100  # random base models that stand for a space
FEWEST, LARGEST = 3, 6  # sizes


@dataclass(frozen=True)
class Reach:
    """A frame's spaces for a task: which budgets they reach. ``common`` is the default space.

    Budgets are in milliseconds on ``device``; None: in FLOPs.
    """

    frame: Frame
    task: Task
    common: dict[str, Any]
    device: Latency | None

    def space(self, width: float) -> Space:
        """Return the space of a width."""
        return self.frame.space(width, self.task.classes, self.common)

    @cached_property
    def typical(self) -> dict[float, np.ndarray]:
        """What the middle half of random base models spends, by the space's width."""
        unscaled, measure = Scaling(1.0, 1.0, self.frame.base), on(self.device)

        def spends(width: float) -> np.ndarray:
            return spent(self.space(width), [unscaled], self.task, measure)

        return {width: np.quantile(spends(width), (0.25, 0.5, 0.75)) for width in WIDTHS}

    def width(self, budget: float) -> float:
        """Return the width nearest 1 whose typical base models have the budget, else the nearest.

        In the latter case their median is at most the budget, unless that is below ``least``.
        """
        near = sorted(WIDTHS, key=lambda width: abs(math.log(width)))
        for width in near:
            low, _, high = self.typical[width]
            if low <= budget <= high:
                return width
        below = [width for width in WIDTHS if self.typical[width][1] <= budget]
        return max(below, default=WIDTHS[0])

    @property
    def usual(self) -> float:
        """The budget of a base model where nothing speaks for another."""
        return float(self.typical[1.0][0])

    @property
    def least(self) -> float:
        """The smallest budget of a base model."""
        return float(self.typical[WIDTHS[0]][0])

    @property
    def most(self) -> float:
        """The largest budget of a base model."""
        return float(self.typical[WIDTHS[-1]][1])


def spent(space: Space, strategies: list[Scaling], task: Task, measure: Measure) -> np.ndarray:
    """Return what random base models of a space spend (strategies, bases)."""
    table = Table(space, strategies, task, measure.price)
    codes = table.encode([(base, strategies[0]) for base in random_bases(space)])
    of_all = np.tile(codes, (len(strategies), 1))
    of_all[:, 0] = np.repeat(np.arange(len(strategies)), len(codes))
    costs = table.costs(of_all)[:, 0].reshape(len(strategies), len(codes))
    return costs / measure.whole


@cache
def random_bases(space: Space) -> list[BaseModel]:
    """Return random base models, always the same for a space."""
    generator = np.random.default_rng(0)
    return [sample_base(space, generator) for _ in range(SAMPLED)]


def scalings(reach: Reach, space: Space, budget: float, sizes: int) -> Scalings:
    """Return the budgets and the strategies of all sizes; ``ValueError`` if a size has none."""
    frame, task, measure = reach.frame, reach.task, on(reach.device)
    spends = spent(space, [Scaling(1.0, 1.0, frame.base)], task, measure)[0]
    inside = np.abs(spends / budget - 1) <= TOLERANCE
    if not inside.any():
        raise ValueError(
            f"scaling.budget: {measure.said(budget)} at {frame.base} px are out of this space's "
            f"reach; its base models have {measure.said(spends.min(), spends.max())}"
        )
    first = {"depths": [1.0], "widths": [1.0], "resolutions": [frame.base]}
    middles = frame.sides(sizes)
    rest = [
        _offered(space, frame, Goal(i, budget * 2**i, middles[i], inside, measure), task)
        for i in range(1, sizes)
    ]
    stages = [{"tolerance": TOLERANCE} | first, *rest]
    counted = {"measure": "latency" if reach.device else "flops", "latency": reach.device}
    return Scalings.model_validate(
        counted | {"budget": budget, "tolerance": TOLERANCE, "tries": TRIES, "stages": stages}
    )


class Goal(NamedTuple):
    """A size: its number, its budget, its middle resolution in px, which (bases) of the random base
    models meet the base's budget, and what budgets count."""

    size: int
    budget: float
    side: float
    inside: np.ndarray
    measure: Measure


def _offered(space: Space, frame: Frame, goal: Goal, task: Task) -> dict[str, Any]:
    """Return a size's tolerance, depths, widths and resolutions near the compound curve.

    The tolerance is the least with which most base models have a strategy; ``ValueError`` if none.
    """
    pairs = list(product(_depths(goal.size), _resolutions(frame, goal.side)))
    middles = _factors(space, goal, pairs, task)
    offered = [
        Scaling(depth, float(width), px)
        for (depth, px), middle in zip(pairs, middles, strict=True)
        for width in FACTORS[(middle / CLOSE <= FACTORS) & (middle * CLOSE >= FACTORS)]
    ]
    spends = spent(space, offered, task, goal.measure)[:, goal.inside]
    for tolerance in TOLERANCES:
        meets = np.abs(spends / goal.budget - 1) <= tolerance
        widths = _covering(np.array([strategy.width for strategy in offered]), meets)
        used = [i for i, strategy in enumerate(offered) if strategy.width in widths]
        share = meets[used].any(0).mean() if used else 0.0
        if share >= COVERED:
            kept = [offered[i] for i in used if meets[i].any()]
            return {
                "tolerance": tolerance,
                "depths": sorted({strategy.depth for strategy in kept}),
                "widths": sorted({strategy.width for strategy in kept}),
                "resolutions": sorted({strategy.resolution for strategy in kept}),
            }
    raise ValueError(
        f"scaling.budget: {goal.measure.said(goal.budget)} for S{goal.size} at {goal.side:.0f} px "
        f"are within reach of {share:.0%} of this space's base models, and {COVERED:.0%} should "
        f"have them; strategies near give {goal.measure.said(spends.min(), spends.max())}"
    )


def _covering(widths: np.ndarray, meets: np.ndarray) -> list[float]:
    """Return a few widths that give most base models a strategy, then most strategies.

    ``widths`` (strategies); ``meets`` (strategies, bases): which base models they bring to budget.
    """
    chosen: list[float] = []
    covered = np.zeros(meets.shape[1], bool)
    for _ in range(MOST):
        gains = {
            width: (int((of & ~covered).any(0).sum()), int(of.sum()))
            for width in np.unique(widths[meets.any(1)]).tolist()
            if width not in chosen and len(of := meets[widths == width])
        }
        if not gains:
            break
        chosen.append(max(gains, key=gains.get))
        covered |= meets[widths == chosen[-1]].any(0)
    return chosen


def _depths(size: int) -> list[float]:
    """Return the depths offered to a size: those near its middle, two at least."""
    middle = 2 ** (DEPTH_GROWTH * size)
    return [depth for depth in DEPTHS if middle / 1.6 <= depth <= middle * 1.35]


def _resolutions(frame: Frame, side: float) -> list[int]:
    """Return the resolutions near a side in px: multiples of the step between the frame's ends."""
    offered = [*range(frame.base, frame.largest, frame.step), frame.largest]
    near = sorted(offered, key=lambda px: abs(math.log(px / side)))
    return sorted(px for px in near[:MOST] if px == near[0] or side / NEAR <= px <= side * NEAR)


def _factors(space: Space, goal: Goal, pairs: list[tuple[float, int]], task: Task) -> np.ndarray:
    """Return the width (pairs) that brings each (depth, resolution) about to a size's budget."""
    tried = FACTORS[::COARSE]
    strategies = [Scaling(depth, float(width), px) for depth, px in pairs for width in tried]
    spends = np.median(spent(space, strategies, task, goal.measure)[:, goal.inside], axis=1)
    logs = np.log(spends.reshape(len(pairs), len(tried)))
    return np.array([np.interp(math.log(goal.budget), row, tried) for row in logs])
