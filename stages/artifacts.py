"""The documents that rooms exchange: where they lie, and their atomic, checked reading and writing."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pydantic

SPLITS = ("train", "select", "test")


@dataclass(frozen=True)
class Paths:
    """Where every artifact lies under the project's root."""

    root: Path

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def data(self) -> Path:
        return self.artifacts / "data"

    @property
    def supernet(self) -> Path:
        return self.artifacts / "supernet"

    @property
    def search(self) -> Path:
        return self.artifacts / "search"

    @property
    def law(self) -> Path:
        return self.artifacts / "law"

    @property
    def plan(self) -> Path:
        return self.artifacts / "plan"

    @property
    def family(self) -> Path:
        return self.artifacts / "family"

    @property
    def members(self) -> Path:
        return self.artifacts / "members"

    def member(self, name: str) -> Path:
        return self.members / name

    def state(self, stage: str) -> Path:
        """The folder an interrupted stage resumes from, removed once all it made is delivered; DVC does not know it."""
        return self.root / ".state" / stage


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


# --- files ----------------------------------------------------------------------------------------


def write_bytes(path: Path, content: bytes) -> None:
    """Write to a temporary name, flush to disk, then replace: a reader sees all of it or the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON that is the same for the same content."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON; ``ValueError`` names the file."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error}); run `dvc repro` or `dvc pull`") from error


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    write_bytes(path, text.getvalue().encode())


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as .npz; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes(path, buffer.getvalue())


def read_split(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a split: pixels uint8 (N, C, H, W) and labels int64 (N)."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return content["pixels"], content["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read as a split ({error}); run `dvc repro` or `dvc pull`") from error


def digest(*parts: Any) -> str:
    """Return a short hash of bytes, files (paths) and JSON values: the key of a resumable state."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            part = _bytes(part)
        elif isinstance(part, pydantic.BaseModel):
            part = part.model_dump_json().encode()
        elif not isinstance(part, bytes):
            part = json.dumps(part, sort_keys=True).encode()
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:16]


def code() -> str:
    """Return the hash of the method's code: a state that other code left is never resumed."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return digest(*files)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); run `dvc repro` or `dvc pull`") from error


class Journal:
    """An append-only file of records (a JSON object a line), fsynced one by one; a torn last line is dropped.

    The first line holds the key of the work; a journal of other work is begun anew.
    """

    def __init__(self, path: Path, key: str):
        self.path = path
        self.records: list[dict[str, Any]] = []
        header = json.dumps({"key": key})
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        if lines and lines[0].decode(errors="replace") == header:
            self.records = [json.loads(line) for line in lines[1:]]
        write_bytes(path, b"".join(line + b"\n" for line in [header.encode(), *lines[1 : 1 + len(self.records)]]))
        self._file = path.open("ab")

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record for good."""
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records.append(dict(record))

    def close(self) -> None:
        self._file.close()
