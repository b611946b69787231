"""Which networks meet their budgets (docs/method.md §1), in FLOPs or in milliseconds.

A base model α does if |F(α) - B₀| ≤ ε₀·B₀, with its strategies sᵢ if |F(scale(α, sᵢ)) - 2ⁱ·B₀|
≤ εᵢ·2ⁱ·B₀. Infeasible is a flag of its own, never a score. A miss is a share of the budget; 0 is
inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np

from scalenet.config.numbers import MOST_TRIES
from scalenet.config.space import Scalings, Space
from scalenet.space.measure import Measure, measure
from scalenet.space.network import Task
from scalenet.space.sampling import Sample, first_that, sample_base, size_probabilities
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel, Scaling, all_strategies, strategies
from scalenet.space.table import Table

LOOKED_AT = 32  # base models within budget that `check` looks at
ENOUGH = 8  # base models that a size has strategies for, to know their share
TINY = 1e-6  # most draws of a run that are expected to find nothing
Scaled = Sequence[tuple[Scaling, float]]  # a base model's strategies, and what each makes it spend


@dataclass(frozen=True)
class Budget:
    """The budgets of a space and its strategies, for a task."""

    space: Space
    scalings: Scalings
    task: Task

    @cached_property
    def measure(self) -> Measure:
        """What the budgets count."""
        return measure(self.scalings)

    @cached_property
    def _table(self) -> Table:
        return Table(self.space, all_strategies(self.scalings), self.task, self.measure.price)

    def spent(self, networks: Iterable[tuple[BaseModel, Scaling]]) -> list[float]:
        """Return what scaled base models take of a budget, in its unit."""
        costs = self._table.costs(self._table.encode(networks))
        return (costs[:, 0] / self.measure.whole).tolist()

    @cached_property
    def reach(self) -> tuple[float, float]:
        """The least and the most that the space's base models spend."""
        least, most = self._table.ends(strategies(self.scalings, 0)[0])
        return least / self.measure.whole, most / self.measure.whole

    def miss(self, base: BaseModel, strategy: Scaling, size: int) -> float:
        """Return by how much a scaled base model misses its size's budget."""
        [spent] = self.spent([(base, strategy)])
        return self._outside(spent, size, self.scalings.stages[size].tolerance)

    def total_miss(self, base: BaseModel, chosen: list[Scaling] | None = None) -> float:
        """Return by how much a base model misses its own and its strategies' budgets, summed.

        ``chosen`` holds the strategies of the first sizes, in order.
        """
        unscaled = strategies(self.scalings, 0)[0]
        [spent] = self.spent([(base, unscaled)])
        missed = self._outside(spent, 0, self.scalings.tolerance)
        return missed + sum(self.miss(base, s, size) for size, s in enumerate(chosen or []))

    def _outside(self, spent: float, size: int, tolerance: float) -> float:
        target = self.scalings.target(size)
        return max(0.0, abs(spent - target) / target - tolerance)

    def feasible(self, base: BaseModel, size: int) -> list[Scaling]:
        """List the strategies of a size that bring a base model to the size's budget."""
        return self._inside(self._scaled(base, size), size)

    def _scaled(self, base: BaseModel, size: int) -> Scaled:
        offered = strategies(self.scalings, size)
        return list(zip(offered, self.spent((base, by) for by in offered), strict=True))

    def _inside(self, scaled: Scaled, size: int) -> list[Scaling]:
        tolerance = self.scalings.stages[size].tolerance
        return [by for by, spent in scaled if self._outside(spent, size, tolerance) == 0]

    def draw(
        self, generator: np.random.Generator, chosen: list[Scaling] | None = None
    ) -> BaseModel:
        """Draw a random feasible base model; ``ValueError`` says what the nearest one misses, if
        ``scaling.tries`` draws give none."""
        return self._first(lambda: sample_base(self.space, generator), chosen)

    def _first(
        self, sample: Callable[[], BaseModel], chosen: list[Scaling] | None = None
    ) -> BaseModel:
        asked = f"{self._asked} (the space's have {self.measure.said(*self.reach)})"
        if chosen:
            asked += " with the strategies " + ", ".join(map(str, chosen))
        change = "scaling.budget to what they have, or space"
        if self._reached:
            change = f"scaling.budget, a tolerance or space{self._or_tries}"
        return first_that(
            sample,
            lambda base: self.total_miss(base, chosen),
            self.scalings.tries,
            f"a base model within {asked} (as a share of the budgets; change {change})",
        )

    @property
    def _asked(self) -> str:
        budget = self.measure.said(self.scalings.budget)
        return f"scaling.budget, {budget} ±{_percent(self.scalings.tolerance)}"

    @cached_property
    def _reached(self) -> bool:
        """Whether the budget lies within what base models spend."""
        (low, high), off = self.reach, self.scalings.tolerance
        return low <= self.scalings.budget * (1 + off) and self.scalings.budget * (1 - off) <= high

    def draw_of(self, generator: np.random.Generator, size: int) -> tuple[BaseModel, list[Scaling]]:
        """Draw a random feasible base model that a size has strategies for; return these, too.

        ``ValueError`` says what the nearest gives instead, if ``scaling.tries`` of them have none.
        """
        nearest: Scaled = []
        for _ in range(self.scalings.tries):
            scaled = self._scaled(base := self.draw(generator), size)
            if options := self._inside(scaled, size):
                return base, options
            nearest = self._nearest([*nearest, *scaled], size)
        raise ValueError(self._empty(size, nearest, self.scalings.tries))

    def meeting(self, bases: list[BaseModel], strategy: Scaling, size: int) -> list[BaseModel]:
        """Return those of some base models that a strategy brings to a size's budget."""
        spent = self.spent((base, strategy) for base in bases)
        tolerance = self.scalings.stages[size].tolerance
        inside = [self._outside(each, size, tolerance) == 0 for each in spent]
        return [base for base, met in zip(bases, inside, strict=True) if met]

    # --- what is refused before anything is trained -----------------------------------------------

    def check(self, generator: np.random.Generator, draws: int = 1) -> None:
        """Refuse budgets that no base model meets, sizes that have strategies for none, and so few
        ``scaling.tries`` that one of so many draws of a run might find nothing."""
        tried = count()

        def sample() -> BaseModel:
            next(tried)
            return sample_base(self.space, generator)

        bases = [self._first(sample) for _ in range(LOOKED_AT)]
        within = LOOKED_AT / next(tried)
        for size in range(len(self.scalings.stages)):
            share = self._share(bases, generator, size)
            self._enough(
                draws / share,
                within,
                f"of the space's base models are within {self._asked}",
                "change scaling.budget, scaling.tolerance or space",
            )
            self._enough(
                draws,
                share,
                f"of the base models within scaling.budget have a strategy of "
                f"scaling.stages[{size}] within {_percent(self.scalings.stages[size].tolerance)} "
                f"of its {self.measure.said(self.scalings.target(size))}",
                "change its depths, widths, resolutions or tolerance",
            )

    def _share(self, bases: list[BaseModel], generator: np.random.Generator, size: int) -> float:
        """Return how many of the base models within budget a size has strategies for, as a share.

        Where it has for few of those given, more are drawn. ``ValueError`` if it has for none.
        """
        met, seen, nearest = 0, 0, []
        most = len(bases) + self.scalings.tries
        while seen < len(bases) or (met < ENOUGH and (met or seen < most)):
            base = bases[seen] if seen < len(bases) else self.draw(generator)
            scaled = self._scaled(base, size)
            met, seen = met + bool(self._inside(scaled, size)), seen + 1
            nearest = self._nearest([*nearest, *scaled], size)
        if not met:
            raise ValueError(self._empty(size, nearest, seen))
        return met / seen

    def _enough(self, draws: float, share: float, of_what: str, change: str) -> None:
        """Refuse so few tries that one of a run's draws might find none of such a share."""
        needed = math.log(TINY / draws) / math.log1p(-min(share, 0.999))
        if self.scalings.tries >= needed:
            return
        step = 10 ** max(0, len(str(int(needed))) - 2)
        rounded = math.ceil(needed / step) * step
        advice = f"set scaling.tries to {rounded} or more, or " if rounded <= MOST_TRIES else ""
        raise ValueError(
            f"scaling.tries is {self.scalings.tries:,}, but only about {_percent(share)} {of_what}"
            f": one of the run's {math.ceil(draws):,} draws might find none and end it; "
            f"{advice}{change}"
        )

    def _nearest(self, scaled: Scaled, size: int) -> Scaled:
        """Return that which comes nearest to a size's budget, alone."""
        target = self.scalings.target(size)
        return [min(scaled, key=lambda pair: abs(pair[1] - target))]

    def _empty(self, size: int, nearest: Scaled, seen: int) -> str:
        """Say that no strategy of a size meets its budget, and what the nearest gives instead."""
        tolerance, target = self.scalings.stages[size].tolerance, self.scalings.target(size)
        [(by, spent)] = nearest
        near = abs(spent - target) <= 2 * tolerance * target
        return (
            f"scaling.stages[{size}]: no strategy comes within {_percent(tolerance)} of its budget "
            f"of {self.measure.said(target)} for any of {seen:,} base models; the nearest, {by}, "
            f"gives {self.measure.said(spent)}: change its depths, widths, resolutions or "
            f"tolerance, or scaling.budget{self._or_tries if near else ''}"
        )

    @property
    def _or_tries(self) -> str:
        return f", or raise scaling.tries ({self.scalings.tries:,})"


def _percent(share: float) -> str:
    return f"{100 * share:.2g}%"


@dataclass(frozen=True)
class Budgeted:
    """Draws a size, a base model and a strategy for both: only what a search may choose.

    Where a size offers strategies that no base model can afford, most of hierarchical sampling's
    networks are larger or smaller than any candidate: training goes into them, and into channels
    and layers that none uses.
    """

    budget: Budget
    weights: tuple[float, ...] | None

    @cached_property
    def _probabilities(self) -> np.ndarray:
        return size_probabilities(self.budget.scalings, self.weights)

    def draw(self, generator: np.random.Generator) -> Sample:
        """Draw a size, a base model within its budget, and a strategy that meets the size's."""
        size = int(generator.choice(len(self._probabilities), p=self._probabilities))
        base, options = self.budget.draw_of(generator, size)
        strategy = options[int(generator.integers(len(options)))]
        return Sample(size, base, strategy, scale(self.budget.space, base, strategy))
