"""A cheap guess of a score from a network's description; it proposes, and only measuring decides.

Ours, beyond the paper (docs/method.md §5).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.linear_model import BayesianRidge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from scalenet.space.network import Network


def features(network: Network, flops: int) -> list[float]:
    """Describe a network: its size and, block by block, depth, width, expansion, mean kernel."""
    parts = [math.log2(flops), math.log2(network.resolution), math.log2(network.stem_width)]
    for block in network.blocks:
        parts += [
            math.log2(len(block.kernels)),
            math.log2(block.width),
            math.log2(block.expand),
            sum(block.kernels) / len(block.kernels),
        ]
    return parts


def ridge() -> BayesianRidge:
    """Return a Bayesian ridge regression: scores that are linear in the features."""
    return BayesianRidge()


def process() -> GaussianProcessRegressor:
    """Return a Gaussian process: scores that vary smoothly with the features."""
    kernel = ConstantKernel() * Matern(nu=2.5) + WhiteKernel(0.1)
    return GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)


MODELS = {"ridge": ridge, "process": process}


@dataclass(frozen=True)
class Surrogate:
    """A regression from features to scores; it says its guess and how far a score may lie above.

    ``bound`` is the number of standard deviations above a guess that a network's prospect is
    (Srinivas, Krause, Kakade, Seeger 2010, with a constant number): 0 goes where scores are known
    to be good, more where they are not known.
    """

    model: Pipeline
    bound: float

    @classmethod
    def fit(
        cls,
        networks: list[tuple[Network, int]],
        scores: list[float],
        model: str = "ridge",
        bound: float = 0.0,
    ) -> Self:
        """Fit a model of `MODELS` to measured networks, each given with its FLOPs."""
        rows = np.array([features(*pair) for pair in networks])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length may end at its bound
            made = make_pipeline(StandardScaler(), MODELS[model]()).fit(rows, np.array(scores))
        return cls(made, bound)

    def predict(self, networks: list[tuple[Network, int]]) -> list[float]:
        """Predict networks' scores, each given with its FLOPs; 6 digits, as scores have."""
        return [guess for guess, _ in self._guesses(networks)]

    def prospects(self, networks: list[tuple[Network, int]]) -> list[float]:
        """Return what decides which networks are measured: upper bounds of their scores."""
        return [upper for _, upper in self._guesses(networks)]

    def _guesses(self, networks: list[tuple[Network, int]]) -> list[tuple[float, float]]:
        if not networks:
            return []
        rows = np.array([features(*pair) for pair in networks])
        means, deviations = self.model.predict(rows, return_std=True)
        uppers = means + self.bound * deviations
        pairs = zip(means.tolist(), uppers.tolist(), strict=True)
        return [(round(mean, 6), round(upper, 6)) for mean, upper in pairs]
