"""Markov chain-based evolution over states: a base model and strategies (docs/method.md §5).

Source: Xie et al. 2022, ScaleNet.

A transition improves the base model with the strategies fixed, then each size's strategy with the
base model fixed. Scores do not vary, so no transition can lower a state's score. What is proposed
here, the ledger has measured.
"""

from __future__ import annotations

from math import ceil
from statistics import fmean

import numpy as np

from scalenet.config.params import Search
from scalenet.records.documents import FINETUNED, RESCORED, State
from scalenet.search.breeding import breed
from scalenet.search.ledger import Label, Ledger, Proposal
from scalenet.search.ranking import best, ranked
from scalenet.space.budget import Budget
from scalenet.space.sampling import sample_base
from scalenet.space.scaling import BaseModel, Scaling

SHARED = 0.1  # of the base models within the budget, that the first strategies leave at least


def search(ledger: Ledger, generator: np.random.Generator) -> list[State]:
    """Run the chain and return its states; the last one is what shared weights find.

    ``ValueError`` if nothing meets the budgets, or no base model meets those of all sizes.
    """
    params, budget = ledger.params, ledger.budget
    bases = first_bases(budget, generator, params.random_bases)
    strategies, base, chain = first_strategies(ledger, bases), None, []
    for iteration in range(1, params.iterations + 1):
        base = evolve(ledger, generator, iteration, strategies, base)
        label = Label("strategies", iteration)
        strategies = best_strategies(ledger, label, base, strategies)
        [score] = ledger.totals([base], strategies, label)
        chain.append(State(iteration=iteration, base=base, strategies=strategies, score=score))
    return chain


def planned(params: Search, offered: float, sizes: int) -> float:
    """Return about how many candidates a chain measures with shared weights.

    ``offered`` is how many strategies meet a base model's budgets, of all sizes, on average. Those
    that make the same network are one candidate, so it may be fewer.
    """
    after_first = (params.random_bases - 1 + params.iterations) / params.surrogate
    bred = params.iterations * params.population * params.generations
    return offered * (1 + after_first) + bred * sizes


# --- strategies -----------------------------------------------------------------------------------


def first_bases(budget: Budget, generator: np.random.Generator, count: int) -> list[BaseModel]:
    """Draw base models within the budget, ``count`` and as many more as it takes that every size
    has a strategy for one of them."""
    bases = [budget.draw(generator) for _ in range(count)]
    for size in range(len(budget.scalings.stages)):
        if not any(budget.feasible(base, size) for base in bases):
            bases.append(budget.draw_of(generator, size)[0])
    return bases


def first_strategies(ledger: Ledger, bases: list[BaseModel]) -> list[Scaling]:
    """Choose each size's strategy by what it is worth over base models (docs/method.md §5, S₀).

    Only strategies that base models enough can share with the ones already chosen are candidates.
    With a surrogate only the most promising are measured after the first base model,
    and the others count as predicted.
    """
    sizes = range(len(ledger.budget.scalings.stages))
    for base in bases:
        ledger.learn()
        promising = [ledger.promising(feasible(ledger.budget, base, size)) for size in sizes]
        ledger.scores([option for options in promising for option in options], Label("start"))
    ledger.learn()
    chosen: list[Scaling] = []
    sharing = _drawn(ledger, bases)
    enough = ceil(len(sharing) * SHARED)
    for size in sizes:
        options = ranked(_worth(ledger, bases, size))
        first, sharing = _first_shared(ledger.budget, size, options, sharing, enough)
        if not sharing:
            raise ValueError(
                f"scaling.stages[{size}]: none of its {len(options)} feasible strategies shares a "
                f"base model with {', '.join(map(str, chosen))}; raise its tolerance or give it "
                "more strategies"
            )
        chosen.append(first)
    return chosen


def feasible(budget: Budget, base: BaseModel, size: int) -> list[Proposal]:
    """Return what a size may make of a base model within its budget."""
    return [Proposal(size, base, by) for by in budget.feasible(base, size)]


def _worth(ledger: Ledger, bases: list[BaseModel], size: int) -> dict[Scaling, float]:
    """Return what each strategy is worth: its mean score where each meets the same base models.

    Elsewhere a mean would tell which base models a strategy meets the budget with. There a score is
    taken for the sum of what its base model and its strategy are worth, by least squares, the least
    such numbers where several explain the scores alike.
    """
    options = [option for base in bases for option in feasible(ledger.budget, base, size)]
    scores = np.array(ledger.expected(options))
    place = {by: n for n, by in enumerate(dict.fromkeys(option.scaling for option in options))}
    met = {base: n for n, base in enumerate(dict.fromkeys(option.base for option in options))}
    columns = np.zeros((len(options), len(place) + len(met)))
    for row, option in zip(columns, options, strict=True):
        row[[place[option.scaling], len(place) + met[option.base]]] = 1.0
    if len(set(options)) == len(place) * len(met):
        return {by: fmean(scores[columns[:, n] > 0].tolist()) for by, n in place.items()}
    found = np.linalg.lstsq(columns, scores - scores.mean())[0]
    # rounded, so that names settle what is equal but for the last bits of the arithmetic
    return {by: round(float(found[n]), 12) for by, n in place.items()}


