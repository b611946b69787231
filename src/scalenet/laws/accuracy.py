"""The accuracy law: top-1 as a saturating power law of FLOPs, see `fit_accuracy`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scalenet.config.params import Publish
from scalenet.laws.intervals import Prediction, check_confidence
from scalenet.records.documents import Trained

# bounds of the accuracy law's exponent: below, it is a logarithm; above, a step
EXPONENTS = (0.05, 2.0)


@dataclass(frozen=True)
class Point:
    """One trained member as the law sees it: its FLOPs, and test images labelled correctly, of
    those tested."""

    flops: float
    correct: int
    tested: int


@dataclass(frozen=True)
class AccuracyLaw:
    """Expected top-1 accuracy = top - scale · (flops / flops0)^(-exponent), as a share of 1.

    ``dispersion`` ≥ 1 is the members' scatter about the law in units of what their numbers of test
    images explain (χ² per degree of freedom); ``refits`` are (top, scale, exponent) of the
    bootstrap draws.
    """

    top: float
    scale: float
    exponent: float
    flops0: float
    dispersion: float
    confidence: float
    refits: tuple[tuple[float, float, float], ...]

    def predict(self, flops: float) -> Prediction:
        """Predict the *expected* accuracy, 0…1, at ``flops``.

        A test on n images scatters about it by its binomial error.
        """
        if not (math.isfinite(flops) and flops > 0):
            raise ValueError(f"flops must be positive and finite, given {flops}")
        log_flops = np.array([math.log(flops / self.flops0)])
        value = float(_accuracy(np.array([self.top, self.scale, self.exponent]), log_flops)[0])
        draws = _accuracy(np.array(self.refits), log_flops)[:, 0]
        low, high = np.quantile(draws, [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        low, high = min(low, 2 * value - high, value), max(high, 2 * value - low, value)
        return Prediction(value, max(0.0, float(low)), min(1.0, float(high)), self.confidence)


def fit_accuracy(
    members: list[Point], confidence: float, draws: int, generator: np.random.Generator
) -> AccuracyLaw:
    """Fit the accuracy law by weighted least squares, and ``draws`` times to bootstrap draws.

    A draw gives every member new correct answers, out of tested / dispersion images, at the law's
    accuracy: scatter between trainings (three members cannot show any) widens the interval too. The
    interval is the hull of the draws' quantiles and their mirror image about the fit: at the law's
    bounds (scale 0, top 1) quantiles are one-sided.

    Coverage of the expected accuracy 1 and 2 doublings beyond, nominal 95 %, over six laws (flat to
    steep), 3, 4 and 6 members, 1000 and 10 000 test images: 0.94 to 1.00, half-widths 0.2 to 8
    points of accuracy (most from 3 members). With 0.3 points of scatter between trainings beside
    it: 0.88 to 1.00 from 4 members on, 0.81 to 0.98 from 3. ``ValueError`` for fewer than three
    members of different FLOPs.
    """
    _check_members(members, draws)
    check_confidence(confidence)
    flops, correct, tested = np.array([(m.flops, m.correct, m.tested) for m in members], float).T
    flops0 = float(np.exp(np.log(flops).mean()))
    log_flops = np.log(flops / flops0)
    law, chi2 = _weighted(log_flops, correct, tested)
    spare = len(members) - law.size
    dispersion = max(1.0, float(chi2) / spare) if spare else 1.0
    images = np.maximum(1, np.rint(tested / dispersion)).astype(int)
    drawn = generator.binomial(images, _accuracy(law, log_flops), size=(draws, len(members)))
    refits, _ = _weighted(log_flops, drawn.astype(float), images.astype(float))
    return AccuracyLaw(
        *law.tolist(), flops0, dispersion, confidence, tuple(map(tuple, refits.tolist()))
    )


def _check_members(members: list[Point], draws: int) -> None:
    """Refuse members that cannot hold the law's three parameters, and counts that are none."""
    for m in members:
        if not (
            math.isfinite(m.flops) and m.flops > 0 and m.tested >= 1 and 0 <= m.correct <= m.tested
        ):
            raise ValueError(
                f"a member needs flops > 0 and 0 ≤ correct ≤ tested with tested ≥ 1, given {m}"
            )
    if len({m.flops for m in members}) < 3:
        sizes = f"given {[m.flops for m in members]}; train more members (`family` in params.yaml)"
        raise ValueError(
            f"an accuracy law needs at least 3 trained members of different FLOPs, {sizes}"
        )
    if draws < 1:
        raise ValueError(
            f"an interval needs at least 1 bootstrap draw, given {draws}; some hundreds are usual"
        )


