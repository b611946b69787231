"""Drawing base models and networks of a space (docs/method.md §3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np

from scalenet.config.space import Scalings, Space, SpaceBlock
from scalenet.space.network import Network
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseBlock, BaseModel, Scaling, strategies

T = TypeVar("T")


def sample_base(space: Space, generator: np.random.Generator) -> BaseModel:
    """Draw a base model hierarchically: every block's depth, then its expansion ratio, kernels."""
    blocks = []
    for block in space.stages:
        layers = int(generator.integers(1, block.depth + 1))
        blocks.append(_of_depth(block, layers, generator))
    return BaseModel(tuple(blocks))


def sample_base_uniform(space: Space, generator: np.random.Generator) -> BaseModel:
    """Draw every base model of the space with the same probability, so that deep ones dominate."""
    blocks = []
    for block in space.stages:
        # of each depth there are as many choices for every expansion ratio; as shares of those of
        # the deepest, which no number may hold
        counts = np.array([float(len(block.kernels)) ** -n for n in range(block.depth)][::-1])
        layers = int(generator.choice(block.depth, p=counts / counts.sum())) + 1
        blocks.append(_of_depth(block, layers, generator))
    return BaseModel(tuple(blocks))


def _of_depth(block: SpaceBlock, layers: int, generator: np.random.Generator) -> BaseBlock:
    """Draw a block's expansion ratio and the kernels of so many layers, all equally likely."""
    expand = int(generator.choice(block.expands))
    return BaseBlock(tuple(int(k) for k in generator.choice(block.kernels, layers)), expand)


def size_probabilities(scalings: Scalings, weights: tuple[float, ...] | None) -> np.ndarray:
    """Return each size's probability: by given weights, or by its number of strategies."""
    counts = weights or [len(strategies(scalings, size)) for size in range(len(scalings.stages))]
    return np.asarray(counts, dtype=float) / sum(counts)


@dataclass(frozen=True)
class Sample:
    """A drawn network and where it came from."""

    size: int
    base: BaseModel
    scaling: Scaling
    network: Network


class Sampler:
    """Draws networks level by level: size, strategy, base model (docs/method.md §3)."""

    def __init__(
        self, space: Space, scalings: Scalings, weights: tuple[float, ...] | None, uniform: bool
    ):
        self.space, self.uniform = space, uniform
        self.strategies = [strategies(scalings, size) for size in range(len(scalings.stages))]
        self.probabilities = size_probabilities(scalings, None if uniform else weights)

    def draw(self, generator: np.random.Generator) -> Sample:
        """Draw one network."""
        size = int(generator.choice(len(self.strategies), p=self.probabilities))
        strategy = self.strategies[size][int(generator.integers(len(self.strategies[size])))]
        base = (sample_base_uniform if self.uniform else sample_base)(self.space, generator)
        return Sample(size, base, strategy, scale(self.space, base, strategy))


def first_that(draw: Callable[[], T], miss: Callable[[T], float], tries: int, what: str) -> T:
    """Draw until ``miss`` is 0; ``ValueError`` names the target, the tries and the nearest miss."""
    nearest = math.inf
    for candidate in (draw() for _ in range(tries)):
        distance = miss(candidate)
        if distance == 0:
            return candidate
        nearest = min(nearest, distance)
    raise ValueError(f"{what}: none found in {tries} tries; the nearest misses it by {nearest:.3g}")


def walk(space: Space) -> Iterator[BaseModel]:
    """Yield every base model of a (small) space."""
    choices = [
        [
            BaseBlock(kernels, expand)
            for layers in range(1, block.depth + 1)
            for expand in block.expands
            for kernels in product(block.kernels, repeat=layers)
        ]
        for block in space.stages
    ]
    return (BaseModel(blocks) for blocks in product(*choices))
