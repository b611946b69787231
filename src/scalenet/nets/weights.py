"""Named tensors: how they start, and how a smaller one is cut from a larger one."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def initialise(tensors: Mapping[str, Tensor], generator: torch.Generator) -> None:
    """Fill tensors in place, by name: He-normal kernels (fan out), unit norms, a small classifier.

    Layers that always have a skip (a block's second and later) start as the identity: the scale of
    their last norm is zero (Goyal et al. 2017, §5.1), without which deep networks learn late
    (docs/performance.md).
    """
    for name in sorted(tensors):
        tensor = tensors[name]
        if name.endswith("/project/norm/weight") and name.split("/")[2] != "0":
            tensor.zero_()
        elif name.endswith("/norm/weight"):
            tensor.fill_(1.0)
        elif name.endswith("/bias"):
            tensor.zero_()
        elif name == "classifier/weight":
            tensor.normal_(0, 0.01, generator=generator)
        else:
            groups = tensor.shape[0] if "/depth/" in name else 1
            fan_out = tensor.shape[0] * tensor[0, 0].numel() / groups
            tensor.normal_(0, math.sqrt(2 / fan_out), generator=generator)


def crop(tensor: Tensor, shape: tuple[int, ...], side: str) -> Tensor:
    """Return a view of a tensor that starts at 0 (left) or ends last (right) of each axis."""
    for axis, size in enumerate(shape):
        spare = tensor.shape[axis] - size
        if spare:
            tensor = tensor.narrow(axis, 0 if side == "left" else spare, size)
    return tensor


def decayed(tensors: Mapping[str, nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Split parameters into those with weight decay and those without (norms and biases)."""
    free = {name for name in tensors if name.endswith(("/bias", "/norm/weight"))}
    decaying = [tensor for name, tensor in tensors.items() if name not in free]
    return decaying, [tensor for name, tensor in tensors.items() if name in free]
