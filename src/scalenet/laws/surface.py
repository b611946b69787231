"""Accuracy as a concave, additive surface over what a strategy and its base model decide.

Ours, beyond the paper (docs/method.md §6). The accuracy that a network reaches once trained is

    level + Σ slope · x - Σ bend · x²,      bend ≥ 0

with x the logarithms (base 2, less their means over what was measured) of its layers, its widths,
its resolution as far as the images hold it and its resolution beyond that; its mean kernel and the
logarithm of its expansion ratios have slopes alone. It is fitted to every network that a search has
measured. What a search sees is not the truth: scores by shared weights, and those of fine-tuned
slices, lie on the same surface but for a level and slopes of their own, which the prior keeps small
and which more trusted measurements of any networks make known.

The priors know no experiment. A doubling of the FLOPs pays the same however it is spent, give or
take as much again, but for pixels that the images do not hold: these pay nothing unless measured
networks say so. Bends are half-normal. The noise of each way of measuring is found by expectation
maximisation. Draws of the posterior are the best surfaces of perturbed measurements under perturbed
priors (randomised maximum a posteriori; Bardsley, Solonen, Haario, Laine 2014), so that they bend
as they must.

Why this, and not a Gaussian process or a regression without bends: `bench/method/surface.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import lsq_linear

from scalenet.space.network import Network

BENDING = ("depth", "width", "resolution", "beyond the images")
NAMES = (*BENDING, "kernel", "expansion")
COLUMNS = 1 + len(NAMES) + len(BENDING)  # the level, slopes, bends
POWERS = np.array([1.0, 2.0, 2.0, 2.0])  # of the FLOPs, which those of `BENDING` raise
SHARED, TUNED, TRAINED = WAYS = ("shared", "finetuned", "trained")  # ways of measuring a network
# prior deviations, in units of what a doubling of the FLOPs pays: of bends (per power above), of
# the slopes of kernel (a px) and expansion (a doubling); of a way's own slopes, in those of slopes
BEND, OTHERS, OWN = 0.25, np.array([0.3, 1.0]), 0.5
FEWEST = 6  # networks that a surface is fitted to
NARROW = 0.1  # doublings of the FLOPs that they differ by at least: fewer do not tell what one pays
ROUNDS = 20  # of expectation maximisation
DUST = 1e-6  # the least noise: scores that lie on a surface show none


class Evaluation(NamedTuple):
    """A network's top-1 (0…1), measured in one of the three ways."""

    network: Network
    accuracy: float
    way: str


@dataclass(frozen=True)
class Surface:
    """The surface of trained networks and draws of its posterior.

    ``coefficients`` (columns,) are its level, the slopes of `NAMES` and the bends of `BENDING`;
    ``draws`` (draws, columns) are of the posterior; ``noise`` is the standard deviation of the
    measurements in each way that there is; ``size`` is the images' px.
    """

    size: int
    centre: np.ndarray
    coefficients: np.ndarray
    draws: np.ndarray
    noise: dict[str, float]
    evaluations: int

    def predict(self, networks: Sequence[Network]) -> np.ndarray:
        """Return the accuracies (networks,) that the surface expects."""
        return self._rows(networks) @ self.coefficients

    def drawn(self, networks: Sequence[Network]) -> np.ndarray:
        """Return the accuracies (draws, networks) on the posterior's surfaces."""
        return self.draws @ self._rows(networks).T

    def _rows(self, networks: Sequence[Network]) -> np.ndarray:
        return _columns(np.array([describe(n, self.size) for n in networks]) - self.centre)

    def plain(self) -> dict[str, Any]:
        """Return what the surface says, in accuracy (0…1) a doubling, or a px of kernel."""
        slopes = dict(zip(NAMES, self.coefficients[1:].tolist(), strict=False))
        bends = dict(zip(BENDING, self.coefficients[1 + len(NAMES) :].tolist(), strict=True))
        fitted = {"evaluations": self.evaluations, "noise": self.noise}
        return fitted | {"slopes": slopes, "bends": bends}


def describe(network: Network, size: int) -> np.ndarray:
    """Return what the surface sees of a network, as `NAMES` says, for images of ``size`` px."""
    blocks, resolution = network.blocks, np.log2(network.resolution)
    held = min(resolution, np.log2(size))
    return np.array(
        [
            np.log2(network.depth),
            np.mean([np.log2(block.width) for block in blocks]),
            held,
            resolution - held,
            sum(sum(block.kernels) for block in blocks) / network.depth,
            np.mean([np.log2(block.expand) for block in blocks]),
        ]
    )


