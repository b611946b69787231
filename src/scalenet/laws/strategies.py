"""Laws that carry a searched family's strategies beyond its sizes, each with an interval.

Method §6: y = log(v / v at the base) is a polynomial in φ = log₂(budget / base budget), with normal
noise on y. A family of p coefficients is offered from 2p searched sizes on: as many residuals as
coefficients. The base is given, not searched: it counts as none.

The *value* is that of the family with the least leave-one-out error. The *interval* is not, for the
winner's own covers the truth far too seldom: it is the hull of the exact Student intervals of the
richest offered families (those that no other contains: ``line`` and ``bend`` at 4 or 5 sizes,
``curve`` from 6), less one whose squared leave-one-out error an F test finds worse than its
rival's. One of them contains the truth whichever family is true, so coverage does not depend on
what was chosen.

Coverage of nominal 95 %, the least over 1, 11, 11, 14, 14 laws (each offered family, its second and
third term 0.1 to 16 times the noise; 1500 simulations each) / median half-width in units of the
noise when ``compound`` is true::

    sizes  1 beyond: winner only  this module   2 beyond: winner only  this module
    3                0.953 / 3.9  0.953 / 3.9             0.953 / 4.9  0.953 / 4.9
    4                0.751 / 2.6  0.941 / 7.3             0.574 / 3.3  0.943 / 13.1
    5                0.757 / 2.2  0.945 / 4.9             0.647 / 2.6  0.946 / 8.0
    6                0.683 / 1.9  0.937 / 5.0             0.609 / 2.3  0.941 / 8.6
    8                0.676 / 1.5  0.942 / 3.3             0.546 / 1.8  0.937 / 5.1

Points on an exact law have no noise to show, and an interval of no width. The law of the members'
accuracy is in accuracy.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from scalenet.laws.intervals import Prediction, check_confidence

# powers of φ in y; in order of their number of coefficients; ``compound`` is EfficientNet's
FAMILIES = {"compound": (1,), "line": (0, 1), "bend": (1, 2), "curve": (0, 1, 2)}
# a leave-one-out error (log units) below this is floating-point dust: the points lie on the law
EXACT = 1e-9


@dataclass(frozen=True)
class Fit:
    """One family by ordinary least squares.

    y = Σ coefficients[i] · φ^powers[i], with y = log(v / v at the base). ``covariance`` is the
    coefficients', ``dof`` the residual degrees of freedom, ``noise`` the standard deviation of one
    point and ``loo`` the root mean square leave-one-out error, both in log units (0.01 ≈ 1 %).
    """

    name: str
    powers: tuple[int, ...]
    coefficients: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    dof: int
    noise: float
    loo: float

    def interval(self, phi: float, confidence: float, searched: bool) -> tuple[float, float, float]:
        """Return (y, low, high) at φ: Student's exact interval if this family is the true one."""
        x = float(phi) ** np.array(self.powers)
        y = float(x @ self.coefficients)
        variance = x @ np.array(self.covariance) @ x + (self.noise**2 if searched else 0.0)
        quantile = float(special.stdtrit(self.dof, (1 + confidence) / 2))
        half = quantile * math.sqrt(max(variance, 0.0))
        return y, y - half, y + half


