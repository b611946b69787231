"""Predictions and proportions with their intervals, of images that may come in groups."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, signal, special, stats

from scalenet.records.predictions import equal_groups

TINY = 1e-9  # of a difference between shares
LEAST = 0.2  # degrees of freedom, below which Student's quantile is beyond any use


@dataclass(frozen=True)
class Prediction:
    """A predicted value and the ends of its interval at ``confidence``; low ≤ value ≤ high."""

    value: float
    low: float
    high: float
    confidence: float


def check_confidence(confidence: float) -> None:
    """Refuse what is no probability."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, given {confidence}; 0.95 is usual")


def worth(values: np.ndarray, groups: np.ndarray | None, confidence: float) -> float:
    """Return the share of images that count, 0…1, when those of a group are alike.

    ``values`` (N) are averaged over images, ``groups`` (N) is the number of each image's group;
    None: every image is a group of its own, and counts. The share is the variance of the mean if
    images were independent, over that of groups which are, each group's sum about its mean being
    drawn anew (the inverse of the design effect). Student's quantile replaces the normal one, as
    groups may be few: of unequal ones as few as ``equal_groups``, since the largest decide. Of
    values that are all alike nothing is learnt of groups: one image of each such group counts.

    Korn, E. L. and Graubard, B. I. (1998): Confidence intervals for proportions with small expected
    number of positive counts estimated from survey data. Survey Methodology 24.
    """
    count = len(values)
    found = count if groups is None else equal_groups(groups)
    if found == count:
        return 1.0
    if found == 1:
        return 1 / count
    about = values - np.mean(values)
    sums = np.bincount(groups, about)
    alone, together = (about**2).sum() / (count - 1), (sums**2).sum() / (1 - 1 / found) / count
    share = found / count if alone == 0 else alone / max(together, TINY)
    upper = (1 + confidence) / 2
    student = special.stdtrit(max(found - 1, LEAST), upper)
    return float(np.clip(share * (special.ndtri(upper) / student) ** 2, 1 / count, 1.0))


def wilson(correct: float, tested: float, confidence: float) -> tuple[float, float]:
    """Return Wilson's interval (low, high) of a proportion: ``correct`` out of ``tested`` images.

    Both are fewer than there are where images come in groups: see ``worth``.

    Wilson, E. B. (1927): Probable inference, the law of succession, and statistical inference.
    """
    if tested <= 0 or not 0 <= correct <= tested:
        raise ValueError(
            f"0 ≤ correct ≤ tested and tested > 0 are needed, given {correct} of {tested}"
        )
    check_confidence(confidence)
    z, p = float(special.ndtri((1 + confidence) / 2)), correct / tested
    middle = p + z**2 / (2 * tested)
    half = z * math.sqrt(p * (1 - p) / tested + z**2 / (4 * tested**2))
    shrink = 1 + z**2 / tested
    return max(0.0, (middle - half) / shrink), min(1.0, (middle + half) / shrink)


def paired(gained: float, lost: float, tested: float, confidence: float) -> Prediction:
    """Return the difference of two classifiers' accuracies on the same ``tested`` images.

    ``gained`` are the images that only the first labels right, ``lost`` those that only the second
    does; all are fewer where images come in groups, see ``worth``. The interval holds the
    differences that a score test does not refuse; of 0 that is McNemar's, without correction.

    Tango, T. (1998): Equivalence test and confidence interval for the difference in proportions
    for the paired-sample design. Statistics in Medicine 17.
    """
    if tested <= 0 or min(gained, lost) < 0 or gained + lost > tested * (1 + TINY):
        raise ValueError(
            "0 ≤ gained, 0 ≤ lost, gained + lost ≤ tested and tested > 0 are needed, given "
            f"{gained} and {lost} of {tested}"
        )
    check_confidence(confidence)
    z, value = float(special.ndtri((1 + confidence) / 2)), (gained - lost) / tested

    def beyond(difference: float, side: int) -> float:
        """Return how far the observation lies beyond what a true difference would explain."""
        middle = (2 * tested - gained + lost) * difference - gained - lost
        spread = middle**2 + 8 * tested * lost * difference * (1 - difference)
        only_second = (math.sqrt(max(0.0, spread)) - middle) / (4 * tested)
        variance = tested * (2 * only_second + difference * (1 - difference))
        return side * tested * (value - difference) - z * math.sqrt(max(0.0, variance))

    ends = []
    for side, end in ((1, -1.0), (-1, 1.0)):
        near = value - side * TINY  # at the value itself nothing is beyond
        far = end + side * TINY
        if side * (near - far) <= 0 or beyond(far, side) <= 0:
            ends.append(end)
        elif beyond(near, side) >= 0:  # at so small a confidence it is the value
            ends.append(value)
        else:
            ends.append(float(optimize.brentq(beyond, far, near, (side,))))
    return Prediction(value, *ends, confidence)


def mcnemar(differences: np.ndarray) -> float:
    """Return the two-sided mid-p-value of two classifiers being equally good.

    ``differences`` int (G) are, of each group of images, those that only the first labels right
    less those that only the second does. If both are equally good, each is as likely with the other
    sign: p is the share of all signs that give a sum further from 0, and half of those that give
    one as far. Of single images the test is McNemar's, whose exact p is too large by the whole of
    the latter: it would often call within noise what ``paired`` does not.

    Fagerland, M. W., Lydersen, S., Laake, P. (2013): The McNemar test for binary matched-pairs
    data: mid-p and asymptotic are better than exact conditional. BMC Medical Research Methodology.

    McNemar, Q. (1947): Note on the sampling error of the difference between correlated
    proportions or percentages. Psychometrika 12.
    """
    chances, observed = np.ones(1), abs(int(differences.sum()))  # of sums from least to most
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        signs = np.zeros(2 * size * count + 1)
        signs[:: 2 * size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chances = signal.convolve(chances, signs)
    beyond = chances[len(chances) // 2 + observed :]
    return float(np.clip(2 * beyond.sum() - beyond[0], 0, 1))
