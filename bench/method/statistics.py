"""Noise, intervals and tests over seeds, and what a rank correlation can be at best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import pi, sqrt
from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
NEAR = 10  # networks above and below one, by accuracy, whose noise is taken for like its own
DUST = 1e-9  # of accuracies that are equal


def mean(values: Sequence[float]) -> dict[str, float | None]:
    """Return a mean over seeds with Student's interval; none from a single one."""
    values, middle = np.asarray(values, float), float(np.mean(values))
    if len(values) < 2:
        return {"mean": middle, "low": None, "high": None}
    half = float(stats.sem(values) * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return {"mean": middle, "low": middle - half, "high": middle + half}


def pooled(groups: Iterable[Sequence[float]]) -> dict[str, float]:
    """Return the standard deviation of trainings, pooled over networks trained more than once.

    ``dof`` are its degrees of freedom, and low and high its interval (χ²). ``ValueError`` if no
    network was trained twice.
    """
    groups = [np.asarray(group, float) for group in groups if len(group) > 1]
    dof = sum(len(group) - 1 for group in groups)
    if not dof:
        raise ValueError("the noise of trainings needs a network that was trained more than once")
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    low, high = stats.chi2.ppf([(1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2], dof)
    return {
        "noise": sqrt(squares / dof), "low": sqrt(squares / low), "high": sqrt(squares / high),
        "dof": dof,
    }  # fmt: skip


def bartlett(noises: Sequence[dict[str, float]]) -> float | None:
    """Return the p-value of equal variances, of what `pooled` gives; None for fewer than two.

    Source: Bartlett (1937).
    """
    if len(noises) < 2:
        return None
    dof = np.array([own["dof"] for own in noises], float)
    variances = np.array([max(own["noise"], 1e-12) ** 2 for own in noises])
    both = dof @ variances / dof.sum()
    statistic = dof.sum() * np.log(both) - dof @ np.log(variances)
    correction = 1 + ((1 / dof).sum() - 1 / dof.sum()) / (3 * (len(dof) - 1))
    return float(stats.chi2.sf(statistic / correction, len(dof) - 1))


def ceiling(
    accuracies: Sequence[float], noise: dict[str, float], draws: int = 4000
) -> dict[str, float] | None:
    """Return the τ that a perfect score reaches with networks trained once each; None for one.

    ``spread`` is the networks' standard deviation, which holds the noise of their trainings;
    ``true`` is what is left without it. For normal accuracies τ = 2/π · arcsin(true / spread). The
    interval is of both variances' sampling. Source: Kendall (1949), τ of a normal correlation.
    """
    generator, n = np.random.default_rng(0), len(accuracies)
    if n < 2:
        return None
    spread = float(np.std(accuracies, ddof=1))
    scale = np.sqrt((n - 1) / generator.chisquare(n - 1, draws))
    noises = noise["noise"] * np.sqrt(noise["dof"] / generator.chisquare(noise["dof"], draws))
    low, high = np.quantile(
        _ceilings(spread * scale, noises), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    )
    [tau] = _ceilings(np.array([spread]), np.array([noise["noise"]]))
    true = sqrt(max(0.0, spread**2 - noise["noise"] ** 2))
    return {"spread": spread, "true": true, "tau": float(tau), "low": float(low),
            "high": float(high)}  # fmt: skip


def _ceilings(spreads: np.ndarray, noises: np.ndarray) -> np.ndarray:
    signal = np.sqrt(np.clip(1 - (noises / np.maximum(spreads, 1e-12)) ** 2, 0, 1))
    return 2 / pi * np.arcsin(signal)


def shaped_ceiling(groups: Iterable[Sequence[float]], draws: int = 10) -> dict[str, float] | None:
    """Return the τ that a perfect score reaches with one training, whatever the networks' form.

    For many networks, most of them trained more than once: `ceiling` takes accuracies for normal,
    and where most networks are nearly as good as the best it is too high. Here the truth is the
    networks' means, drawn together until their variance is what noise leaves of it, and a training
    is off by a residual of one of the networks next to it, as noises differ too. Means crowd
    less than the truth does, so that drawn trainings agree with one another more than the given
    ones: τ, by its square, is lowered by as much. ``spread`` is the standard deviation of
    single trainings. None with fewer than two such networks.
    """
    groups = [np.asarray(group, float) for group in groups if len(group) > 1]
    if len(groups) < 2:
        return None
    groups.sort(key=np.mean)
    generator, noise = np.random.default_rng(0), pooled(groups)["noise"]
    means = np.array([group.mean() for group in groups])
    of_means = noise**2 * float(np.mean([1 / len(group) for group in groups]))
    true, apart = sqrt(max(0.0, means.var(ddof=1) - of_means)), float(means.std(ddof=1))
    truth = means.mean() + (true / max(apart, DUST)) * (means - means.mean())
    residuals = [(own - own.mean()) * sqrt(len(own) / (len(own) - 1)) for own in groups]

    def training() -> np.ndarray:
        near = np.arange(len(truth)) + generator.integers(-NEAR, NEAR + 1, len(truth))
        of = np.clip(near, 0, len(truth) - 1)
        off = np.array([residuals[i][generator.integers(len(residuals[i]))] for i in of])
        return truth + off * generator.choice([-1.0, 1.0], len(off))

    tau = 0.0
    if true > DUST:
        drawn = [(training(), training()) for _ in range(draws)]
        perfect = np.mean([_agreement(truth, one) for one, _ in drawn])
        agree = np.mean([_agreement(*pair) for pair in drawn])
        given = max(0.0, _agreement(*np.array([own[:2] for own in groups]).T))
        tau = min(1.0, perfect * sqrt(given / agree)) if agree > 0 else 0.0
    return {"spread": sqrt(true**2 + noise**2), "true": true, "tau": float(tau)}


def _agreement(one: np.ndarray, other: np.ndarray) -> float:
    return float(stats.kendalltau(one, other).statistic)


def repeated(groups: Iterable[Sequence[float]], sizes: Sequence[int]) -> dict[str, Any] | None:
    """Return noise, true spread and the best τ of networks that were each trained k times.

    ``groups`` are the accuracies of each network, equally many; ``sizes`` the size of each: only
    networks of one size are compared, and sizes have a noise and a spread in common; None where no
    size has two. One-way analysis of variance: ``noise`` and ``true`` are standard deviations of
    trainings and of networks without it; ``best`` is the Kendall τ of a perfect score by the number
    of trainings, 1 to k, whose mean it is held against. Intervals are exact for normal accuracies,
    from F of the variances between networks and between trainings. Source: Searle (1971), section
    9.9.
    """
    values, sizes = np.asarray(list(groups), float), np.asarray(sizes)
    dof = len(sizes) - len(np.unique(sizes))
    if not dof:
        return None
    k, noise = values.shape[1], pooled(values)
    means = values.mean(1)
    centred = np.concatenate(
        [means[sizes == size] - means[sizes == size].mean() for size in np.unique(sizes)]
    )
    ratio = k * float((centred**2).sum()) / dof / max(noise["noise"], 1e-12) ** 2
    high, low = ratio / stats.f.ppf([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], dof, noise["dof"])
    shares = {
        name: max(0.0, value - 1) / k
        for name, value in (("tau", ratio), ("low", low), ("high", high))
    }
    best = {
        str(count): {name: _best(count * share) for name, share in shares.items()}
        for count in range(1, k + 1)
    }
    true = noise["noise"] * sqrt(shares["tau"])
    return {"noise": noise, "true": true, "networks": len(means), "trainings": k, "best": best}


def _best(share: float) -> float:
    """Return a perfect score's τ, where the networks' variance is so many times the noise's."""
    return 2 / pi * float(np.arcsin(sqrt(share / (1 + share))))


def paired(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float | None]:
    """Return the mean difference over paired seeds, its interval and a paired t test's p-value."""
    differences = np.subtract(ours, theirs)
    if len(differences) < 2 or not differences.any():
        return mean(differences) | {"p": None}
    return mean(differences) | {"p": float(stats.ttest_rel(ours, theirs).pvalue)}


def difference(
    ours: Sequence[float],
    theirs: Sequence[float],
    noise: dict[str, float],
    other: dict[str, float],
) -> dict[str, float]:
    """Return a difference of means tested with pooled noises: ours', and that of the other arm.

    Both are as `pooled` returns them. Degrees of freedom are Welch's and Satterthwaite's, those of
    the pooled noise where both arms share it.
    """
    parts = [(noise["noise"] ** 2 / len(ours), noise["dof"]),
             (other["noise"] ** 2 / len(theirs), other["dof"])]  # fmt: skip
    if other is noise:
        parts = [(sum(variance for variance, _ in parts), noise["dof"])]
    error, dof = combined(parts)
    middle = float(np.mean(ours) - np.mean(theirs))
    half = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, dof))
    deviations = abs(middle) / max(error, 1e-12)  # equal accuracies show no noise
    p = float(2 * stats.t.sf(deviations, dof))
    return {"mean": middle, "low": middle - half, "high": middle + half, "p": p,
            "error": error, "dof": dof}  # fmt: skip


def combined(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the standard deviation of a sum of independent estimates, and its degrees of freedom.

    ``parts`` are (variance, degrees of freedom). Sources: Satterthwaite (1946), Welch (1947).
    """
    total = sum(variance for variance, _ in parts)
    weighed = sum(variance**2 / dof for variance, dof in parts)
    return sqrt(total), total**2 / weighed if weighed else min(dof for _, dof in parts)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number. Source: Holm (1979)."""
    order = np.argsort(ps)
    stepped = np.maximum.accumulate([(len(ps) - i) * ps[at] for i, at in enumerate(order)])
    corrected = np.empty(len(ps))
    corrected[order] = np.minimum(1.0, stepped)
    return corrected.tolist()


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
