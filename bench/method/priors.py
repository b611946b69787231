"""The accuracy law's prior, learnt from families by expectation and maximisation.

A lineage counts once however many families it has. Source: Dempster, Laird, Rubin (1977), with the
posterior of every family summed over the law's grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from bench.method.tablefiles import Published
from scalenet.config.params import AccuracyPrior
from scalenet.laws.accuracy import WHOLE, likelihood, log_prior, marginals, normalised

LINEAGES = 3  # fewest that a prior is learnt from
ROUNDS = 30
# Where learning begins: a guess that says little. Nothing learnt from is unusual.
RARE = 1e-6
VAGUE = AccuracyPrior(
    exponent=(0.5, 1.0), floor=(0.5, 0.5), unusual=RARE, scatter=(0.003, 1.0), short=RARE
)


def teaching(families: Sequence[Published]) -> list[Published]:
    """Return the families of three members or more: two show nothing of a law."""
    return [family for family in families if len({m.spent for m in family.members}) >= 3]


def learn(families: Sequence[Published], given: AccuracyPrior) -> AccuracyPrior:
    """Return the prior under which families of three members or more are likeliest.

    The shares of other families are ``given``: published ones do not teach them.
    ``ValueError`` with fewer than three lineages.
    """
    families = teaching(families)
    counts = Counter(family.lineage for family in families)
    if len(counts) < LINEAGES:
        raise ValueError(
            f"a prior needs families of at least {LINEAGES} lineages, given {sorted(counts)}"
        )
    logs = [likelihood(list(family.members), WHOLE)[-1] for family in families]
    weights = np.array([1 / counts[family.lineage] for family in families]) / len(counts)
    prior = VAGUE
    for _ in range(ROUNDS):
        before = log_prior(WHOLE, prior)
        posteriors = np.array([normalised(own + before) for own in logs])
        prior = _likeliest(np.tensordot(weights, posteriors, 1))
    return prior.model_copy(update={"unusual": given.unusual, "short": given.short})


def _likeliest(posterior: np.ndarray) -> AccuracyPrior:
    """Return the prior of a posterior's own means and standard deviations."""
    values = np.log(WHOLE.exponents), WHOLE.floors, np.log(WHOLE.scatters)
    exponent, floor, scatter = map(_moments, values, marginals(posterior))
    return AccuracyPrior(
        exponent=(float(np.exp(exponent[0])), exponent[1]),
        floor=floor,
        unusual=RARE,
        scatter=(float(np.exp(scatter[0])), scatter[1]),
        short=RARE,
    )


def _moments(values: np.ndarray, shares: np.ndarray) -> tuple[float, float]:
    """Return the mean and the standard deviation, of one step of the grid at least.

    A few lineages that are alike would teach that all others are exactly like them.
    """
    mean = float(shares @ values)
    return mean, max(float(np.sqrt(shares @ (values - mean) ** 2)), float(values[1] - values[0]))
