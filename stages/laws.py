"""Laws that carry a searched family beyond its sizes: strategies by budget, accuracy by FLOPs, each with an interval.

**Strategy laws** (method §6): y = log(v / v at the base) is a polynomial in φ = log₂(budget / base budget), with
normal noise on y. A family of p coefficients is offered from 2p searched sizes on: as many residuals as coefficients.
The base is given, not searched: it counts as none. The *value* is that of the family with the least leave-one-out
error. The *interval* is not, for the winner's own covers the truth far too seldom: it is the hull of the exact Student
intervals of the richest offered families (those that no other contains: ``line`` and ``bend`` at 4 or 5 sizes,
``curve`` from 6), less one whose squared leave-one-out error an F test finds worse than its rival's. One of them
contains the truth whichever family is true, so coverage does not depend on what was chosen.

Coverage of nominal 95 %, the least over 1, 11, 11, 14, 14 laws (each offered family, its second and third term 0.1 to
16 times the noise; 1500 simulations each) / median half-width in units of the noise when ``compound`` is true::

    sizes  1 beyond: winner only  this module   2 beyond: winner only  this module
    3                0.953 / 3.9  0.953 / 3.9             0.953 / 4.9  0.953 / 4.9
    4                0.751 / 2.6  0.941 / 7.3             0.574 / 3.3  0.943 / 13.1
    5                0.757 / 2.2  0.945 / 4.9             0.647 / 2.6  0.946 / 8.0
    6                0.683 / 1.9  0.937 / 5.0             0.609 / 2.3  0.941 / 8.6
    8                0.676 / 1.5  0.942 / 3.3             0.546 / 1.8  0.937 / 5.1

Points on an exact law have no noise to show, and an interval of no width. **Accuracy law**: see `fit_accuracy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

# powers of φ in y; in order of their number of coefficients; ``compound`` is EfficientNet's
FAMILIES = {"compound": (1,), "line": (0, 1), "bend": (1, 2), "curve": (0, 1, 2)}
EXACT = 1e-9  # a leave-one-out error (log units) below this is floating-point dust: the points lie on the law
EXPONENTS = (0.05, 2.0)  # bounds of the accuracy law's exponent: below, it is a logarithm; above, a step


@dataclass(frozen=True)
class Prediction:
    """A predicted value and the ends of its interval at ``confidence``; low ≤ value ≤ high."""

    value: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class Fit:
    """One family by ordinary least squares: y = Σ coefficients[i] · φ^powers[i], with y = log(v / v at the base).

    ``covariance`` is the coefficients', ``dof`` the residual degrees of freedom, ``noise`` the standard deviation of
    one point and ``loo`` the root mean square leave-one-out error, both in log units (0.01 ≈ 1 %).
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
        half = float(special.stdtrit(self.dof, (1 + confidence) / 2)) * math.sqrt(max(variance, 0.0))
        return y, y - half, y + half


@dataclass(frozen=True)
class Law:
    """The law of one dimension (d, w or r): every family offered, and the one chosen (``name``).

    ``start`` is the value at the base, ``sizes`` the number of searched sizes. `dataclasses.asdict` makes it plain.
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

        The interval is for the law's value; with ``searched`` it is for what a search would find there, one point's
        noise included: the one to hold a hidden searched stage against.
        """
        value = self.chosen.interval(phi, self.confidence, searched)[0]
        ends = [fit.interval(phi, self.confidence, searched)[1:] for fit in self._credible()]
        low, high = min(value, *(e[0] for e in ends)), max(value, *(e[1] for e in ends))
        return _prediction((value, low, high), self.start, self.confidence)

    def growth(self) -> Prediction:
        """Return the compound law's factor per doubling of the budget (EfficientNet's α, β or γ), given that law."""
        return _prediction(self.fits[0].interval(1.0, self.confidence, False), 1.0, self.confidence)

    def _credible(self) -> list[Fit]:
        """Return the richest families offered, less those that an F test on leave-one-out errors rejects."""
        richest = [a for a in self.fits if not any(set(a.powers) < set(b.powers) for b in self.fits)]
        best = min(richest, key=lambda fit: fit.loo)
        quantile = (1 + self.confidence) / 2
        return [a for a in richest if a.loo**2 <= best.loo**2 * special.fdtri(a.dof, best.dof, quantile)]


def _prediction(logs: tuple[float, float, float], start: float, confidence: float) -> Prediction:
    """Leave log space, inside the floating-point range (an interval from two sizes may leave it)."""
    return Prediction(*(start * np.exp(np.clip(logs, -600, 600))).tolist(), confidence)