@dataclass(frozen=True)
class Law:
    """The law of one dimension (d, w or r): every family offered, and the one chosen (``name``).

    ``start`` is the value at the base, ``sizes`` the number of searched sizes.
    `dataclasses.asdict` makes it plain.
    """

    name: str
    start: float
    sizes: int
    confidence: float
    fits: tuple[Fit, ...]

    @property
    def chosen(self) -> Fit:
        return next(fit for fit in self.fits if fit.name == self.name)

    def predict(self, phi: float, *, searched: bool = False) -> Prediction:
        """Predict the dimension at φ = log₂(budget multiple), in the unit of the fitted values.

        The interval is for the law's value; with ``searched`` it is for what a search would find
        there, one point's noise included: the one to hold a hidden searched size against.
        """
        value = self.chosen.interval(phi, self.confidence, searched)[0]
        ends = [fit.interval(phi, self.confidence, searched)[1:] for fit in self._credible()]
        low, high = min(value, *(e[0] for e in ends)), max(value, *(e[1] for e in ends))
        return _prediction((value, low, high), self.start, self.confidence)

    def growth(self) -> Prediction:
        """Return the compound law's factor per doubling (EfficientNet's α, β or γ)."""
        return _prediction(self.fits[0].interval(1.0, self.confidence, False), 1.0, self.confidence)

    def _credible(self) -> list[Fit]:
        """Return the richest families offered, less those that an F test of their loo rejects."""

        def is_part(fit: Fit) -> bool:
            return any(set(fit.powers) < set(other.powers) for other in self.fits)

        richest = [fit for fit in self.fits if not is_part(fit)]
        best = min(richest, key=lambda fit: fit.loo)
        quantile = (1 + self.confidence) / 2

        def bound(fit: Fit) -> float:
            return best.loo**2 * special.fdtri(fit.dof, best.dof, quantile)

        return [fit for fit in richest if fit.loo**2 <= bound(fit)]


def _prediction(logs: tuple[float, float, float], start: float, confidence: float) -> Prediction:
    """Leave log space, inside the floating-point range (one from two sizes may exceed it)."""
    return Prediction(*(start * np.exp(np.clip(logs, -600, 600))).tolist(), confidence)


def fit(phi: ArrayLike, values: ArrayLike, start: float, confidence: float) -> Law:
    """Fit every family that the searched sizes allow; choose by leave-one-out error (method §6).

    ``phi`` (n,): log₂ of each size's budget in base budgets; ``values`` (n,): its depth or width
    multiplier, or its resolution in px; ``start``: the base's value (1, 1, or px). A point at φ = 0
    that equals ``start`` is the base, known and not searched. ``ValueError`` if fewer than two
    sizes lie beyond the base.
    """
    phi, values = np.asarray(phi, float), np.asarray(values, float)
    _check(phi, values, start, confidence)
    y = np.log(values / start)
    searched = (phi != 0) | (np.abs(y) > EXACT)
    fits = tuple(f for name in FAMILIES if (f := _least_squares(name, phi[searched], y[searched])))
    if not fits:
        raise ValueError(
            "a law needs at least 2 searched sizes beyond the base (φ ≠ 0), given "
            f"φ = {phi[searched].tolist()}; search more sizes (`scaling.stages` in params.yaml)"
        )
    chosen = min(fits, key=lambda f: f.loo)
    return Law(chosen.name, float(start), int(searched.sum()), confidence, fits)


def _check(phi: np.ndarray, values: np.ndarray, start: float, confidence: float) -> None:
    """Refuse lists that do not match, and what has no logarithm."""
    if phi.ndim != 1 or phi.shape != values.shape:
        raise ValueError(
            "φ and values must be two lists of one length, "
            f"given shapes {phi.shape} and {values.shape}"
        )
    numbers = [*phi, *values, start]
    if not np.isfinite(numbers).all() or min([*values, start]) <= 0:
        raise ValueError(
            f"φ must be finite, values and start positive, given {numbers}; "
            "correct the searched sizes"
        )
    check_confidence(confidence)


def _least_squares(name: str, phi: np.ndarray, y: np.ndarray) -> Fit | None:
    """Fit one family; None with too few sizes, or one it cannot do without (leverage 1)."""
    powers = FAMILIES[name]
    n, p = len(y), len(powers)
    x = phi[:, None] ** np.array(powers)
    if n < 2 * p or np.linalg.matrix_rank(x) < p:
        return None
    inverse = np.linalg.pinv(x)
    leverage = np.einsum("ip,pi->i", x, inverse)
    if leverage.max() > 1 - 1e-9:
        return None
    coefficients = inverse @ y
    residual = y - x @ coefficients
    variance = float(residual @ residual) / (n - p)
    loo = math.sqrt(np.mean((residual / (1 - leverage)) ** 2))  # PRESS: no refit needed
    covariance = tuple(map(tuple, (variance * inverse @ inverse.T).tolist()))
    return Fit(
        name,
        powers,
        tuple(coefficients.tolist()),
        covariance,
        n - p,
        math.sqrt(variance),
        max(loo, EXACT),
    )
