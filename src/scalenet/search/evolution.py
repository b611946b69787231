"""Markov chain-based evolution over states (base model, strategies) (Xie et al. 2022; docs/method.md §5).

A transition improves the base model with the strategies fixed, then each stage's strategy with the
base model fixed. Scores do not vary, so no transition can lower a state's score.
"""

from __future__ import annotations

from math import ceil
from statistics import fmean

import numpy as np

from scalenet.records.documents import State
from scalenet.search.ledger import Ledger
from scalenet.space import sampling
from scalenet.space.scaling import BaseModel, Scaling


def search(ledger: Ledger, generator: np.random.Generator) -> list[State]:
    """Run the chain and return its states; the last one is what shared weights find."""
    bases = [
        ledger.budget.draw(generator, ledger.params.scaling.tries) for _ in range(ledger.params.search.random_bases)
    ]
    chosen = first_strategies(ledger, bases)
    base, chain = None, []
    for iteration in range(1, ledger.params.search.iterations + 1):
        ledger.iteration = iteration
        base = evolve(ledger, generator, chosen, base)
        chosen = best_strategies(ledger, base, chosen)
        chain.append(
            State(
                iteration=iteration,
                base=str(base),
                strategies=[str(by) for by in chosen],
                score=ledger.total(base, chosen),
            )
        )
    return chain


# --- strategies -----------------------------------------------------------------------------------


def first_strategies(ledger: Ledger, bases: list[BaseModel]) -> list[Scaling]:
    """Choose each stage's strategy by its mean score over random base models (docs/method.md §5, S₀).

    Only strategies that some base model of the space can share with the ones already chosen are candidates. With a
    surrogate only the most promising are measured after the first base model, and the others count as predicted.
    """
    stages = range(len(ledger.params.scaling.stages))
    for base in bases:
        ledger.learn()
        for stage in stages:
            for by in ledger.promising(base, ledger.budget.feasible(base, stage)):
                ledger.score(stage, base, by)
    ledger.learn()
    chosen: list[Scaling] = []
    for stage in stages:
        scores: dict[Scaling, list[float]] = {}
        for base in bases:
            for by in ledger.budget.feasible(base, stage):
                scores.setdefault(by, []).append(ledger.expected(stage, base, by))
        if not scores:
            raise ValueError(ledger.budget.empty(bases, stage))
        ranked = sorted(scores, key=lambda by: (-fmean(scores[by]), str(by)))
        shared = next((by for by in ranked if _shared(ledger, [*chosen, by])), None)
        if shared is None:
            raise ValueError(
                f"scaling.stages[{stage}]: none of its {len(ranked)} feasible strategies shares a base model with "
                f"{', '.join(map(str, chosen))}; raise its tolerance or give it more strategies"
            )
        chosen.append(shared)
    return chosen


def _shared(ledger: Ledger, strategies: list[Scaling]) -> bool:
    """Tell whether a bounded, seeded draw finds a base model that is feasible under all strategies."""
    generator = np.random.default_rng(ledger.params.search.seed)
    draws = (sampling.sample_base(ledger.params.space, generator) for _ in range(ledger.params.scaling.tries))
    return any(ledger.budget.total_miss(base, strategies) == 0 for base in draws)


def best_strategies(ledger: Ledger, base: BaseModel, current: list[Scaling]) -> list[Scaling]:
    """Return each stage's best feasible strategy for a base model; the current one wins ties.

    With a surrogate only the promising ones are measured, beside those that have been.
    """
    ledger.phase, ledger.generation = "strategies", 0
    ledger.learn()
    best = []
    for stage, now in enumerate(current):
        feasible = ledger.budget.feasible(base, stage)
        known = [by for by in feasible if ledger.measured(base, by)]
        options = dict.fromkeys([now, *known, *ledger.promising(base, feasible)])
        ranked = sorted(options, key=lambda by: (-ledger.score(stage, base, by), by != now, str(by)))
        best.append(ranked[0])
    return best


