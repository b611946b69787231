"""Image files with classes become a source of images, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scalenet.config.params import Data
from scalenet.data.listing import (
    BROKEN,
    IGNORED,
    UNPACK,
    UNREADABLE,
    Files,
    no_image,
    unreadable,
)
from scalenet.data.names import SUFFIXES, few
from scalenet.data.source import Source, groups_of
from scalenet.data.summary import too_many

# What `image_array` does, in words that travel with an exported model
PREPROCESSING = (
    "turned upright as its EXIF note says, transparency laid on white, {colours}, the shorter "
    "side resized to {size} px (bicubic, Pillow; a JPEG far larger is first decoded at 1/2, 1/4 or "
    "1/8), "
    "the centre cropped to {size} x {size}"
)


class Rows(NamedTuple):
    """Images by name, each with its class, its given split ("" for none) and its group, if any."""

    names: list[str]
    classes: list[str]
    given: list[str]
    groups: list[str] | None = None


def source_of(
    params: Data,
    files: Files,
    rows: Rows,
    classes: list[str],
    others: dict[str, str],
    depth: int = 0,
) -> Source:
    """Return a source of files whose classes are known.

    ``classes`` are all there are, in their order; ``others`` maps what is no image of the source
    to the reason; those that nobody needs to mend are ignored, the others skipped.
    """
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number[name] for name in rows.classes], dtype=np.int64)
    given = np.array(rows.given, dtype=str)
    skipped = {name: why for name, why in others.items() if why not in IGNORED}
    left = params.most_skipped - len(skipped) / max(1, len(skipped) + len(labels))
    if left < 0:
        raise too_many(files.origin, skipped, params.most_skipped)
    _check_classes(files.origin, classes, labels, given, "folders" if depth else "classes")
    names, faults = rows.names, Faults(params, files, rows.names, left)
    return Source(
        classes,
        labels,
        given,
        lambda index: contents(files, names, index),
        faults.note,
        names=names,
        faults=faults,
        skipped=skipped,
        ignored={name: why for name, why in others.items() if why in IGNORED},
        depth=depth,
        files=files,
        groups=np.array(rows.groups) if rows.groups else groups_of(params.group, names),
    )


def _check_classes(
    origin: Path, classes: list[str], labels: np.ndarray, given: np.ndarray, called: str
) -> None:
    """Refuse fewer than two classes, and one without images to train on."""
    kinds = f".jpg, .png, .webp or {len(SUFFIXES) - 3} other kinds"
    wanted = f"needs at least two {called}, each with images ({kinds})"
    if len(classes) < 2:
        names = few(classes) or "none"
        raise ValueError(f"data.source: {origin} {wanted}; it has {len(classes)}: {names}")
    empty = sorted(set(range(len(classes))) - set(labels[np.isin(given, ("", "train"))].tolist()))
    if empty:
        names, where = few([classes[i] for i in empty]), " in its train split" if any(given) else ""
        raise ValueError(f"data.source: {origin} {wanted}; {names} has none{where}")


def preprocessing(channels: int, size: int) -> str:
    """Say what ``image_array`` does to a photograph, for people who have only the model."""
    return PREPROCESSING.format(size=size, colours="grey" if channels == 1 else "RGB")


def contents(
    files: Files, names: list[str], index: np.ndarray
) -> Iterator[tuple[int, bytes | OSError]]:
    """Yield the contents of named files, each with its index."""
    place = {names[i]: i for i in index.tolist()}
    try:
        for name, content in files.read(set(place)):
            yield place[name], content
    except BROKEN as error:
        raise unreadable(files.origin, error, UNPACK) from error


class Faults(dict[str, str]):
    """Images of a source that cannot be decoded, by name, and as what they count."""

    def __init__(self, params: Data, files: Files, names: list[str], most: float):
        self.params, self.files, self.names, self.most = params, files, names, most * len(names)

    def note(self, index: int, why: str) -> None:
        """Add one; ``ValueError`` if there are more than params allow."""
        self[self.names[index]] = UNREADABLE
        if len(self) <= self.most + 1e-9:
            return
        if len(self) == 1:
            raise no_image(self.files.origin / self.names[index], why)
        raise too_many(self.files.origin, self, self.params.most_skipped)
