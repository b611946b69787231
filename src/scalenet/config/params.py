"""The typed sections of params.yaml: every number checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, model_validator

from scalenet.config.baselines import Baselines
from scalenet.config.defaults import lacking
from scalenet.config.explain import causes, explain, key_of
from scalenet.config.numbers import (
    AutoOrCount,
    Channels,
    Column,
    Count,
    Few,
    Float,
    Images,
    Inside,
    Int,
    Name,
    Pattern,
    Positive,
    Scorers,
    Seed,
    Share,
    Side,
    Weight,
)
from scalenet.config.recipe import Recipe
from scalenet.config.section import Section
from scalenet.config.space import Scalings, Space
from scalenet.config.yamlfile import read as read_yaml

Multiple = Annotated[Float, Field(ge=0.001, le=2**30)]  # of scaling.budget
MOST_TOLD = 10  # lines about one file
FURTHEST = 2**10  # budgets of the last searched size, that a member may have
LAW_SIZES = 3  # of the search, that a law of what lies beyond it needs


class Compute(Section):
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
    threads: Few
    workers: AutoOrCount
    processes: Few
    scoring: Scorers | None


class ImageTable(Section):
    file: Column | None
    path: Column
    label: Column
    split: Column | None
    group: Column | None


class Data(Section):
    name: Name
    source: Annotated[str, Field(min_length=1)]
    table: ImageTable | None
    group: Pattern | None
    duplicates: Literal["keep", "drop"]
    channels: Channels
    size: Side
    store: Literal["raw", "encoded"]
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

    @model_validator(mode="after")
    def _one_group(self):
        if self.group is not None and self.table is not None and self.table.group is not None:
            raise ValueError("group and table.group both name groups; set one of them to null")
        return self


class WeightsFile(Section):
    file: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Supernet(Section):
    seed: Seed
    init: WeightsFile | None
    coupling: Literal["left", "bilateral"]
    sampling: Literal["budgeted", "hierarchical", "uniform"]
    stage_weights: tuple[Weight, ...] | None
    sampled: Few
    sandwich: bool
    distill: bool
    watch: Images
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
    steps: Annotated[Int, Field(ge=0, le=10**9)]
    lr: Positive
    share: Share
    metric: Literal["probability", "accuracy"]


class Search(Section):
    seed: Seed
    metric: Literal["probability", "accuracy"]
    stage_weights: tuple[Weight, ...]
    calibration: Annotated[Int, Field(ge=2)]
    images: Images
    batch: Count
    random_bases: Few
    iterations: Few
    population: Few
    generations: Few
    parents: Few
    mutation: Share
    crossover: Share
    surrogate: Few
    model: Literal["ridge", "process"]
    bound: Annotated[Float, Field(ge=0, le=100)]
    finetune: Finetune


class Extrapolate(Section):
    law: Literal["surface", "dimensions"]
    draws: Annotated[Int, Field(ge=20, le=10**6)]
    seed: Seed
    confidence: Inside
    resolution_step: Side
    tolerance: Inside


class FamilyEntry(Section):
    multiple: Multiple
    seed: Seed


class Retrain(Section):
    init: Literal["scratch", "supernet"]
    growth: Annotated[Float, Field(ge=0.1, le=10)]
    use_select: bool
    calibration: Annotated[Int, Field(ge=2)]
    batch: Count
    watch: Images
    confidence: Inside
    recipe: Recipe


class AccuracyPrior(Section):
    exponent: tuple[Positive, Positive]
    floor: tuple[Inside, Positive]
    unusual: Inside
    scatter: tuple[Positive, Positive]
    short: Inside


class Publish(Section):
    seed: Seed
    confidence: Inside
    draws: Annotated[Int, Field(ge=20, le=10**6)]
    prior: AccuracyPrior
    next_multiples: Annotated[tuple[Multiple, ...], Field(max_length=100)]


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
        dict[Annotated[str, Field(pattern=r"^S\d+$")], FamilyEntry],
        Field(min_length=1, max_length=100),
    ]
    retrain: Retrain
    baselines: Baselines
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
        last = 2 ** (stages - 1)
        far = [name for name, e in self.family.items() if e.multiple > FURTHEST * last]
        if far:
            raise ValueError(
                f"family: the multiple of {', '.join(far)} is more than {FURTHEST * last:,}, "
                f"which is {FURTHEST:,} times that of the last of scaling.stages ({last:,}): no "
                "law leads further; lower it, or search more sizes"
            )
        known = {name: self.scaling.searched(e.multiple) for name, e in self.family.items()}
        beyond = [name for name, size in known.items() if size is None]
        if beyond and stages < LAW_SIZES:
            raise ValueError(
                f"family: {', '.join(beyond)} lies beyond the search, but a law needs at least "
                f"{LAW_SIZES} entries of scaling.stages and there are {stages}; search more, or "
                f"leave {', '.join(beyond)} out"
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
        errors = causes(error.errors())
        lines = lacking([key_of(item) for item in errors if item["type"] == "missing"])
        lines += [explain(item, Params) for item in errors if item["type"] != "missing"]
        if more := lines[MOST_TOLD:]:
            lines[MOST_TOLD:] = [f"and {len(more):,} more keys are wrong"]
        raise ValueError("\n".join(f"{origin}: {line}" for line in lines)) from error
