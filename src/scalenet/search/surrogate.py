"""A cheap guess of a score from a network's description; it proposes, and only measuring decides.

Ours, beyond the paper (docs/method.md §5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
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


@dataclass(frozen=True)
class Surrogate:
    """A Bayesian ridge regression from features to scores."""

    model: Pipeline

    @classmethod
    def fit(cls, networks: list[tuple[Network, int]], scores: list[float]) -> Self:
        """Fit to measured networks, each given with its FLOPs."""
        rows = np.array([features(*pair) for pair in networks])
        return cls(make_pipeline(StandardScaler(), BayesianRidge()).fit(rows, np.array(scores)))

    def predict(self, networks: list[tuple[Network, int]]) -> list[float]:
        """Predict networks' scores, each given with its FLOPs; 6 digits, as scores have."""
        if not networks:
            return []
        guesses = self.model.predict(np.array([features(*pair) for pair in networks]))
        return [round(float(guess), 6) for guess in guesses]