def fit(phi: ArrayLike, values: ArrayLike, start: float, confidence: float) -> Law:
    """Fit every family that the searched sizes allow and choose by leave-one-out error (docs/method.md §6).

    ``phi`` (n,): log₂ of each size's budget in base budgets; ``values`` (n,): its depth or width multiplier, or its
    resolution in px; ``start``: the base's value (1, 1, or px). A point at φ = 0 that equals ``start`` is the base,
    known and not searched. `ValueError` if fewer than two sizes lie beyond the base.
    """
    phi, values = np.asarray(phi, float), np.asarray(values, float)
    _check(phi, values, start, confidence)
    y = np.log(values / start)
    searched = (phi != 0) | (np.abs(y) > EXACT)
    fits = tuple(f for name in FAMILIES if (f := _least_squares(name, phi[searched], y[searched])))
    if not fits:
        sizes = f"given φ = {phi[searched].tolist()}; search more scaling stages (`scaling.stages` in params.yaml)"
        raise ValueError(f"a law needs at least 2 searched sizes beyond the base (φ ≠ 0), {sizes}")
    return Law(min(fits, key=lambda f: f.loo).name, float(start), int(searched.sum()), confidence, fits)


def _check(phi: np.ndarray, values: np.ndarray, start: float, confidence: float) -> None:
    """Refuse lists that do not match, and what has no logarithm."""
    if phi.ndim != 1 or phi.shape != values.shape:
        raise ValueError(f"φ and values must be two lists of one length, given shapes {phi.shape} and {values.shape}")
    numbers = [*phi, *values, start]
    if not np.isfinite(numbers).all() or min([*values, start]) <= 0:
        raise ValueError(f"φ must be finite, values and start positive, given {numbers}; correct the searched sizes")
    _check_confidence(confidence)


def _check_confidence(confidence: float) -> None:
    """Refuse what is no probability."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, given {confidence}; 0.95 is usual")


def _least_squares(name: str, phi: np.ndarray, y: np.ndarray) -> Fit | None:
    """Fit one family; None where it has too few sizes, or a size that it cannot do without (leverage 1)."""
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
    return Fit(name, powers, tuple(coefficients.tolist()), covariance, n - p, math.sqrt(variance), max(loo, EXACT))


@dataclass(frozen=True)
class Member:
    """One trained member: multiply-accumulates of an image, and test images classified correctly, of those tested."""

    flops: float
    correct: int
    tested: int


@dataclass(frozen=True)
class AccuracyLaw:
    """Expected top-1 accuracy = top - scale · (flops / flops0)^(-exponent), as a share of 1.

    ``dispersion`` ≥ 1 is their scatter about the law in units of what their numbers of test images explain (χ² per
    degree of freedom); ``refits`` are (top, scale, exponent) of the bootstrap draws.
    """

    top: float
    scale: float
    exponent: float
    flops0: float
    dispersion: float
    confidence: float
    refits: tuple[tuple[float, float, float], ...]

    def predict(self, flops: float) -> Prediction:
        """Predict the *expected* accuracy at ``flops``: a test on n images scatters about it by its binomial error."""
        if not (math.isfinite(flops) and flops > 0):
            raise ValueError(f"flops must be positive and finite, given {flops}")
        log_flops = np.array([math.log(flops / self.flops0)])
        value = float(_accuracy(np.array([self.top, self.scale, self.exponent]), log_flops)[0])
        draws = _accuracy(np.array(self.refits), log_flops)[:, 0]
        low, high = np.quantile(draws, [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        low, high = min(low, 2 * value - high, value), max(high, 2 * value - low, value)
        return Prediction(value, max(0.0, float(low)), min(1.0, float(high)), self.confidence)


def fit_accuracy(members: list[Member], confidence: float, draws: int, generator: np.random.Generator) -> AccuracyLaw:
    """Fit the accuracy law by weighted least squares, and again on ``draws`` parametric bootstrap draws.

    A draw gives every member new correct answers, out of tested / dispersion images, at the law's accuracy: scatter
    between trainings (three members cannot show any) widens the interval too. The interval is the hull of the draws'
    quantiles and their mirror image about the fit: at the law's bounds (scale 0, top 1) quantiles are one-sided.
    Coverage of the expected accuracy 1 and 2 doublings beyond, nominal 95 %, over six laws (flat to steep), 3, 4 and 6
    members, 1000 and 10 000 test images: 0.94 to 1.00, half-widths 0.2 to 8 points of accuracy (most from 3 members).
    With 0.3 points of scatter between trainings beside it: 0.88 to 1.00 from 4 members on, 0.81 to 0.98 from 3.
    """
    _check_members(members, draws)
    _check_confidence(confidence)
    flops, correct, tested = np.array([(m.flops, m.correct, m.tested) for m in members], float).T
    flops0 = float(np.exp(np.log(flops).mean()))
    log_flops = np.log(flops / flops0)
    law, chi2 = _weighted(log_flops, correct, tested)
    spare = len(members) - law.size
    dispersion = max(1.0, float(chi2) / spare) if spare else 1.0
    images = np.maximum(1, np.rint(tested / dispersion)).astype(int)
    drawn = generator.binomial(images, _accuracy(law, log_flops), size=(draws, len(members)))
    refits, _ = _weighted(log_flops, drawn.astype(float), images.astype(float))
    return AccuracyLaw(*law.tolist(), flops0, dispersion, confidence, tuple(map(tuple, refits.tolist())))


def _check_members(members: list[Member], draws: int) -> None:
    """Refuse members that cannot hold the law's three parameters, and counts that are none."""
    for m in members:
        if not (math.isfinite(m.flops) and m.flops > 0 and m.tested >= 1 and 0 <= m.correct <= m.tested):
            raise ValueError(f"a member needs flops > 0 and 0 ≤ correct ≤ tested with tested ≥ 1, given {m}")
    if len({m.flops for m in members}) < 3:
        sizes = f"given {[m.flops for m in members]}; train more members (`family` in params.yaml)"
        raise ValueError(f"an accuracy law needs at least 3 trained members of different FLOPs, {sizes}")
    if draws < 1:
        raise ValueError(f"an interval needs at least 1 bootstrap draw, given {draws}; some hundreds are usual")