def fit(
    evaluations: Sequence[Evaluation], size: int, draws: int, generator: np.random.Generator
) -> Surface:
    """Fit the surface to everything measured; ``size``: the images' stored px.

    ``ValueError`` for what `refused` says.
    """
    if reason := refused(evaluations, size):
        raise ValueError(reason)
    described = np.array([describe(evaluation.network, size) for evaluation in evaluations])
    reached = np.array([evaluation.accuracy for evaluation in evaluations])
    ways = np.array([evaluation.way for evaluation in evaluations])
    centre = described.mean(0)
    x, *prior = _problem(described - centre, reached, ways)
    sigma = _noise(x, reached, ways, prior)
    found = _posterior((x, reached, sigma), prior, draws, generator)[:, :COLUMNS]
    noise = dict(zip(ways.tolist(), sigma.tolist(), strict=True))
    return Surface(size, centre, found[0], found[1:], noise, len(evaluations))


def refused(evaluations: Sequence[Evaluation], size: int) -> str:
    """Say why no surface is fitted to too few networks, or such as are alike; "" if one is."""
    instead = "or set extrapolate.law to dimensions"
    if (count := len({evaluation.network for evaluation in evaluations})) < FEWEST:
        return (
            f"a surface needs at least {FEWEST} measured networks, given {count}; let the search "
            f"measure more (search.population, search.generations), {instead}"
        )
    if (spread := _spread(np.array([describe(e.network, size) for e in evaluations]))) < NARROW:
        return (
            "a surface needs measured networks whose depths, widths and resolutions make FLOPs "
            f"differ by {NARROW:g} doublings (one standard deviation), given {spread:.2g}; offer "
            f"more in scaling.stages or space, {instead}"
        )
    return ""


def _spread(described: np.ndarray) -> float:
    """Return how far FLOPs differ by depth, width and resolution: a deviation, in doublings."""
    return float(np.std(described[:, : len(POWERS)] @ POWERS))


def _columns(x: np.ndarray) -> np.ndarray:
    """Return the columns (n, `COLUMNS`) of centred descriptions (n, `NAMES`)."""
    return np.hstack([np.ones((len(x), 1)), x, -(x[:, : len(BENDING)] ** 2)])


def _problem(
    x: np.ndarray, reached: np.ndarray, ways: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the columns of all coefficients, and the means and deviations of their prior.

    Each way but training adds a level and slopes of its own. What a doubling of the FLOPs pays is
    taken to be how far the accuracies spread for how far the FLOPs do.
    """
    pays = max(float(np.std(reached)), DUST) / _spread(x)
    held = np.array([1.0, 1.0, 1.0, 0.0])  # pixels beyond the images' pay nothing
    slopes = pays * np.concatenate([POWERS, OTHERS])
    means = [float(reached.mean()), *(pays * POWERS * held), *np.zeros(len(OTHERS) + len(BENDING))]
    level = 1.0  # anywhere between 0 and 1
    deviations = [level, *slopes, *(BEND * pays * POWERS)]
    columns = [_columns(x)]
    for way in (SHARED, TUNED):
        if not (ways == way).any():
            continue
        columns.append(np.hstack([np.ones((len(x), 1)), x]) * (ways == way)[:, None])
        means += [0.0] * (1 + len(NAMES))
        deviations += [level, *(OWN * slopes)]
    return np.hstack(columns), np.array(means), np.array(deviations)


def _noise(
    x: np.ndarray, reached: np.ndarray, ways: np.ndarray, prior: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the standard deviation (n,) of each measurement: its way's, by maximisation."""
    means, deviations = prior
    groups = [ways == way for way in WAYS if (ways == way).any()]
    sigma = np.full(len(reached), max(float(np.std(reached)), DUST))
    for _ in range(ROUNDS):
        scaled = x / sigma[:, None]
        covariance = np.linalg.inv(scaled.T @ scaled + np.diag(deviations**-2))
        middle = covariance @ (scaled.T @ (reached / sigma) + means / deviations**2)
        squares = (reached - x @ middle) ** 2 + np.einsum("np,pq,nq->n", x, covariance, x)
        for group in groups:
            sigma[group] = max(float(np.sqrt(squares[group].mean())), DUST)
    return sigma


def _posterior(
    measured: tuple[np.ndarray, np.ndarray, np.ndarray],
    prior: Sequence[np.ndarray],
    draws: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return the posterior's mode, then its draws (1 + draws, coefficients); no bend is negative.

    ``measured`` are columns, accuracies and their noise. Each row is a least squares problem with
    its targets perturbed by one standard deviation, all with the same triangle of a QR
    decomposition.
    """
    (x, reached, sigma), (means, deviations) = measured, prior
    rows = np.vstack([x / sigma[:, None], np.diag(1 / deviations)])
    target = np.concatenate([reached / sigma, means / deviations])
    orthogonal, triangle = np.linalg.qr(rows)
    least = np.full(len(means), -np.inf)
    least[COLUMNS - len(BENDING) : COLUMNS] = 0.0
    shifts = np.vstack([np.zeros(len(target)), generator.standard_normal((draws, len(target)))])
    return np.array(
        [
            lsq_linear(triangle, orthogonal.T @ (target + shift), (least, np.inf), "bvls").x
            for shift in shifts
        ]
    )
