"""The typed sections of params.yaml: every number checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, model_validator

from scalenet.config.explain import explain
from scalenet.config.numbers import (
    Channels,
    Count,
    Float,
    Inside,
    Int,
    Kernel,
    Name,
    Positive,
    PositiveShare,
    Seed,
    Share,
    Weight,
)
from scalenet.config.yamlfile import read as read_yaml


class Section(pydantic.BaseModel):
    """A part of params.yaml: frozen, complete, without unknown keys."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Compute(Section):
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
    threads: Count


class Data(Section):
    name: Name
    source: Annotated[str, Field(min_length=1)]
    channels: Channels
    size: Count
    per_class: Count | None
    most_skipped: Share
    select_fraction: Inside
    test_fraction: Inside
    seed: Seed

    @model_validator(mode="after")
    def _leave_train(self):
        if self.select_fraction + self.test_fraction >= 1:
            raise ValueError(
                "select_fraction + test_fraction leave nothing to train on; lower one of them"
            )
        return self


class Stem(Section):
    width: Count
    kernel: Kernel
    stride: Count


class SpaceBlock(Section):
    width: Count
    depth: Count
    stride: Count
    expand: Count
    kernels: Annotated[tuple[Kernel, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _kernels_once(self):
        if len(set(self.kernels)) < len(self.kernels):
            raise ValueError(f"kernels {list(self.kernels)} should each be named once")
        return self


class Head(Section):
    width: Count


class Space(Section):
    stem: Stem
    stages: Annotated[tuple[SpaceBlock, ...], Field(min_length=1)]
    head: Head
    se_ratio: Share
    se_from: Literal["expanded", "input"]
    activation: Literal["hard_swish", "swish", "relu"]
    divisor: Count
    rounding: Literal["up", "nearest"]
    scale_head: bool


class Size(Section):
    """A size's strategies; the key of the sizes in params.yaml is the paper's, ``stages``."""

    tolerance: Inside
    depths: Annotated[tuple[Positive, ...], Field(min_length=1)]
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)]
    resolutions: Annotated[tuple[Count, ...], Field(min_length=1)]


class Scalings(Section):
    budget: Positive
    tolerance: Inside
    tries: Count
    stages: Annotated[tuple[Size, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _base_first(self):
        first = self.stages[0]
        if (first.depths, first.widths, len(first.resolutions)) != ((1.0,), (1.0,), 1):
            raise ValueError(
                "stages[0] is the base itself: depths [1.0], widths [1.0] and one resolution"
            )
        return self

    def target(self, size: int) -> float:
        """Return a size's budget in FLOPs: 2^size times the base model's (docs/method.md §1)."""
        return self.budget * 2**size


class RandAugment(Section):
    ops: Annotated[Int, Field(ge=0)]
    magnitude: Annotated[Float, Field(ge=0, le=10)]


class Augment(Section):
    rotate: Annotated[Float, Field(ge=0, le=180)]
    shift: Share
    scale: tuple[Positive, Positive]
    crop: tuple[PositiveShare, PositiveShare]
    aspect: Annotated[Float, Field(ge=1)]
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
    batch: Annotated[Int, Field(ge=2)]
    lr: Positive
    warmup: Annotated[Int, Field(ge=0)]
    momentum: Annotated[Float, Field(ge=0, lt=1)]
    weight_decay: Weight
    label_smoothing: Annotated[Float, Field(ge=0, lt=1)]
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


class Supernet(Section):
    seed: Seed
    coupling: Literal["left", "bilateral"]
    sampling: Literal["budgeted", "hierarchical", "uniform"]
    stage_weights: tuple[Weight, ...] | None
    sampled: Count
    sandwich: bool
    distill: bool
    recipe: Recipe

    @model_validator(mode="after")
    def _teacher(self):
        if self.distill and not self.sandwich:
            raise ValueError(
                "distill needs the largest network in every step; "
                "set sandwich: true or distill: false"
            )
        return self


class Finetune(Section):
    steps: Annotated[Int, Field(ge=0)]
    lr: Positive
    share: Annotated[Float, Field(gt=0, le=1)]


class Search(Section):
    seed: Seed
    metric: Literal["probability", "accuracy"]
    stage_weights: tuple[Weight, ...]
    calibration: Annotated[Int, Field(ge=2)]
    batch: Count
    random_bases: Count
    iterations: Count
    population: Count
    generations: Count
    parents: Count
    mutation: Share
    crossover: Share
    surrogate: Count
    finetune: Finetune


class Extrapolate(Section):
    confidence: Inside
    resolution_step: Count
    tolerance: Inside


class FamilyEntry(Section):
    multiple: Positive
    seed: Seed


class Retrain(Section):
    init: Literal["scratch", "supernet"]
    use_select: bool
    calibration: Annotated[Int, Field(ge=2)]
    batch: Count
    confidence: Inside
    recipe: Recipe


class Publish(Section):
    seed: Seed
    confidence: Inside
    draws: Annotated[Int, Field(ge=20)]
    next_multiples: tuple[Positive, ...]


class Params(Section):
    """All of params.yaml."""

    compute: Compute
    data: Data
    space: Space
    scaling: Scalings
    supernet: Supernet
    search: Search
    extrapolate: Extrapolate
    family: Annotated[
        dict[Annotated[str, Field(pattern=r"^S\d+$")], FamilyEntry], Field(min_length=1)
    ]
    retrain: Retrain
    publish: Publish

    @model_validator(mode="after")
    def _agree(self):
        stages = len(self.scaling.stages)
        for section, weights in (
            ("supernet", self.supernet.stage_weights),
            ("search", self.search.stage_weights),
        ):
            if weights is not None and (len(weights) != stages or not sum(weights) > 0):
                raise ValueError(
                    f"{section}.stage_weights is {list(weights)}; give one weight for each of the "
                    f"{stages} entries of scaling.stages, not all 0"
                )
        return self


def load(path: Path | str) -> Params:
    """Read and check a params file; ``ValueError`` says which key is wrong and what is allowed."""
    return parse(read_yaml(path), str(path))


def parse(content: dict[str, Any], origin: str = "params.yaml") -> Params:
    """Check params given as plain data; ``origin`` names them in messages."""
    try:
        return Params.model_validate(content)
    except pydantic.ValidationError as error:
        lines = [explain(item, Params) for item in error.errors()]
        raise ValueError("\n".join(f"{origin}: {line}" for line in lines)) from error
