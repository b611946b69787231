"""Drawing base models and networks of a space (docs/method.md §3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np

from scalenet.config.params import Scalings, Space
from scalenet.space.network import Network
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel, Scaling, strategies

T = TypeVar("T")


def sample_base(space: Space, generator: np.random.Generator) -> BaseModel:
    """Draw a base model hierarchically: every stage's depth first, then its kernels."""
    kernels = []
    for stage in space.stages:
        layers = int(generator.integers(1, stage.depth + 1))
        kernels.append(tuple(int(k) for k in generator.choice(stage.kernels, layers)))
    return BaseModel(tuple(kernels))


def sample_base_uniform(space: Space, generator: np.random.Generator) -> BaseModel:
    """Draw every base model of the space with the same probability, so that deep ones dominate."""
    kernels = []
    for stage in space.stages:
        counts = np.array([float(len(stage.kernels)) ** n for n in range(1, stage.depth + 1)])
        layers = int(generator.choice(stage.depth, p=counts / counts.sum())) + 1
        kernels.append(tuple(int(k) for k in generator.choice(stage.kernels, layers)))
    return BaseModel(tuple(kernels))


def stage_probabilities(scalings: Scalings, weights: tuple[float, ...] | None) -> np.ndarray:
    """Return each scaling stage's probability: by given weights, or by its number of strategies."""
    counts = weights or [len(strategies(scalings, stage)) for stage in range(len(scalings.stages))]
    return np.asarray(counts, dtype=float) / sum(counts)


@dataclass(frozen=True)
class Sample:
    """A drawn network and where it came from."""

    stage: int
    base: BaseModel
    scaling: Scaling
    network: Network


class Sampler:
    """Draws networks level by level: scaling stage, strategy, base model (docs/method.md §3)."""

    def __init__(self, space: Space, scalings: Scalings, weights: tuple[float, ...] | None, uniform: bool):
        self.space, self.uniform = space, uniform
        self.strategies = [strategies(scalings, stage) for stage in range(len(scalings.stages))]
        self.probabilities = stage_probabilities(scalings, None if uniform else weights)

    def draw(self, generator: np.random.Generator) -> Sample:
        """Draw one network."""
        stage = int(generator.choice(len(self.strategies), p=self.probabilities))
        by = self.strategies[stage][int(generator.integers(len(self.strategies[stage])))]
        base = (sample_base_uniform if self.uniform else sample_base)(self.space, generator)
        return Sample(stage, base, by, scale(self.space, base, by))


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
        [kernels for layers in range(1, stage.depth + 1) for kernels in product(stage.kernels, repeat=layers)]
        for stage in space.stages
    ]
    return (BaseModel(kernels) for kernels in product(*choices))
