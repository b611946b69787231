"""The project's searches on a table of trained networks, beside others.

Every evaluation is a look-up: what a search is told is a network's mean accuracy over its
trainings. Choices that stand for one network are one evaluation. The Markov chain is the project's
own code on a space whose blocks have one layer, the choices being its kernels (choice i is kernel
2i + 1): the base model's evolution, as a table has no sizes. Surrogates see what the project's
sees of a network. As in a search of the project there is a budget: networks with more FLOPs than a
share of the table's have are infeasible, and cost nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.problem import ElementwiseProblem
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.linear_model import BayesianRidge
from sklearn.preprocessing import StandardScaler

from bench.method import statistics
from bench.method.efficiency import Spent, first_reach, until_stale
from bench.method.tablefiles import Networks
from scalenet.config import params as config
from scalenet.config.params import Params
from scalenet.search import evolution
from scalenet.search.ledger import Ledger
from scalenet.search.scoring import Measurement
from scalenet.search.surrogate import features
from scalenet.space import cost
from scalenet.space.budget import Budget
from scalenet.space.network import Network, Task
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseBlock, BaseModel, Scaling, strategies

MOST_CHOICES = 8  # of a position: kernels end at 15
RAREST = 1000
BOUND = 2.0  # standard deviations above its mean that make a process's upper confidence bound
REFIT = 8  # evaluations between fits of a process's kernel
TASK, RESOLUTION = Task(3, 10), 32


@dataclass
class Lookups:
    """The evaluations of one search: at most ``allowed``, and none after ``goal`` is reached.

    ``candidates`` says what was told of a network, ``best`` the best score after each evaluation.
    """

    table: Networks
    allowed: int
    goal: float = np.inf
    candidates: dict[int, float] = field(default_factory=dict)
    best: list[float] = field(default_factory=list)

    def score(self, choices: Sequence[int]) -> float:
        """Return a feasible network's score."""
        network = self.table.known[tuple(choices)]
        if network not in self.candidates:
            if len(self.best) == self.allowed or (self.best and self.best[-1] >= self.goal):
                raise Spent
            score = self.candidates[network] = float(self.table.scores[network])
            self.best.append(max(score, self.best[-1] if self.best else 0.0))
        return self.candidates[network]


def within(table: Networks, share: float) -> Networks:
    """Return the rows of a table whose FLOPs are at most those of a share of its networks."""
    rows = table.flops[table.network] <= np.quantile(table.flops, share)
    kept, network = np.unique(table.network[rows], return_inverse=True)
    return Networks(table.choices[rows], network, table.accuracies[kept], table.flops[kept])


