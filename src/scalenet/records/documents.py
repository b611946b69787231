"""The documents that stages exchange: frozen, complete, of a known format.

They hold values (`Network`, `BaseModel`, `Scaling`), written as canonical strings in JSON alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic

from scalenet.records import files
from scalenet.space.network import Network, Task
from scalenet.space.scaling import BaseModel, Scaling

# the phases of finalists: their slice was trained on alone, or they were scored on all of select
FINETUNED, RESCORED = FINALS = ("finetuned", "rescored")


def _text(kind: type) -> Any:
    """Return the type of a field that holds a value of the space: in a file, its string."""
    read = pydantic.PlainValidator(
        lambda given: given if isinstance(given, kind) else kind.parse(given)
    )
    return Annotated[kind, read, pydantic.PlainSerializer(str, return_type=str)]


NetworkText, BaseText, ScalingText = _text(Network), _text(BaseModel), _text(Scaling)


class Document(pydantic.BaseModel):
    """A JSON artifact."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True
    )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check; ``ValueError`` names the file and the stage to run again."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ValueError(
                f"{path}: cannot be read ({error.strerror}); `scalenet run` makes it, `dvc pull` "
                "fetches it"
            ) from error
        except pydantic.ValidationError as error:
            raise ValueError(
                f"{path}: not a {cls.__name__} of this version; rebuild it with `dvc repro`"
            ) from error

    def plain(self) -> dict[str, Any]:
        """Return what is written: plain values under the names that the file has."""
        return self.model_dump(mode="json", by_alias=True)

    def write(self, path: Path) -> None:
        """Write atomically."""
        files.write_json(path, self.plain())


class DataInfo(Document):
    """What ``prepare`` made: classes, sizes, a hash of everything; nothing of where it came from.

    So the same images at another path train nothing anew. ``mean`` and ``std`` are train's, one
    number a channel, of pixels in 0…1; ``size`` is in px.
    """

    format: Literal[1] = 1
    channels: int
    size: int
    classes: list[str]
    counts: dict[str, int]
    mean: list[float]
    std: list[float]
    digest: str

    @property
    def task(self) -> Task:
        """What a network for these images is for."""
        return Task(self.channels, len(self.classes))


class Reading(Document):
    """What ``prepare`` read, by split and class, and what it did not take.

    ``skipped`` counts against data.most_skipped: reason -> folder -> files, of which ``first``
    names a few; ``ignored`` does not: reason -> files. ``unused`` images are beyond per_class.
    Of equal images, ``duplicates`` are those that two splits share, by "test in train";
    ``repeated`` those that their split has already; ``conflicting`` names those of more than one
    class, equal ones together; ``dropped`` counts those left out by data.duplicates. ``alike``
    counts others that look like one of another split; ``pairs`` names few. Of ``groups``, ``torn``
    are in several splits, by the source's own, and test is worth ``tested`` of equal size;
    ``brightest`` is the highest level of all pixels, 0…255, and ``dark`` counts the images that
    have none above 64. A source is ``unmarked`` without its end mark: files may be missing.
    """

    format: Literal[1] = 1
    name: str
    source: str
    taken: dict[str, dict[str, int]]
    skipped: dict[str, dict[str, int]]
    first: list[str]
    ignored: dict[str, int]
    unused: int
    duplicates: dict[str, int]
    repeated: dict[str, int]
    conflicting: list[str]
    dropped: int
    alike: dict[str, int] = {}
    pairs: list[str] = []
    groups: int
    torn: int
    tested: int = 0
    brightest: int
    dark: int = 0
    unmarked: bool = False
    warnings: list[str] = []


def _cell(given: Any) -> Any:
    """Return what a field holds: in a table an empty cell is nothing, but 0 is a number."""
    return None if given == "" else given


class Candidate(Document):
    """One measured network of the search, in the order of measuring."""

    number: int
    network: NetworkText
    base: BaseText
    scaling: ScalingText
    size: int = pydantic.Field(alias="stage")  # the paper's name, kept in files and queries
    depth: float
    width: float
    resolution: int
    flops: int
    params: int
    accuracy: float
    probability: float
    score: float
    predicted: Annotated[float | None, pydantic.BeforeValidator(_cell)]
    phase: str
    iteration: int
    generation: int

    @classmethod
    def read_all(cls, path: Path) -> list[Self]:
        """Read candidates.csv; ``ValueError`` names the file and the stage to run again."""
        try:
            return [cls.model_validate(row) for row in files.read_table(path)]
        except pydantic.ValidationError as error:
            raise ValueError(
                f"{path}: no table of candidates of this version; rebuild it with `dvc repro`"
            ) from error

    @property
    def identity(self) -> str:
        """What tells it from all others of its search: its network, and its phase as a finalist."""
        return f"{self.network} {self.phase}" if self.phase in FINALS else str(self.network)


class State(Document):
    """A state (base model, strategies) of the Markov chain and its score."""

    iteration: int
    base: BaseText
    strategies: list[ScalingText]
    score: float


class Found(Document):
    """What the search found: its chain's last state and the way there.

    Where there were finalists, strategies and score are theirs: after fine-tuning, or scored again
    on all of select.
    """

    format: Literal[1] = 1
    base: BaseText
    strategies: list[ScalingText]
    score: float
    chain: list[State]
    measured: int


class Member(Document):
    """A family member before training: one network for one budget.

    ``latency``: its milliseconds on the device that the budgets count for; None for FLOPs.
    """

    format: Literal[1] = 1
    name: str
    multiple: float
    budget: float
    origin: Literal["searched", "extrapolated"]
    base: BaseText
    scaling: ScalingText
    network: NetworkText
    flops: int
    params: int
    latency: float | None = None

    @property
    def spent(self) -> float:
        """What it takes of its budget, in the budget's unit."""
        return self.flops if self.latency is None else self.latency


class Score(Document):
    """How many images of a split are labelled right."""

    correct: int
    tested: int
    accuracy: float


class Tested(Document):
    """A classifier's one test: top-1 (0…1) with its interval, and the mean of the classes' recalls.

    ``select`` is its score on select; None if it was trained on select.
    """

    correct: int
    tested: int
    accuracy: float
    low: float
    high: float
    confidence: float
    balanced: float
    select: Score | None


class Trained(Tested):
    """A family member after its one test."""

    format: Literal[2] = 2
    member: Member
    data: str
    weights: str


class Baseline(Tested):
    """What a family is compared with, tested on the same images.

    ``about`` says what it is; ``images`` it was fitted on. A network has ``steps``, ``flops``
    and ``params``, as far as they are known.
    """

    name: str
    about: str
    images: int
    steps: int | None
    flops: int | None
    params: int | None


class Measurements(Document):
    """What stage ``baselines`` made."""

    format: Literal[1] = 1
    baselines: list[Baseline]


class Comparison(Document):
    """A member's test accuracy less a baseline's, on the same images, with its interval.

    ``p`` is that of McNemar's test (mid-p) that both are equally good, by groups where images have
    some.
    """

    member: str
    baseline: str
    difference: float
    low: float
    high: float
    p: float


class Family(Document):
    """The published family, its accuracy law and what the law says of the next sizes.

    ``warnings`` are sentences on what may be wrong with the images, and on members that are no
    good.
    """

    format: Literal[2] = 2
    name: str
    members: list[Trained]
    law: dict[str, Any] | None
    baselines: list[Baseline]
    comparisons: list[Comparison]
    warnings: list[str]

    @property
    def by_latency(self) -> bool:
        """Whether its budgets count milliseconds on a device, which all members then have."""
        return self.members[0].member.latency is not None
