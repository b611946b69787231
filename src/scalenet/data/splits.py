"""Labelled images become three splits of bytes, each image by its own content alone.

An image's split is a function of data.seed and its group, or of data.seed and its decoded bytes
where it has no group: no other image, no path and no order of reading changes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scalenet.config.params import Data
from scalenet.data.intake import Facts, hashed, take
from scalenet.data.names import few
from scalenet.data.source import Source
from scalenet.records.files import SPLITS

# split -> pixels, indexed as uint8 (N, C, H, W), labels int64 (N) and, of a source that has groups,
# groups int64 (N)
Splits = dict[str, dict[str, Any]]
TRAIN, SELECT, TEST = range(3)  # as in SPLITS
SEEDS = 2**31  # how many there are
TRIED, LEAST_TRIED = 300, 10  # other seeds that are tried where one leaves too little
HASHED = 3_000_000  # images whose splits are drawn anew for that


class Cut(NamedTuple):
    """A source as splits, and where in the source the images of each split are: indices (n).

    ``facts`` are of the source's images (N); ``dropped`` images have the content of one that is
    kept, or of one of another class.
    """

    splits: Splits
    places: dict[str, np.ndarray]
    facts: Facts
    dropped: int


def cut(params: Data, source: Source, folder: Path | None = None) -> Cut:
    """Take in a source and split it; the images of a split lie in the order of their content.

    ``folder`` is for ``intake.take``.
    """
    facts, pixels = take(params, source, folder)
    place, chosen, dropped = drawn(params, source, facts)
    _check(params, source, facts, held(source, place, chosen))
    order = np.lexsort((source.labels, facts.contents, place, ~chosen))  # not chosen: at the end
    ends = np.cumsum(np.bincount(place[chosen], minlength=len(SPLITS)))
    parts = map(slice, (0, *ends[:-1]), ends)
    places = {name: order[part] for name, part in zip(SPLITS, parts, strict=True)}
    splits = {
        name: {"pixels": pixels.chosen(index), "labels": source.labels[index]}
        | ({} if source.groups is None else {"groups": numbered(source.groups[index])})
        for name, index in places.items()
    }
    return Cut(splits, places, facts, dropped)


def drawn(params: Data, source: Source, facts: Facts) -> tuple[np.ndarray, np.ndarray, int]:
    """Return each image's split (N), which images (N) are used, and how many were dropped."""
    whole, contents = facts.lengths > 0, facts.contents
    place, chosen = assigned(params, source, contents), whole.copy()
    if params.duplicates == "drop":
        chosen &= first_copies(place, contents, whole) & ~conflicting(source, facts)
    dropped = int(whole.sum() - chosen.sum())
    return place, chosen & within(params, source, contents, chosen), dropped


def assigned(params: Data, source: Source, contents: np.ndarray) -> np.ndarray:
    """Return each image's split, an index (N) of ``SPLITS``.

    A split that the source comes with is taken whole. Of the others, a number in 0…1 decides,
    drawn by (seed, group or content): select is below its fraction, test is above 1 minus its own.
    """
    drawn = _draws(params.seed, "split", _keys(source, contents), len(contents))
    given = set(source.given)
    place = np.full(len(drawn), TRAIN)
    if "test" not in given:
        place[drawn >= 1 - params.test_fraction] = TEST
    if "select" not in given:
        place[drawn < params.select_fraction] = SELECT
    for index, name in ((SELECT, "select"), (TEST, "test")):
        place[source.given == name] = index
    return place


def _keys(source: Source, contents: np.ndarray) -> Iterator[str]:
    """Yield what decides where an image goes: its group, or its content."""
    groups = source.groups if source.groups is not None else np.broadcast_to("", len(contents))
    for group, content in zip(groups, contents, strict=True):
        yield f"group {group}" if group else f"content {content:x}"


def numbered(groups: np.ndarray) -> np.ndarray:
    """Return a number (N) for each image's group; one of no group ("") has a number of its own."""
    found, alone = np.unique(groups, return_inverse=True)[1], groups == ""
    found[alone] = found.max(initial=0) + 1 + np.arange(alone.sum())
    return found


def _draws(seed: int, purpose: str, keys: Iterator[str], count: int) -> np.ndarray:
    """Return a number in 0…1 for each of so many keys, a function of (seed, purpose, key)."""
    numbers = (hashed(f"{seed} {purpose} {key}".encode()) for key in keys)
    return np.fromiter((number / 2**64 for number in numbers), np.float64, count)


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


