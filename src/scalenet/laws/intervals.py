"""Predictions and proportions with their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special


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
