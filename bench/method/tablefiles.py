"""Public tables of trained networks, and the schema files that say what their columns are.

A table is ``NAME.csv``. Its schema is ``NAME.schema.yaml`` beside it, else in ``--schemas``
(bench/method/schemas: those of the tables that the project's figures are from). There are two
kinds:

* ``families``: each row is a member of a family whose members were trained by one recipe.
* ``networks``: each row is a network of a small space, by its choices, or one of its trainings.

Cells are separated by commas, semicolons or tabs. A row that lacks FLOPs or every accuracy is left
out, and said to be; a network that lacks some is worth the mean of the others.
A row of a family that is told twice counts once, and members of equal FLOPs are one size.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pydantic
from pydantic import Field

from bench.method import tablerows
from bench.method.tablerows import Column, Measured, Row
from scalenet.config import yamlfile
from scalenet.config.explain import causes, explain
from scalenet.config.numbers import Count, Positive
from scalenet.config.section import Section
from scalenet.data.names import few
from scalenet.laws.accuracy import Point

SCHEMAS = Path(__file__).parent / "schemas"
ROUNDED = 0.01  # of a network's FLOPs, by which rows may differ
DIGITS = 6  # of an image that a mean of trainings may have right
Columns = Annotated[tuple[str, ...], Field(min_length=1)]


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

    @property
    def accuracies(self) -> list[Column]:
        return [self.accuracy]


class NetworksSchema(Section):
    """Columns of a table of networks; rows that are equal in ``same`` are one network.

    Further rows of its choices are further trainings of it.
    """

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

    @property
    def accuracies(self) -> list[Column]:
        return [Column(column=name, unit=self.unit) for name in self.accuracy]


KINDS = {"families": FamiliesSchema, "networks": NetworksSchema}


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
    a row stands for; ``accuracies`` (networks, trainings; NaN where one has fewer) and ``flops``
    (networks,) say what is known of it.
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
        return np.nanmean(self.accuracies, 1)


Contents = list[Published] | Networks


def read(folder: Path, schemas: Path) -> dict[str, Contents]:
    """Read every table of a folder; ``ValueError`` names the file and what it lacks."""
    found = (file for file in sorted(folder.glob("*")) if file.suffix.lower() == ".csv")
    tables = {file.stem: _read(file, schemas) for file in found}
    if not tables:
        raise ValueError(f"{folder} holds no CSV file; --tables should name a folder of tables")
    return tables


def _read(file: Path, schemas: Path) -> Contents:
    schema = schema_of(file, schemas)
    try:
        _check_columns(schema)
        rows = tablerows.read(file, schema.columns)
        known = tablerows.measured(rows, schema.flops, schema.accuracies)
        if left_out := {row.line for row in rows} - {row.line for row, _, _ in known}:
            said = f"{file}: without FLOPs or accuracy, so left out: {len(left_out)} of {len(rows)}"
            print(f"{said} rows, the first in line {min(left_out)}", file=sys.stderr)
        if isinstance(schema, FamiliesSchema):
            families = list(_families(schema, _once(file, schema, known)))
            idle = [k for k in schema.lineages if not any(f.name.startswith(k) for f in families)]
            if idle:
                print(f"{file}: no family begins as lineages has it: {few(idle)}", file=sys.stderr)
            return families
        return _networks(schema, known)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _check_columns(schema: FamiliesSchema | NetworksSchema) -> None:
    """Refuse a column that stands for two things, or that would count as two trainings."""
    again = len(schema.same) if isinstance(schema, NetworksSchema) else 0  # of what is named
    counts = Counter(schema.columns[: len(schema.columns) - again])
    if twice := [column for column, count in counts.items() if count > 1]:
        raise ValueError(
            f"its schema names {', '.join(twice)} twice; names, choices, FLOPs and each accuracy "
            "are columns of their own"
        )


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
    content = yamlfile.read(found)
    kind = KINDS.get(str(content.get("kind")))
    if kind is None:
        raise ValueError(f"{found}: kind is {content.get('kind')}; give {' or '.join(KINDS)}")
    try:
        return kind.model_validate(content)
    except pydantic.ValidationError as error:
        lines = [explain(item, kind) for item in causes(error.errors())]
        raise ValueError("\n".join(f"{found}: {line}" for line in lines)) from error


def _once(file: Path, schema: FamiliesSchema, rows: Sequence[Measured]) -> list[Measured]:
    """Return the rows without those that say again what another one says of its family."""
    told: dict[tuple, Measured] = {}
    for row, flops, accuracies in rows:
        name = tuple(row[column] for column in schema.family)
        told.setdefault((name, flops, *accuracies), (row, flops, accuracies))
    if len(told) < len(rows):
        again = f"{len(rows) - len(told)} of {len(rows)} rows"
        print(f"{file}: told twice, so counted once: {again}", file=sys.stderr)
    return list(told.values())


def _families(schema: FamiliesSchema, rows: Iterable[Measured]) -> Iterator[Published]:
    """Yield the families, their members by FLOPs; a law is tried on those of four or more."""
    members: dict[str, list[Point]] = {}
    for row, flops, [accuracy] in rows:
        name = " ".join(row[column] for column in schema.family).strip()
        if not name:
            raise ValueError(
                f"line {row.line}: {', '.join(schema.family)} is empty; name the row's family"
            )
        correct = min(round(accuracy * schema.tested, DIGITS), schema.tested)
        members.setdefault(name, []).append(Point(flops, correct, schema.tested))
    for name, points in members.items():
        points.sort(key=lambda point: point.spent)
        yield Published(name, _lineage(schema, name), tuple(points))


def _lineage(schema: FamiliesSchema, name: str) -> str:
    """Return what the longest known beginning of a name says, else its first word."""
    begin = max(filter(name.startswith, schema.lineages), key=len, default=None)
    if begin is not None:
        return schema.lineages[begin]
    return (name.replace("-", " ").split() or [name])[0]


def _networks(schema: NetworksSchema, rows: Sequence[Measured]) -> Networks:
    """Number the choices of each position in the order of their values, and the networks."""
    values = _choices(schema, [row for row, _, _ in rows])
    positions = list(zip(*values, strict=True))
    choices = np.stack(
        [np.unique(tablerows.numbers(of), return_inverse=True)[1] for of in positions], 1
    )
    number: dict[tuple[str, ...], int] = {}
    keys = (tuple(tablerows.plain(row[column]) for column in schema.same) for row, _, _ in rows)
    network = [number.setdefault(key, len(number)) for key in keys]
    _check_apart(choices.tolist(), network, rows)
    made: list[dict[tuple[int, ...], list[float]]] = [{} for _ in number]
    flops = _flops(network, rows)
    for of, chosen, (_, _, accuracies) in zip(network, choices.tolist(), rows, strict=True):
        made[of].setdefault(tuple(chosen), []).extend(accuracies)
    return Networks(choices, np.array(network), _padded(list(map(_trainings, made))), flops)


def _flops(network: Sequence[int], rows: Sequence[Measured]) -> np.ndarray:
    """Return the networks' FLOPs; ``ValueError`` where rows of one differ in them."""
    first: dict[int, Measured] = {}
    for of, (row, spent, accuracies) in zip(network, rows, strict=True):
        other, own, _ = first.setdefault(of, (row, spent, accuracies))
        if not math.isclose(spent, own, rel_tol=ROUNDED):
            raise ValueError(
                f"lines {other.line} and {row.line} are one network by the schema's same, and "
                f"have {own:g} and {spent:g} FLOPs; add to same what tells them apart"
            )
    return np.array([first[of][1] for of in range(len(first))])


