"""A table names the images of a source: their paths, classes, splits and groups, a row each."""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from scalenet.config.params import Data, ImageTable
from scalenet.data.decoding import source_of
from scalenet.data.listing import IGNORED, TWICE, UNLISTED, Files
from scalenet.data.names import few, shown
from scalenet.data.pixels import LACKING, POINTER
from scalenet.data.rows import NO_LABEL, Row, as_rows, check_columns, labelled_alike, ordered
from scalenet.data.source import Source

SEPARATORS = (",", ";", "\t", "|")
MARKS = (  # UTF-32's little-endian one begins as UTF-16's
    *((mark, "utf-32") for mark in (b"\xff\xfe\0\0", b"\0\0\xfe\xff")),
    *((mark, "utf-16") for mark in (b"\xff\xfe", b"\xfe\xff")),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)
OTHERS = {  # how files begin that are no text, or none with a column for each cell
    b"PK\x03\x04": "a workbook or an archive",
    b"\xd0\xcf\x11\xe0": "a workbook",
    b"{": "JSON",
    b"[{": "JSON",
    b"\x1f\x8b": "a compressed file",
    b"BZh": "a compressed file",
    b"\xfd7zXZ": "a compressed file",
}
KINDS = (".csv", ".tsv", ".parquet", ".txt")  # of tables
NO_PATH = "a row without a path"
RAGGED = "a row with more or fewer cells than there are columns"
ABSENT = "in the table, but not in the source"
OUTSIDE = "outside of the source, where DVC does not look"
DISAGREE = "listed twice, with two labels, splits or groups"


def by_table(params: Data, files: Files, table: ImageTable) -> Source:
    """Take the images that a table in the source names, with its classes, splits and groups.

    Paths start at the table's folder, or at the source; where no row is found so, files' names
    alone are looked for. Rows that cannot be used count as skipped, images that are in no row are
    ignored.
    """
    name = _place(files, table.file)
    [(_, content)] = files.read({name})
    if isinstance(content, OSError):
        raise ValueError(f"data.table.file: {files.origin / name} cannot be read ({content})")
    rows, others = matched(files, posixpath.dirname(name), rows_of(content, table))
    if not rows and others and set(others.values()) <= {ABSENT, OUTSIDE}:
        raise _elsewhere(files, table, others)
    unlisted = {n: UNLISTED for n in files.names if n not in rows and n not in others}
    ignored = {n: why for n, why in files.others.items() if n not in others and why in IGNORED}
    return source_of(
        params, files, as_rows(rows, table), ordered(rows), ignored | unlisted | others
    )


def _elsewhere(files: Files, table: ImageTable, others: dict[str, str]) -> ValueError:
    """Return what to say where no row names an image of the source."""
    there = f"those of its images such as {few(files.names, 2)}" if files.names else "it has none"
    return ValueError(
        f"data.table.path: all {len(others):,} paths of {table.path!r} are in the table, but not "
        f"in the source {files.origin}: they are such as {few(others, 2)}, and {there}; write them "
        "from the source's or the table's folder on (a file's name alone will do where no two "
        "images share one), or name another column"
    )


# --- which image a row means ----------------------------------------------------------------------


def matched(
    files: Files, base: str, rows: Iterable[Row | None]
) -> tuple[dict[str, Row], dict[str, str]]:
    """Return the row of each image, and why other rows, by image or number, cannot be used."""
    rows, places = list(rows), [(shown(name), name) for name in files.names]
    known = _known(places)
    if not any(row and row.path and _image(files, known, base, row.path)[0] for row in rows):
        known = _known([(posixpath.basename(place), name) for place, name in places])
    found: dict[str, Row] = {}
    others: dict[str, str] = {}
    for number, row in enumerate(rows, 2):  # the first line names the columns
        if row is None or not row.path:
            others[f"row {number}"] = NO_PATH if row else RAGGED
            continue
        name, why = _image(files, known, base, row.path)
        if why or not row.label:
            others[name or row.path] = why or NO_LABEL
        elif found.setdefault(name, row)[1:] != row[1:]:  # however its path is written
            others[name] = DISAGREE
        elif found[name] is not row:
            others[f"row {number}"] = TWICE
    return {name: row for name, row in found.items() if name not in others}, others


