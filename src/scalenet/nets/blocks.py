"""The one forward pass of this project: a Network's description applied to named tensors.

A child owns tensors of exactly the shapes that ``shapes`` lists; the super-supernet hands out
slices of larger ones. Names are paths: ``stages/1/0/depth/weight`` is block 1, layer 0, depthwise
kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from scalenet.nets import group, memory
from scalenet.space.cost import se_width
from scalenet.space.network import Network, Task

Shape = tuple[int, ...]
Norm = Callable[[str, Tensor], Tensor]  # (name of the norm, activations) -> normalised activations
Drop = Callable[[Tensor, float], Tensor]  # (residual branch, relative depth of the layer) -> branch

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "hard_swish": F.hardswish,
    "swish": F.silu,
    "relu": F.relu,
}


def conv_shapes(name: str, w_in: int, w_out: int, k: int, norm: bool = True) -> dict[str, Shape]:
    """List the tensors of a convolution, with a norm after it or a bias; ``w_in`` is per group."""
    kernel = {f"{name}/weight": (w_out, w_in, k, k)}
    if not norm:
        return kernel | {f"{name}/bias": (w_out,)}
    return kernel | {f"{name}/norm/weight": (w_out,), f"{name}/norm/bias": (w_out,)}


def shapes(network: Network, task: Task) -> dict[str, Shape]:
    """Name and shape every trained tensor of a network."""
    out = conv_shapes("stem", task.channels, network.stem_width, network.stem_kernel)
    w_in = network.stem_width
    for i, block in enumerate(network.blocks):
        for j, k in enumerate(block.kernels):
            name, hidden = f"stages/{i}/{j}", w_in * block.expand
            if block.expand > 1:
                out |= conv_shapes(f"{name}/expand", w_in, hidden, 1)
            out |= conv_shapes(f"{name}/depth", 1, hidden, k)
            if squeeze := se_width(network, w_in, hidden):
                out |= conv_shapes(f"{name}/squeeze", hidden, squeeze, 1, norm=False)
                out |= conv_shapes(f"{name}/excite", squeeze, hidden, 1, norm=False)
            out |= conv_shapes(f"{name}/project", hidden, block.width, 1)
            w_in = block.width
    out |= conv_shapes("head", w_in, network.head_width, 1)
    return out | {
        "classifier/weight": (task.classes, network.head_width),
        "classifier/bias": (task.classes,),
    }


def norms(shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Name every batch norm and its width."""
    return {
        name.removesuffix("/weight"): s[0]
        for name, s in shapes.items()
        if name.endswith("/norm/weight")
    }


def forward(
    network: Network, weights: Mapping[str, Tensor], images: Tensor, norm: Norm, drop: Drop | None
) -> Tensor:
    """Apply a network to images (N, C, R, R), normalised, and return logits (N, classes).

    ``weights`` are named and shaped as ``shapes`` lists them, with biases where norms were folded;
    ``norm`` normalises each convolution's output; ``drop`` is stochastic depth, in training.
    """
    act = ACTIVATIONS[network.activation]
    x = act(conv(weights, "stem", images, norm, network.stem_stride))
    # not the images: with one channel they would stay as they are
    x = x.contiguous(memory_format=torch.channels_last)
    done, depth = 0, network.depth
    for i, block in enumerate(network.blocks):
        for j in range(len(block.kernels)):
            stride = block.stride if j == 0 else 1
            y = memory.layer(_residual, weights, f"stages/{i}/{j}", x, norm, act, stride)
            done += 1
            if stride == 1 and x.shape[1] == y.shape[1]:
                y = x + (drop(y, done / depth) if drop else y)
            x = y
    x = act(conv(weights, "head", x, norm)).mean((2, 3))
    return F.linear(x, weights["classifier/weight"], weights["classifier/bias"])


def conv(
    weights: Mapping[str, Tensor], name: str, x: Tensor, norm: Norm, stride: int = 1
) -> Tensor:
    """Convolve (depthwise if the kernel has one input channel of several), then normalise.

    A folded convolution (nets/norm.py) has a bias. A 1x1 kernel over all channels and pixels is a
    matrix product, which is quicker as such (docs/performance.md).
    """
    kernel, bias = weights[f"{name}/weight"], weights.get(f"{name}/bias")
    k = kernel.shape[-1]
    if k == 1 and stride == 1 and kernel.shape[1] == x.shape[1]:
        x = F.linear(x.permute(0, 2, 3, 1), kernel.flatten(1), bias).permute(0, 3, 1, 2)
    else:
        x = F.conv2d(x, kernel, bias, stride, k // 2, groups=x.shape[1] // kernel.shape[1])
    return norm(f"{name}/norm", x)


def _residual(
    weights: Mapping[str, Tensor], name: str, x: Tensor, norm: Norm, act: Callable, stride: int
) -> Tensor:
    """Apply an inverted residual without its skip: expand, depth, squeeze-and-excite, project."""
    if f"{name}/expand/weight" in weights:
        x = act(conv(weights, f"{name}/expand", x, norm))
    x = act(conv(weights, f"{name}/depth", x, norm, stride))
    if f"{name}/squeeze/weight" in weights:
        gate = act(_dense(weights, f"{name}/squeeze", x.mean((2, 3))))
        gate = _dense(weights, f"{name}/excite", gate).sigmoid()
        x = x * gate[:, :, None, None]
    return conv(weights, f"{name}/project", x, norm)


def _dense(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Apply a 1x1 convolution with a bias to features (N, C)."""
    return F.linear(x, weights[f"{name}/weight"].flatten(1), weights[f"{name}/bias"])


def drop_path(rate: float, generator: torch.Generator, batch: int) -> Drop | None:
    """Return stochastic depth that reaches ``rate`` in the last layer; None for rate 0.

    The mask is drawn for a whole batch; this process uses its part.
    """
    mine = group.part(batch)

    def drop(x: Tensor, position: float) -> Tensor:
        keep = 1 - rate * position
        mask = torch.rand(batch, 1, 1, 1, generator=generator)[mine] < keep
        return x * (mask / keep).to(x, non_blocking=True)

    return drop if rate else None