def conflicting(source: Source, facts: Facts) -> np.ndarray:
    """Return which images (N) are whole, and have the content of one of another class."""
    there = np.flatnonzero(facts.lengths)
    contents, labels = facts.contents[there], source.labels[there]
    order = np.lexsort((labels, contents))
    first, second = order[:-1], order[1:]
    mixed = (contents[first] == contents[second]) & (labels[first] != labels[second])
    found = np.zeros(len(facts.lengths), bool)
    found[there] = np.isin(contents, contents[first[mixed]])
    return found


def within(params: Data, source: Source, contents: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return which (N) of the ``chosen`` (N) are among a class's first ``per_class``.

    First by a number drawn by (seed, content). Splits that the source comes with stay whole.
    """
    free = chosen & np.isin(source.given, ("", "train"))
    kept = chosen.copy()
    if params.per_class is None:
        return kept
    keys = (f"content {content:x}" for content in contents)
    drawn = _draws(params.seed, "per_class", keys, len(contents))
    ranked = np.lexsort((drawn, source.labels, ~free))
    ranked = ranked[: free.sum()]
    counts = np.bincount(source.labels[ranked], minlength=len(source.classes))
    rank = np.arange(len(ranked)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept[ranked[rank >= params.per_class]] = False
    return kept


# --- what a seed leaves ---------------------------------------------------------------------------


def held(source: Source, place: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return how many images of each class are in each split (3, classes), of the chosen (N)."""
    counts = np.zeros((len(SPLITS), len(source.classes)), np.int64)
    np.add.at(counts, (place[chosen], source.labels[chosen]), 1)
    return counts


def suffices(counts: np.ndarray) -> bool:
    """Tell whether every class has images to train on, and every split has any (3, classes)."""
    return bool(counts[TRAIN].all() and counts.any(1).all())


def next_seeds(params: Data, images: int) -> Iterator[Data]:
    """Yield params with the seeds that come next: fewer for more images, which take longer."""
    for i in range(1, 1 + min(TRIED, max(LEAST_TRIED, HASHED // max(1, images)))):
        yield params.model_copy(update={"seed": (params.seed + i) % SEEDS})


def _check(params: Data, source: Source, facts: Facts, counts: np.ndarray) -> None:
    """Refuse a class with nothing to train on, and a split with nothing at all."""
    if suffices(counts):
        return
    lost = [name for name, count in zip(source.classes, counts[TRAIN], strict=True) if not count]
    empty = next((name for name, row in zip(SPLITS, counts, strict=True) if not row.any()), "")
    what = f"no image of {few(lost)} is left in train" if lost else f"{empty} has no image"
    raise ValueError(
        f"data.source {params.source!r}: {what} (images go to select and test by chance, "
        f"data.select_fraction {params.select_fraction:g} and data.test_fraction "
        f"{params.test_fraction:g}): {_remedy(params, source, facts, bool(lost))}"
    )


def _remedy(params: Data, source: Source, facts: Facts, lost: bool) -> str:
    """Say which seed serves every class and split or, if none of many does, what else may."""
    others = list(next_seeds(params, len(source.labels)))
    for other in others:
        place, chosen, _ = drawn(other, source, facts)
        if suffices(held(source, place, chosen)):
            return f"set data.seed: {other.seed}, which leaves train every class and no split empty"
    unread = f"replace those that cannot be read ({few(source.faults)}), " if source.faults else ""
    limited = "raise data.per_class, " if params.per_class else ""
    fractions = "lower the fractions, or take the classes out" if lost else "or raise its fraction"
    few_units, wanted = _units(source, facts)
    return (
        f"none of {len(others)} other seeds helps{few_units}: {unread}{limited}add {wanted}, "
        f"{fractions}"
    )


def _units(source: Source, facts: Facts) -> tuple[str, str]:
    """Say that images are mostly copies or of few groups, if they are, and what to add."""
    free = (facts.lengths > 0) & np.isin(source.given, ("", "train"))
    grouped = source.groups is not None
    units = numbered(source.groups[free]) if grouped else facts.contents[free]
    images, count = int(free.sum()), len(np.unique(units))
    if 2 * count > images:
        return "", "images"
    if grouped:
        said = f", as {images:,} images are of {count:,} groups, each of which stays together"
        return said, "images of other groups"
    return f", as {images:,} images are copies of {count:,}, which stay together", "other images"


def moments(sums: np.ndarray, area: int) -> tuple[list[float], list[float]]:
    """Return each channel's mean and deviation of images' pixels, in units of 0…1.

    Of sums uint64 (N, 2, C) as ``intake.sums`` gives them, of images of ``area`` pixels. Exact up
    to the last rounding. A deviation is at least 0.001.
    """
    mean, std, count = [], [], len(sums) * area
    for first, second in sums.sum(0).T.tolist():
        mean.append(round(first / (255 * count), 6))
        variance = (count * second - first**2) / (255 * count) ** 2
        std.append(round(max(variance**0.5, 1e-3), 6))
    return mean, std
