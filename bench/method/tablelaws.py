"""How well the accuracy law predicts a family's next members from its first ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

from bench.method import priors
from bench.method.statistics import CONFIDENCE
from bench.method.tablefiles import Published
from scalenet.config.params import AccuracyPrior, Publish
from scalenet.laws.accuracy import Point, fit_accuracy
from scalenet.laws.intervals import Prediction, wilson

AHEAD = (1, 2)  # the next member, the next but one
FEWEST, MOST = 3, 6  # members of different FLOPs that a law is fitted to
NONE = "no family has a member beyond three of different FLOPs"  # to hold a law against
Law = Callable[
    [Published, list[Point], float], Prediction
]  # (family, members, FLOPs) -> prediction


class Trial(NamedTuple):
    """One prediction of a published accuracy, all as shares of 1."""

    family: str
    fitted: int
    ahead: int
    predicted: Prediction
    reached: float


def least_squares(_: Published, members: list[Point], flops: float) -> Prediction:
    """Predict by the same law without a prior: least squares, no interval."""
    x = np.log([m.spent / members[0].spent for m in members])
    y = np.array([m.correct / m.tested for m in members])
    fits = (
        optimize.least_squares(
            lambda p: p[0] - p[1] * np.exp(-p[2] * x) - y,
            (y[-1], max(y[-1] - y[0], 0) + 1e-3, start),
            bounds=([0, 0, 0.05], [1 + 1e-9, np.inf, 2]),
        )
        for start in (0.1, 0.5, 1.5)
    )
    top, scale, exponent = min(fits, key=lambda fit: fit.cost).x
    value = float(top - scale * (flops / members[0].spent) ** -exponent)
    return Prediction(value, value, value, 0.0)


def law_with(prior_of: Callable[[Published], AccuracyPrior], section: Publish) -> Law:
    """Return the project's law, with the prior that a family may know."""

    def predicted(family: Published, members: list[Point], flops: float) -> Prediction:
        generator = np.random.default_rng(section.seed)
        prior = prior_of(family)
        law = fit_accuracy(members, prior, section.confidence, section.draws, generator)
        return law.predict(flops)

    return predicted


def left_out(
    families: Sequence[Published], known: Sequence[Published], given: AccuracyPrior
) -> dict[str, AccuracyPrior]:
    """Return for each lineage of some families the prior that all other lineages teach.

    A family that another table gives another lineage does not teach the prior of either. Empty
    where a lineage leaves fewer than three others that teach one.
    """
    learnt = {}
    for lineage in sorted({family.lineage for family in families}):
        own = {family.members for family in families if family.lineage == lineage}
        others = [f for f in known if f.lineage != lineage and f.members not in own]
        if len({family.lineage for family in priors.teaching(others)}) < priors.LINEAGES:
            return {}
        learnt[lineage] = priors.learn(others, given)
    return learnt


def exponent_alone(prior: AccuracyPrior) -> AccuracyPrior:
    """Return a prior for which any share of the errors may stay."""
    return prior.model_copy(update={"floor": (0.5, 100.0)})


def trials(families: Sequence[Published], law: Law) -> Iterator[Trial]:
    """Fit the law to each family's first sizes and predict the following ones."""
    for family in families:
        sizes = by_size(family)
        for fitted in range(FEWEST, MOST + 1):
            first = [member for size in sizes[:fitted] for member in size]
            for ahead in AHEAD:
                if fitted + ahead <= len(sizes):
                    target = sizes[fitted + ahead - 1]
                    predicted = law(family, first, target[0].spent)
                    reached = sum(m.correct for m in target) / sum(m.tested for m in target)
                    yield Trial(family.name, fitted, ahead, predicted, reached)


def by_size(family: Published) -> list[list[Point]]:
    """Return a family's members by FLOPs; those of equal FLOPs are one size."""
    ordered = sorted(family.members, key=lambda member: member.spent)
    return [list(own) for _, own in groupby(ordered, lambda member: member.spent)]


def summary(found: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return errors, coverage and widths by number of members and how far ahead.

    Errors and widths as shares of 1; a coverage has Wilson's interval, of 95 % as all in brackets
    are, which takes trials for independent.
    """
    rows = []
    for fitted, ahead in sorted({(t.fitted, t.ahead) for t in found}):
        own = [t for t in found if (t.fitted, t.ahead) == (fitted, ahead)]
        errors = np.abs([t.predicted.value - t.reached for t in own])
        row = {"fitted": fitted, "ahead": ahead, "families": len(own)}
        row |= {"mean_error": float(errors.mean()), "median_error": float(np.median(errors))}
        if any(t.predicted.confidence for t in own):
            inside = sum(t.predicted.low <= t.reached <= t.predicted.high for t in own)
            low, high = wilson(inside, len(own), CONFIDENCE)
            width = float(np.mean([t.predicted.high - t.predicted.low for t in own]))
            row |= {"inside": inside, "low": low, "high": high, "mean_width": width}
        rows.append(row)
    return rows


def compare(families: Sequence[Published], known: Sequence[Published], section: Publish) -> dict:
    """Try every way to fit on a table's families; ``known`` are those of all tables, to learn from.

    With fewer than four lineages in all none can be left out: then that way is not tried.
    """
    laws: dict[str, Law] = {
        "least squares, no prior": least_squares,
        "vague prior": law_with(lambda _: priors.VAGUE, section),
    }
    learnt = left_out([*families, *known], known, section.prior)
    if learnt:
        alone = {lineage: exponent_alone(prior) for lineage, prior in learnt.items()}
        laws["prior on the exponent alone, lineage left out"] = law_with(
            lambda family: alone[family.lineage], section
        )
        laws["prior, lineage left out"] = law_with(lambda family: learnt[family.lineage], section)
    laws["prior of params.yaml"] = law_with(lambda _: section.prior, section)
    found = {name: list(trials(families, law)) for name, law in laws.items()}
    return {
        "confidence": section.confidence,
        "summary": {name: summary(own) for name, own in found.items()},
        "priors": {lineage: prior.model_dump() for lineage, prior in learnt.items()},
        "trials": {name: [plain(trial) for trial in own] for name, own in found.items()},
    }


def plain(trial: Trial) -> dict[str, Any]:
    """Return a trial as it is written: what was missed, not the table's numbers."""
    row = {"family": trial.family, "fitted": trial.fitted, "ahead": trial.ahead}
    value, low, high, confidence = vars(trial.predicted).values()
    row["error"] = round(value - trial.reached, 5)
    if confidence:
        row |= {"below": round(value - low, 5), "above": round(high - value, 5)}
    return row
