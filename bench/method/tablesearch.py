"""The project's searches on a table of trained networks, beside others.

Every evaluation is a look-up: what a search is told is a network's mean accuracy over its
trainings. The Markov chain is the project's own code on the table as a space (tablespace.py): the
base model's evolution, as a table has no sizes. Surrogates see what the project's sees of a
network. As in a search of the project there is a budget: networks with more FLOPs than a share of
the table's have are infeasible, and cost nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
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

from bench.method import statistics
from bench.method.efficiency import Spent, first_reach, until_stale
from bench.method.tablefiles import Networks
from bench.method.tablespace import TASK, Listed, Lookups, Mapped, choices_of
from scalenet.config.params import Params
from scalenet.search import evolution
from scalenet.search.ledger import Ledger
from scalenet.search.scoring import Measurement
from scalenet.space.network import Network

BOUND = 2.0  # standard deviations above its mean that make a process's upper confidence bound
MOST_JUDGED = 10_000  # networks of a table that a surrogate is asked about at once
REFIT = 8  # evaluations between fits of a process's kernel

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

    It begins with as many random ones as a generation has. Of a table of more than `MOST_JUDGED`
    networks so many are drawn for each choice: a process's guesses of all would take gigabytes.
    """

    def run(lookups: Lookups, mapped: Mapped, generator: np.random.Generator) -> None:
        table, judge = lookups.table, guess()
        rows, described = mapped.rows, mapped.described
        open_, known = np.ones(len(rows), bool), []
        for network in generator.permutation(len(rows))[: mapped.params.search.population]:
            known.append(network)
        while open_.any():
            for network in known[len(lookups.candidates) :]:
                lookups.score(table.choices[rows[network]].tolist())
                open_[network] = False
            others = np.flatnonzero(open_)
            if len(others) > MOST_JUDGED:
                others = generator.choice(others, MOST_JUDGED, replace=False)
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
    return statistics.shaped_ceiling(own[~np.isnan(own)] for own in table.accuracies)


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
        "judged": min(len(table.scores), MOST_JUDGED),
        "best": float(table.scores.max()),
        "goals": goals,
        "evaluations": evaluations,
        "reached": reached,
        "ceiling": ceiling(table),
    }
