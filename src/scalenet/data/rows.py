"""Rows that name images: what tables and files of many images have in common."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from scalenet.config.params import ImageTable
from scalenet.data.decoding import Rows
from scalenet.data.names import few, printable
from scalenet.data.source import OWN_SPLITS, val_is_test

NO_LABEL = "a row without a label"
MISSING = {"nan", "na", "null", "none"}  # what programs write for a value that is not there
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")  # as labels are written
WHOLE = re.compile(r"([+-]?\d+)(\.0*)?")  # a number, and what it may have behind it


class Row(NamedTuple):
    """A row of a table as text, "" for what is not there."""

    path: str
    label: str
    split: str
    group: str


def as_rows(rows: dict[str, Row], table: ImageTable | None) -> Rows:
    """Return named rows as images; ``ValueError`` for a word that is no split."""
    words = {row.split for row in rows.values()} - {""}
    if odd := sorted(word for word in words if word.lower() not in OWN_SPLITS):
        raise ValueError(
            f"data.table.split: {table.split!r} holds {few(odd)}; splits are called "
            f"{', '.join(OWN_SPLITS)}: rename them, or set data.table.split to null"
        )
    splits = val_is_test({word: OWN_SPLITS[word.lower()] for word in words}) | {"": ""}
    given, labels = [splits[row.split] for row in rows.values()], [r.label for r in rows.values()]
    return Rows(list(rows), labels, given, _groups(rows, table))


def _groups(rows: dict[str, Row], table: ImageTable | None) -> list[str] | None:
    """Return the group of each row, "" of one that is alone; ``ValueError`` if all are."""
    if table is None or table.group is None:
        return None
    groups = ["" if row.group.lower() in MISSING else row.group for row in rows.values()]
    if rows and not any(groups):
        raise ValueError(
            f"data.table.group: {table.group!r} was given, but no row names a group in it; name "
            "the column that does, or set it to null (no --group)"
        )
    return groups


def ordered(rows: dict[str, Row]) -> list[str]:
    """Return the classes in order: as numbers, if all of them are."""
    classes = {row.label for row in rows.values()}
    if all(map(NUMBER.fullmatch, classes)):
        return sorted(classes, key=lambda name: (Decimal(name), name))  # 01 and 1 are two
    return sorted(classes)


def labelled_alike(rows: list[Row | None]) -> list[Row | None]:
    """Return rows whose labels, if they are numbers, are written in one way.

    Among numbers NaN and the like say that there is none; among words they stay: NA may be a class.
    Where all are whole, 10.0, as programs write 10 in a column with gaps, is 10.
    """
    words = {row.label for row in rows if row and row.label}
    missing = {word for word in words if word.lower() in MISSING}
    numbers = words - missing
    if not numbers or not all(map(NUMBER.fullmatch, numbers)):
        return rows
    written = dict.fromkeys(missing, "")
    if all(map(WHOLE.fullmatch, numbers)):
        written |= {word: WHOLE.fullmatch(word)[1] for word in numbers}
    return [row and row._replace(label=written.get(row.label, row.label)) for row in rows]


def check_columns(columns: list[str], table: ImageTable) -> None:
    """Refuse a column that is not there, or there twice; ``ValueError`` lists those there are."""
    for key in ("path", "label", "split", "group"):
        name = getattr(table, key)
        if name is not None and name not in columns:
            there = ", ".join(printable(column) for column in columns) or "none"
            raise ValueError(
                f"data.table.{key}: {name!r} is no column of {table.file or 'the images'}; its "
                f"columns are {there}"
            )
        if (times := columns.count(name)) > 1:
            raise ValueError(
                f"data.table.{key}: {times} columns of {table.file or 'the images'} are called "
                f"{name!r}, so nothing says which is meant; give each a name of its own"
            )
