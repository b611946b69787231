"""Baselines that train no network: the majority class, and an SVM on hand-made features."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from scalenet.baselines.features import describe
from scalenet.baselines.measured import Measured
from scalenet.records.files import Split
from scalenet.records.predictions import answers

COMPONENTS = 256  # principal components of the features that the SVM sees
COSTS = (1.0, 3.0, 10.0, 30.0)  # C of the SVM: cross-validation chooses
FOLDS = 3  # of the cross-validation


def majority(train: Split, held: Mapping[str, Split]) -> Measured:
    """Answer the class that ``train`` has most of, whatever the image."""
    most = int(np.bincount(train[1]).argmax())
    said = {name: answers(y, np.full(len(y), most)) for name, (_, y) in held.items()}
    return Measured("majority", "majority class", len(train[1]), said)


def svm(train: Split, held: Mapping[str, Split], most: int, seed: int) -> Measured:
    """Fit a support vector machine to gradients and colours of at most ``most`` images.

    Its kernel is the radial one, on the features' first principal components. The seed draws the
    images and the folds.
    """
    pixels, labels = drawn(train, most, seed)
    features = describe(pixels)
    components = min(COMPONENTS, len(labels) // 2, features.shape[1])
    machine = make_pipeline(PCA(components, random_state=seed), SVC())
    fitted, cost = chosen(machine, "svc__C", COSTS, (features, labels), seed)
    said = {name: answers(y, fitted.predict(describe(x))) for name, (x, y) in held.items()}
    about = f"gradients + colours + SVM (C = {cost:g})"
    return Measured("svm", about, len(labels), said)


def drawn(train: Split, most: int, seed: int) -> Split:
    """Return at most ``most`` images, drawn by a seed; every class keeps its share, or nearly.

    It keeps an image at least; of more classes than images, the largest do.
    """
    pixels, labels = train
    if len(labels) <= most:
        return train
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    # the k-th image of a class of n stands at (k + ½) / n: the first ``most`` of that order
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
        place[members[0]] -= 1
    kept = np.sort(np.argsort(place, kind="stable")[:most])
    return pixels[kept], labels[kept]


def chosen(
    model: BaseEstimator, name: str, grid: tuple[float, ...], data: Split, seed: int
) -> tuple[BaseEstimator, float]:
    """Return a model fitted with the value of a parameter that cross-validation finds best.

    ``data`` are features (N, F) and labels (N). Unless two classes have two images each the middle
    value is taken: a fold might leave but one class to learn from.
    """
    features, labels = data
    second, most = np.sort(np.bincount(labels, minlength=2))[-2:].tolist()
    folds = min(FOLDS, most)
    if second < 2:
        value = grid[len(grid) // 2]
        return model.set_params(**{name: value}).fit(features, labels), value
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # a class of fewer images than folds is missing from some
        warnings.filterwarnings("ignore", "The least populated class")
        search = GridSearchCV(model, {name: list(grid)}, cv=split).fit(features, labels)
    return search.best_estimator_, search.best_params_[name]