@dataclass(frozen=True)
class Listed(Budget):
    """The budget that a table's own networks are within, whatever they would cost here."""

    known: Container[tuple[int, ...]]

    def total_miss(self, base: BaseModel, chosen: list[Scaling] | None = None) -> float:
        return float(
            tuple((k - 1) // 2 for (k,) in (block.kernels for block in base.blocks))
            not in self.known
        )

    def feasible(self, base: BaseModel, size: int) -> list[Scaling]:
        return strategies(self.scalings, size)


@dataclass(frozen=True)
class Mapped:
    """A table as a space of the project, in params whose search spends so many evaluations."""

    params: Params

    @classmethod
    def of(cls, table: Networks, params: Params, evaluations: int) -> Mapped:
        """Map a table; ``ValueError`` for positions of more than 8 choices, and for one that has
        too few of the networks that its choices describe."""
        counts = table.choices.max(0) + 1
        if counts.max() > MOST_CHOICES:
            raise ValueError(
                f"a position has {counts.max()} choices; the space can hold {MOST_CHOICES} a "
                "position: leave out columns of finer steps"
            )
        content = params.model_dump(mode="json")
        block = {"width": 8, "depth": 1, "stride": 1, "expands": [1]}
        offered = [[2 * i + 1 for i in range(count)] for count in counts]
        content["space"]["stages"] = [block | {"kernels": kernels} for kernels in offered]
        size = {"depths": [1.0], "widths": [1.0], "resolutions": [RESOLUTION], "tolerance": 0.999}
        content["scaling"] |= {"stages": [size], "tolerance": 0.999}
        transition = content["search"]["population"] * content["search"]["generations"]
        content["search"] |= {"stage_weights": [1.0], "iterations": 1 + evaluations // transition}
        content["supernet"]["stage_weights"] = None
        content["scaling"]["tries"] = max(content["scaling"]["tries"], _tries(table, counts))
        return cls(config.parse(content))

    def network(self, choices: Sequence[int]) -> Network:
        """Return the network that stands for choices."""
        base = BaseModel(tuple(BaseBlock((2 * int(i) + 1,), 1) for i in choices))
        return scale(self.params.space, base, Scaling(1.0, 1.0, RESOLUTION))

    def described(self, choices: np.ndarray) -> np.ndarray:
        """Return what the project's surrogate sees of networks, standardised (rows, features)."""
        networks = map(self.network, choices.tolist())
        rows = [features(network, cost.flops(network, TASK)) for network in networks]
        return StandardScaler().fit_transform(rows)


def _tries(table: Networks, counts: np.ndarray) -> int:
    """Return so many draws of the space that one of them is sure to be a network of the table."""
    rarity = float(np.prod(counts.astype(float))) / len(table.known)
    if rarity > RAREST:
        raise ValueError(
            f"the table has one in {rarity:.0f} of the networks that its choices describe; "
            f"searches breed networks, so that it needs one in {RAREST} at least"
        )
    return ceil(20 * rarity)


def choices_of(network: Network) -> tuple[int, ...]:
    """Return the choices that a network stands for."""
    return tuple((block.kernels[0] - 1) // 2 for block in network.blocks)


# --- searches -------------------------------------------------------------------------------------

Searching = Callable[[Lookups, Mapped, np.random.Generator], None]


def random_search(lookups: Lookups, _: Mapped, generator: np.random.Generator) -> None:
    """Measure the table's networks in a random order."""
    for row in generator.permutation(len(lookups.table.choices)):
        lookups.score(lookups.table.choices[row].tolist())


class Choices(ElementwiseProblem):
    """A table's networks as whole numbers for pymoo."""

    def __init__(self, lookups: Lookups):
        upper = lookups.table.choices.max(0)
        super().__init__(n_var=len(upper), n_obj=1, n_ieq_constr=1, xl=0, xu=upper, vtype=int)
        self.lookups = lookups

    def _evaluate(self, x: np.ndarray, out: dict, *args, **kwargs) -> None:
        feasible = tuple(x.tolist()) in self.lookups.table.known
        out["G"], out["F"] = [1 - feasible], [-self.lookups.score(x.tolist()) if feasible else 0.0]


def plain_evolution(lookups: Lookups, mapped: Mapped, generator: np.random.Generator) -> None:
    """Run pymoo's genetic algorithm, again and again when it finds nothing new."""
    search = mapped.params.search

    def once() -> None:
        first = generator.permutation(len(lookups.table.choices))[: search.population]
        algorithm = GA(
            pop_size=search.population,
            sampling=lookups.table.choices[first],
            crossover=UniformCrossover(),
            mutation=PM(prob_var=search.mutation, eta=3, vtype=float, repair=RoundingRepair()),
            eliminate_duplicates=True,
        )
        seed = int(generator.integers(2**31))
        algorithm.setup(Choices(lookups), termination=NoTermination(), seed=seed)
        until_stale(lookups, algorithm.next, 10)

    until_stale(lookups, once, 3)


def markov_chain(surrogate: int, model: str = "ridge", bound: float = 0.0) -> Searching:
    """Return the project's search, proposing ``surrogate`` networks for each that it measures.

    ``model`` and ``bound`` are those of the params' section ``search``.
    """
    over = {"surrogate": surrogate, "model": model, "bound": bound}

    def run(lookups: Lookups, mapped: Mapped, generator: np.random.Generator) -> None:
        params = mapped.params
        search = params.search.model_copy(update=over)

        def measure(networks: Sequence[Network]) -> Iterator[Measurement]:
            for network in networks:
                score = lookups.score(choices_of(network))
                yield Measurement(score, score, 0.0)

        budget = Listed(params.space, params.scaling, TASK, lookups.table.known)
        own = Ledger(search, budget, measure, lambda candidate, seconds: None)
        until_stale(lookups, lambda: evolution.search(own, generator), 3)

    return run


# --- surrogates that look at the whole table ------------------------------------------------------

Guess = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # (rows, scores, others) -> best


def guided(guess: Callable[[], Guess]) -> Searching:
    """Return a search that measures the network of the whole table that a surrogate likes best.

    It begins with as many random ones as a generation has.
    """

    def run(lookups: Lookups, mapped: Mapped, generator: np.random.Generator) -> None:
        table, judge = lookups.table, guess()
        _, rows = np.unique(table.network, return_index=True)
        described = mapped.described(table.choices[rows])
        open_, known = np.ones(len(rows), bool), []
        for network in generator.permutation(len(rows))[: mapped.params.search.population]:
            known.append(network)
        while open_.any():
            for network in known[len(lookups.candidates) :]:
                lookups.score(table.choices[rows[network]].tolist())
                open_[network] = False
            others = np.flatnonzero(open_)
            if len(others):
                liked = judge(described[known], table.scores[known], described[others])
                known.append(others[liked.argmax()])

    return run


def ridge() -> Guess:
    """Return guesses by the project's regression: Bayesian ridge."""
    return lambda rows, scores, others: BayesianRidge().fit(rows, scores).predict(others)


def upper_bound() -> Guess:
    """Return upper confidence bounds of a Gaussian process.

    Source: Srinivas, Krause, Kakade, Seeger (2010), with a constant number of deviations.
    """
    kernel = ConstantKernel() * Matern(nu=2.5) + WhiteKernel(0.1)
    fitted: list[Any] = []

    def judge(rows: np.ndarray, scores: np.ndarray, others: np.ndarray) -> np.ndarray:
        again = not fitted or len(rows) % REFIT == 0
        process = GaussianProcessRegressor(
            kernel if again else fitted[0],
            optimizer="fmin_l_bfgs_b" if again else None,
            normalize_y=True,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length may end at its bound
            process.fit(rows, scores)
        fitted[:] = [process.kernel_]
        mean, deviation = process.predict(others, return_std=True)
        return mean + BOUND * deviation

    return judge


EVOLUTION = "plain evolution"
SEARCHES: dict[str, Searching] = {
    EVOLUTION: plain_evolution,
    "random": random_search,
    "Markov chain": markov_chain(1),
    "Markov chain, Bayesian ridge, 1 in 4": markov_chain(4),
    "Markov chain, Gaussian process, 1 in 4": markov_chain(4, "process"),
    "Markov chain, Gaussian process, upper bound, 1 in 4": markov_chain(4, "process", BOUND),
    "whole table, Bayesian ridge": guided(ridge),
    "whole table, Gaussian process, upper bound": guided(upper_bound),
}


def traced(search: Searching, lookups: Lookups, mapped: Mapped, seed: int) -> list[float]:
    """Return the best score after each evaluation of a search."""
    with suppress(Spent):
        search(lookups, mapped, np.random.default_rng([5, seed]))
    return lookups.best


def ceiling(table: Networks) -> dict[str, Any] | None:
    """Return the ceiling of τ with one training a network; None for a table of single trainings."""
    if table.accuracies.shape[1] < 2:
        return None
    noise = statistics.pooled(table.accuracies.tolist())
    return statistics.ceiling(table.accuracies[:, 0].tolist(), noise)


def compare(table: Networks, params: Params, seeds: int, evaluations: int) -> dict[str, Any]:
    """Searching a table with every search and seed.

    A seed's goal is what plain evolution has reached with it in the end.
    """
    mapped = Mapped.of(table, params, evaluations)
    goals: list[float] = []
    reached: dict[str, list[int | None]] = {}
    for name, search in SEARCHES.items():
        bests = []
        for seed in range(seeds):
            goal = goals[seed] if goals else np.inf
            bests.append(traced(search, Lookups(table, evaluations, goal), mapped, seed))
        goals = goals or [best[-1] for best in bests]
        reached[name] = [first_reach(b, g) for b, g in zip(bests, goals, strict=True)]
    return {
        "networks": len(table.scores),
        "best": float(table.scores.max()),
        "goals": goals,
        "evaluations": evaluations,
        "reached": reached,
        "ceiling": ceiling(table),
    }
