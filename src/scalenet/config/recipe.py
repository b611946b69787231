"""How weights are trained: views of the images and the optimiser's numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from scalenet.config.numbers import (
    Count,
    Factor,
    Float,
    Int,
    Positive,
    PositiveShare,
    Share,
    Weight,
)
from scalenet.config.section import Section


class RandAugment(Section):
    ops: Annotated[Int, Field(ge=0, le=20)]
    magnitude: Annotated[Float, Field(ge=0, le=10)]


class Augment(Section):
    rotate: Annotated[Float, Field(ge=0, le=180)]
    shift: Share
    scale: tuple[Factor, Factor]
    crop: tuple[PositiveShare, PositiveShare]
    aspect: Annotated[Float, Field(ge=1, le=100)]
    flip: bool
    randaugment: RandAugment
    erase: Share
    mixup: Weight
    cutmix: Weight

    @model_validator(mode="after")
    def _ordered(self):
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)} should be [smallest zoom, largest zoom]")
        if self.crop[0] > self.crop[1]:
            raise ValueError(f"crop {list(self.crop)} should be [least area, most area]")
        if self.cropped and (self.shift or self.scale != (1.0, 1.0)):
            raise ValueError(
                "crop chooses place and zoom by itself: with it set shift: 0 and scale: [1, 1]"
            )
        return self

    @property
    def cropped(self) -> bool:
        """Whether views are random crops that lie inside the image."""
        return self.crop != (1.0, 1.0) or self.aspect != 1.0


class Recipe(Section):
    steps: Count
    batch: Annotated[Int, Field(ge=2, le=10**6)]
    lr: Annotated[Float, Field(ge=1e-12, le=1000)]
    warmup: Annotated[Int, Field(ge=0, le=10**9)]
    momentum: Annotated[Float, Field(ge=0, lt=1)]
    weight_decay: Weight
    label_smoothing: Annotated[Float, Field(ge=0, lt=1)]
    balance: Share
    clip: Positive
    ema: Annotated[Float, Field(ge=0, lt=1)]
    drop_path: Annotated[Float, Field(ge=0, lt=1)]
    precision: Literal["float32", "bfloat16"]
    augment: Augment
    log: Count
    checkpoint: Count

    @model_validator(mode="after")
    def _whole_logs(self):
        if self.checkpoint % self.log:
            raise ValueError(
                f"checkpoint ({self.checkpoint}) should be a multiple of log ({self.log})"
            )
        return self

    @model_validator(mode="after")
    def _warm_before_the_end(self):
        if self.warmup >= self.steps:
            raise ValueError(
                f"warmup ({self.warmup}) should be less than steps ({self.steps}), or the rate "
                "never reaches lr and falls again; lower warmup (a tenth of the steps is usual) "
                "or raise steps"
            )
        return self