def _known(places: list[tuple[str, str]]) -> dict[str, str]:
    """Return the image that each place means, with its suffix or without: one alone has it."""
    whole: dict[str, set[str]] = {}
    stems: dict[str, set[str]] = {}
    for place, name in places:
        whole.setdefault(place, set()).add(name)
        stems.setdefault(posixpath.splitext(place)[0], set()).add(name)
    return {place: min(names) for place, names in (stems | whole).items() if len(names) == 1}


def _image(files: Files, known: dict[str, str], base: str, path: str) -> tuple[str | None, str]:
    """Return the image that a path means, or why it means none."""
    text = shown(path).replace("\\", "/")
    if text.startswith("/") or re.match("[A-Za-z]:/", text):
        origins = (files.origin.absolute(), files.origin.resolve())
        inside = [Path(text).relative_to(o) for o in origins if Path(text).is_relative_to(o)]
        places = [inside[0].as_posix()] if inside else [".."]
    else:
        places = [posixpath.normpath(posixpath.join(start, text)) for start in (base, "")]
    for place in places:
        if place in known:
            return known[place], ""
    if all(place.split("/")[0] == ".." for place in places):
        return None, OUTSIDE
    why = files.others.get(places[0], ABSENT)
    return None, ABSENT if why in IGNORED else why


# --- the table's text -----------------------------------------------------------------------------


def _place(files: Files, wanted: str) -> str:
    """Return where a table lies in the source, by its path or by the path's end."""
    there = [*files.names, *files.others]
    ends = [name for name in there if name == wanted or name.endswith(f"/{wanted}")]
    if wanted in ends or len(ends) == 1:
        return wanted if wanted in ends else ends[0]
    tables = [name for name in there if Path(name).suffix.lower() in KINDS]
    what = f"is there {len(ends)} times: {few(ends)}" if ends else "is not there"
    raise ValueError(
        f"data.table.file: {wanted!r} was given, but in {files.origin} it {what}; tables there: "
        f"{few(tables) or 'none'}"
    )


def rows_of(content: bytes, table: ImageTable) -> list[Row | None]:
    """Read a table's columns; None for a row with other cells than columns."""
    if content.startswith(b"PAR1"):
        from scalenet.data import arrow  # pyarrow, which nothing else needs

        return labelled_alike(arrow.rows_of(content, table))
    if content.startswith(POINTER):
        raise ValueError(f"data.table.file: {table.file} is {LACKING}")
    if kind := next((OTHERS[mark] for mark in OTHERS if content.startswith(mark)), ""):
        raise ValueError(
            f"data.table.file: {table.file} is {kind}; save it as .csv (UTF-8) or .parquet, with a "
            "name for each column in its first line, and name that file"
        )
    text = re.sub(r"\Asep=.\s*[\r\n]+", "", _text(content))  # what Excel begins some files with
    lines = _lines(text, table)
    head = [cell.strip() for cell in lines[0]] if lines else []
    check_columns(head, table)
    wanted = (table.path, table.label, table.split, table.group)
    places = [None if name is None else head.index(name) for name in wanted]
    return labelled_alike([_row(line, places, len(head)) for line in lines[1:] if any(line)])


def _row(line: list[str], places: list[int | None], count: int) -> Row | None:
    """Return a line's row, "" for columns that are not asked for."""
    if len(line) != count:
        return None
    return Row(*("" if place is None else line[place].strip() for place in places))


def _lines(text: str, table: ImageTable) -> list[list[str]]:
    """Split a text by the separator with which its first line has most of the columns wanted."""
    wanted = {table.path, table.label, table.split, table.group}

    def lines(separator: str, strict: bool = False) -> Iterator[list[str]]:
        # of a cell in quotes the space before them is no part, as of any other cell
        return csv.reader(
            io.StringIO(text, newline=""),
            delimiter=separator,
            strict=strict,
            skipinitialspace=True,
        )

    def columns(separator: str) -> tuple[int, int]:
        head = [cell.strip() for cell in next(lines(separator))]
        return len(wanted & set(head)), len(head)

    try:
        # strict: a quote that nothing closes would take all that follows into its cell
        return list(lines(max(SEPARATORS, key=columns), strict=True))
    except StopIteration:
        return []
    except csv.Error as error:
        raise ValueError(
            f"data.table.file: {table.file} is no table ({error}); a cell that begins with a quote "
            'ends with one, and has others in it twice ("")'
        ) from error


def _text(content: bytes) -> str:
    """Return a table as text: by its mark, else UTF-8, else Latin-1."""
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    if b"\0" in content[:2]:
        return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be", "replace")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")
