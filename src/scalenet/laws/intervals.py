"""Predictions and proportions with their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import optimize, special

TINY = 1e-9  # of a difference between shares


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


def wilson(correct: int, tested: int, confidence: float) -> tuple[float, float]:
    """Return Wilson's interval (low, high) of a proportion: ``correct`` out of ``tested`` images.

    Wilson, E. B. (1927): Probable inference, the law of succession, and statistical inference.
    """
    if tested < 1 or not 0 <= correct <= tested:
        raise ValueError(
            f"0 ≤ correct ≤ tested and tested ≥ 1 are needed, given {correct} of {tested}"
        )
    check_confidence(confidence)
    z, p = float(special.ndtri((1 + confidence) / 2)), correct / tested
    middle = p + z**2 / (2 * tested)
    half = z * math.sqrt(p * (1 - p) / tested + z**2 / (4 * tested**2))
    shrink = 1 + z**2 / tested
    return max(0.0, (middle - half) / shrink), min(1.0, (middle + half) / shrink)


def paired(gained: int, lost: int, tested: int, confidence: float) -> Prediction:
    """Return the difference of two classifiers' accuracies on the same ``tested`` images.

    ``gained`` are the images that only the first labels right, ``lost`` those that only the second
    does. The interval holds the differences that a score test does not refuse; of 0 that is
    McNemar's, without correction.

    Tango, T. (1998): Equivalence test and confidence interval for the difference in proportions
    for the paired-sample design. Statistics in Medicine 17.
    """
    if tested < 1 or min(gained, lost) < 0 or gained + lost > tested:
        raise ValueError(
            "0 ≤ gained, 0 ≤ lost, gained + lost ≤ tested and tested ≥ 1 are needed, given "
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
        inside = side * (near - far) > 0 and beyond(far, side) > 0
        ends.append(float(optimize.brentq(beyond, far, near, (side,))) if inside else end)
    return Prediction(value, *ends, confidence)


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of two classifiers being equally good; see ``paired``.

    McNemar, Q. (1947): Note on the sampling error of the difference between correlated
    proportions or percentages.
    """
    return min(1.0, 2 * float(special.bdtr(min(gained, lost), gained + lost, 0.5)))
