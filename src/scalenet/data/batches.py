"""The order in which training sees images, and its batches: what each step sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import tee
from typing import Self

import numpy as np
import torch
from torch import Tensor

from scalenet.data.images import Arrays, Images


class Order:
    """Which images a step sees: shuffled epochs.

    A function of (seed, step) alone, so that a resumed run sees the same.
    """

    def __init__(self, size: int, batch: int, seed: int):
        self.size, self.batch, self.seed = size, min(batch, size), seed
        self._epoch, self._permutation = -1, torch.empty(0)

    def at(self, step: int) -> Tensor:
        """Return the image indices, int64 (batch), of a step."""
        per_epoch = self.size // self.batch
        epoch, position = divmod(step, per_epoch)
        if epoch != self._epoch:
            shuffled = np.random.default_rng([self.seed, epoch]).permutation(self.size)
            self._epoch, self._permutation = epoch, torch.from_numpy(shuffled)
        return self._permutation[position * self.batch : (position + 1) * self.batch]


class Batches:
    """What each step sees: images, and which of them, int64 (batch).

    Of a batch, only the images at the places that ``rows`` gives for a step, if it is given. A
    context: what is read ahead of the steps ends with it.
    """

    def __init__(
        self,
        images: Images,
        order: Order,
        steps: int,
        rows: Callable[[int], Tensor] | None = None,
    ):
        self.images, self.order, self.steps, self.rows = images, order, steps, rows
        self.ahead = images.far(steps * order.batch)
        self._coming: Iterator[tuple[Tensor, Tensor]] = iter(())
        self._next = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def at(self, step: int) -> tuple[Images, Tensor]:
        """Return those of a step; quickly if it is the one after the last that was asked for."""
        if not self.ahead:
            return self.images, self._index(step)
        if step != self._next:
            self._end()
            self._coming = self._from(step)
        self._next = step + 1
        index, pixels = next(self._coming)
        images = self.images
        labels = images.labels[index.to(images.device, non_blocking=True)]
        batch = Arrays(pixels, labels, images.mean, images.std)
        return batch, torch.arange(len(index))

    def _index(self, step: int) -> Tensor:
        index = self.order.at(step)
        return index if self.rows is None else index[self.rows(step)]

    def _from(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        wanted, shown = tee(map(self._index, range(first, self.steps)))
        with closing(self.images.coming(wanted)) as coming:
            yield from zip(shown, coming, strict=True)

    def _end(self) -> None:
        if hasattr(self._coming, "close"):
            self._coming.close()
