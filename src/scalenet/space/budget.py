"""Which networks meet their budgets (docs/method.md §1), in FLOPs or in milliseconds.

A base model α does if |F(α) - B₀| ≤ ε₀·B₀, with its strategies sᵢ if |F(scale(α, sᵢ)) - 2ⁱ·B₀|
≤ εᵢ·2ⁱ·B₀. Infeasible is a flag of its own, never a score. A miss is a share of the budget; 0 is
inside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scalenet.config.space import Scalings, Space
from scalenet.space.cost import Table
from scalenet.space.measure import Measure, measure
from scalenet.space.network import Task
from scalenet.space.sampling import Sample, first_that, sample_base, size_probabilities
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel, Scaling, all_strategies, strategies


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
        offered = strategies(self.scalings, size)
        spent = self.spent((base, strategy) for strategy in offered)
        tolerance = self.scalings.stages[size].tolerance
        return [
            strategy
            for strategy, each in zip(offered, spent, strict=True)
            if self._outside(each, size, tolerance) == 0
        ]

    def draw(
        self, generator: np.random.Generator, chosen: list[Scaling] | None = None
    ) -> BaseModel:
        """Draw a random feasible base model; ``ValueError`` says what the nearest one misses, if
        ``scaling.tries`` draws give none."""
        budget, reach = self.measure.said(self.scalings.budget), self.measure.said(*self.reach)
        asked = f"scaling.budget, {budget} ±{self.scalings.tolerance:.0%}"
        asked += f" (the space's have {reach})"
        if chosen:
            asked += " with the strategies " + ", ".join(map(str, chosen))
        return first_that(
            lambda: sample_base(self.space, generator),
            lambda base: self.total_miss(base, chosen),
            self.scalings.tries,
            f"a base model within {asked} (as a share of the budgets; "
            "change scaling.budget, a tolerance or space)",
        )

    def draw_of(self, generator: np.random.Generator, size: int) -> tuple[BaseModel, list[Scaling]]:
        """Draw a random feasible base model that a size has strategies for; return these, too.

        ``ValueError`` says what its strategies give instead.
        """
        for _ in range(self.scalings.tries):
            if options := self.feasible(base := self.draw(generator), size):
                return base, options
        raise ValueError(self.empty([base], size))

    def meeting(self, bases: list[BaseModel], strategy: Scaling, size: int) -> list[BaseModel]:
        """Return those of some base models that a strategy brings to a size's budget."""
        spent = self.spent((base, strategy) for base in bases)
        tolerance = self.scalings.stages[size].tolerance
        inside = [self._outside(each, size, tolerance) == 0 for each in spent]
        return [base for base, met in zip(bases, inside, strict=True) if met]

    def check(self, generator: np.random.Generator) -> None:
        """Refuse, before anything is trained, budgets that no base model meets and empty sizes."""
        bases = [self.draw(generator) for _ in range(32)]
        for size in range(len(self.scalings.stages)):
            if not any(self.feasible(base, size) for base in bases):
                raise ValueError(self.empty(bases, size))

    def empty(self, bases: list[BaseModel], size: int) -> str:
        """Say that no strategy of a size meets its budget, and what they give instead."""
        tolerance, target = self.scalings.stages[size].tolerance, self.scalings.target(size)
        offered = strategies(self.scalings, size)
        spent = self.spent((base, strategy) for base in bases for strategy in offered)
        return (
            f"scaling.stages[{size}]: no strategy comes within {tolerance:.0%} of its budget of "
            f"{self.measure.said(target)}; its strategies give "
            f"{self.measure.said(min(spent), max(spent))}: change its depths, widths, resolutions "
            "or tolerance, or scaling.budget"
        )


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
