"""The search space: base models, scaling strategies, and the networks they make together."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np

from stages.params import Scalings, Space

T = TypeVar("T")


def _plain(value: float) -> str:
    """Write a float so that reading it gives the same float: 1, 1.15, 0.00001."""
    return np.format_float_positional(value, trim="-")


@dataclass(frozen=True)
class BaseModel:
    """A base model α: for every stage, the kernel of every layer (so also its depth).

    Canonical string: stages joined by ``-``, layers by ``.``: ``k3-3.5-5.5.3``.
    """

    kernels: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        return "k" + "-".join(".".join(map(str, stage)) for stage in self.kernels)

    @classmethod
    def parse(cls, text: str) -> BaseModel:
        """Read the canonical string; ``ValueError`` if it is none."""
        if not re.fullmatch(r"k\d+(\.\d+)*(-\d+(\.\d+)*)*", text):
            raise ValueError(f"{text!r} is no base model; expected one like 'k3-3.5-5.5.3'")
        return cls(tuple(tuple(map(int, stage.split("."))) for stage in text[1:].split("-")))


@dataclass(frozen=True)
class Scaling:
    """A strategy s = (depth multiplier, width multiplier, resolution in px); string ``d1.2-w1.1-r240``."""

    depth: float
    width: float
    resolution: int

    def __str__(self) -> str:
        return f"d{_plain(self.depth)}-w{_plain(self.width)}-r{self.resolution}"

    @classmethod
    def parse(cls, text: str) -> Scaling:
        """Read the canonical string; ``ValueError`` if it is none."""
        match = re.fullmatch(r"d([\d.]+)-w([\d.]+)-r(\d+)", text)
        if not match:
            raise ValueError(f"{text!r} is no strategy; expected one like 'd1.2-w1.1-r240'")
        return cls(float(match[1]), float(match[2]), int(match[3]))


@dataclass(frozen=True)
class Stage:
    """Inverted residuals of one width; the first has the stage's stride, the others stride 1."""

    kernels: tuple[int, ...]
    stride: int
    expand: int
    width: int


@dataclass(frozen=True)
class Network:
    """A complete network, independent of the space it came from.

    Canonical string, one token a part:
    ``r12-stem_k3_s1_c8-ir_k3.5_s2_e4_c16-head_c64-se0.25e-hard_swish``.
    """

    resolution: int
    stem_kernel: int
    stem_stride: int
    stem_width: int
    stages: tuple[Stage, ...]
    head_width: int
    se_ratio: float
    se_from: str
    activation: str

    def __str__(self) -> str:
        stages = (f"ir_k{'.'.join(map(str, s.kernels))}_s{s.stride}_e{s.expand}_c{s.width}" for s in self.stages)
        stem = f"stem_k{self.stem_kernel}_s{self.stem_stride}_c{self.stem_width}"
        squeeze = f"se{_plain(self.se_ratio)}{self.se_from[0]}"
        return "-".join((f"r{self.resolution}", stem, *stages, f"head_c{self.head_width}", squeeze, self.activation))

    @classmethod
    def parse(cls, text: str) -> Network:
        """Read the canonical string; ``ValueError`` if it is none."""
        match = _NETWORK.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} is no network; expected one like {_EXAMPLE!r}")
        stages = tuple(
            Stage(tuple(map(int, kernels.split("."))), int(stride), int(expand), int(width))
            for kernels, stride, expand, width in _STAGE.findall(match["stages"])
        )
        numbers = {key: int(match[key]) for key in ("resolution", "stem_kernel", "stem_stride", "stem_width")}
        return cls(
            **numbers,
            stages=stages,
            head_width=int(match["head_width"]),
            se_ratio=float(match["se_ratio"]),
            se_from={"e": "expanded", "i": "input"}[match["se_from"]],
            activation=match["activation"],
        )

    @property
    def depth(self) -> int:
        """Number of inverted residuals."""
        return sum(len(stage.kernels) for stage in self.stages)


_EXAMPLE = "r12-stem_k3_s1_c8-ir_k3.5_s2_e4_c16-head_c64-se0.25e-hard_swish"
_STAGE = re.compile(r"-ir_k(\d+(?:\.\d+)*)_s(\d+)_e(\d+)_c(\d+)")
_STAGES = r"(?:-ir_k\d+(?:\.\d+)*_s\d+_e\d+_c\d+)+"
_NETWORK = re.compile(
    r"r(?P<resolution>\d+)-stem_k(?P<stem_kernel>\d+)_s(?P<stem_stride>\d+)_c(?P<stem_width>\d+)"
    rf"(?P<stages>{_STAGES})"
    r"-head_c(?P<head_width>\d+)-se(?P<se_ratio>[\d.]+)(?P<se_from>[ei])-(?P<activation>hard_swish|swish|relu)"
)


# --- scale(α, s) ----------------------------------------------------------------------------------


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


def strategies(scalings: Scalings, stage: int) -> list[Scaling]:
    """List every strategy of a scaling stage, in a fixed order."""
    entry = scalings.stages[stage]
    return [Scaling(*triple) for triple in product(entry.depths, entry.widths, entry.resolutions)]


def all_strategies(scalings: Scalings) -> list[Scaling]:
    """List the strategies of all scaling stages."""
    return [s for stage in range(len(scalings.stages)) for s in strategies(scalings, stage)]


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


# --- sampling -------------------------------------------------------------------------------------


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