def _choices(schema: NetworksSchema, rows: Sequence[Row]) -> list[list[str]]:
    """Return each row's choices, equally many."""
    values = [[tablerows.choice(row, column) for column in schema.choices] for row in rows]
    if not schema.digits:
        return values
    values = [list("".join(parts)) for parts in values]
    for row, own in zip(rows, values, strict=True):
        if len(own) != len(values[0]):
            raise ValueError(
                f"line {row.line}: {', '.join(schema.choices)} tells {len(own)} choices, line "
                f"{rows[0].line} {len(values[0])}; write all digits, zeros at the beginning too, "
                "or set digits to false"
            )
    return values


def _check_apart(
    choices: Sequence[Sequence[int]], network: Sequence[int], rows: Sequence[Measured]
) -> None:
    """Refuse choices that stand for two networks."""
    known: dict[tuple[int, ...], tuple[int, int]] = {}
    for chosen, of, (row, _, _) in zip(choices, network, rows, strict=True):
        first, line = known.setdefault(tuple(chosen), (of, row.line))
        if first != of:
            raise ValueError(
                f"lines {line} and {row.line} have the same choices, and are two networks by the "
                "schema's same; leave out of same what differs between trainings of a network"
            )


def _trainings(made: dict[tuple[int, ...], list[float]]) -> list[float]:
    """Return a network's accuracies; what is said of it again under other choices counts once."""
    given = list(made.values())
    apart = [own for i, own in enumerate(given) if own not in given[:i]]
    return [accuracy for own in apart for accuracy in own]


def _padded(trainings: Sequence[Sequence[float]]) -> np.ndarray:
    """Return rows of equal length, NaN where a network has fewer trainings."""
    rows = np.full((len(trainings), max(map(len, trainings))), np.nan)
    for row, own in zip(rows, trainings, strict=True):
        row[: len(own)] = own
    return rows
