"""FLOPs and parameters of a network, from its description alone.

FLOPs are multiply-accumulates of one image, as the literature counts them: convolutions and the
classifier's weight matrix; no biases, norms, activations or pooling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stages.space import Network


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


def layers(network: Network, channels: int, classes: int) -> Iterator[Layer]:
    """Yield every convolution of a network for images of ``channels`` and labels of ``classes``."""
    px = halve(network.resolution, network.stem_stride)
    yield Layer(channels, network.stem_width, network.stem_kernel, 1, px, bias=False, norm=True)
    w_in = network.stem_width
    for stage in network.stages:
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
    yield Layer(w_in, network.head_width, 1, 1, px, bias=False, norm=True)
    yield Layer(network.head_width, classes, 1, 1, 1, bias=True, norm=False)


def flops(network: Network, channels: int, classes: int) -> int:
    """Return the multiply-accumulates of one image."""
    return sum(layer.flops for layer in layers(network, channels, classes))


def params(network: Network, channels: int, classes: int) -> int:
    """Return the number of trained parameters: weights, biases, norm scales and shifts."""
    return sum(layer.params for layer in layers(network, channels, classes))
