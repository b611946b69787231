"""The documents that stages exchange: frozen, complete, of a known format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import pydantic

from scalenet.records.files import write_json


class Document(pydantic.BaseModel):
    """A JSON artifact: frozen, complete, of a known format."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check; ``ValueError`` names the file and the stage to run again."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ValueError(f"{path}: cannot be read ({error.strerror}); run `dvc repro` or `dvc pull`") from error
        except pydantic.ValidationError as error:
            raise ValueError(f"{path}: not a {cls.__name__} of this version; rebuild it with `dvc repro`") from error

    def write(self, path: Path) -> None:
        """Write atomically."""
        write_json(path, self.model_dump(mode="json"))


class DataInfo(Document):
    """What ``prepare`` made: its classes, sizes, the pixels' mean and deviation (0…1), and a hash of everything."""

    format: Literal[1] = 1
    name: str
    source: str
    channels: int
    size: int
    classes: list[str]
    counts: dict[str, int]
    mean: list[float]
    std: list[float]
    digest: str


FINETUNED = "finetuned"  # the phase of candidates whose slice was trained on alone


class Candidate(Document):
    """One measured network of the search, in the order of measuring."""

    number: int
    network: str
    base: str
    scaling: str
    stage: int
    depth: float
    width: float
    resolution: int
    flops: int
    params: int
    accuracy: float
    probability: float
    score: float
    predicted: float | None
    phase: str
    iteration: int
    generation: int


def identity(record: Mapping[str, Any]) -> str:
    """Return what tells a candidate from every other of its search: its network, and whether it was fine-tuned."""
    return f"{record['network']} {FINETUNED}" if record["phase"] == FINETUNED else record["network"]


class State(Document):
    """A state (base model, strategies) of the Markov chain and its score."""

    iteration: int
    base: str
    strategies: list[str]
    score: float


class Found(Document):
    """What the search found: its chain's last state, with fine-tuning's strategies and score, and the way there."""

    format: Literal[1] = 1
    base: str
    strategies: list[str]
    score: float
    chain: list[State]
    measured: int


class Member(Document):
    """A family member before training: one network for one budget."""

    format: Literal[1] = 1
    name: str
    multiple: float
    budget: float
    origin: Literal["searched", "extrapolated"]
    base: str
    scaling: str
    network: str
    flops: int
    params: int


class Trained(Document):
    """A family member after its one test."""

    format: Literal[1] = 1
    member: Member
    correct: int
    tested: int
    accuracy: float
    low: float
    high: float
    confidence: float
    data: str
    weights: str


class Family(Document):
    """The published family, its accuracy law and what the law says of the next sizes."""

    format: Literal[1] = 1
    name: str
    members: list[Trained]
    law: dict[str, Any] | None
