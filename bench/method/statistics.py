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
    """Return the mean difference over paired seeds with its interval and the p-value of a paired t test."""
    differences = np.subtract(ours, theirs)
    if len(differences) < 2 or not differences.any():
        return mean(differences) | {"p": None}
    return mean(differences) | {"p": float(stats.ttest_rel(ours, theirs).pvalue)}


def kendall(scores: Sequence[float], accuracies: Sequence[float], seed: int = 0, draws: int = 2000) -> dict[str, float]:
    """Return Kendall's τ (b) with its bootstrap interval over networks."""
    scores, accuracies = np.asarray(scores), np.asarray(accuracies)
    generator = np.random.default_rng(seed)
    taus = []
    for _ in range(draws):
        rows = generator.integers(len(scores), size=len(scores))
        taus.append(stats.kendalltau(scores[rows], accuracies[rows]).statistic)
    low, high = np.nanquantile(taus, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"tau": float(stats.kendalltau(scores, accuracies).statistic), "low": float(low), "high": float(high)}
