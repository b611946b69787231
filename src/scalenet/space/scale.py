"""scale(α, s): the network that a strategy makes of a base model (docs/method.md §2)."""

from __future__ import annotations

import math
from collections.abc import Callable

from scalenet.config.params import Scalings, Space
from scalenet.space.network import Network, Stage
from scalenet.space.scaling import BaseModel, Scaling, all_strategies, strategies


def ceil(value: float) -> int:
    """Round up, forgiving float dust: 1.2 * 5 is 6, not 7."""
    return math.ceil(value - 1e-6)


def scale_width(space: Space, width: int, by: float) -> int:
    """Scale a width and round it to the space's divisor, up or to the nearest (docs/method.md §2)."""
    divisor, target = space.divisor, width * by
    if space.rounding == "up":
        return ceil(target / divisor) * divisor
    rounded = max(divisor, int(target + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * target else rounded


def deepen(kernels: tuple[int, ...], by: Scaling) -> tuple[int, ...]:
    """Return the kernels of a stage's ⌈n·d⌉ layers, the new ones repeating the last."""
    layers = ceil(len(kernels) * by.depth)
    return (kernels + kernels[-1:] * layers)[:layers]


def scale(space: Space, base: BaseModel, by: Scaling) -> Network:
    """Return the network that strategy ``by`` makes of ``base`` (docs/method.md §2).

    A stage of n layers gets ⌈n·d⌉, the new ones repeating its last kernel; widths are multiplied by w.
    """
    stages = []
    for kernels, stage in zip(base.kernels, space.stages, strict=True):
        stages.append(Stage(deepen(kernels, by), stage.stride, stage.expand, scale_width(space, stage.width, by.width)))
    head = scale_width(space, space.head.width, by.width) if space.scale_head else space.head.width
    return Network(
        resolution=by.resolution,
        stem_kernel=space.stem.kernel,
        stem_stride=space.stem.stride,
        stem_width=scale_width(space, space.stem.width, by.width),
        stages=tuple(stages),
        head_width=head,
        se_ratio=space.se_ratio,
        se_from=space.se_from,
        activation=space.activation,
    )


def contains(space: Space, base: BaseModel) -> bool:
    """Tell whether a base model is one of the space's."""
    return len(base.kernels) == len(space.stages) and all(
        1 <= len(kernels) <= stage.depth and set(kernels) <= set(stage.kernels)
        for kernels, stage in zip(base.kernels, space.stages, strict=True)
    )


def uniform_base(space: Space, kernel: Callable[[tuple[int, ...]], int], depth: Callable[[int], int]) -> BaseModel:
    """Build the base model whose stage depths and kernels are one function of what is offered."""
    return BaseModel(tuple((kernel(stage.kernels),) * depth(stage.depth) for stage in space.stages))


def largest(space: Space, scalings: Scalings) -> Network:
    """Return the largest network of the last scaling stage: the shapes of the super-supernet."""
    every = all_strategies(scalings)
    most = Scaling(max(s.depth for s in every), max(s.width for s in every), max(s.resolution for s in every))
    return scale(space, uniform_base(space, max, lambda depth: depth), most)


def smallest(space: Space, scalings: Scalings) -> Network:
    """Return the smallest network of the first scaling stage."""
    first = strategies(scalings, 0)
    least = Scaling(min(s.depth for s in first), min(s.width for s in first), min(s.resolution for s in first))
    return scale(space, uniform_base(space, min, lambda depth: 1), least)
