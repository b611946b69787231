"""Parquet tables, and images inside Parquet or Arrow files, as Hugging Face data sets have them.

It alone needs pyarrow, and only where a source is of that kind.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from scalenet.config.params import Data, ImageTable
from scalenet.data.decoding import source_of
from scalenet.data.listing import Files, unreadable
from scalenet.data.names import few, holds_images, seen
from scalenet.data.rows import NO_LABEL, Row, as_rows, check_columns, labelled_alike, ordered
from scalenet.data.source import OWN_SPLITS, Source, split_words

try:
    import pyarrow as pa
    from pyarrow import parquet
except ImportError as error:
    raise ValueError(
        "data.source: Parquet and Arrow files are read by pyarrow, which is not installed; "
        "`pip install pyarrow`, or give a folder of class folders or a .csv as data.table"
    ) from error

BROKEN = (pa.ArrowException, OSError, UnicodeError)
BATCH = 256  # rows in memory at a time
LABELS = ("label", "labels", "class")  # columns that are a label where no feature says so
ELSEWHERE = "the data set holds its path, {}, and not its bytes; `save_to_disk` takes them in"


def rows_of(content: bytes, table: ImageTable) -> list[Row]:
    """Read the columns of a Parquet table."""
    try:
        file = parquet.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
        check_columns(file.schema_arrow.names, table)
        _refuse_lists(file.schema_arrow, table)
        wanted = [table.path, table.label, table.split, table.group]
        found = file.read(columns=[name for name in wanted if name])
    except BROKEN as error:
        raise ValueError(f"data.table.file: {table.file} cannot be read ({error})") from error
    columns = [found[name].to_pylist() if name else [""] * found.num_rows for name in wanted]
    return [Row(*map(text, cells)) for cells in zip(*columns, strict=True)]


def text(value: Any) -> str:
    """Return a cell as text; "" where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


# --- images inside --------------------------------------------------------------------------------


def shards(path: Path) -> list[Path]:
    """Return the files that hold a source's images, in order; caches beside them are none, nor
    what is hidden."""
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if holds_images(file.name) and file.is_file())
    found = [file for file in found if seen(file.relative_to(path).as_posix())]
    return [file for file in found if file.name in _saved(file.parent, file.name)]


def _saved(folder: Path, name: str) -> set[str]:
    """Return the files of a data set that was saved to a folder; ``name`` where none was."""
    try:
        files = json.loads((folder / "state.json").read_bytes())["_data_files"]
        return {entry["filename"] for entry in files}
    except FileNotFoundError:
        return {name}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise unreadable(folder / "state.json", error) from error


def by_shards(params: Data, path: Path) -> Source:
    """Take the images that lie in a file, or in a folder's files, a row each.

    Class names are those of the data set's features; a file's name or folder may name its split.
    """
    found: dict[str, Row] = {}
    order: dict[str, None] = {}
    top, tables, table = path if path.is_dir() else path.parent, {}, params.table
    splits = {} if table and table.split else _splits(top, shards(path))
    for file in shards(path):
        schema = _schema(file)
        table = tables[file] = _table(params.table, schema, file)
        _refuse_lists(schema, table)
        classes = _classes(schema, table.label)
        order |= dict.fromkeys(classes)
        columns = [table.label, table.split, table.group]
        for i, (label, word, group) in enumerate(_cells(file, columns)):
            if classes and isinstance(label, int):
                label = classes[label] if 0 <= label < len(classes) else None
            word = text(word) if table.split else splits[file]
            name = f"{file.relative_to(top).as_posix()}#{i}"
            found[name] = Row(name, text(label), word, text(group))
    if not order:  # nobody says what the classes are called
        found = dict(zip(found, labelled_alike(list(found.values())), strict=True))
    rows = {name: row for name, row in found.items() if row.label}
    others = {name: NO_LABEL for name in found if name not in rows}
    used = {row.label for row in rows.values()}
    unnamed = [name for name in ordered(rows) if name not in order]  # by files without features
    names = [*(name for name in order if name in used), *unnamed]
    files = Files(top, list(rows), set(), others, _reading(tables, top))
    return source_of(params, files, as_rows(rows, table), names, others)


def _reading(
    tables: dict[Path, ImageTable], top: Path
) -> Callable[[set[str]], Iterator[tuple[str, bytes | OSError]]]:
    """Return what reads the images of files again, in batches."""

    def read(wanted: set[str]) -> Iterator[tuple[str, bytes | OSError]]:
        for file, table in tables.items():
            for i, (image,) in enumerate(_cells(file, [table.path])):
                name = f"{file.relative_to(top).as_posix()}#{i}"
                if name in wanted:
                    yield name, _bytes(image)

    return read


def _bytes(image: Any) -> bytes | OSError:
    """Return an image's bytes, or the error that they are not there."""
    content = image.get("bytes") if isinstance(image, dict) else image
    if isinstance(content, bytes):
        return content
    path = image.get("path") if isinstance(image, dict) else None
    return OSError(ELSEWHERE.format(path) if path else "its row holds no image")


def _schema(file: Path) -> pa.Schema:
    try:
        if file.suffix.lower() == ".parquet":
            schema = parquet.read_schema(file)
        else:
            with pa.memory_map(str(file)) as source:
                schema = _arrow(source).schema
        if not schema.names:  # reading them refuses what is no text
            raise pa.ArrowInvalid("it has no columns")
        return schema
    except BROKEN as error:
        raise unreadable(file, error) from error


