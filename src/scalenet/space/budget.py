"""Which networks meet their FLOPs budgets: |F(α) - B₀| ≤ ε₀ and |F(scale(α, sᵢ)) - 2ⁱ·B₀| ≤ εᵢ (docs/method.md §1).

Infeasible is a flag of its own, never a score. A miss is a share of the budget; 0 is inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scalenet.config.params import Scalings, Space
from scalenet.space import cost, sampling, scale, scaling
from scalenet.space.sampling import Sample
from scalenet.space.scaling import BaseModel, Scaling


@dataclass(frozen=True)
class Budget:
    """The budgets of a space and its strategies, for images of ``channels`` and labels of ``classes``."""

    space: Space
    scalings: Scalings
    channels: int
    classes: int

    def flops(self, base: BaseModel, by: Scaling) -> int:
        """Return the multiply-accumulates of a scaled base model."""
        return int(self._table.costs(self._table.encode([(base, by)]))[0, 0])

    @cached_property
    def _table(self) -> cost.Table:
        return cost.Table(self.space, scaling.all_strategies(self.scalings), self.channels, self.classes)

    def miss(self, base: BaseModel, by: Scaling, stage: int) -> float:
        """Return by how much a scaled base model misses its stage's budget."""
        return self._outside(self.flops(base, by), stage, self.scalings.stages[stage].tolerance)

    def total_miss(self, base: BaseModel, strategies: list[Scaling] | None = None) -> float:
        """Return by how much a base model misses its own budget and those of its strategies, summed."""
        plain = scaling.strategies(self.scalings, 0)[0]
        own = self._outside(self.flops(base, plain), 0, self.scalings.tolerance)
        return own + sum(self.miss(base, by, stage) for stage, by in enumerate(strategies or []))

    def _outside(self, flops: int, stage: int, tolerance: float) -> float:
        target = self.scalings.target(stage)
        return max(0.0, abs(flops - target) / target - tolerance)

    def feasible(self, base: BaseModel, stage: int) -> list[Scaling]:
        """List the strategies of a scaling stage that bring a base model to the stage's budget."""
        every = scaling.strategies(self.scalings, stage)
        flops = self._table.costs(self._table.encode((base, by) for by in every))[:, 0]
        tolerance = self.scalings.stages[stage].tolerance
        return [by for by, count in zip(every, flops, strict=True) if self._outside(int(count), stage, tolerance) == 0]

    def draw(self, generator: np.random.Generator, tries: int, strategies: list[Scaling] | None = None) -> BaseModel:
        """Draw a random feasible base model; ``ValueError`` says what the nearest one misses."""
        asked = f"scaling.budget {self.scalings.budget:g} ±{self.scalings.tolerance:.0%}"
        if strategies:
            asked += " with the strategies " + ", ".join(map(str, strategies))
        return sampling.first_that(
            lambda: sampling.sample_base(self.space, generator),
            lambda base: self.total_miss(base, strategies),
            tries,
            f"a base model within {asked} (as a share of the budgets; change scaling.budget, a tolerance or space)",
        )

    def check(self, generator: np.random.Generator, tries: int) -> None:
        """Refuse, before anything is trained, budgets that no base model meets and scaling stages that are empty."""
        bases = [self.draw(generator, tries) for _ in range(32)]
        for stage in range(len(self.scalings.stages)):
            if not any(self.feasible(base, stage) for base in bases):
                raise ValueError(self.empty(bases, stage))

    def empty(self, bases: list[BaseModel], stage: int) -> str:
        """Say that no strategy of a scaling stage meets its budget, and what they give instead."""
        entry, target = self.scalings.stages[stage], self.scalings.target(stage)
        flops = [self.flops(base, by) for base in bases for by in scaling.strategies(self.scalings, stage)]
        return (
            f"scaling.stages[{stage}]: no strategy comes within {entry.tolerance:.0%} of its budget of {target:g} "
            f"FLOPs; its strategies give {min(flops)} to {max(flops)}: change its depths, widths, resolutions or "
            "tolerance, or scaling.budget"
        )


@dataclass(frozen=True)
class Budgeted:
    """Draws level by level, but only what a search may choose: a scaling stage, a base model, a strategy for both.

    Where a stage offers strategies that no base model can afford, most of hierarchical sampling's networks are larger
    or smaller than any candidate: training goes into them, and into channels and layers that none uses.
    """

    budget: Budget
    weights: tuple[float, ...] | None
    tries: int

    @cached_property
    def _probabilities(self) -> np.ndarray:
        return sampling.stage_probabilities(self.budget.scalings, self.weights)

    def draw(self, generator: np.random.Generator) -> Sample:
        """Draw one network: a base model within its own budget, and a strategy that meets the stage's with it."""
        stage = int(generator.choice(len(self._probabilities), p=self._probabilities))
        for _ in range(self.tries):
            base = self.budget.draw(generator, self.tries)
            if options := self.budget.feasible(base, stage):
                by = options[int(generator.integers(len(options)))]
                return Sample(stage, base, by, scale.scale(self.budget.space, base, by))
        raise ValueError(self.budget.empty([base], stage))
