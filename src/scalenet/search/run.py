"""The whole search: the chain on shared weights, then, if wanted, the choice of finalists."""

from __future__ import annotations

from statistics import fmean

import numpy as np

from scalenet.config.params import Params
from scalenet.records.documents import Candidate, Found
from scalenet.search import evolution
from scalenet.search.ledger import Ledger, Record
from scalenet.search.scoring import Measures
from scalenet.space.budget import Budget
from scalenet.space.network import Task
from scalenet.space.scale import scale


def find(
    params: Params,
    task: Task,
    generator: np.random.Generator,
    measures: Measures,
    record: Record,
) -> tuple[Found, list[Candidate]]:
    """Search; return what was found and every candidate, in the order of measuring.

    Found is the chain's last state, or what its finalists made of it. ``record`` is given each
    candidate when it has been measured. ``ValueError`` where nothing meets the budgets.
    """
    budget = Budget(params.space, params.scaling, task)
    shared = Ledger(params.search, budget, measures.shared, record)
    chain = evolution.search(shared, generator)
    last, candidates = chain[-1], shared.candidates
    strategies, score = last.strategies, last.score
    if measures.finals:
        section = params.search.model_copy(update={"metric": params.search.finetune.metric})
        finals = Ledger(section, budget, measures.finals, record, candidates)
        strategies, score = evolution.decide(shared, finals, last)
    found = Found(
        base=last.base,
        strategies=strategies,
        score=score,
        chain=chain,
        measured=len(candidates),
    )
    return found, candidates


def planned(params: Params, task: Task) -> int:
    """Return about how many candidates a search measures: judged by the base models that it draws
    first, if the seed is its own."""
    budget, section = Budget(params.space, params.scaling, task), params.search
    generator, sizes = np.random.default_rng(section.seed), len(params.scaling.stages)
    bases = evolution.first_bases(budget, generator, section.random_bases)
    met = [[budget.feasible(base, size) for size in range(sizes)] for base in bases]
    offered = fmean(sum(map(len, own)) for own in met)
    again = section.finetune.steps or section.images
    finalists = offered * section.finetune.share + sizes if again else 0
    if section.finetune.steps:  # the best of each resolution, some of them counted above
        finalists += fmean(sum(len({by.resolution for by in s}) for s in own) for own in met)
    return round(evolution.planned(section, offered, sizes) + finalists)


def summary(params: Params, found: Found, candidates: list[Candidate]) -> dict[str, float]:
    """Return the metrics: the score, and the top-1 (0…1) of what was found for each size."""
    accuracies = {c.network: c.accuracy for c in candidates}  # finalists come last
    networks = [scale(params.space, found.base, by) for by in found.strategies]
    reached = {f"accuracy_stage{i}": accuracies[network] for i, network in enumerate(networks)}
    return {"score": found.score, "measured": found.measured} | reached
