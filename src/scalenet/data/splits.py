"""Labelled images become three splits of bytes, stratified by class."""

from __future__ import annotations

import numpy as np

from scalenet.config.params import Data
from scalenet.data.names import few
from scalenet.data.readers import Source
from scalenet.records.files import SPLITS

Splits = dict[str, dict[str, np.ndarray]]  # split -> pixels uint8 (N, C, H, W), labels int64 (N)


def cut(params: Data, source: Source, generator: np.random.Generator) -> Splits:
    """Split a source and decode what was chosen, at once: an archive is read front to back."""
    index = split(params, source, generator)
    pixels = source.pixels(np.concatenate(list(index.values())))
    parts = np.split(pixels, np.cumsum([len(i) for i in index.values()])[:-1])
    splits: Splits = {}
    for (name, i), part in zip(index.items(), parts, strict=True):
        whole = source.whole(i)
        kept = slice(None) if whole.all() else whole  # a million images are not copied for nothing
        splits[name] = {"pixels": part[kept], "labels": source.labels[i][kept]}
        _check_left(params, source, name, splits[name]["labels"])
    return splits


def _check_left(params: Data, source: Source, split: str, labels: np.ndarray) -> None:
    """Refuse a split in which none of a class's images could be decoded."""
    lost = sorted(set(range(len(source.classes))) - set(labels.tolist()))
    if lost:
        names = few([source.classes[label] for label in lost])
        raise ValueError(
            f"data.source {params.source!r}: no image of {names} in {split} can be read; "
            f"replace them ({few(source.faults)}), or take the class out"
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


def split(params: Data, source: Source, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Choose image indices for train, select and test, each with every class.

    They are shuffled, so that a first part is a sample. A split that the source comes with is taken
    whole; the others are drawn from what is in none, or in train.
    """
    given = set(source.given) & {"select", "test"}
    free = np.isin(source.given, ("", "train"))
    parts = {name: [np.flatnonzero(source.given == name)] for name in given}
    for label, pool in enumerate(_by_class(np.flatnonzero(free), source)):
        for name, indices in _drawn(params, source.classes[label], pool, given, generator).items():
            parts.setdefault(name, []).append(indices)
    return {name: generator.permutation(np.concatenate(parts[name])) for name in SPLITS}


def _by_class(indices: np.ndarray, source: Source) -> list[np.ndarray]:
    """Return the indices of each class, in order."""
    labels = source.labels[indices]
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=len(source.classes))
    return np.split(indices[order], np.cumsum(counts)[:-1])


def _drawn(
    params: Data, name: str, pool: np.ndarray, given: set[str], generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw one class's indices for train and for the splits that the source does not come with."""
    pool = generator.permutation(pool)[: params.per_class]
    shares = {"select": params.select_fraction, "test": params.test_fraction}
    sizes = {
        split: max(1, round(len(pool) * share))
        for split, share in shares.items()
        if split not in given
    }
    left = len(pool) - sum(sizes.values())
    if left < 1:
        taken = " and ".join(f"{split} takes {size}" for split, size in sizes.items())
        raise ValueError(
            f"data.source {params.source!r}: class {name!r} has {len(pool)} images, of which "
            f"{taken}, so none is left to train on: add images, lower the fractions or raise "
            "per_class"
        )
    cuts = np.cumsum([left, *sizes.values()])[:-1]
    return dict(zip(("train", *sizes), np.split(pool, cuts), strict=True))
