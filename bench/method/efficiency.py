"""Best measured score against the number of measured candidates, for four ways to search.

One trained super-supernet scores for all, and every score is kept on file: what seeds have in
common is measured once. A search counts a candidate (a network of one scaling stage) when it first
asks for it. What is compared is the score of a whole state: the weighted mean over the scaling
stages of one base model under one strategy for each. Candidates are scored on ``--images`` of
``select``: what is compared is how they are searched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.problem import ElementwiseProblem
from pymoo.core.repair import Repair
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.mutation.pm import PM

from bench.method import scripts
from bench.method.lab import Lab
from bench.method.scripts import PLAIN
from scalenet.records.documents import Candidate
from scalenet.search import evolution
from scalenet.search.ledger import Label, Ledger, Proposal
from scalenet.search.scoring import Measure, Scorer
from scalenet.space.scaling import BaseBlock, BaseModel, Scaling, strategies


class Spent(Exception):
    """The evaluations that a search may make are made."""


@dataclass
class Trace:
    """A budget of evaluations, and the best state's score when each was made."""

    allowed: int
    best: list[float] = field(default_factory=list)
    top: float = 0.0

    def record(self, candidate: Candidate, seconds: float) -> None:
        """Count a candidate."""
        if len(self.best) == self.allowed:
            raise Spent
        self.best.append(self.top)

    def state(self, score: float) -> None:
        """Note a whole state's score."""
        self.top = max(self.top, score)
        if self.best:
            self.best[-1] = self.top


class Noting(Ledger):
    """A ledger that tells a trace of states: base models with a measured strategy for each size.

    It measures one network after the other, as evaluations are counted one by one.
    """

    trace: Trace
    tops: dict[BaseModel, dict[int, float]]

    def scores(self, proposals: Sequence[Proposal], label: Label) -> list[float]:
        return [self._noted(proposal, label) for proposal in proposals]

    def _noted(self, proposal: Proposal, label: Label) -> float:
        [score] = super().scores([proposal], label)
        tops, weights = self.tops.setdefault(proposal.base, {}), self.params.stage_weights
        tops[proposal.size] = max(score, tops.get(proposal.size, 0.0))
        if len(tops) == len(weights):
            self.trace.state(sum(w * tops[i] for i, w in enumerate(weights)) / sum(weights))
        return score

    def state(self, base: BaseModel, chosen: Sequence[Scaling]) -> float:
        """Return the measured score of one state."""
        [score] = self.totals([base], chosen, Label("states"))
        return score


def ledger(lab: Lab, measure: Measure, trace: Trace) -> Noting:
    """Return an empty ledger whose candidates count for a trace."""
    made = Noting(lab.params.search, lab.budget, measure, trace.record)
    made.trace, made.tops = trace, {}
    return made


def until_stale(own: Noting, once: Callable[[], object], patience: int) -> None:
    """Repeat until so many rounds in a row ask for nothing new.

    A small space is known before the budget is spent.
    """
    stale = 0
    while stale < patience:
        before = len(own.candidates)
        once()
        stale = 0 if len(own.candidates) > before else stale + 1


def random_search(own: Noting, generator: np.random.Generator) -> None:
    """Measure random feasible states."""

    def once() -> None:
        state = random_state(own, generator)
        if state:
            own.state(*state)

    until_stale(own, once, own.budget.scalings.tries)


def random_state(
    own: Noting, generator: np.random.Generator
) -> tuple[BaseModel, list[Scaling]] | None:
    """Draw a feasible base model and one of its feasible strategies for each stage."""
    base = own.budget.draw(generator)
    options = [own.budget.feasible(base, stage) for stage in range(len(own.budget.scalings.stages))]
    if not all(options):
        return None
    return base, [every[int(generator.integers(len(every)))] for every in options]


def markov_chain(own: Noting, generator: np.random.Generator) -> None:
    """Run the search of stages/search, from new random base models again and again."""

    def once() -> None:
        with suppress(
            ValueError
        ):  # base models whose strategies share no other: a start like any that found nothing
            evolution.search(own, generator)

    until_stale(own, once, 5)


