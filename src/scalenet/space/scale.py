"""scale(α, s): the network that a strategy makes of a base model (docs/method.md §2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import astuple

from scalenet.config.space import Scalings, Space
from scalenet.space.network import Block, Network
from scalenet.space.scaling import BaseBlock, BaseModel, Scaling, all_strategies, strategies


def ceil(value: float) -> int:
    """Round up, forgiving float dust: 1.2 * 5 is 6, not 7."""
    return math.ceil(value - 1e-6)


def scale_width(space: Space, width: int, multiplier: float) -> int:
    """Scale a width and round it to the space's divisor (docs/method.md §2).

    Up, or to the nearest as EfficientNet does: never by more than 10 % down.
    """
    divisor, target = space.divisor, width * multiplier
    if space.rounding == "up":
        return ceil(target / divisor) * divisor
    rounded = max(divisor, int(target + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * target else rounded


def deepen(kernels: tuple[int, ...], strategy: Scaling) -> tuple[int, ...]:
    """Return the kernels of a block's ⌈n·d⌉ layers, the new ones repeating the last."""
    layers = ceil(len(kernels) * strategy.depth)
    return (kernels + kernels[-1:] * layers)[:layers]


def scale(space: Space, base: BaseModel, strategy: Scaling) -> Network:
    """Return the network that a strategy makes of a base model of a space (docs/method.md §2).

    A block of n layers gets ⌈n·d⌉, the new ones repeating its last kernel, and keeps its expansion
    ratio; widths are multiplied by w, the head's only if the space says so; images are r px wide.
    """

    def wide(width: int) -> int:
        return scale_width(space, width, strategy.width)

    return Network(
        resolution=strategy.resolution,
        stem_kernel=space.stem.kernel,
        stem_stride=space.stem.stride,
        stem_width=wide(space.stem.width),
        blocks=tuple(
            Block(deepen(chosen.kernels, strategy), block.stride, chosen.expand, wide(block.width))
            for chosen, block in zip(base.blocks, space.stages, strict=True)
        ),
        head_width=wide(space.head.width) if space.scale_head else space.head.width,
        se_ratio=space.se_ratio,
        se_from=space.se_from,
        activation=space.activation,
    )


def contains(space: Space, base: BaseModel) -> bool:
    """Tell whether a base model is one of the space's."""
    return len(base.blocks) == len(space.stages) and all(
        1 <= len(chosen.kernels) <= block.depth
        and set(chosen.kernels) <= set(block.kernels)
        and chosen.expand in block.expands
        for chosen, block in zip(base.blocks, space.stages, strict=True)
    )


def uniform_base(
    space: Space, pick: Callable[[tuple[int, ...]], int], depth: Callable[[int], int]
) -> BaseModel:
    """Build the base model whose blocks all choose alike from what is offered.

    ``pick`` chooses the kernel and the expansion ratio, ``depth`` the layers out of the most.
    """
    return BaseModel(
        tuple(
            BaseBlock((pick(block.kernels),) * depth(block.depth), pick(block.expands))
            for block in space.stages
        )
    )


def extreme(space: Space, offered: Iterable[Scaling], pick: Callable[..., int]) -> Network:
    """Return the network that takes the most (``max``) or the least (``min``) of all choices.

    Depth, width and resolution are picked one by one, so it may be the network of a strategy that
    is not offered.
    """
    by = Scaling(*map(pick, zip(*map(astuple, offered), strict=True)))
    return scale(space, uniform_base(space, pick, lambda most: pick(1, most)), by)


def largest(space: Space, scalings: Scalings) -> Network:
    """Return the network that is as deep, as wide and as fine as any: the super-supernet's
    shapes."""
    return extreme(space, all_strategies(scalings), max)


def smallest(space: Space, scalings: Scalings) -> Network:
    """Return the smallest network of the first size."""
    return extreme(space, strategies(scalings, 0), min)