def decide(ledger: Ledger, tuned: Ledger, base: BaseModel, current: list[Scaling]) -> list[Scaling]:
    """Return each stage's best strategy after fine-tuning, of the share that is best by shared weights.

    ``tuned`` measures fine-tuned networks, which costs several times a score. The current strategy is among them,
    and wins ties.
    """
    best = []
    for stage, now in enumerate(current):
        options = ledger.budget.feasible(base, stage)
        ranked = sorted(options, key=lambda by: (-ledger.score(stage, base, by), str(by)))
        short = dict.fromkeys([now, *ranked[: ceil(len(options) * ledger.params.search.finetune.share)]])
        best.append(min(short, key=lambda by: (-tuned.score(stage, base, by), by != now, str(by))))
    return best


# --- base models ----------------------------------------------------------------------------------


def evolve(
    ledger: Ledger, generator: np.random.Generator, strategies: list[Scaling], start: BaseModel | None
) -> BaseModel:
    """Return the best base model that evolution finds with the strategies fixed."""
    section, scores = ledger.params.search, {}
    ledger.phase = "bases"
    population = [start] if start else []
    for generation in range(section.generations):
        ledger.generation = generation
        ledger.learn()
        population += breed(ledger, generator, strategies, scores, section.population - len(population))
        if not population and not scores:
            # One more bounded draw: it finds a base model, or raises and says what is missed.
            population = [ledger.budget.draw(generator, ledger.params.scaling.tries, strategies)]
        for base in population:
            scores[base] = ledger.total(base, strategies)
        if not population:
            break
        population = []
    return _ranked(scores)[0]


def _ranked(scores: dict[BaseModel, float]) -> list[BaseModel]:
    return sorted(scores, key=lambda base: (-scores[base], str(base)))


def breed(
    ledger: Ledger,
    generator: np.random.Generator,
    strategies: list[Scaling],
    scores: dict[BaseModel, float],
    count: int,
) -> list[BaseModel]:
    """Return up to ``count`` new feasible base models: random at first, then children of the best.

    With a surrogate, several times as many are proposed and the most promising are kept.
    """
    section = ledger.params.search
    parents = _ranked(scores)[: section.parents]
    proposals: dict[BaseModel, None] = {}
    wanted = count * (section.surrogate if ledger.surrogate else 1)
    for _ in range(ledger.params.scaling.tries):
        if len(proposals) == wanted:
            break
        child = _child(ledger, generator, parents) if parents else sampling.sample_base(ledger.params.space, generator)
        if child not in scores and child not in proposals and ledger.budget.total_miss(child, strategies) == 0:
            proposals[child] = None
    if not ledger.surrogate:
        return list(proposals)
    return sorted(proposals, key=lambda base: (-ledger.guess(base, strategies), str(base)))[:count]


def _child(ledger: Ledger, generator: np.random.Generator, parents: list[BaseModel]) -> BaseModel:
    """Cross two parents stage by stage (or copy one), then mutate."""
    section = ledger.params.search
    mother, father = (parents[i] for i in generator.integers(len(parents), size=2))
    if generator.random() < section.crossover:
        sides = generator.random(len(mother.kernels)) < 0.5
        kernels = tuple(m if side else f for m, f, side in zip(mother.kernels, father.kernels, sides, strict=True))
        return mutate(ledger, generator, BaseModel(kernels), section.mutation)
    return mutate(ledger, generator, mother, section.mutation)


def mutate(ledger: Ledger, generator: np.random.Generator, base: BaseModel, rate: float) -> BaseModel:
    """Redraw each gene with probability ``rate``: a stage's depth, then each layer's kernel."""
    mutated = []
    for kernels, stage in zip(base.kernels, ledger.params.space.stages, strict=True):
        if generator.random() < rate:
            layers = int(generator.integers(1, stage.depth + 1))
            kernels = (kernels + kernels[-1:] * layers)[:layers]
        redraw = generator.random(len(kernels)) < rate
        drawn = generator.choice(stage.kernels, len(kernels))
        mutated.append(tuple(int(d) if r else k for k, d, r in zip(kernels, drawn, redraw, strict=True)))
    return BaseModel(tuple(mutated))
