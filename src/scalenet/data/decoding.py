"""Image files with classes become a source, and arrays of bytes when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import UnidentifiedImageError

from scalenet.config.params import Data
from scalenet.data.listing import BROKEN, IGNORED, UNREADABLE, Files, no_image, unreadable
from scalenet.data.names import SUFFIXES, few
from scalenet.data.pixels import DAMAGED, image_array
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
    names, faults = rows.names, {}
    return Source(
        classes,
        labels,
        given,
        lambda i: decode(params, files, [names[n] for n in i], faults, left),
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


def decode(
    params: Data, files: Files, names: list[str], faults: dict[str, str], most: float
) -> np.ndarray:
    """Return named images (n, C, size, size) uint8, zeros for one that cannot be decoded.

    Its name is added to ``faults``. More of these than the share ``most``: ``ValueError``.
    """
    place = {name: i for i, name in enumerate(names)}
    pixels = np.zeros((len(names), params.channels, params.size, params.size), dtype=np.uint8)
    try:
        for name, content in files.read(set(names)):
            try:
                pixels[place[name]] = image_array(params, content)
            except DAMAGED as error:
                faults[name] = UNREADABLE
                if len(faults) > most * len(names) + 1e-9:
                    raise _refused(params, files, faults, error) from error
    except BROKEN as error:
        raise unreadable(files.origin, error) from error
    return pixels


def _refused(params: Data, files: Files, faults: dict[str, str], error: Exception) -> ValueError:
    """Say which image cannot be decoded, or how many are too many."""
    if isinstance(error, UnidentifiedImageError):
        error = ValueError("its content is of no known kind")
    if len(faults) == 1:
        return no_image(files.origin / next(iter(faults)), error)
    return too_many(files.origin, faults, params.most_skipped)
