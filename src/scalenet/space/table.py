"""Costs that are looked up: a space worked out once, for millions of its networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from scalenet.config.space import Space, SpaceBlock
from scalenet.space.cost import (
    Price,
    block_layers,
    in_flops,
    inputs,
    parameters,
    priced,
    whole_price,
)
from scalenet.space.network import Block, Network, Task
from scalenet.space.scale import deepen, extreme, scale, uniform_base
from scalenet.space.scaling import BaseModel, Scaling

AT_ONCE = 8192  # networks whose costs are added up together: they fit the processor's cache
MOST = 2**58  # of a network's costs, far enough below what int64 holds


class Table:
    """The cost of every network of a space under given strategies, worked out for many at once.

    A strategy fixes the width and the side of every block's input, so a network's cost is a sum of
    one term for each block. That term is linear in the squares of the block's kernels: the table
    holds, for each strategy, expansion ratio and depth, its value with kernels of 3 and a slope for
    each layer. Built for a task; its numbers are those of ``priced``, by default ``flops``, and of
    ``parameters``. ``ValueError`` if those of the largest network are too large to be counted.
    """

    def __init__(
        self, space: Space, strategies: Sequence[Scaling], task: Task, price: Price = in_flops
    ):
        self._space, self._price = space, price
        self._refuse_too_large(strategies, task)
        # once each: sizes may share some
        self._strategy = {by: number for number, by in enumerate(dict.fromkeys(strategies))}
        count = len(self._strategy)
        self._rest = np.zeros((2, count), dtype=np.int64)
        # a block's values with kernels of 3, then its layers' slopes: (1 + depth, 2, rows)
        self._terms = [
            np.zeros((1 + block.depth, 2, count * _choices(block)), dtype=np.int64)
            for block in space.stages
        ]
        for strategy, number in self._strategy.items():
            self._fill(strategy, number, task)

    def _refuse_too_large(self, strategies: Sequence[Scaling], task: Task) -> None:
        network = extreme(self._space, strategies, max)
        cost = max(priced(network, task, self._price), parameters(network, task))
        if cost > MOST:
            rates = "" if self._price is in_flops else ", or the rates of scaling.latency"
            raise ValueError(
                f"space: the largest network that scaling.stages make of it costs {cost:.2g}, more "
                f"than the {MOST:.2g} that are counted; lower widths, depths, kernels, expands or "
                f"resolutions in space or scaling.stages{rates}"
            )

    def _fill(self, strategy: Scaling, number: int, task: Task) -> None:
        """Fill a strategy's rows: every block's terms, and what all its networks have besides."""
        least = uniform_base(self._space, min, lambda most: 1)
        network = scale(self._space, least, strategy)
        for terms, offered, place in zip(
            self._terms, self._space.stages, inputs(network), strict=True
        ):
            row, count = number * _choices(offered), _choices(offered)
            terms[..., row : row + count] = _block_terms(
                self._price, network, offered, strategy, place
            )
        [of_blocks] = self.costs(self.encode([(least, strategy)]))
        whole = priced(network, task, self._price), parameters(network, task)
        self._rest[:, number] = whole - of_blocks

    def encode(self, networks: Iterable[tuple[BaseModel, Scaling]]) -> np.ndarray:
        """Return codes (N, 1 + blocks + layers): a strategy's number, then a part for each block.

        A block's part is the number of its ratio and depth, then by how much the square of each
        layer's kernel exceeds 9; 0 for layers that the base model has not.
        """
        code = cache(self._code)  # one base model often comes with many strategies
        codes = [(self._strategy[strategy], *code(base)) for base, strategy in networks]
        width = 1 + sum(len(terms) for terms in self._terms)
        return np.array(codes, dtype=np.int64).reshape(len(codes), width)

    def _code(self, base: BaseModel) -> list[int]:
        code = []
        for (kernels, expand), offered in zip(base.blocks, self._space.stages, strict=True):
            absent = [0] * (offered.depth - len(kernels))
            code.append(_choice(offered, expand, len(kernels)))
            code += [*(k * k - 9 for k in kernels), *absent]
        return code

    def costs(self, codes: np.ndarray) -> np.ndarray:
        """Return the prices and the parameters (N, 2) of coded networks."""
        starts = range(0, max(1, len(codes)), AT_ONCE)
        return np.concatenate([self._costs(codes[start : start + AT_ONCE]) for start in starts])

    def _costs(self, codes: np.ndarray) -> np.ndarray:
        strategy, *rest = np.ascontiguousarray(codes.T)
        total, columns = self._rest.take(strategy, axis=1), iter(rest)
        for (values, *slopes), offered in zip(self._terms, self._space.stages, strict=True):
            row = strategy * _choices(offered) + next(columns)
            total += values.take(row, axis=1)
            for slope in slopes:
                total += slope.take(row, axis=1) * next(columns)
        return total.T

    def ends(self, strategy: Scaling) -> tuple[int, int]:
        """Return the least and the highest price of a network that a strategy makes."""
        number = self._strategy[strategy]
        least = most = int(self._rest[0, number])
        for terms, offered in zip(self._terms, self._space.stages, strict=True):
            count = _choices(offered)
            values, *slopes = terms[:, 0, number * count : (number + 1) * count]
            # a term only grows with a kernel, and absent layers have no slope
            low, high = (k * k - 9 for k in (min(offered.kernels), max(offered.kernels)))
            least += int((values + low * sum(slopes)).min())
            most += int((values + high * sum(slopes)).max())
        return least, most


def _choices(block: SpaceBlock) -> int:
    """Return in how many ways an expansion ratio and a depth are chosen for a block."""
    return len(block.expands) * block.depth


def _choice(block: SpaceBlock, expand: int, layers: int) -> int:
    """Return the number, from 0, of an expansion ratio and a depth of a block."""
    return block.expands.index(expand) * block.depth + layers - 1


def _block_terms(
    price: Price,
    network: Network,
    offered: SpaceBlock,
    strategy: Scaling,
    place: tuple[Block, int, int],
) -> np.ndarray:
    """Return the terms (1 + depth, 2, choices) of a block in the place of one of a network's.

    All its layers but the first cost the same: two layers tell what any number of them does.
    """
    block, w_in, px = place
    terms = np.zeros((1 + offered.depth, 2, _choices(offered)), dtype=np.int64)
    for expand in offered.expands:
        two = replace(block, kernels=(3, 3), expand=expand)
        parts = list(block_layers(network, two, w_in, px))
        costs = np.array([(whole_price(price, part), part.parameters) for part in parts])
        first, other = costs.reshape(2, -1, 2).sum(1)
        first_slope, slope = ((price(p)[1], p.w_out) for p in parts if p.k == 3)
        for layers in range(1, offered.depth + 1):
            # how many of the scaled layers have the kernel of each of the base model's
            repeats = np.bincount(deepen(tuple(range(layers)), strategy), minlength=offered.depth)
            choice = terms[..., _choice(offered, expand, layers)]
            choice[0] = first + (repeats.sum() - 1) * other
            choice[1:] = np.outer(repeats, slope)
            choice[1] += np.subtract(first_slope, slope)
    return terms