def _drawn(ledger: Ledger, bases: list[BaseModel]) -> list[BaseModel]:
    """Return these and other base models within the budget, from a bounded, seeded draw."""
    generator, budget = np.random.default_rng(ledger.params.seed), ledger.budget
    draws = (sample_base(budget.space, generator) for _ in range(budget.scalings.tries))
    return [base for base in dict.fromkeys([*bases, *draws]) if budget.total_miss(base) == 0]


def _first_shared(
    budget: Budget, size: int, options: list[Scaling], bases: list[BaseModel], enough: int
) -> tuple[Scaling, list[BaseModel]]:
    """Return the first strategy that ``enough`` base models can share, and these; else the one that
    most can."""
    most: tuple[Scaling, list[BaseModel]] = (options[0], [])
    for by in options:
        sharing = budget.meeting(bases, by, size)
        if len(sharing) >= enough:
            return by, sharing
        most = max(most, (by, sharing), key=lambda found: len(found[1]))
    return most


def best_strategies(
    ledger: Ledger, label: Label, base: BaseModel, strategies: list[Scaling]
) -> list[Scaling]:
    """Return each size's best feasible strategy for a base model; the current one wins ties.

    With a surrogate only the promising ones are measured, beside those that have been. Sizes are
    measured one after the other: what one size measures, the next one knows.
    """
    ledger.learn()
    chosen = []
    for size, by in enumerate(strategies):
        current = Proposal(size, base, by)
        options = feasible(ledger.budget, base, size)
        chosen.append(best(_tried(ledger, label, current, options), current).scaling)
    return chosen


def _tried(
    ledger: Ledger, label: Label, current: Proposal, options: list[Proposal]
) -> dict[Proposal, float]:
    """Return the scores of a size's strategies that are known, promising, or the current one."""
    known = [option for option in options if ledger.knows(option)]
    tried = list(dict.fromkeys([current, *known, *ledger.promising(options)]))
    return dict(zip(tried, ledger.scores(tried, label), strict=True))


# --- finalists ------------------------------------------------------------------------------------


def decide(ledger: Ledger, finals: Ledger, last: State) -> tuple[list[Scaling], float]:
    """Return each size's best strategy among finalists and the state's score with them.

    ``finals`` measures better and dearer, after fine-tuning or on more images. The chain's own
    choice wins ties.
    """
    fine_tunes = ledger.params.finetune.steps > 0
    label = Label(FINETUNED if fine_tunes else RESCORED, last.iteration)
    ledger.learn()
    chosen = []
    for size, by in enumerate(last.strategies):
        current = Proposal(size, last.base, by)
        finalists = _finalists(ledger, Label("strategies", last.iteration), current, fine_tunes)
        scores = dict(zip(finalists, finals.scores(finalists, label), strict=True))
        chosen.append(best(scores, current).scaling)
    [score] = finals.totals([last.base], chosen, label)
    return chosen, score


def _finalists(ledger: Ledger, label: Label, current: Proposal, fine_tunes: bool) -> list[Proposal]:
    """Return what is measured again of a size: the current strategy; the share that is best by
    shared weights, of those that were measured; and, to be fine-tuned, the best of each resolution,
    measured or not."""
    options = feasible(ledger.budget, current.base, current.size)
    count = ceil(len(options) * ledger.params.finetune.share)
    finalists = [current, *ranked(_tried(ledger, label, current, options))[:count]]
    if fine_tunes:
        finalists += best_of_resolutions(ledger, options)
    return list(dict.fromkeys(finalists))


def best_of_resolutions(ledger: Ledger, options: list[Proposal]) -> list[Proposal]:
    """Return a size's best strategy of each resolution by shared weights, known or predicted.

    Shared weights favour the resolutions that training drew most, whatever the size: they compare
    strategies of one resolution, and fine-tuning compares resolutions (docs/findings.md).
    """
    expected = dict(zip(options, ledger.expected(options), strict=True))
    first: dict[int, Proposal] = {}
    for option in ranked(expected):
        first.setdefault(option.scaling.resolution, option)
    return list(first.values())


# --- base models ----------------------------------------------------------------------------------


def evolve(
    ledger: Ledger,
    generator: np.random.Generator,
    iteration: int,
    strategies: list[Scaling],
    start: BaseModel | None,
) -> BaseModel:
    """Return the best base model that evolution finds with the strategies fixed.

    ``start`` is one of the first generation.
    """
    params, budget = ledger.params, ledger.budget
    population, scores = [start] if start else [], {}
    for generation in range(params.generations):
        ledger.learn()
        count = params.population - len(population)
        population += promising_children(ledger, generator, strategies, scores, count)
        if not population and not scores:
            # One more bounded draw: it finds a base model, or raises and says what is missed.
            population = [budget.draw(generator, strategies)]
        if not population:
            break
        totals = ledger.totals(population, strategies, Label("bases", iteration, generation))
        scores |= zip(population, totals, strict=True)
        population = []
    return ranked(scores)[0]


def promising_children(
    ledger: Ledger,
    generator: np.random.Generator,
    strategies: list[Scaling],
    scores: dict[BaseModel, float],
    count: int,
) -> list[BaseModel]:
    """Return up to ``count`` new base models: with a surrogate, the best of many more."""
    params, budget = ledger.params, ledger.budget
    if not ledger.surrogate:
        return breed(params, budget, generator, strategies, scores, count)
    bred = breed(params, budget, generator, strategies, scores, count * params.surrogate)
    prospects = ledger.prospects(bred, strategies)
    return ranked(dict(zip(bred, prospects, strict=True)))[:count]
