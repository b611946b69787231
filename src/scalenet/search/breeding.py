"""New base models inside the budgets: random, then children of the best (docs/method.md §5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scalenet.config.params import Search
from scalenet.config.space import Space
from scalenet.search.ranking import ranked
from scalenet.space.budget import Budget
from scalenet.space.sampling import sample_base
from scalenet.space.scaling import BaseBlock, BaseModel, Scaling


def breed(
    params: Search,
    budget: Budget,
    generator: np.random.Generator,
    strategies: list[Scaling],
    scores: Mapping[BaseModel, float],
    count: int,
) -> list[BaseModel]:
    """Return up to ``count`` base models without a score that are feasible under all strategies.

    As many as ``scaling.tries`` draws give: random ones, or children of the ``search.parents``
    best.
    """
    parents = ranked(scores)[: params.parents]
    bred: dict[BaseModel, None] = {}
    for _ in range(budget.scalings.tries):
        if len(bred) == count:
            break
        if parents:
            base = child(params, budget.space, generator, parents)
        else:
            base = sample_base(budget.space, generator)
        if base not in scores and base not in bred and budget.total_miss(base, strategies) == 0:
            bred[base] = None
    return list(bred)


def child(
    params: Search, space: Space, generator: np.random.Generator, parents: Sequence[BaseModel]
) -> BaseModel:
    """Cross two parents block by block (or copy one), then mutate."""
    mother, father = (parents[i] for i in generator.integers(len(parents), size=2))
    base = cross(generator, mother, father) if generator.random() < params.crossover else mother
    return mutate(space, generator, base, params.mutation)


def cross(generator: np.random.Generator, mother: BaseModel, father: BaseModel) -> BaseModel:
    """Take every block from either parent, with the same probability."""
    sides = generator.random(len(mother.blocks)) < 0.5
    pairs = zip(mother.blocks, father.blocks, sides, strict=True)
    return BaseModel(tuple(hers if side else his for hers, his, side in pairs))


def mutate(space: Space, generator: np.random.Generator, base: BaseModel, rate: float) -> BaseModel:
    """Redraw each gene with probability ``rate``.

    A block's genes are its depth, its expansion ratio where it has a choice, each layer's kernel.
    """
    mutated = []
    for (kernels, expand), block in zip(base.blocks, space.stages, strict=True):
        if generator.random() < rate:
            layers = int(generator.integers(1, block.depth + 1))
            kernels = (kernels + kernels[-1:] * layers)[:layers]
        if len(block.expands) > 1 and generator.random() < rate:
            expand = int(generator.choice(block.expands))
        redraw = generator.random(len(kernels)) < rate
        drawn = generator.choice(block.kernels, len(kernels))
        genes = zip(kernels, drawn, redraw, strict=True)
        kernels = tuple(int(new) if again else old for old, new, again in genes)
        mutated.append(BaseBlock(kernels, expand))
    return BaseModel(tuple(mutated))
