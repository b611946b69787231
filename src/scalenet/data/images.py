"""Images on a device, reached by index, and the order in which training sees them.

Everything that reads images does so through `Images`: today they are arrays on the device, and a
second store needs `pixels`, `labels`, `mean` and `std`, nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Images(ABC):
    """Labelled images, reached by index.

    ``labels`` int64 (N) are on the device where the images are computed with; ``mean`` and ``std``
    (1, C, 1, 1), of pixels in 0…1, normalise them and are there too.
    """

    labels: Tensor
    mean: Tensor
    std: Tensor

    @abstractmethod
    def pixels(self, index: Tensor) -> Tensor:
        """Return uint8 (n, C, H, W), on the device, of an index int64 (n), on the CPU."""

    @property
    def device(self) -> torch.device:
        """Where the images, and so what is computed of them, are."""
        return self.labels.device

    def __len__(self) -> int:
        return len(self.labels)

    def floats(self, index: Tensor) -> Tensor:
        """Return chosen images as normalised float32 (n, C, H, W)."""
        scale = 1 / (255 * self.std)
        return torch.addcmul(-self.mean / self.std, self.pixels(index).float(), scale)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return images (n, C, H, W) in 0…1 as ``floats`` gives them."""
        return (pixels - self.mean) / self.std

    def resized(self, resolution: int, batch: int, count: int | None = None) -> list[Tensor]:
        """Return the first ``count`` images (all by default) at a resolution in px, in batches."""
        index = torch.arange(min(count or len(self), len(self)))
        return [resize(self.floats(part), resolution) for part in index.split(batch)]


@dataclass(frozen=True, eq=False)
class Arrays(Images):
    """Images that live on the device as one array of bytes (N, C, H, W)."""

    array: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def pixels(self, index: Tensor) -> Tensor:
        return self.array[index]


@dataclass(frozen=True, eq=False)
class Joined(Images):
    """Two sets of images as one, the second's after the first's; normalised as the first."""

    first: Images
    second: Images
    labels: Tensor
    mean: Tensor
    std: Tensor

    def pixels(self, index: Tensor) -> Tensor:
        start = len(self.first)
        inside = index < start
        first, second = self.first.pixels(index[inside]), self.second.pixels(index[~inside] - start)
        pixels = first.new_empty(len(index), *first.shape[1:])
        pixels[inside], pixels[~inside] = first, second
        return pixels


def on_device(
    split: tuple[np.ndarray, np.ndarray], mean: list[float], std: list[float], device: torch.device
) -> Images:
    """Move arrays (pixels uint8 (N, C, H, W), labels int64 (N)) to a device."""
    pixels, labels = (torch.from_numpy(array).to(device) for array in split)
    constants = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (mean, std))
    return Arrays(pixels, labels, *constants)


def join(first: Images, second: Images) -> Images:
    """Return two splits as one."""
    labels = torch.cat([first.labels, second.labels])
    return Joined(first, second, labels, first.mean, first.std)


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


def chunks(batches: list[Tensor], labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pair batches of images with their labels."""
    start = 0
    for images in batches:
        yield images, labels[start : start + len(images)]
        start += len(images)


def resize(images: Tensor, resolution: int) -> Tensor:
    """Resize images (N, C, H, W) to a square in px, bilinearly, antialiased where they shrink."""
    if images.shape[-2:] == (resolution, resolution):
        return images
    shrinks = images.shape[-1] > resolution
    return F.interpolate(images, (resolution, resolution), mode="bilinear", antialias=shrinks)
