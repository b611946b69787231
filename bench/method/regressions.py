"""Regressions of accuracy that a surface is chosen among: their errors for networks unseen."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
from sklearn.linear_model import BayesianRidge, LinearRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.method import tablerows
from scalenet.laws import surface as surfaces
from scalenet.laws.surface import TRAINED, Evaluation, describe
from scalenet.space.network import Block, Network

FOLDS = 10  # or as many as there are networks
GRID = ("depth", "width", "resolution", "gmacs", "top1")  # columns of a public grid
Point = tuple[Network, int, float]  # (network, size, accuracy)
Guess = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # (rows, reached, others)


def line(rows: np.ndarray, reached: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Guess by a line in the logarithm of what FLOPs follow from depth, width and resolution."""
    spent = np.append(surfaces.POWERS, [0.0, 0.0])[:, None]
    return LinearRegression().fit(rows @ spent, reached).predict(others @ spent)


def ridge(rows: np.ndarray, reached: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Guess by a Bayesian ridge regression, which has no bends."""
    return make_pipeline(StandardScaler(), BayesianRidge()).fit(rows, reached).predict(others)


def process(rows: np.ndarray, reached: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Guess by a Gaussian process about a plane."""
    kernel = ConstantKernel() * RBF(2 * np.ones(rows.shape[1]), (0.3, 30))
    kernel = kernel + ConstantKernel() * DotProduct() + WhiteKernel(0.3)
    scaler = StandardScaler().fit(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length may end at its bound
        made = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
        made.fit(scaler.transform(rows), reached)
    return made.predict(scaler.transform(others))


OTHERS: dict[str, Guess] = {
    "line in FLOPs": line,
    "Bayesian ridge, no bends": ridge,
    "Gaussian process": process,
}
SURFACE = "surface"


def errors(points: list[Point], splits: Iterable[tuple[Any, Any]], size: int) -> dict[str, float]:
    """Return each regression's root mean square error over (known, hidden) splits of points."""
    networks, _, accuracies = zip(*points, strict=True)
    rows = np.array([describe(network, size) for network in networks])
    reached = np.array(accuracies)
    squares: dict[str, list[float]] = {}
    for known, hidden in splits:
        told = [Evaluation(networks[i], reached[i], TRAINED) for i in known]
        surface = surfaces.fit(told, size, 1, np.random.default_rng(0))
        guesses = {name: guess(rows[known], reached[known], rows[hidden])
                   for name, guess in OTHERS.items()}  # fmt: skip
        guesses[SURFACE] = surface.predict([networks[i] for i in hidden])
        for name, values in guesses.items():
            squares.setdefault(name, []).extend(np.square(values - reached[hidden]).tolist())
    return {name: float(np.sqrt(np.mean(values))) for name, values in squares.items()}


def compare(points: dict[str, list[Point]], size: int) -> dict[str, dict[str, float]]:
    """Return the errors for the largest size of each table's, if it has more than one, and by
    cross-validation."""
    found = {}
    for name, own in points.items():
        sizes = np.array([size for _, size, _ in own])
        largest = sizes == sizes.max()
        next_size = [(np.flatnonzero(~largest), np.flatnonzero(largest))]
        count = min(FOLDS, len(own))
        folds = KFold(count, shuffle=True, random_state=0).split(sizes)
        if not largest.all():
            found[f"{name}, next size"] = errors(own, next_size, size)
        found[f"{name}, {count} folds"] = errors(own, folds, size)
    return found


def grid(file: Path) -> dict[str, float]:
    """Return the errors for the larger half of a table of depth, width, resolution, gmacs and top1
    (%); ``ValueError`` for a file that is no such table. A row that lacks any is left out."""
    if not file.exists():
        raise ValueError(f"{file} is not there; --tables should name a folder that has it")
    try:
        read = [[row.number(name) for name in GRID] for row in tablerows.read(file, GRID)]
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    rows = [row for row in read if None not in row]
    points = [(_toy(*shape), 0, top1 / 100) for *shape, _, top1 in rows]
    order = np.argsort([gmacs for *_, gmacs, _ in rows])
    half = len(order) // 2
    return errors(points, [(order[:half], order[half:])], max(p[0].resolution for p in points))


def _toy(depth: float, width: float, resolution: float) -> Network:
    """Return a network whose logarithms of depth, width and resolution differ as given."""
    block = Block((3,) * round(100 * depth), 1, 1, round(1000 * width))
    return Network(int(resolution), 3, 1, 8, (block,), 8, 0.0, "expanded", "relu")
