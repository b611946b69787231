"""Where proposals become networks, networks scores, and scores candidates; each network once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from scalenet.config.params import Search
from scalenet.records.documents import Candidate
from scalenet.search.ranking import ranked
from scalenet.search.scoring import Measure, Measurement
from scalenet.search.surrogate import Surrogate
from scalenet.space import cost
from scalenet.space.budget import Budget
from scalenet.space.network import Network
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel, Scaling

Record = Callable[[Candidate, float], None]  # (candidate, seconds that measuring it took)


class Label(NamedTuple):
    """When a candidate is measured: phase, iteration of the chain (from 1), generation (from 0)."""

    phase: str
    iteration: int = 0
    generation: int = 0


@dataclass(frozen=True)
class Proposal:
    """A base model and the strategy that would scale it to a size."""

    size: int
    base: BaseModel
    scaling: Scaling

    def __str__(self) -> str:
        return f"{self.base} {self.scaling}"


def state_of(base: BaseModel, strategies: Sequence[Scaling]) -> list[Proposal]:
    """Return what a state proposes: its base model scaled to every size."""
    return [Proposal(size, base, by) for size, by in enumerate(strategies)]


@dataclass
class Ledger:
    """What a search has measured in one way: with shared weights, or as finalists are, fine-tuned
    or on all of select."""

    params: Search
    budget: Budget
    measure: Measure
    record: Record
    # in order; a search's ledgers share it
    candidates: list[Candidate] = field(default_factory=list)
    known: dict[Network, Candidate] = field(default_factory=dict, init=False)
    surrogate: Surrogate | None = field(default=None, init=False)

    # --- measured ---------------------------------------------------------------------------------

    def scores(self, proposals: Sequence[Proposal], label: Label) -> list[float]:
        """Return the measured scores of proposals; new networks are measured first, all at once."""
        networks = [self.network(proposal) for proposal in proposals]
        new: dict[Network, Proposal] = {}
        for network, proposal in zip(networks, proposals, strict=True):
            if network not in self.known:
                new.setdefault(network, proposal)  # two proposals may make one network
        if new:
            self._measure(new, label)
        return [self.known[network].score for network in networks]

    def network(self, proposal: Proposal) -> Network:
        """Return the network that a proposal stands for."""
        return scale(self.budget.space, proposal.base, proposal.scaling)

    def knows(self, proposal: Proposal) -> bool:
        """Tell whether a proposal's network has been measured."""
        return self.network(proposal) in self.known

    def _measure(self, new: Mapping[Network, Proposal], label: Label) -> None:
        """Have networks measured; keep and record each as soon as its result is there."""
        networks = list(new)
        guesses = (
            self.surrogate.predict(self._rows(networks))
            if self.surrogate
            else [None] * len(networks)
        )
        results = self.measure(networks)
        for network, guess, result in zip(networks, guesses, results, strict=True):
            candidate = self._candidate(network, new[network], result, guess, label)
            self.known[network] = candidate
            self.candidates.append(candidate)
            self.record(candidate, result.seconds)

    def _candidate(
        self,
        network: Network,
        proposal: Proposal,
        result: Measurement,
        predicted: float | None,
        label: Label,
    ) -> Candidate:
        return Candidate(
            number=len(self.candidates),
            network=network,
            base=proposal.base,
            scaling=proposal.scaling,
            size=proposal.size,
            depth=proposal.scaling.depth,
            width=proposal.scaling.width,
            resolution=proposal.scaling.resolution,
            flops=cost.flops(network, self.budget.task),
            params=cost.parameters(network, self.budget.task),
            accuracy=result.accuracy,
            probability=result.probability,
            score=result.score(self.params.metric),
            predicted=predicted,
            **label._asdict(),
        )

    def totals(
        self, bases: Sequence[BaseModel], strategies: Sequence[Scaling], label: Label
    ) -> list[float]:
        """Return the measured scores of states: of base models, all with the same strategies."""
        proposals = [proposal for base in bases for proposal in state_of(base, strategies)]
        return self._means(self.scores(proposals, label))

    def _means(self, scores: Sequence[float]) -> list[float]:
        """Return states' means over the sizes, by ``search.stage_weights`` (docs/method.md §1)."""
        weights = self.params.stage_weights
        states = (scores[i : i + len(weights)] for i in range(0, len(scores), len(weights)))
        return [float(np.dot(weights, state) / sum(weights)) for state in states]

    # --- predicted --------------------------------------------------------------------------------

    def learn(self) -> None:
        """Fit the surrogate to everything measured so far."""
        if self.params.surrogate > 1 and len(self.known) >= 2:
            rows = [(network, candidate.flops) for network, candidate in self.known.items()]
            scores, section = [row.score for row in self.known.values()], self.params
            self.surrogate = Surrogate.fit(rows, scores, section.model, section.bound)

    def expected(self, proposals: Sequence[Proposal]) -> list[float]:
        """Return proposals' scores where they are known, else the surrogate's predictions."""
        networks = [self.network(proposal) for proposal in proposals]
        unknown = [network for network in networks if network not in self.known]
        predicted = self.surrogate.predict(self._rows(unknown)) if unknown else []
        guesses = dict(zip(unknown, predicted, strict=True))
        return [
            self.known[network].score if network in self.known else guesses[network]
            for network in networks
        ]

    def promising(self, options: Sequence[Proposal]) -> list[Proposal]:
        """Return the options to measure: all, or the surrogate's best 1 in ``search.surrogate``."""
        if not self.surrogate:
            return list(options)
        rows = self._rows([self.network(option) for option in options])
        best_first = ranked(dict(zip(options, self.surrogate.prospects(rows), strict=True)))
        return best_first[: math.ceil(len(options) / self.params.surrogate)]

    def prospects(self, bases: Sequence[BaseModel], strategies: Sequence[Scaling]) -> list[float]:
        """Return what the surrogate hopes of states."""
        proposals = [proposal for base in bases for proposal in state_of(base, strategies)]
        rows = self._rows([self.network(proposal) for proposal in proposals])
        return self._means(self.surrogate.prospects(rows))

    def _rows(self, networks: Sequence[Network]) -> list[tuple[Network, int]]:
        """Return networks as the surrogate takes them: with their FLOPs."""
        return [(network, cost.flops(network, self.budget.task)) for network in networks]
