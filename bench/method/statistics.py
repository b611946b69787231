"""Intervals and tests over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


def mean(values: Sequence[float]) -> dict[str, float | None]:
    """Return a mean over seeds with Student's interval; none from a single one."""
    values, middle = np.asarray(values, float), float(np.mean(values))
    if len(values) < 2:
        return {"mean": middle, "low": None, "high": None}
    half = float(stats.sem(values) * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return {"mean": middle, "low": middle - half, "high": middle + half}


def paired(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float | None]:
    """Return the mean difference over paired seeds, its interval and a paired t test's p-value."""
    differences = np.subtract(ours, theirs)
    if len(differences) < 2 or not differences.any():
        return mean(differences) | {"p": None}
    return mean(differences) | {"p": float(stats.ttest_rel(ours, theirs).pvalue)}


def kendall(
    scores: Sequence[float], accuracies: Sequence[float], seed: int = 0, draws: int = 2000
) -> dict:
    """Return Kendall's τ-b, bootstrapped over networks; None where either side is constant."""
    rows = np.random.default_rng(seed).integers(len(scores), size=(draws, len(scores)))
    all_of_them = np.arange(len(scores))[None]
    with np.errstate(invalid="ignore"):
        tau, drawn = _tau(scores, accuracies, all_of_them)[0], _tau(scores, accuracies, rows)
    if np.isnan(tau):
        return {"tau": None, "low": None, "high": None}
    low, high = np.nanquantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {
        "tau": float(tau),
        "low": min(float(low), float(tau)),
        "high": max(float(high), float(tau)),
    }


def _tau(x: Sequence[float], y: Sequence[float], rows: np.ndarray) -> np.ndarray:
    """Return τ-b of each sample, given as rows of indices (draws, n)."""
    signs = [
        np.sign(np.subtract.outer(values, values))
        for values in (np.asarray(x, float), np.asarray(y, float))
    ]
    a, b = (sign[rows[:, :, None], rows[:, None, :]] for sign in signs)
    return (a * b).sum((1, 2)) / np.sqrt((a**2).sum((1, 2)) * (b**2).sum((1, 2)))