def _accuracy(laws: np.ndarray, log_flops: np.ndarray) -> np.ndarray:
    """Return accuracies (…, m) of laws (…, 3) at log(flops / flops0) (m,), kept inside 0…1."""
    top, scale, exponent = np.moveaxis(laws[..., None], -2, 0)
    return np.clip(top - scale * np.exp(-exponent * log_flops), 0.0, 1.0)


def _weighted(
    log_flops: np.ndarray, correct: np.ndarray, tested: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit laws (…, 3) to counts (…, m); also χ² (…).

    Weights come from the counts first, then from the law so fitted.
    """
    shares = (correct + 1) / (tested + 2)
    for _ in range(2):
        laws, chi2 = _profile(log_flops, correct / tested, tested / (shares * (1 - shares)))
        shares = np.clip(_accuracy(laws, log_flops), 0.5 / tested, 1 - 0.5 / tested)
    return laws, chi2


def _profile(
    log_flops: np.ndarray, y: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise Σ weights · (y - law)² for y and weights (…, m).

    Exactly in top and scale, by zooming in the exponent. Variable projection: given the exponent
    the law is linear, so the fit is global and all draws go at once.
    """
    bounds = np.log(EXPONENTS)
    low, high = (np.full(y.shape[:-1], bound) for bound in bounds)
    for _ in range(4):
        logs = low[..., None] + (high - low)[..., None] * np.linspace(0, 1, 25)
        laws, chi2 = _linear(np.exp(logs), log_flops, y, weights)
        best = chi2.argmin(-1)[..., None]
        centre, step = np.take_along_axis(logs, best, -1)[..., 0], (high - low) / 24
        low, high = np.maximum(centre - step, bounds[0]), np.minimum(centre + step, bounds[1])
    law = np.take_along_axis(laws, best[..., None], -2)[..., 0, :]
    return law, np.take_along_axis(chi2, best, -1)[..., 0]


def _linear(exponents: np.ndarray, log_flops: np.ndarray, y: np.ndarray, weights: np.ndarray):
    """Return laws (…, g, 3) and χ² (…, g): the best scale ≥ 0, top ≤ 1 for exponents (…, g)."""
    x = np.exp(-exponents[..., None] * log_flops)
    y, weights = y[..., None, :], weights[..., None, :]
    share = weights / weights.sum(-1, keepdims=True)
    x_mean, y_mean = (share * x).sum(-1), (share * y).sum(-1)
    off = share * (x - x_mean[..., None])
    scale = np.maximum(0.0, -(off * y).sum(-1) / (off * x).sum(-1))
    full = (share * x * (1 - y)).sum(-1) / (share * x**2).sum(-1)  # the best scale when top = 1
    full = np.maximum(0.0, full)
    scale = np.where(y_mean + scale * x_mean > 1, full, scale)
    top = np.minimum(1.0, y_mean + scale * x_mean)
    chi2 = (weights * (y - top[..., None] + scale[..., None] * x) ** 2).sum(-1)
    return np.stack(np.broadcast_arrays(top, scale, exponents), -1), chi2


def law_of(
    members: list[Trained], params: Publish, budget: float, generator: np.random.Generator
) -> dict[str, Any] | None:
    """Return tested members' accuracy law and what it says of the next budgets, as plain data.

    ``budget`` is that of the base, in FLOPs. None with fewer than three members of different FLOPs.
    """
    if len({trained.member.flops for trained in members}) < 3:
        return None
    points = [Point(t.member.flops, t.correct, t.tested) for t in members]
    law = fit_accuracy(points, params.confidence, params.draws, generator)
    predicted = [
        {"multiple": multiple} | asdict(law.predict(multiple * budget))
        for multiple in params.next_multiples
    ]
    numbers = ("top", "scale", "exponent", "flops0", "dispersion")
    return {name: getattr(law, name) for name in numbers} | {"next": predicted}
