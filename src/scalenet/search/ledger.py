"""Every measured candidate, once: the memory of the search and the record of what it did."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count

import numpy as np

from scalenet.config.params import Params
from scalenet.records.documents import Candidate, DataInfo
from scalenet.search.scoring import Measure
from scalenet.search.surrogate import Surrogate
from scalenet.space import cost
from scalenet.space.budget import Budget
from scalenet.space.network import Network
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel, Scaling

Emit = Callable[[Candidate, float], None]  # (candidate, seconds that measuring took)


@dataclass
class Ledger:
    """Measures networks at most once and keeps every candidate in order."""

    params: Params
    info: DataInfo
    measure: Measure
    emit: Emit
    numbers: Iterator[int] = field(default_factory=count)  # of its candidates; ledgers of one search share them
    candidates: dict[str, Candidate] = field(default_factory=dict)
    phase: str = "start"
    iteration: int = 0
    generation: int = 0
    surrogate: Surrogate | None = None

    @cached_property
    def budget(self) -> Budget:
        """The budgets that make a candidate feasible."""
        return Budget(self.params.space, self.params.scaling, self.info.channels, len(self.info.classes))

    def flops_of(self, network: Network) -> int:
        """Return a network's multiply-accumulates."""
        return cost.flops(network, self.info.channels, len(self.info.classes))

    def score(self, stage: int, base: BaseModel, by: Scaling) -> float:
        """Return the measured score of a scaled base model, measuring it if it is new."""
        network = scale(self.params.space, base, by)
        known = self.candidates.get(str(network))
        return (known or self._measure(network, stage, base, by)).score

    def _measure(self, network: Network, stage: int, base: BaseModel, by: Scaling) -> Candidate:
        predicted = self.surrogate.predict([(network, self.flops_of(network))])[0] if self.surrogate else None
        result = self.measure(network)
        candidate = Candidate(
            number=next(self.numbers),
            network=str(network),
            base=str(base),
            scaling=str(by),
            stage=stage,
            depth=by.depth,
            width=by.width,
            resolution=by.resolution,
            flops=self.flops_of(network),
            params=cost.params(network, self.info.channels, len(self.info.classes)),
            accuracy=result.accuracy,
            probability=result.probability,
            score=result.score(self.params.search.metric),
            predicted=predicted,
            phase=self.phase,
            iteration=self.iteration,
            generation=self.generation,
        )
        self.candidates[candidate.network] = candidate
        self.emit(candidate, result.seconds)
        return candidate

    def total(self, base: BaseModel, strategies: list[Scaling]) -> float:
        """Return a state's score: the weighted mean over the scaling stages (docs/method.md §5)."""
        weights = self.params.search.stage_weights
        scores = [self.score(stage, base, by) for stage, by in enumerate(strategies)]
        return float(np.dot(weights, scores) / sum(weights))

    def learn(self) -> None:
        """Fit the surrogate to everything measured so far."""
        if self.params.search.surrogate > 1 and len(self.candidates) >= 2:
            rows = list(self.candidates.values())
            networks = [(Network.parse(row.network), row.flops) for row in rows]
            self.surrogate = Surrogate.fit(networks, [row.score for row in rows])

    def guess(self, base: BaseModel, strategies: list[Scaling]) -> float:
        """Return the surrogate's prediction of a state's score."""
        weights = self.params.search.stage_weights
        return float(np.dot(weights, self._predict(base, strategies)) / sum(weights))

    def measured(self, base: BaseModel, by: Scaling) -> bool:
        """Tell whether a scaled base model has a measured score."""
        return str(scale(self.params.space, base, by)) in self.candidates

    def expected(self, stage: int, base: BaseModel, by: Scaling) -> float:
        """Return a candidate's score: the measured one, else the surrogate's prediction; measured without a model."""
        if self.surrogate and not self.measured(base, by):
            return self._predict(base, [by])[0]
        return self.score(stage, base, by)

    def promising(self, base: BaseModel, options: list[Scaling]) -> list[Scaling]:
        """Return the strategies that deserve measuring: all, or the surrogate's best 1 in ``search.surrogate``."""
        if not self.surrogate or not options:
            return options
        guesses = dict(zip(options, self._predict(base, options), strict=True))
        ranked = sorted(options, key=lambda by: (-guesses[by], str(by)))
        return ranked[: math.ceil(len(options) / self.params.search.surrogate)]

    def _predict(self, base: BaseModel, strategies: list[Scaling]) -> list[float]:
        networks = [scale(self.params.space, base, by) for by in strategies]
        return self.surrogate.predict([(network, self.flops_of(network)) for network in networks])
