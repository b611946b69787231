"""Public tables of trained networks, and the schema files that say what their columns are.

A table is ``NAME.csv``. Its schema is ``NAME.schema.yaml`` beside it, else in ``--schemas``
(bench/method/schemas: those of the tables that the project's figures are from). There are two
kinds:

* ``families``: each row is a member of a family whose members were trained by one recipe.
* ``networks``: each row is a network of a small space, by its choices, trained once or more often.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pydantic
from pydantic import Field

from scalenet.config import yamlfile
from scalenet.config.explain import explain
from scalenet.config.numbers import Count, Positive
from scalenet.config.section import Section
from scalenet.laws.accuracy import Point

SCHEMAS = Path(__file__).parent / "schemas"
Columns = Annotated[tuple[str, ...], Field(min_length=1)]
Row = dict[str, str]


class Column(Section):
    """A column of numbers, and what one of its units is in FLOPs or as a share of 1."""

    column: str
    unit: Positive

    def of(self, row: Row) -> float:
        return float(row[self.column]) * self.unit


class FamiliesSchema(Section):
    """Columns of a table of families; ``lineages`` maps beginnings of their names."""

    kind: Literal["families"]
    family: Columns
    flops: Column
    accuracy: Column
    tested: Count
    lineages: dict[str, str]

    @property
    def columns(self) -> list[str]:
        return [*self.family, self.flops.column, self.accuracy.column]


class NetworksSchema(Section):
    """Columns of a table of networks; rows that are equal in ``same`` are one network."""

    kind: Literal["networks"]
    choices: Columns
    digits: bool
    flops: Column
    accuracy: Columns
    unit: Positive
    same: Columns

    @property
    def columns(self) -> list[str]:
        return [*self.choices, self.flops.column, *self.accuracy, *self.same]


class Schema(pydantic.RootModel):
    """Either kind of schema."""

    root: Annotated[FamiliesSchema | NetworksSchema, Field(discriminator="kind")]


@dataclass(frozen=True)
class Published:
    """Members by FLOPs, and the lineage that the family shares with its relatives."""

    name: str
    lineage: str
    members: tuple[Point, ...]


@dataclass(frozen=True)
class Networks:
    """A space of which every network was trained.

    ``choices`` (rows, positions) counts each position's choices from 0; ``network`` (rows,) is what
    a row stands for; ``accuracies`` (networks, trainings) and ``flops`` (networks,) say what is
    known of it.
    """

    choices: np.ndarray
    network: np.ndarray
    accuracies: np.ndarray
    flops: np.ndarray

    @cached_property
    def known(self) -> dict[tuple[int, ...], int]:
        """The network that choices stand for."""
        return dict(zip(map(tuple, self.choices.tolist()), self.network.tolist(), strict=True))

    @cached_property
    def scores(self) -> np.ndarray:
        """What a search is told of each network: its mean accuracy over trainings."""
        return self.accuracies.mean(1)


Contents = list[Published] | Networks


def read(folder: Path, schemas: Path) -> dict[str, Contents]:
    """Read every table of a folder; ``ValueError`` names the file and what it lacks."""
    tables = {file.stem: _read(file, schemas) for file in sorted(folder.glob("*.csv"))}
    if not tables:
        raise ValueError(f"{folder} holds no CSV file; --tables should name a folder of tables")
    return tables


def _read(file: Path, schemas: Path) -> Contents:
    schema = schema_of(file, schemas)
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    lacking = sorted(set(schema.columns) - set(rows[0] if rows else ()))
    if lacking:
        raise ValueError(
            f"{file}: has no column {', '.join(lacking)}; its columns are "
            f"{', '.join(rows[0]) if rows else 'none'}: correct {file.stem}.schema.yaml"
        )
    try:
        if isinstance(schema, FamiliesSchema):
            return list(_families(schema, rows))
        return _networks(schema, rows)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: {error}") from error


def schema_of(file: Path, schemas: Path) -> FamiliesSchema | NetworksSchema:
    """Read a table's schema, from beside it or from a folder of schemas."""
    name = f"{file.stem}.schema.yaml"
    places = [file.with_name(name), schemas / name]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        examples = ", ".join(sorted(path.name for path in SCHEMAS.glob("*.yaml")))
        raise ValueError(
            f"{file}: no schema says what its columns are; write {places[0]}, or {name} in a "
            f"folder given as --schemas (examples in bench/method/schemas: {examples})"
        )
    try:
        return Schema.model_validate(yamlfile.read(found)).root
    except pydantic.ValidationError as error:
        lines = [explain(item, Schema) for item in error.errors()]
        raise ValueError("\n".join(f"{found}: {line}" for line in lines)) from error


def _families(schema: FamiliesSchema, rows: list[Row]) -> Iterator[Published]:
    """Yield the families, their members by FLOPs; a law is tried on those of four or more."""
    members: dict[str, list[Point]] = {}
    for row in rows:
        name = " ".join(row[column] for column in schema.family)
        correct = round(schema.accuracy.of(row) * schema.tested)
        members.setdefault(name, []).append(Point(schema.flops.of(row), correct, schema.tested))
    for name, points in members.items():
        points.sort(key=lambda point: point.spent)
        yield Published(name, _lineage(schema, name), tuple(points))


def _lineage(schema: FamiliesSchema, name: str) -> str:
    first = name.replace("-", " ").split()[0]
    return next((to for begin, to in schema.lineages.items() if name.startswith(begin)), first)


def _networks(schema: NetworksSchema, rows: list[Row]) -> Networks:
    """Number the choices of each position in the order of their values, and the networks."""
    values = [[row[column] for column in schema.choices] for row in rows]
    if schema.digits:
        values = [list("".join(parts)) for parts in values]
    positions = list(zip(*values, strict=True))
    choices = np.stack([np.unique(_numbers(of), return_inverse=True)[1] for of in positions], 1)
    keys = [tuple(row[column] for column in schema.same) for row in rows]
    firsts: dict[tuple[str, ...], int] = {}
    for i, key in enumerate(keys):
        firsts.setdefault(key, i)
    number = {key: i for i, key in enumerate(firsts)}
    chosen = [rows[i] for i in firsts.values()]
    return Networks(
        choices=choices,
        network=np.array([number[key] for key in keys]),
        accuracies=np.array([[float(r[c]) * schema.unit for c in schema.accuracy] for r in chosen]),
        flops=np.array([schema.flops.of(row) for row in chosen]),
    )


def _numbers(values: tuple[str, ...]) -> np.ndarray:
    """Return values as numbers where all are, so that they are in their order."""
    try:
        return np.array(values, float)
    except ValueError:
        return np.array(values)
