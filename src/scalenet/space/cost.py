"""FLOPs and parameters of a network, from its description alone; and what a budget counts.

FLOPs are multiply-accumulates of one image, as the literature counts them: convolutions and the
classifier's weight matrix; no biases, norms, activations or pooling. Whole numbers, odd resolutions
included: they are those of the real module (tests/test_cost.py), and EfficientNet's as timm counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from scalenet.config.space import Space, SpaceBlock
from scalenet.space.network import Block, Network, Task
from scalenet.space.scale import deepen, extreme, scale, uniform_base
from scalenet.space.scaling import BaseModel, Scaling

AT_ONCE = 8192  # networks whose costs are added up together: they fit the processor's cache
MOST = 2**58  # of a network's costs, far enough below what int64 holds


@dataclass(frozen=True)
class Layer:
    """One convolution (or the classifier, as a 1×1): its shape is all that its cost needs."""

    w_in: int
    w_out: int
    k: int
    groups: int
    px: int  # height and width of its output
    bias: bool
    norm: bool

    @property
    def flops(self) -> int:
        return self.k**2 * self.w_in // self.groups * self.w_out * self.px**2

    @property
    def parameters(self) -> int:
        weights = self.k**2 * self.w_in // self.groups * self.w_out
        return weights + self.w_out * (self.bias + 2 * self.norm)

    @property
    def kind(self) -> str:
        """The kind whose rates tell its latency."""
        if self.groups > 1:
            return "depthwise"
        if self.k > 1:
            return "dense"
        return "vector" if self.bias else "pointwise"


# What a layer spends of a budget, in whole numbers: (a, b), which is a + b·k² for its kernel k.
Price = Callable[[Layer], tuple[int, int]]


def in_flops(layer: Layer) -> tuple[int, int]:
    """Return a layer's price in FLOPs."""
    return 0, layer.flops // layer.k**2


def se_width(network: Network, w_in: int, hidden: int) -> int:
    """Return the squeeze-and-excitation width of a block; 0 means that it has none."""
    width = hidden if network.se_from == "expanded" else w_in
    return max(1, int(width * network.se_ratio)) if network.se_ratio else 0


def output_side(px: int, stride: int) -> int:
    """Return the output side of a padded convolution of odd kernel: ⌈px / stride⌉."""
    return -(-px // stride)


def inputs(network: Network) -> Iterator[tuple[Block, int, int]]:
    """Yield every block with the width and the side of its input."""
    w_in, px = network.stem_width, output_side(network.resolution, network.stem_stride)
    for block in network.blocks:
        yield block, w_in, px
        w_in, px = block.width, output_side(px, block.stride)


def block_layers(network: Network, block: Block, w_in: int, px: int) -> Iterator[Layer]:
    """Yield the convolutions of one block whose input is ``w_in`` channels of ``px`` a side.

    Of the network, only its squeeze-and-excitation matters.
    """
    stride = block.stride
    for k in block.kernels:
        hidden, px_in, px = w_in * block.expand, px, output_side(px, stride)
        if block.expand > 1:
            yield Layer(w_in, hidden, 1, 1, px_in, bias=False, norm=True)
        yield Layer(hidden, hidden, k, hidden, px, bias=False, norm=True)
        if squeeze := se_width(network, w_in, hidden):
            yield Layer(hidden, squeeze, 1, 1, 1, bias=True, norm=False)
            yield Layer(squeeze, hidden, 1, 1, 1, bias=True, norm=False)
        yield Layer(hidden, block.width, 1, 1, px, bias=False, norm=True)
        w_in, stride = block.width, 1


def layers(network: Network, task: Task) -> Iterator[Layer]:
    """Yield every convolution of a network for a task."""
    stem, *head = _around(network, task)
    yield stem
    for block, w_in, px in inputs(network):
        yield from block_layers(network, block, w_in, px)
    yield from head


def _around(network: Network, task: Task) -> Iterator[Layer]:
    """Yield the convolutions before a network's blocks and after them."""
    stem, head, k = network.stem_width, network.head_width, network.stem_kernel
    px = output_side(network.resolution, network.stem_stride)
    yield Layer(task.channels, stem, k, 1, px, bias=False, norm=True)
    *_, (last, _, px) = inputs(network)
    yield Layer(last.width, head, 1, 1, output_side(px, last.stride), bias=False, norm=True)
    yield Layer(head, task.classes, 1, 1, 1, bias=True, norm=False)


def _summed(network: Network, task: Task, value: Callable[[Layer], int]) -> int:
    """Return the sum of a value of all layers: of those of a block that are alike, once.

    A law may look at networks of thousands of layers.
    """
    total = sum(map(value, _around(network, task)))
    for block, w_in, px in inputs(network):
        first, *others = block.kernels
        one = replace(block, kernels=(first,))
        total += sum(map(value, block_layers(network, one, w_in, px)))
        px = output_side(px, block.stride)
        for kernel, times in Counter(others).items():
            one = replace(block, kernels=(kernel,), stride=1)
            total += times * sum(map(value, block_layers(network, one, block.width, px)))
    return total


def flops(network: Network, task: Task) -> int:
    """Return the FLOPs of a network for a task (multiply-accumulates of one image).

    ``flops(Network.parse("r224-…"), Task(channels=3, classes=1000))``
    """
    return _summed(network, task, lambda layer: layer.flops)


def priced(network: Network, task: Task, price: Price) -> int:
    """Return the sum of a network's prices for a task."""
    return _summed(network, task, partial(_whole, price))


def _whole(price: Price, layer: Layer) -> int:
    fixed, slope = price(layer)
    return fixed + slope * layer.k**2


def parameters(network: Network, task: Task) -> int:
    """Return the number of trained parameters: weights, biases, norm scales and shifts."""
    return _summed(network, task, lambda layer: layer.parameters)


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
        costs = np.array([(_whole(price, part), part.parameters) for part in parts])
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
