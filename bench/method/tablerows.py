"""The rows of a CSV file as others write them, and the numbers in them."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalenet.config.numbers import Positive
from scalenet.config.section import Section

SEPARATORS = ",;\t"
DUST = 1e-9  # of an accuracy
UNKNOWN = {
    "",
    "-",
    "–",
    "?",
    "na",
    "n/a",
    "nan",
    "none",
    "null",
}  # what a cell without a value says


@dataclass(frozen=True)
class Row:
    """A row's cells by column, without spaces around them, and its line in the file."""

    line: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def number(self, column: str) -> float | None:
        """Return a cell's number, None where it says that there is none; ``ValueError`` names the
        line of what is neither."""
        text = self.cells[column]
        if text.lower() in UNKNOWN:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(
                f"line {self.line}: {column} is {text!r}; give a number such as 76.5, or leave it "
                "empty where it is not known"
            )
        return value


class Column(Section):
    """A column of numbers, and what one of its units is in FLOPs or as a share of 1."""

    column: str
    unit: Positive

    def of(self, row: Row) -> float | None:
        value = row.number(self.column)
        return None if value is None else value * self.unit


Measured = tuple[Row, float, list[float]]  # a row, its FLOPs, its accuracies


def read(file: Path, columns: Sequence[str]) -> list[Row]:
    """Read a file that has some columns, separated by commas, semicolons or tabs.

    ``ValueError``, without the file's name, says what it lacks.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 ({error}); save it again in this encoding") from error
    tried = [_split(text, separator) for separator in SEPARATORS]
    heads = [lines[0][1] if lines else [] for lines in tried]
    lacking = [sorted(set(columns) - set(head)) for head in heads]
    best = min(range(len(tried)), key=lambda i: (len(lacking[i]), -len(heads[i])))
    if lacking[best]:
        raise ValueError(
            f"has no column {', '.join(lacking[best])}; its columns are "
            f"{', '.join(heads[best]) or 'none'}: correct {file.stem}.schema.yaml"
        )
    if twice := sorted({name for name in columns if heads[best].count(name) > 1}):
        raise ValueError(f"has several columns called {', '.join(twice)}; rename all but one")
    return [_row(line, heads[best], cells) for line, cells in tried[best][1:]]


def measured(rows: Iterable[Row], flops: Column, accuracies: Sequence[Column]) -> list[Measured]:
    """Return the rows that have FLOPs and an accuracy, with those that are known.

    ``ValueError`` for what is no number of FLOPs, and for accuracies of another unit.
    """
    known = []
    for row in rows:
        spent, own = flops.of(row), [column.of(row) for column in accuracies]
        own = [accuracy for accuracy in own if accuracy is not None]
        if spent is None or not own:
            continue
        if math.isinf(spent):
            raise ValueError(
                f"line {row.line}: {flops.column} is {row[flops.column]}, which a unit of "
                f"{flops.unit:g} makes more FLOPs than a number can hold; correct the cell or the "
                "unit (1 for FLOPs, 1.0e+9 for billions of them)"
            )
        if spent <= 0:
            raise ValueError(
                f"line {row.line}: {flops.column} is {row[flops.column]}; give what is above 0, or "
                "leave it empty where it is not known"
            )
        known.append((row, spent, own))
    if not known:
        raise ValueError("has no row with FLOPs and accuracy")
    _check_unit(accuracies, [accuracy for _, _, own in known for accuracy in own])
    return known


def _check_unit(columns: Sequence[Column], accuracies: Sequence[float]) -> None:
    """Refuse accuracies that are no shares of 1, and shares of 1 that are read as percent."""
    unit, least, most = columns[0].unit, min(accuracies), max(accuracies)
    names = ", ".join(column.column for column in columns)
    said = f"{names} is from {least / unit:g} to {most / unit:g}, which a unit of {unit:g} makes"
    if least < 0 or most > 1 + DUST:
        raise ValueError(
            f"{said} no share of 1; set the accuracy's unit to 0.01 for percent, to 1 for shares"
        )
    if most <= unit < 1:
        raise ValueError(
            f"{said} at most {most:.2%}; set the accuracy's unit to 1 if these are shares of 1"
        )


def _split(text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Return the lines that are not empty, with their numbers, the head first."""
    content = io.StringIO(text, newline="")
    reader = csv.reader(content, delimiter=separator, skipinitialspace=True)
    try:
        lines = ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader)
        return [(number, cells) for number, cells in lines if any(cells)]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} is no line of a CSV file: {error}") from error


def _row(line: int, head: list[str], cells: list[str]) -> Row:
    """Name the cells of a line; those that it lacks at its end are empty."""
    if len(cells) > len(head):
        raise ValueError(
            f"line {line} has {len(cells)} cells, and the head names {len(head)}: put text that "
            "holds the separator in quotes, and write decimals with a point"
        )
    return Row(line, dict(zip(head, cells + [""] * (len(head) - len(cells)), strict=True)))


def numbers(values: tuple[str, ...]) -> np.ndarray:
    """Return values as numbers where all are, so that they are in their order."""
    try:
        return np.array(values, float)
    except ValueError:
        return np.array(values)


def choice(row: Row, column: str) -> str:
    """Return a network's choice as it is told apart; ``ValueError`` if it is not there."""
    if not row[column]:
        raise ValueError(
            f"line {row.line}: {column} is empty; write the network's choice there (a word such as "
            "none, where it has no layer), or take the row out"
        )
    return plain(row[column])


def plain(text: str) -> str:
    """Return a decimal number without zeros at its end, so that 2.0 is 2; other text as it is."""
    return re.sub(r"\.?0*$", "", text) if re.fullmatch(r"[+-]?\d+\.\d*", text) else text
