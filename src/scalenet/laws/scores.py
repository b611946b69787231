"""How good a classifier is on held-out images: accuracy, recall by class, what it confuses."""

from __future__ import annotations

from typing import Any

import numpy as np

from scalenet.laws.intervals import wilson, worth
from scalenet.records.documents import Score
from scalenet.records.predictions import Predictions


def tested(test: Predictions, select: Predictions | None, confidence: float) -> dict[str, Any]:
    """Return the fields of a `Tested`; ``select`` is None for what was trained on it."""
    right, share = score(test), worth(test.right, test.groups, confidence)
    low, high = wilson(share * right.correct, share * right.tested, confidence)
    chosen = None if select is None else score(select)
    about = {"low": low, "high": high, "confidence": confidence, "select": chosen}
    return right.plain() | about | {"balanced": balanced(test)}


def score(said: Predictions) -> Score:
    """Count right answers."""
    correct, count = int(said.right.sum()), len(said.labels)
    return Score(correct=correct, tested=count, accuracy=correct / count)


def recall(said: Predictions, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each class's number of images, and the share of them labelled right (NaN of none)."""
    images = np.bincount(said.labels, minlength=classes)
    right = np.bincount(said.labels[said.right], minlength=classes)
    return images, np.divide(right, images, out=np.full(classes, np.nan), where=images > 0)


def balanced(said: Predictions) -> float:
    """Return the balanced accuracy: the mean recall of the classes that the images have."""
    return float(np.nanmean(recall(said, int(said.labels.max()) + 1)[1]))


def confusion(said: Predictions) -> list[tuple[int, int, int]]:
    """Return (true class, predicted class, images) of every pair that occurs, in order."""
    pairs = np.stack([said.labels, said.predicted], axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    return [(*map(int, pair), int(count)) for pair, count in zip(found, counts, strict=True)]
