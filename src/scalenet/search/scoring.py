"""Score a network with the super-supernet's weights: recalibrate on ``train``, evaluate on ``select``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scalenet.config.params import Search
from scalenet.data.images import Images, chunks
from scalenet.nets.elastic import Elastic
from scalenet.space.network import Network


@dataclass(frozen=True)
class Measurement:
    """What one evaluation says: top-1, mean probability of the true class (both 0…1), and how long it took."""

    accuracy: float
    probability: float
    seconds: float

    def score(self, metric: str) -> float:
        """Return the number that the search compares."""
        return self.accuracy if metric == "accuracy" else self.probability


Measure = Callable[[Network], Measurement]


@dataclass(frozen=True)
class Scorer:
    """Measures networks; what it returns depends on the network alone, not on what was measured before."""

    elastic: Elastic
    train: Images
    select: Images
    params: Search

    @torch.no_grad()
    def __call__(self, network: Network) -> Measurement:
        start = time.perf_counter()
        calibration = self.train.resized(network.resolution, self.params.calibration, self.params.calibration)
        logits_of = self.elastic.evaluator(network, calibration)
        accuracy, probability = judged(logits_of, self.select, network.resolution, self.params.batch)
        return Measurement(accuracy, probability, time.perf_counter() - start)


def judged(logits_of: Callable[[Tensor], Tensor], images: Images, resolution: int, batch: int) -> tuple[float, float]:
    """Return the top-1 and the mean probability of the true class that a network reaches on images."""
    correct, probability = 0, 0.0
    for views, labels in chunks(images.resized(resolution, batch), images.labels):
        logits = logits_of(views).double()
        correct += int((logits.argmax(1) == labels).sum())
        probability += float(logits.softmax(1).gather(1, labels[:, None]).sum())
    return correct / len(images), round(probability / len(images), 6)
