"""What a family is compared with: a majority class, an SVM, a residual network, transfer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from scalenet.config.numbers import Count, Int, Seed
from scalenet.config.section import Section

Steps = Annotated[tuple[Count, ...], Field(min_length=1)]


class ResidualSteps(Section):
    widths: Steps
    trial: Steps
    member: Steps
    run: Steps

    @model_validator(mode="after")
    def _one_a_width(self):
        for name in ("trial", "member", "run"):
            steps = getattr(self, name)
            if len(steps) != len(self.widths):
                raise ValueError(
                    f"{name} is {list(steps)}; give one number of steps for each of the widths "
                    f"{list(self.widths)}"
                )
        return self


class Checkpoint(Section):
    file: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)]


class Baselines(Section):
    seed: Seed
    svm: Annotated[Int, Field(ge=0)]
    residual: ResidualSteps | None
    pretrained: Checkpoint | None

    @field_validator("svm")
    @classmethod
    def _of_two_classes(cls, images: int) -> int:
        if images == 1:
            raise ValueError("should be 0, which leaves the SVM out, or at least 2 images")
        return images
