"""The accuracy law: top-1 as a saturating power law of what a member spends, FLOPs or
milliseconds; see `fit_accuracy`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from scalenet.config.params import AccuracyPrior, Publish
from scalenet.laws.intervals import Prediction, check_confidence, worth
from scalenet.records.documents import Trained
from scalenet.records.predictions import Answers, Predictions

# Families of short trainings on few images: median, standard deviation of the logarithm, of their
# exponent and scatter. CIFAR-10's presets and TrashNet scatter by 0.8 to 1.7 points.
SHORT_EXPONENT, SHORT_SCATTER = (0.2, 0.8), (0.01, 0.4)
TINY = 1e-9  # posterior probability that the finer grid may leave out on each of its sides


@dataclass(frozen=True)
class Point:
    """One trained member as the law sees it: what it spends, in the budget's unit, and test images
    labelled correctly, of those tested; both fewer than there are where images come in groups
    (`intervals.worth`)."""

    spent: float
    correct: float
    tested: float


class Grid(NamedTuple):
    """Values (n,) of each parameter at which the law's posterior is summed.

    ``exponents`` and ``scatters`` (standard deviation of trainings, as a share of 1) are evenly
    spaced in the logarithm, ``floors`` (share of the smallest member's errors) evenly.
    """

    exponents: np.ndarray
    floors: np.ndarray
    scatters: np.ndarray

    @classmethod
    def over(cls, exponents: tuple, floors: tuple, scatters: tuple) -> Grid:
        """Return a grid between two bounds of each parameter."""
        return cls(
            np.geomspace(*exponents, 36), np.linspace(*floors, 41), np.geomspace(*scatters, 14)
        )


class Draw(NamedTuple):
    """A law that the members allow, and the deviation of one more member's test from it."""

    top: float
    scale: float
    exponent: float
    deviation: float


# All that a law may be: an exponent of 0.05 is nearly a logarithm, one of 2 nearly a step.
WHOLE = Grid.over((0.05, 2.0), (0.0, 1.0), (3e-4, 0.05))


@dataclass(frozen=True)
class AccuracyLaw:
    """Expected top-1 accuracy = top - scale · (spent / flops0)^(-exponent), as a share of 1.

    ``flops0`` is what the smallest member spends, in the budget's unit: family.json keeps the name
    of before budgets could count milliseconds. ``scatter`` is the standard deviation of trainings
    about the law, as a share of 1, and ``dispersion`` ≥ 1 the members' variance about it in units
    of what their numbers of test images explain.
    """

    top: float
    scale: float
    exponent: float
    flops0: float
    scatter: float
    dispersion: float
    confidence: float
    draws: tuple[Draw, ...]

    def predict(self, spent: float) -> Prediction:
        """Predict the accuracy, 0…1, that one more member which spends so much shows in its test.

        The value is the law's. The interval holds the law's uncertainty, the scatter of trainings,
        and the chance of a test on as many images as the members were tested on.
        """
        if not (math.isfinite(spent) and spent > 0):
            raise ValueError(f"what a member spends is positive and finite, given {spent}")
        log_spent = math.log(spent / self.flops0)
        value = self.top - self.scale * math.exp(-self.exponent * log_spent)
        top, scale, exponent, deviation = np.array(self.draws).T
        reached = top - scale * np.exp(-exponent * log_spent) + deviation
        low, high = np.quantile(reached, [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        ends = np.clip([min(low, value), value, max(high, value)], 0.0, 1.0)
        low, value, high = ends.tolist()
        return Prediction(value, low, high, self.confidence)


def fit_accuracy(
    members: list[Point],
    prior: AccuracyPrior,
    confidence: float,
    draws: int,
    generator: np.random.Generator,
) -> AccuracyLaw:
    """Fit the accuracy law by Bayes' rule, and draw ``draws`` laws from its posterior.

    1 - accuracy = E · (floor + (1 - floor) · (spent / flops0)^(-exponent)): E are the errors of the
    smallest member, ``floor`` is the share of them that is left whatever is spent. Exponent, floor
    and scatter have the priors of params.yaml's ``publish.prior``, learnt from published families,
    or with probability ``short`` those of short trainings, whose floor is as likely anywhere; E is,
    too. A member's variance is the scatter's and, its number of test images being finite, the
    binomial one. The posterior is summed over a grid, once over all that a law may be, then over
    what that leaves; given a cell, E is normal. The law itself has the posterior's means.

    Three members cannot show the law's form: the prior does; with more it yields to them. Error
    and coverage on published families: docs/results.md, `python -m bench.method.tables`.
    ``ValueError`` for fewer than three members that spend differently.
    """
    _check_members(members, draws)
    check_confidence(confidence)
    coarse = _posterior(members, WHOLE, prior)[-1]
    grid = _around(WHOLE, coarse)
    level, variance, posterior = _posterior(members, grid, prior)
    return _law(members, grid, (level, variance, posterior), confidence, draws, generator)


def _check_members(members: list[Point], draws: int) -> None:
    """Refuse members that cannot hold the law's three parameters, and counts that are none."""
    for m in members:
        if not (
            math.isfinite(m.spent) and m.spent > 0 and m.tested > 0 and 0 <= m.correct <= m.tested
        ):
            raise ValueError(
                f"a member needs spent > 0 and 0 ≤ correct ≤ tested with tested > 0, given {m}"
            )
    if len({m.spent for m in members}) < 3:
        sizes = f"given {[m.spent for m in members]}; train more members (`family` in params.yaml)"
        raise ValueError(
            f"an accuracy law needs at least 3 trained members that spend differently, {sizes}"
        )
    if draws < 1:
        raise ValueError(
            f"an interval needs at least 1 draw, given {draws}; some hundreds are usual"
        )


# --- the posterior --------------------------------------------------------------------------------


def likelihood(members: list[Point], grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return E's mean, its variance, and the members' log likelihood with E summed out.

    Each is of shape (exponents, floors, scatters).
    """
    spent, correct, tested = np.array([(m.spent, m.correct, m.tested) for m in members], float).T
    errors, floors = 1 - correct / tested, grid.floors[:, None]
    fall = np.exp(-grid.exponents[:, None, None] * np.log(spent / spent.min()))
    shape = floors + (1 - floors) * fall
    weights = 1 / (_binomial(correct, tested) + grid.scatters[:, None] ** 2)
    squares = np.einsum("efm,sm->efs", shape**2, weights)
    level = np.einsum("efm,sm->efs", shape, weights * errors) / squares
    chi2 = (weights * errors**2).sum(-1) - level**2 * squares
    return level, 1 / squares, (np.log(weights).sum(-1) - chi2 - np.log(squares)) / 2


def _binomial(correct: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Return the variance of shares ``correct`` / ``tested``, positive at 0 and 1 too."""
    share = (correct + 1) / (tested + 2)
    return share * (1 - share) / tested


def log_prior(grid: Grid, prior: AccuracyPrior) -> np.ndarray:
    """Return the prior's log density (exponents, floors, scatters), up to a constant."""
    floors = _normal(grid.floors - prior.floor[0], prior.floor[1])
    floors = _mixed(prior.unusual, floors, np.zeros_like(floors))  # any floor: a density of 1
    published = _growth(grid, prior.exponent, prior.scatter) + floors[:, None]
    return _mixed(prior.short, published, _growth(grid, SHORT_EXPONENT, SHORT_SCATTER))


def _growth(grid: Grid, exponent: tuple, scatter: tuple) -> np.ndarray:
    """Return the log density (exponents, 1, scatters) of log-normal exponents and scatters."""
    exponents, scatters = (
        _normal(np.log(values / median), deviation)
        for values, (median, deviation) in ((grid.exponents, exponent), (grid.scatters, scatter))
    )
    return exponents[:, None, None] + scatters


def _mixed(share: float, usual: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the log density of a mixture, ``share`` of it the other."""
    return np.logaddexp(math.log1p(-share) + usual, math.log(share) + other)


def _normal(distance: np.ndarray, deviation: float) -> np.ndarray:
    return -((distance / deviation) ** 2) / 2 - math.log(deviation * math.sqrt(2 * math.pi))


def normalised(logs: np.ndarray) -> np.ndarray:
    """Return probabilities that sum to 1 from their logarithms, known up to a constant."""
    shares = np.exp(logs - logs.max())
    return shares / shares.sum()


def marginals(posterior: np.ndarray) -> list[np.ndarray]:
    """Return each parameter's own probabilities."""
    axes = range(posterior.ndim)
    return [posterior.sum(tuple(other for other in axes if other != axis)) for axis in axes]


def _posterior(members: list[Point], grid: Grid, prior: AccuracyPrior) -> tuple[np.ndarray, ...]:
    """Return E's mean and variance in each cell and the cells' probabilities."""
    level, variance, logs = likelihood(members, grid)
    return level, variance, normalised(logs + log_prior(grid, prior))


def _around(grid: Grid, posterior: np.ndarray) -> Grid:
    """Return a finer grid over the cells that hold the posterior."""
    bounds = []
    for values, shares in zip(grid, marginals(posterior), strict=True):
        held = np.flatnonzero(shares > TINY)
        bounds.append((values[max(0, held[0] - 1)], values[min(len(values), held[-1] + 2) - 1]))
    return Grid.over(*bounds)


def _law(
    members: list[Point],
    grid: Grid,
    posterior: tuple[np.ndarray, ...],
    confidence: float,
    draws: int,
    generator: np.random.Generator,
) -> AccuracyLaw:
    """Return the law of the posterior's means, with draws from it."""
    level, variance, shares = posterior
    exponents, floors, scatters = marginals(shares)
    errors, floor = float((shares * level).sum()), float(floors @ grid.floors)
    scatter = math.exp(scatters @ np.log(grid.scatters))
    binomial = np.mean([_binomial(np.float64(m.correct), m.tested) for m in members])

    e, f, s = np.unravel_index(generator.choice(shares.size, draws, p=shares.ravel()), shares.shape)
    noise = generator.standard_normal((2, draws))
    starts = np.clip(level[e, f, s] + np.sqrt(variance[e, f, s]) * noise[0], 0, 1)
    deviations = np.sqrt(grid.scatters[s] ** 2 + binomial) * noise[1]
    left = starts * grid.floors[f]
    drawn = np.stack([1 - left, starts - left, grid.exponents[e], deviations], 1)
    return AccuracyLaw(
        top=1 - errors * floor,
        scale=errors * (1 - floor),
        exponent=math.exp(exponents @ np.log(grid.exponents)),
        flops0=float(min(m.spent for m in members)),
        scatter=scatter,
        dispersion=float(1 + scatter**2 / binomial),
        confidence=confidence,
        draws=tuple(Draw(*row) for row in drawn.tolist()),
    )


def law_of(
    members: list[Trained],
    said: Answers,
    params: Publish,
    budget: float,
    generator: np.random.Generator,
) -> dict[str, Any] | None:
    """Return tested members' accuracy law and what it says of the next budgets, as plain data.

    ``said`` are their answers; ``budget`` is that of the base. Where budgets count milliseconds,
    the law is of these instead of FLOPs. None with fewer than three members that differ in them.
    """
    if len({trained.member.spent for trained in members}) < 3:
        return None
    points = [_point(trained, said[trained.member.name]["test"]) for trained in members]
    law = fit_accuracy(points, params.prior, params.confidence, params.draws, generator)
    predicted = [
        {"multiple": multiple} | asdict(law.predict(multiple * budget))
        for multiple in params.next_multiples
    ]
    numbers = ("top", "scale", "exponent", "flops0", "scatter", "dispersion")
    return {name: getattr(law, name) for name in numbers} | {"next": predicted}


def _point(trained: Trained, test: Predictions) -> Point:
    """Return a member as the law sees it."""
    share = worth(test.right, test.groups, trained.confidence)
    return Point(trained.member.spent, share * trained.correct, share * trained.tested)
