"""FLOPs and parameters of a network, from its description alone.

FLOPs are multiply-accumulates of one image, as the literature counts them: convolutions and the
classifier's weight matrix; no biases, norms, activations or pooling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product

import numpy as np

from scalenet.config.params import Space
from scalenet.space.network import Network, Stage
from scalenet.space.scale import deepen, scale
from scalenet.space.scaling import BaseModel, Scaling


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
    def params(self) -> int:
        return self.k**2 * self.w_in // self.groups * self.w_out + self.w_out * (self.bias + 2 * self.norm)


def se_width(network: Network, w_in: int, hidden: int) -> int:
    """Return the squeeze-and-excitation width of a block; 0 means that it has none."""
    width = hidden if network.se_from == "expanded" else w_in
    return max(1, int(width * network.se_ratio)) if network.se_ratio else 0


def halve(px: int, stride: int) -> int:
    """Return the output side of a padded convolution of odd kernel: ⌈px / stride⌉."""
    return -(-px // stride)


def inputs(network: Network) -> Iterator[tuple[Stage, int, int]]:
    """Yield every stage of inverted residuals with the width and the side of its input."""
    w_in, px = network.stem_width, halve(network.resolution, network.stem_stride)
    for stage in network.stages:
        yield stage, w_in, px
        w_in, px = stage.width, halve(px, stage.stride)


def stage_layers(network: Network, stage: Stage, w_in: int, px: int) -> Iterator[Layer]:
    """Yield the convolutions of one stage; of the network, only its squeeze-and-excitation matters."""
    stride = stage.stride
    for k in stage.kernels:
        hidden, px_in, px = w_in * stage.expand, px, halve(px, stride)
        if stage.expand > 1:
            yield Layer(w_in, hidden, 1, 1, px_in, bias=False, norm=True)
        yield Layer(hidden, hidden, k, hidden, px, bias=False, norm=True)
        if squeeze := se_width(network, w_in, hidden):
            yield Layer(hidden, squeeze, 1, 1, 1, bias=True, norm=False)
            yield Layer(squeeze, hidden, 1, 1, 1, bias=True, norm=False)
        yield Layer(hidden, stage.width, 1, 1, px, bias=False, norm=True)
        w_in, stride = stage.width, 1


def layers(network: Network, channels: int, classes: int) -> Iterator[Layer]:
    """Yield every convolution of a network for images of ``channels`` and labels of ``classes``."""
    px = halve(network.resolution, network.stem_stride)
    yield Layer(channels, network.stem_width, network.stem_kernel, 1, px, bias=False, norm=True)
    for stage, w_in, px in inputs(network):
        yield from stage_layers(network, stage, w_in, px)
    width = network.stages[-1].width
    yield Layer(width, network.head_width, 1, 1, halve(px, network.stages[-1].stride), bias=False, norm=True)
    yield Layer(network.head_width, classes, 1, 1, 1, bias=True, norm=False)


def flops(network: Network, channels: int, classes: int) -> int:
    """Return the multiply-accumulates of one image."""
    return sum(layer.flops for layer in layers(network, channels, classes))


def params(network: Network, channels: int, classes: int) -> int:
    """Return the number of trained parameters: weights, biases, norm scales and shifts."""
    return sum(layer.params for layer in layers(network, channels, classes))


class Table:
    """The cost of every network of a space under given strategies, looked up for many at once.

    A strategy fixes the width and the side of every stage's input, so a network's cost is a sum of one term for
    each stage: a function of the strategy and of that stage's kernels alone. The table holds these terms. Built
    for images of ``channels`` and labels of ``classes``; its numbers are those of ``flops`` and ``params``.
    """

    def __init__(self, space: Space, strategies: Sequence[Scaling], channels: int, classes: int):
        kernels = [_kernels(stage.kernels, stage.depth) for stage in space.stages]
        self._choice = [{chosen: i for i, chosen in enumerate(chain(*every))} for every in kernels]
        self._strategy = {by: i for i, by in enumerate(strategies)}
        self._terms = [np.zeros((len(strategies), len(every), 2), dtype=np.int64) for every in self._choice]
        self._rest = np.zeros((len(strategies), 2), dtype=np.int64)
        for row, by in enumerate(strategies):
            network = scale(space, BaseModel(tuple(every[0][0] for every in kernels)), by)
            own = np.zeros(2, dtype=np.int64)
            for terms, every, at in zip(self._terms, kernels, inputs(network), strict=True):
                terms[row] = np.concatenate([_costs(network, [deepen(k, by) for k in same], *at) for same in every])
                own += terms[row, 0]
            self._rest[row] = (flops(network, channels, classes), params(network, channels, classes)) - own

    def encode(self, networks: Iterable[tuple[BaseModel, Scaling]]) -> np.ndarray:
        """Return codes (N, 1 + stages): the strategy's number, then that of each stage's kernels."""
        return np.array(
            [
                (self._strategy[by], *(choice[own] for choice, own in zip(self._choice, base.kernels, strict=True)))
                for base, by in networks
            ],
            dtype=np.int64,
        ).reshape(-1, 1 + len(self._choice))

    def costs(self, codes: np.ndarray) -> np.ndarray:
        """Return the FLOPs and parameters (N, 2) of coded networks."""
        total = self._rest[codes[:, 0]]
        for terms, chosen in zip(self._terms, codes.T[1:], strict=True):
            total += terms[codes[:, 0], chosen]
        return total


def _kernels(offered: Sequence[int], depth: int) -> list[list[tuple[int, ...]]]:
    """List every choice of kernels for 1 layer, for 2, and so on to ``depth``."""
    return [list(product(offered, repeat=layers)) for layers in range(1, depth + 1)]


def _costs(network: Network, kernels: list[tuple[int, ...]], stage: Stage, w_in: int, px: int) -> np.ndarray:
    """Return the FLOPs and parameters (N, 2) of one stage with each of these kernels, all of the same depth.

    Both are linear in the squares of the depthwise kernels; the slopes are read off kernels of 3.
    """
    own = list(stage_layers(network, replace(stage, kernels=(3,) * len(kernels[0])), w_in, px))
    total = np.array([(layer.flops, layer.params) for layer in own]).sum(0)
    slopes = np.array([(layer.flops // 9, layer.w_out) for layer in own if layer.k == 3])
    return total + (np.array(kernels) ** 2 - 9) @ slopes
