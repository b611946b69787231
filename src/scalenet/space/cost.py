"""FLOPs and parameters of a network, from its description alone.

FLOPs are multiply-accumulates of one image, as the literature counts them: convolutions and the
classifier's weight matrix; no biases, norms, activations or pooling. Whole numbers, odd resolutions
included: they are those of the real module (tests/test_cost.py), and EfficientNet's as timm counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product

import numpy as np

from scalenet.config.space import Space
from scalenet.space.network import Block, Network, Task
from scalenet.space.scale import deepen, scale
from scalenet.space.scaling import BaseModel, Scaling

Kernels = list[list[tuple[int, ...]]]  # a block's choices: those of 1 layer, of 2, and so on


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


def se_width(network: Network, w_in: int, hidden: int) -> int:
    """Return the squeeze-and-excitation width of a block; 0 means that it has none."""
    width = hidden if network.se_from == "expanded" else w_in
    return max(1, int(width * network.se_ratio)) if network.se_ratio else 0


def halve(px: int, stride: int) -> int:
    """Return the output side of a padded convolution of odd kernel: ⌈px / stride⌉."""
    return -(-px // stride)


def inputs(network: Network) -> Iterator[tuple[Block, int, int]]:
    """Yield every block with the width and the side of its input."""
    w_in, px = network.stem_width, halve(network.resolution, network.stem_stride)
    for block in network.blocks:
        yield block, w_in, px
        w_in, px = block.width, halve(px, block.stride)


def block_layers(network: Network, block: Block, w_in: int, px: int) -> Iterator[Layer]:
    """Yield the convolutions of one block whose input is ``w_in`` channels of ``px`` a side.

    Of the network, only its squeeze-and-excitation matters.
    """
    stride = block.stride
    for k in block.kernels:
        hidden, px_in, px = w_in * block.expand, px, halve(px, stride)
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
    stem, head, k = network.stem_width, network.head_width, network.stem_kernel
    px = halve(network.resolution, network.stem_stride)
    yield Layer(task.channels, stem, k, 1, px, bias=False, norm=True)
    for block, w_in, px in inputs(network):
        yield from block_layers(network, block, w_in, px)
    last = network.blocks[-1]
    yield Layer(last.width, head, 1, 1, halve(px, last.stride), bias=False, norm=True)
    yield Layer(head, task.classes, 1, 1, 1, bias=True, norm=False)


def flops(network: Network, task: Task) -> int:
    """Return the FLOPs of a network for a task (multiply-accumulates of one image).

    ``flops(Network.parse("r224-…"), Task(channels=3, classes=1000))``
    """
    return sum(layer.flops for layer in layers(network, task))


def parameters(network: Network, task: Task) -> int:
    """Return the number of trained parameters: weights, biases, norm scales and shifts."""
    return sum(layer.parameters for layer in layers(network, task))


class Table:
    """The cost of every network of a space under given strategies, looked up for many at once.

    A strategy fixes the width and the side of every block's input, so a network's cost is a sum of
    one term for each block: a function of the strategy and of that block's kernels alone. The table
    holds these terms. Built for a task; its numbers are those of ``flops`` and ``parameters``.
    """

    def __init__(self, space: Space, strategies: Sequence[Scaling], task: Task):
        offered = [_kernels(block.kernels, block.depth) for block in space.stages]
        self._choice = [{k: i for i, k in enumerate(chain(*kernels))} for kernels in offered]
        self._strategy = {strategy: i for i, strategy in enumerate(strategies)}
        self._terms = [
            np.zeros((len(strategies), len(choices), 2), dtype=np.int64) for choices in self._choice
        ]
        self._rest = np.zeros((len(strategies), 2), dtype=np.int64)
        for row, strategy in enumerate(strategies):
            self._fill(row, strategy, offered, space, task)

    def _fill(
        self, row: int, strategy: Scaling, offered: list[Kernels], space: Space, task: Task
    ) -> None:
        """Fill a strategy's row: every block's terms, and what all its networks have besides."""
        first = BaseModel(tuple(kernels[0][0] for kernels in offered))
        network, of_blocks = scale(space, first, strategy), np.zeros(2, dtype=np.int64)
        for terms, kernels, place in zip(self._terms, offered, inputs(network), strict=True):
            deepened = [[deepen(k, strategy) for k in of_depth] for of_depth in kernels]
            terms[row] = np.concatenate([_costs(network, k, *place) for k in deepened])
            of_blocks += terms[row, 0]
        self._rest[row] = (flops(network, task), parameters(network, task)) - of_blocks

    def encode(self, networks: Iterable[tuple[BaseModel, Scaling]]) -> np.ndarray:
        """Return codes (N, 1 + blocks): a strategy's number, then that of each block's kernels."""
        codes = [
            (
                self._strategy[strategy],
                *(number[k] for number, k in zip(self._choice, base.kernels, strict=True)),
            )
            for base, strategy in networks
        ]
        return np.array(codes, dtype=np.int64).reshape(-1, 1 + len(self._choice))

    def costs(self, codes: np.ndarray) -> np.ndarray:
        """Return the FLOPs and parameters (N, 2) of coded networks."""
        total = self._rest[codes[:, 0]]
        for terms, chosen in zip(self._terms, codes.T[1:], strict=True):
            total += terms[codes[:, 0], chosen]
        return total

    def ends(self, strategy: Scaling) -> tuple[int, int]:
        """Return the fewest and the most FLOPs of a network that a strategy makes."""
        row = self._strategy[strategy]
        flops = [terms[row, :, 0] for terms in self._terms]
        rest = int(self._rest[row, 0])
        return rest + sum(int(f.min()) for f in flops), rest + sum(int(f.max()) for f in flops)


def _kernels(offered: Sequence[int], depth: int) -> Kernels:
    """List every choice of kernels for 1 layer, for 2, and so on to ``depth``."""
    return [list(product(offered, repeat=layers)) for layers in range(1, depth + 1)]


def _costs(
    network: Network, kernels: list[tuple[int, ...]], block: Block, w_in: int, px: int
) -> np.ndarray:
    """Return the FLOPs and parameters (N, 2) of one block with each of these kernels.

    All are of one depth. Both numbers are linear in the squares of the depthwise kernels; the
    slopes are read off kernels of 3.
    """
    of_threes = replace(block, kernels=(3,) * len(kernels[0]))
    threes = list(block_layers(network, of_threes, w_in, px))
    total = np.array([(layer.flops, layer.parameters) for layer in threes]).sum(0)
    slopes = np.array([(layer.flops // 9, layer.w_out) for layer in threes if layer.k == 3])
    return total + (np.array(kernels) ** 2 - 9) @ slopes
