"""What classifiers say of held-out images, an answer an image, as one .npz file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scalenet.records import files


class Predictions(NamedTuple):
    """A classifier's answers to the images of a split, in the split's order.

    ``labels`` and ``predicted`` are int32 (N), classes by number. ``probability`` and ``true``
    float32 (N) are the probabilities of the predicted and of the true class; None of a classifier
    that gives none. ``groups`` int32 (N) is the number of each image's group; None: every image is
    a group of its own.
    """

    labels: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray | None = None
    true: np.ndarray | None = None
    groups: np.ndarray | None = None

    @property
    def right(self) -> np.ndarray:
        """Which answers are right, bool (N)."""
        return self.labels == self.predicted

    def by_group(self, values: np.ndarray) -> np.ndarray:
        """Return the sums of whole numbers (N) over the images of a group, int64."""
        if self.groups is None:
            return values.astype(np.int64)
        return np.rint(np.bincount(self.groups, values)).astype(np.int64)


Answers = Mapping[str, Mapping[str, Predictions]]  # classifier -> split -> its predictions


def answers(labels: np.ndarray, predicted: np.ndarray) -> Predictions:
    """Return the predictions of a classifier that gives no probabilities."""
    return Predictions(labels.astype(np.int32), predicted.astype(np.int32))


def grouped(
    said: Mapping[str, Predictions], groups: Mapping[str, np.ndarray]
) -> dict[str, Predictions]:
    """Return a classifier's answers with the groups of the splits that have some."""
    return {split: one._replace(groups=groups.get(split)) for split, one in said.items()}


def write(path: Path, said: Answers) -> None:
    """Write predictions; an array's name is classifier/split/field."""
    arrays = {
        f"{name}/{split}/{field}": array
        for name, splits in said.items()
        for split, predictions in splits.items()
        for field, array in predictions._asdict().items()
        if array is not None
    }
    files.write_arrays(path, arrays)


def read(path: Path) -> dict[str, dict[str, Predictions]]:
    """Read predictions; ``ValueError`` names the file and the stage to run again."""
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    try:
        with np.load(path, allow_pickle=False) as content:
            for key in content.files:
                name, split, field = key.split("/")
                found.setdefault(name, {}).setdefault(split, {})[field] = content[key]
        return {
            name: {split: Predictions(**fields) for split, fields in splits.items()}
            for name, splits in found.items()
        }
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: cannot be read as predictions ({error}); run `dvc repro` or `dvc pull`"
        ) from error


def equal_groups(groups: np.ndarray) -> float:
    """Return how many groups of equal size tell as much of a mean as these, 1…N: of ``groups`` (N),
    the number of each image's, (Σ n)² / Σ n² with n the images of one.

    Kish, L. (1965): Survey Sampling, section 8.2 (the loss by unequal weights).
    """
    sizes = np.bincount(groups).astype(float)
    return float(sizes.sum() ** 2 / (sizes**2).sum())
