"""FLOPs and parameters of a network, from its description alone; and the prices of its layers.

FLOPs are multiply-accumulates of one image, as the literature counts them: convolutions and the
classifier's weight matrix; no biases, norms, activations or pooling. Whole numbers, odd resolutions
included: they are those of the real module (tests/test_cost.py), and EfficientNet's as timm counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from scalenet.space.network import Block, Network, Task


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
    return _summed(network, task, partial(whole_price, price))


def whole_price(price: Price, layer: Layer) -> int:
    """Return a layer's price, its kernel's part included."""
    fixed, slope = price(layer)
    return fixed + slope * layer.k**2


def parameters(network: Network, task: Task) -> int:
    """Return the number of trained parameters: weights, biases, norm scales and shifts."""
    return _summed(network, task, lambda layer: layer.parameters)
