"""Where labelled images come from: bundled digits, a folder, an archive, or files of many images.

Folders' names tell classes and splits, or a table does.
"""

from __future__ import annotations

import posixpath
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from scalenet.config.params import Data
from scalenet.data.folders import labelled
from scalenet.data.listing import BROKEN, UNPACK, Files, folder, unreadable, zipped
from scalenet.data.names import INSIDE, UNKNOWN, few, holds_images
from scalenet.data.pixels import LACKING, POINTER, as_array
from scalenet.data.source import Source, groups_of
from scalenet.data.tables import by_table
from scalenet.data.tars import is_tarred, tarred

# stands for scikit-learn's digits: a path, so that DVC can watch any source
BUNDLED = "data/digits"
WANTED = (
    f"give {BUNDLED!r}, a folder or an archive (.zip, .tar, .tar.gz, .tar.xz) with one folder of "
    "images a class or with a table (data.table), or .parquet files with the images inside"
)
PACKED = {  # how archives begin, and what is said of one that is no whole one
    b"PK\3\4": "a zip archive without its list of files, which is at the end",
    b"\x1f\x8b": "gzip, with no whole tar archive in it",
    b"\xfd7zXZ\0": "xz, with no whole tar archive in it",
    b"BZh": "bzip2, with no whole tar archive in it",
    POINTER: LACKING,
}


def find(params: Data, root: Path) -> Source:
    """List the source of params; ``ValueError`` names the folder, archive or class at fault."""
    if params.source == BUNDLED:
        return digits(params)
    path = root / params.source
    if holds_images(path.name) and path.is_file():
        return _inside(params, path)
    files = listed(path)
    if params.table is not None and params.table.file is not None:
        return by_table(params, files, params.table)
    if not files.names and _holding(files):
        return _inside(params, path)
    if params.table is not None:
        raise ValueError(
            f"data.table.file: null was given, but {path} has no .parquet or .arrow files with "
            "images inside; name the table (`scalenet init --table FILE PATH LABEL`), or set "
            "data.table to null"
        )
    if path.is_dir():
        _refuse_pictures_beside(path, files)
    return labelled(params, files)


def _inside(params: Data, path: Path) -> Source:
    if not holds_images(path.name) and path.is_file():
        raise ValueError(
            f"data.source: {path} has {' or '.join(INSIDE)} files in it, and images inside of these"
            " are read from a folder alone; unpack it into one, and give that"
        )
    from scalenet.data import arrow  # and pyarrow, which other sources do without

    return arrow.by_shards(params, path)


def _holding(files: Files) -> list[str]:
    """Return the files that may hold images inside; hidden ones are none."""
    others = files.others.items()
    return [name for name, why in others if holds_images(name) and why.startswith(UNKNOWN)]


def _refuse_pictures_beside(path: Path, files: Files) -> None:
    """Refuse folders of files that may hold images beside pictures, such as a data set's banner.

    As class folders they would have no images. A table beside class folders is no fault.
    """
    pictured = {up.as_posix() for name in files.names for up in PurePosixPath(name).parents}
    held = {name: PurePosixPath(name).parent.as_posix() for name in _holding(files)}
    if held := {name: place for name, place in held.items() if place not in pictured}:
        where = posixpath.commonpath(held.values()) or "."
        advice = "take the pictures out" if where in pictured else f"give {path / where} instead"
        raise ValueError(
            f"data.source: {path} has pictures ({few(files.names, 2)}) beside .parquet or .arrow "
            f"files ({few(held, 2)}); if these hold the images, {advice}; if one is a table of the "
            "pictures, name it (data.table); else take them out"
        )


def listed(path: Path) -> Files:
    """List the files of a folder or an archive; ``ValueError`` if it is neither, or damaged."""
    if path.is_dir():
        return folder(path)
    if not path.is_file():
        what = "is no regular file" if path.exists() else "does not exist"
        raise ValueError(f"data.source: {path} {what}; {WANTED}")
    if path.suffix.lower() in (".csv", ".tsv"):
        raise ValueError(
            f"data.source: {path} is a table; give the folder that holds it and its images, which "
            f"DVC then watches, and name it: data.table: {{file: {path.name}, path: <column>, "
            "label: <column>, split: null, group: null}"
        )
    try:
        if zipfile.is_zipfile(path):
            return zipped(path)
        if is_tarred(path):
            return tarred(path)
        _refuse_begun(path)
    except BROKEN as error:
        raise unreadable(path, error, UNPACK) from error
    raise ValueError(f"data.source: {path} is neither a folder nor an archive; {WANTED}")


def _refuse_begun(path: Path) -> None:
    """Refuse what begins as an archive and is none, as a download that was cut off."""
    with path.open("rb") as file:
        head = file.read(max(map(len, PACKED)))
    if said := next((PACKED[mark] for mark in PACKED if head.startswith(mark)), ""):
        raise tarfile.ReadError(said)


def digits(params: Data) -> Source:
    """Return scikit-learn's 1,797 handwritten digits, 8×8, grey levels 0…16 spread over 0…255."""
    from sklearn.datasets import load_digits  # seconds of imports that other sources do without

    bunch = load_digits()
    grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)

    def read(index: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        return ((i, as_array(Image.fromarray(grey[i]), params)) for i in index.tolist())

    labels = bunch.target.astype(np.int64)
    classes = [str(name) for name in bunch.target_names]
    groups = groups_of(params.group, [])  # they have no paths
    return Source(classes, labels, np.full(len(labels), ""), read, groups=groups)
