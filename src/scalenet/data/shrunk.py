"""Images whose shrunk copies are kept: a training sees each of them again and again, at few sides.

To shrink them takes a CPU up to a fifth of a small network's step (docs/performance.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from scalenet.data.images import Images

MOST = 2**28  # bytes of copies that are kept


@dataclass(frozen=True, eq=False)
class Shrunk(Images):
    """Images as they are, with copies of those that have been shrunk, on the device.

    Copies of a side are kept if those of all images fit, beside what is kept already, in ``most``
    bytes. What is kept changes no bit of a view.
    """

    images: Images
    most: int = MOST
    copies: dict[int, tuple[Tensor, Tensor] | None] = field(default_factory=dict)

    @property
    def labels(self) -> Tensor:
        return self.images.labels

    @property
    def mean(self) -> Tensor:
        return self.images.mean

    @property
    def std(self) -> Tensor:
        return self.images.std

    @cached_property
    def size(self) -> int:
        """The stored side in px."""
        return self.images.pixels(torch.zeros(1, dtype=torch.int64)).shape[-1]

    def pixels(self, index: Tensor) -> Tensor:
        return self.images.pixels(index)

    def far(self, count: int) -> bool:
        return self.images.far(count)

    def coming(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        return self.images.coming(indices)

    def shrunk(self, index: Tensor, side: int) -> Tensor:
        kept = self._of(side) if side < self.size else None
        if kept is None:
            return self.images.shrunk(index, side)
        copies, there = kept
        new = index[~there[index]]
        if len(new):
            copies[new.to(self.device, non_blocking=True)] = self.images.shrunk(new, side)
            there[new] = True
        return copies[index.to(self.device, non_blocking=True)]

    def _of(self, side: int) -> tuple[Tensor, Tensor] | None:
        """Return the copies of a side, and which of them are there; None if they do not fit."""
        if side not in self.copies:
            taken = sum(kept[0].nbytes for kept in self.copies.values() if kept)
            shape, kept = (len(self), self.channels, side, side), None
            if taken + 4 * math.prod(shape) <= self.most:  # float32
                kept = torch.empty(shape, device=self.device), torch.zeros(len(self)).bool()
            self.copies[side] = kept
        return self.copies[side]