def _cells(file: Path, columns: list[str | None]) -> Iterator[tuple[Any, ...]]:
    """Yield the cells of columns, row by row; None for a column that is not asked for."""
    wanted = [name for name in columns if name]
    try:
        for batch in _batches(file, wanted):
            cells = [batch[name].to_pylist() if name else [None] * len(batch) for name in columns]
            yield from zip(*cells, strict=True)
    except BROKEN as error:
        raise unreadable(file, error) from error


def _batches(file: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    if file.suffix.lower() == ".parquet":
        opened = parquet.ParquetFile(file, page_checksum_verification=True)  # where there are any
        yield from opened.iter_batches(BATCH, columns=columns)
        return
    with pa.memory_map(str(file)) as source:
        reader = _arrow(source)
        if isinstance(reader, pa.RecordBatchStreamReader):
            whole = iter(reader)
        else:
            whole = (reader.get_batch(i) for i in range(reader.num_record_batches))
        for batch in whole:
            for start in range(0, len(batch), BATCH):
                yield batch.select(columns).slice(start, BATCH)


def _arrow(source: Any) -> Any:
    """Open an Arrow file: ``datasets`` writes the format of a stream, others that of a file."""
    try:
        return pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source)


# --- what the columns are -------------------------------------------------------------------------


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Return what a Hugging Face data set says of its columns; nothing of others."""
    try:
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        said = about.get("info", {}).get("features") or {}
        # lists are sequences
        return {name: of for name, of in said.items() if isinstance(of, dict)}
    except (ValueError, AttributeError):
        return {}


def _classes(schema: pa.Schema, label: str) -> list[str]:
    return [str(name) for name in _features(schema).get(label, {}).get("names") or []]


def _table(given: ImageTable | None, schema: pa.Schema, file: Path) -> ImageTable:
    """Return which columns are images and labels: those asked for, or the only ones that may be."""
    if given is not None:
        check_columns(schema.names, given)
        _refuse_no_bytes(schema, given.path, file)
        return given
    features = _features(schema)
    images = [field.name for field in schema if _holds_bytes(field.type)]
    if not images:
        _refuse_no_bytes(schema, "", file)
    labels = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    labels = labels or [name for name in LABELS if name in schema.names]
    if len(images) != 1 or len(labels) != 1:
        raise ValueError(
            f"data.source: {file} has the columns {', '.join(schema.names)}, of which "
            f"{', '.join(images) or 'none'} may be images, {', '.join(labels) or 'none'} labels; "
            "name them: `scalenet init --table - <images> <labels>`, or data.table: {file: null, "
            "path: <images>, label: <labels>, split: null, group: null}"
        )
    return ImageTable(file=None, path=images[0], label=labels[0], split=None, group=None)


def _refuse_no_bytes(schema: pa.Schema, column: str, file: Path) -> None:
    """Refuse a column that holds no image files; "" stands for a file in which none does."""
    kind = schema.field(column).type if column else None
    if kind is not None and (_holds_bytes(kind) or pa.types.is_null(kind)):  # of no row, or empty
        return
    what = f"in the column {column!r} ({kind})" if column else f"in {few(_kinds(schema))}"
    advice = ""
    if file.suffix.lower() == ".parquet":
        advice = (
            "; if a column has paths of images that lie beside it, it is a table of these: "
            f"`scalenet init FOLDER --table {file.name} <paths> <labels>`"
        )
    raise ValueError(
        f"data.source: {file} has no image files {what}: these are bytes, or a struct with bytes; "
        "cast the column to `datasets.Image()`, and write it by `save_to_disk`, which takes in "
        f"pixels and what paths lead to{advice}"
    )


def _kinds(schema: pa.Schema) -> list[str]:
    return [f"{field.name} ({field.type})" for field in schema]


def _refuse_lists(schema: pa.Schema, table: ImageTable) -> None:
    """Refuse labels that are several an image: each list of them would become a class."""
    kind = schema.field(table.label).type
    if pa.types.is_nested(kind):
        raise ValueError(
            f"data.table.label: the column {table.label!r} holds more than one label an image "
            f"({kind}), and a class is one; name a column of text or numbers, or add one that has "
            "the label of each image"
        )


def _holds_bytes(kind: pa.DataType) -> bool:
    """Tell whether a column may hold image files."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _splits(top: Path, files: list[Path]) -> dict[Path, str]:
    """Return the split that each file's path says; "" if no word tells one file from another.

    Files that say none, or several, beside others are refused: mixed, what was kept apart for a
    test would be trained on.
    """
    names = {file: file.relative_to(top) for file in files}
    clear = {file: _clear_split(name) for file, name in names.items()}
    said = {file: {clear[file]} if clear[file] else _words(name) for file, name in names.items()}
    if not any(clear.values()) and all(words == said[files[0]] for words in said.values()):
        return dict.fromkeys(files, "")
    if odd := [names[file].as_posix() for file, words in said.items() if len(words) != 1]:
        raise ValueError(
            f"data.source: {top} has {few(odd)} beside files that name a split; splits are called"
            f" {', '.join(OWN_SPLITS)}: begin each file's name with one of them (such as "
            f"train-{PurePosixPath(odd[0]).name}), or take out {few(odd)}"
        )
    return {file: split for file, (split,) in said.items()}


def _clear_split(name: Path) -> str:
    """Return the split that a folder is called, or that a file's name begins with, if any."""
    words = [*name.parts[:-1], re.split(r"[-_.]", name.name)[0]]
    return next((OWN_SPLITS[w.lower()] for w in words if w.lower() in OWN_SPLITS), "")


def _words(name: Path) -> set[str]:
    """Return the splits that words of a file's name say, or, if none, of the nearest folder's."""
    return next(
        (set(found) for part in reversed(name.parts) if (found := split_words(part))), set()
    )
