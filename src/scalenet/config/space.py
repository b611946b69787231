"""The sections that say what is searched: every base model and how a strategy scales it."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from scalenet.config.numbers import (
    Factor,
    Few,
    Inside,
    Kernel,
    Positive,
    Share,
    Side,
    Tries,
    Weight,
    Width,
)
from scalenet.config.section import Section

MOST = 10_000  # strategies of a size
LEAST = 1e-6  # µs or ns: a layer's latency is counted in picoseconds
LayerTimes = tuple[Weight, Weight, Weight]
KINDS = ("dense", "pointwise", "depthwise", "vector")  # of layers that take their own time


class Stem(Section):
    width: Width
    kernel: Kernel
    stride: Few


class SpaceBlock(Section):
    width: Width
    depth: Few
    stride: Few
    expands: Annotated[tuple[Few, ...], Field(min_length=1, max_length=10)]
    kernels: Annotated[tuple[Kernel, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _choices_once(self):
        for key, offered in (("expands", self.expands), ("kernels", self.kernels)):
            if len(set(offered)) < len(offered):
                raise ValueError(f"{key} {list(offered)} should each be named once")
        return self


class Head(Section):
    width: Width


class Space(Section):
    stem: Stem
    stages: Annotated[tuple[SpaceBlock, ...], Field(min_length=1, max_length=20)]
    head: Head
    se_ratio: Share
    se_from: Literal["expanded", "input"]
    activation: Literal["hard_swish", "swish", "relu"]
    divisor: Width
    rounding: Literal["up", "nearest"]
    scale_head: bool


class Size(Section):
    """A size's strategies; the key of the sizes in params.yaml is the paper's, ``stages``."""

    tolerance: Inside
    depths: Annotated[tuple[Factor, ...], Field(min_length=1)]
    widths: Annotated[tuple[Factor, ...], Field(min_length=1)]
    resolutions: Annotated[tuple[Side, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _few(self):
        offered = len(self.depths) * len(self.widths) * len(self.resolutions)
        if offered > MOST:
            raise ValueError(
                f"depths x widths x resolutions are {offered:,} strategies; give at most {MOST:,}"
            )
        return self


class Latency(Section):
    """What the layers of deployed networks take on a device: of each kind µs a layer, ns a value
    that it gives and ns a multiply-accumulate."""

    device: Annotated[str, Field(min_length=1, max_length=200)]
    dense: LayerTimes
    pointwise: LayerTimes
    depthwise: LayerTimes
    vector: LayerTimes

    @model_validator(mode="after")
    def _takes_time(self):
        if max(rate for row in self.kinds.values() for rate in row) < LEAST:
            raise ValueError(
                "by these rates no network takes any time; give what layers take, "
                "[µs each, ns a value, ns a multiply-accumulate]"
            )
        return self

    @property
    def kinds(self) -> dict[str, LayerTimes]:
        """Its rates by kind of layer."""
        return {name: getattr(self, name) for name in KINDS}


class Scalings(Section):
    measure: Literal["flops", "latency"]
    latency: Latency | None
    budget: Positive
    tolerance: Inside
    tries: Tries
    stages: Annotated[tuple[Size, ...], Field(min_length=1, max_length=20)]

    @model_validator(mode="after")
    def _base_first(self):
        first = self.stages[0]
        if (first.depths, first.widths, len(first.resolutions)) != ((1.0,), (1.0,), 1):
            raise ValueError(
                "stages[0] is the base itself: depths [1.0], widths [1.0] and one resolution"
            )
        return self

    @model_validator(mode="after")
    def _measured(self):
        if self.measure == "latency" and self.latency is None:
            raise ValueError(
                "measure: latency needs what layers take on a device, in latency: `scalenet "
                "latency` measures it there, and `--set scaling.latency=FILE` beside this takes "
                "the file that it writes; or set measure: flops, with a budget in FLOPs"
            )
        return self

    def target(self, size: int) -> float:
        """Return a size's budget: 2^size times the base model's (docs/method.md §1)."""
        return self.budget * 2**size

    def searched(self, multiple: float) -> int | None:
        """Return the size whose budget is ``multiple`` times the base's; None beyond the search."""
        size = math.log2(multiple)
        return int(size) if size in range(len(self.stages)) else None
