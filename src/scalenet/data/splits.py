"""Labelled images become three splits of bytes, each image by its own content alone.

An image's split is a function of data.seed and its group, or of data.seed and its decoded bytes
where it has no group: no other image, no path and no order of reading changes it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from scalenet.config.params import Data
from scalenet.data.names import few
from scalenet.data.source import Source
from scalenet.records.files import SPLITS

Splits = dict[str, dict[str, np.ndarray]]  # split -> pixels uint8 (N, C, H, W), labels int64 (N)
TRAIN, SELECT, TEST = range(3)  # as in SPLITS


class Cut(NamedTuple):
    """A source as splits, and where in the source the images of each split are: indices (n).

    ``contents`` are the hashes uint64 (N) of the source's images; ``dropped`` images have the
    content of one that is kept.
    """

    splits: Splits
    places: dict[str, np.ndarray]
    contents: np.ndarray
    dropped: int


def cut(params: Data, source: Source) -> Cut:
    """Decode a source and split it; the images of a split lie in the order of their content."""
    pixels = source.pixels(np.arange(len(source.labels)))
    whole = source.whole(np.arange(len(source.labels)))
    contents = hashes(pixels)
    place = assigned(params, source, contents)
    chosen = whole & (first_copies(place, contents, whole) if params.duplicates == "drop" else True)
    dropped = int(whole.sum() - chosen.sum())
    chosen &= within(params, source, contents, chosen)
    order = np.lexsort((source.labels, contents, place, ~chosen))  # what is not chosen comes last
    pixels, labels = arranged(pixels, order), source.labels[order]
    ends = np.cumsum(np.bincount(place[chosen], minlength=len(SPLITS)))
    parts = dict(zip(SPLITS, map(slice, (0, *ends[:-1]), ends), strict=True))
    splits = {name: {"pixels": pixels[i], "labels": labels[i]} for name, i in parts.items()}
    _check(params, source, splits)
    return Cut(splits, {name: order[i] for name, i in parts.items()}, contents, dropped)


def hashes(pixels: np.ndarray) -> np.ndarray:
    """Return the content hash uint64 (N) of images uint8 (N, C, H, W).

    Two of a million images have the same by accident with a probability of 3e-8.
    """
    return np.fromiter((_number(image.tobytes()) for image in pixels), np.uint64, len(pixels))


def assigned(params: Data, source: Source, contents: np.ndarray) -> np.ndarray:
    """Return each image's split, an index (N) of ``SPLITS``.

    A split that the source comes with is taken whole. Of the others, a number in 0…1 decides,
    drawn by (seed, group or content): select is below its fraction, test is above 1 minus its own.
    """
    drawn = _draws(params.seed, "split", _keys(source, contents))
    given = set(source.given)
    place = np.full(len(drawn), TRAIN)
    if "test" not in given:
        place[drawn >= 1 - params.test_fraction] = TEST
    if "select" not in given:
        place[drawn < params.select_fraction] = SELECT
    for index, name in ((SELECT, "select"), (TEST, "test")):
        place[source.given == name] = index
    return place


def _keys(source: Source, contents: np.ndarray) -> list[str]:
    """Return what decides where an image goes: its group, or its content."""
    if source.groups is None:
        return [f"content {content:x}" for content in contents.tolist()]
    pairs = zip(source.groups.tolist(), contents.tolist(), strict=True)
    return [f"group {group}" if group else f"content {content:x}" for group, content in pairs]


def _draws(seed: int, purpose: str, keys: list[str]) -> np.ndarray:
    """Return a number in 0…1 for each key, a function of (seed, purpose, key)."""
    numbers = (_number(f"{seed} {purpose} {key}".encode()) for key in keys)
    return np.fromiter((number / 2**64 for number in numbers), np.float64, len(keys))


def _number(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big")


def first_copies(place: np.ndarray, contents: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return which (N) of the images that are ``whole`` (N) are kept when copies are dropped.

    Of one content it is the one in test, else in select, else in train.
    """
    order = np.lexsort((-place, contents, ~whole))
    first = np.ones(len(order), bool)
    first[1:] = contents[order][1:] != contents[order][:-1]
    kept = np.zeros(len(order), bool)
    kept[order] = first
    return kept


def within(params: Data, source: Source, contents: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return which (N) of the ``chosen`` (N) are among a class's first ``per_class``.

    First by a number drawn by (seed, content). Splits that the source comes with stay whole.
    """
    free = chosen & np.isin(source.given, ("", "train"))
    kept = chosen.copy()
    if params.per_class is None:
        return kept
    keys = [f"content {content:x}" for content in contents.tolist()]
    ranked = np.lexsort((_draws(params.seed, "per_class", keys), source.labels, ~free))
    ranked = ranked[: free.sum()]
    counts = np.bincount(source.labels[ranked], minlength=len(source.classes))
    rank = np.arange(len(ranked)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept[ranked[rank >= params.per_class]] = False
    return kept


def arranged(rows: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return ``rows[order]``, of a permutation, made in place: no image is held twice."""
    done = np.zeros(len(order), bool)
    for start in range(len(order)):
        if done[start]:
            continue
        first, here = rows[start].copy(), start
        while (there := order[here]) != start:
            rows[here], done[here], here = rows[there], True, there
        rows[here], done[here] = first, True
    return rows


def _check(params: Data, source: Source, splits: Splits) -> None:
    """Refuse a class with nothing to train on, and a split with nothing at all."""
    there = np.bincount(splits["train"]["labels"], minlength=len(source.classes))
    lost = [name for name, count in zip(source.classes, there, strict=True) if not count]
    empty = [name for name in ("select", "test") if not len(splits[name]["labels"])]
    if not lost and not empty:
        return
    what = f"no image of {few(lost)} is left in train" if lost else f"{empty[0]} has no image"
    unread = f"replace those that cannot be read ({few(source.faults)}), " if source.faults else ""
    raise ValueError(
        f"data.source {params.source!r}: {what} (images go to select and test by chance, "
        f"data.select_fraction {params.select_fraction:g} and data.test_fraction "
        f"{params.test_fraction:g}): {unread}add images, or take the class out, change the "
        "fractions, raise data.per_class, or draw anew by another data.seed"
    )


def moments(pixels: np.ndarray) -> tuple[list[float], list[float]]:
    """Return each channel's mean and deviation of uint8 pixels (N, C, H, W), in units of 0…1.

    From its histogram: exact, and small beside the images. A deviation is at least 0.001.
    """
    levels, mean, std = np.arange(256) / 255, [], []
    for channel in range(pixels.shape[1]):
        parts = (part[:, channel].ravel() for part in np.array_split(pixels, 64))
        counts = sum(np.bincount(part, minlength=256) for part in parts)
        share = counts / counts.sum()
        middle = float(share @ levels)
        mean.append(round(middle, 6))
        std.append(round(max(float(np.sqrt(share @ (levels - middle) ** 2)), 1e-3), 6))
    return mean, std