def _accuracy(laws: np.ndarray, log_flops: np.ndarray) -> np.ndarray:
    """Return accuracies (…, m) of laws (…, 3) at log(flops / flops0) (m,), kept inside 0…1."""
    top, scale, exponent = np.moveaxis(laws[..., None], -2, 0)
    return np.clip(top - scale * np.exp(-exponent * log_flops), 0.0, 1.0)


def _weighted(log_flops: np.ndarray, correct: np.ndarray, tested: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit laws (…, 3) to counts (…, m); also χ² (…). Weights from the counts first, then from the law so fitted."""
    shares = (correct + 1) / (tested + 2)
    for _ in range(2):
        laws, chi2 = _profile(log_flops, correct / tested, tested / (shares * (1 - shares)))
        shares = np.clip(_accuracy(laws, log_flops), 0.5 / tested, 1 - 0.5 / tested)
    return laws, chi2


def _profile(log_flops: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimise Σ weights · (y - law)² for y and weights (…, m): exactly in top and scale, by zooming in the exponent.

    Variable projection: given the exponent the law is linear, so the fit is global and all draws go at once.
    """
    bounds = np.log(EXPONENTS)
    low, high = (np.full(y.shape[:-1], bound) for bound in bounds)
    for _ in range(4):
        logs = low[..., None] + (high - low)[..., None] * np.linspace(0, 1, 25)
        laws, chi2 = _linear(np.exp(logs), log_flops, y, weights)
        best = chi2.argmin(-1)[..., None]
        centre, step = np.take_along_axis(logs, best, -1)[..., 0], (high - low) / 24
        low, high = np.maximum(centre - step, bounds[0]), np.minimum(centre + step, bounds[1])
    return np.take_along_axis(laws, best[..., None], -2)[..., 0, :], np.take_along_axis(chi2, best, -1)[..., 0]


def _linear(exponents: np.ndarray, log_flops: np.ndarray, y: np.ndarray, weights: np.ndarray):
    """Return laws (…, g, 3) and χ² (…, g) of the best scale ≥ 0 and top ≤ 1 for exponents (…, g)."""
    x = np.exp(-exponents[..., None] * log_flops)
    y, weights = y[..., None, :], weights[..., None, :]
    share = weights / weights.sum(-1, keepdims=True)
    x_mean, y_mean = (share * x).sum(-1), (share * y).sum(-1)
    off = share * (x - x_mean[..., None])
    scale = np.maximum(0.0, -(off * y).sum(-1) / (off * x).sum(-1))
    full = np.maximum(0.0, (share * x * (1 - y)).sum(-1) / (share * x**2).sum(-1))  # the best scale when top = 1
    scale = np.where(y_mean + scale * x_mean > 1, full, scale)
    top = np.minimum(1.0, y_mean + scale * x_mean)
    chi2 = (weights * (y - top[..., None] + scale[..., None] * x) ** 2).sum(-1)
    return np.stack(np.broadcast_arrays(top, scale, exponents), -1), chi2


def wilson(correct: int, tested: int, confidence: float) -> tuple[float, float]:
    """Return Wilson's interval of a proportion: a test accuracy of ``correct`` out of ``tested`` images."""
    if tested < 1 or not 0 <= correct <= tested:
        raise ValueError(f"0 ≤ correct ≤ tested and tested ≥ 1 are needed, given {correct} of {tested}")
    _check_confidence(confidence)
    z, p = float(special.ndtri((1 + confidence) / 2)), correct / tested
    middle, half = p + z**2 / (2 * tested), z * math.sqrt(p * (1 - p) / tested + z**2 / (4 * tested**2))
    return max(0.0, (middle - half) / (1 + z**2 / tested)), min(1.0, (middle + half) / (1 + z**2 / tested))
