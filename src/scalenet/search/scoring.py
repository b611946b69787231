"""Score networks with shared weights: recalibrate on ``train``, evaluate on ``select``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from scalenet.config.params import Search
from scalenet.data.images import Images, chunks
from scalenet.nets.elastic import Elastic
from scalenet.space.network import Network
from scalenet.training.watch import is_right


@dataclass(frozen=True)
class Measurement:
    """What one evaluation says: top-1, mean probability of the true class (0…1), its seconds."""

    accuracy: float
    probability: float
    seconds: float

    def score(self, metric: str) -> float:
        """Return the number that the search compares."""
        return self.accuracy if metric == "accuracy" else self.probability


# The seam behind which networks are measured, here or elsewhere: many at once give as many results,
# in their order. A result handed out as soon as it is there is remembered before the next is made.
Measure = Callable[[Sequence[Network]], Iterable[Measurement]]


class Measures(NamedTuple):
    """How networks are measured: with shared weights and, unless None, better as finalists.

    These are fine-tuned, or scored on all of select where others are on ``search.images``.
    """

    shared: Measure
    finals: Measure | None = None


@dataclass(frozen=True)
class Scorer:
    """Measures networks here, one after the other (docs/method.md §4).

    A result depends on its network alone, not on what else is measured, before or with it. They
    are judged on the first ``images`` of select, 0: on all.
    """

    elastic: Elastic
    train: Images
    select: Images
    params: Search
    images: int = 0

    def __call__(self, networks: Sequence[Network]) -> Iterator[Measurement]:
        return map(self.measure, networks)

    @cached_property
    def calibration(self) -> Images:
        """Train's first images: each network reads them."""
        return self.train.held(self.params.calibration)

    @torch.no_grad()
    def measure(self, network: Network) -> Measurement:
        """Recalibrate a network on ``search.calibration`` images of train; judge it on select."""
        start, count = time.perf_counter(), self.params.calibration
        calibration = list(self.calibration.resized(network.resolution, count, count))
        logits_of = self.elastic.evaluator(network, calibration)
        reached = judged(
            logits_of, self.select, network.resolution, self.params.batch, self.images or None
        )
        return Measurement(*reached, time.perf_counter() - start)


def judged(
    logits_of: Callable[[Tensor], Tensor],
    images: Images,
    resolution: int,
    batch: int,
    count: int | None = None,
) -> tuple[float, float]:
    """Return the top-1 and the mean probability of the true class (both 0…1) on images.

    ``logits_of`` maps images (N, C, R, R) of ``resolution`` px to logits (N, classes), ``batch``
    images at a time; ``count``: the first ones alone, None: all. An image whose logits are no
    numbers counts as wrong, at probability 0: one network that overflows neither wins nor ends a
    search.
    """
    correct, probability = 0, 0.0
    for views, labels in chunks(images.resized(resolution, batch, count), images.labels):
        logits = logits_of(views).double()
        sound = logits.isfinite().all(1)
        correct += int(is_right(logits, labels).sum())
        shares = logits.softmax(1).gather(1, labels[:, None])[:, 0]
        probability += float(shares.where(sound, 0.0).sum())
    seen = min(count or len(images), len(images))
    return correct / seen, round(probability / seen, 6)