class States(ElementwiseProblem):
    """States as whole numbers for pymoo: every block's choices, then the strategies.

    A block's numbers are its depth, its expansion ratio, and a kernel for each layer it may have.
    """

    def __init__(self, own: Noting):
        self.own = own
        self.offered = [
            strategies(own.budget.scalings, i) for i in range(len(own.budget.scalings.stages))
        ]
        upper = [
            n
            for stage in own.budget.space.stages
            for n in (
                stage.depth - 1,
                len(stage.expands) - 1,
                *[len(stage.kernels) - 1] * stage.depth,
            )
        ]
        upper += [len(every) - 1 for every in self.offered]
        super().__init__(
            n_var=len(upper), n_obj=1, n_ieq_constr=1, xl=0, xu=np.array(upper), vtype=int
        )

    def decode(self, x: np.ndarray) -> tuple[BaseModel, list[Scaling]]:
        """Return the state that numbers stand for."""
        genes, blocks = iter(x.tolist()), []
        for stage in self.own.budget.space.stages:
            depth, ratio, *chosen = (next(genes) for _ in range(2 + stage.depth))
            kernels = tuple(stage.kernels[i] for i in chosen[: depth + 1])
            blocks.append(BaseBlock(kernels, stage.expands[ratio]))
        return BaseModel(tuple(blocks)), [every[next(genes)] for every in self.offered]

    def encode(self, base: BaseModel, chosen: list[Scaling]) -> list[int]:
        """Return the numbers that stand for a state."""
        genes = []
        for (kernels, expand), stage in zip(base.blocks, self.own.budget.space.stages, strict=True):
            absent = [0] * (stage.depth - len(kernels))
            genes += [len(kernels) - 1, stage.expands.index(expand)]
            genes += [*(stage.kernels.index(k) for k in kernels), *absent]
        return genes + [every.index(by) for every, by in zip(self.offered, chosen, strict=True)]

    def canonical(self, x: np.ndarray) -> np.ndarray:
        """Return states (n, genes) with 0 for the kernels of layers that they do not have."""
        x, at = np.rint(x).astype(int), 0
        for stage in self.own.budget.space.stages:
            layers = np.arange(stage.depth)
            x[:, at + 2 : at + 2 + stage.depth] *= layers <= x[:, [at]]
            at += 2 + stage.depth
        return x

    def _evaluate(self, x: np.ndarray, out: dict, *args, **kwargs) -> None:
        base, chosen = self.decode(x)
        miss = self.own.budget.total_miss(base, chosen)
        out["G"], out["F"] = [miss], [0.0 if miss else -self.own.state(base, chosen)]


class Canonical(Repair):
    """Whole numbers, and one for each state, so that pymoo sees duplicates."""

    def _do(self, problem: States, X: np.ndarray, **kwargs) -> np.ndarray:
        return problem.canonical(X)


def plain_evolution(own: Noting, generator: np.random.Generator) -> None:
    """Run pymoo's genetic algorithm over whole states, again and again.

    Infeasible states cost nothing. It starts from random feasible states: of all states they are so
    few that evolution may never meet one.
    """
    problem, size = States(own), own.params.population

    def once() -> None:
        drawn = (random_state(own, generator) for _ in range(own.budget.scalings.tries))
        first = list(islice((problem.encode(*state) for state in drawn if state), size))
        if not first:
            return
        algorithm = GA(
            pop_size=size,
            sampling=np.array(first),
            crossover=UniformCrossover(),
            mutation=PM(prob_var=own.params.mutation, eta=3, vtype=float),
            repair=Canonical(),
            eliminate_duplicates=True,
        )
        algorithm.setup(problem, termination=NoTermination(), seed=int(generator.integers(2**31)))
        until_stale(own, algorithm.next, 10)

    until_stale(own, once, 3)


SEARCHES: dict[str, tuple[Callable[[Noting, np.random.Generator], None], dict]] = {
    "random": (random_search, {}),
    PLAIN: (plain_evolution, {}),
    "Markov chain": (markov_chain, {"surrogate": 1}),
    "Markov chain, surrogate": (markov_chain, {}),
}


def traced(lab: Lab, measure: Measure, name: str, seed: int, allowed: int) -> list[float]:
    """Return the best state's score after each evaluation of one search."""
    run, over = SEARCHES[name]
    section = lab.params.search.model_copy(update=over)
    own = ledger(
        Lab(lab.params.model_copy(update={"search": section}), lab.root),
        measure,
        trace := Trace(allowed),
    )
    with suppress(Spent):
        run(own, np.random.default_rng([3, seed]))
    return trace.best


def first_reach(best: list[float], goal: float) -> int | None:
    """Return how many evaluations it took to reach a score."""
    return next((i + 1 for i, score in enumerate(best) if score >= goal), None)


def main() -> None:
    """Trace every search with every seed."""
    chosen = scripts.options(__doc__, evaluations=600, images=500)
    lab = scripts.open_lab(chosen)
    search, images = lab.params.search, min(chosen.images, lab.info.counts["select"])
    needs = search.calibration, search.batch
    measure, journal = lab.remembered(
        f"scores-on-{images}", needs, lambda *given: Scorer(*given, search), images
    )
    traces: dict[str, list[list[float]]] = {}
    for name in SEARCHES:
        traces[name] = [
            traced(lab, measure, name, seed, chosen.evaluations) for seed in range(chosen.seeds)
        ]
        print(
            f"{name:26}",
            "  ".join(f"{trace[-1]:.4f} ({len(trace)})" for trace in traces[name]),
            flush=True,
        )
    journal.close()
    goals = [trace[-1] for trace in traces[PLAIN]]
    reached = {
        name: [first_reach(t, g) for t, g in zip(every, goals, strict=True)]
        for name, every in traces.items()
    }
    scripts.write(
        lab,
        chosen,
        "efficiency",
        images=images,
        traces=traces,
        plain_final=goals,
        evaluations_to_reach=reached,
    )


if __name__ == "__main__":
    main()
