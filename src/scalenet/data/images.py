"""Images that live on the device as bytes, and the batches drawn from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """A split on a device: pixels uint8 (N, C, H, W), labels int64 (N), and what normalises the pixels."""

    pixels: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def floats(self, index: Tensor | slice) -> Tensor:
        """Return chosen images as normalised float32 (N, C, H, W)."""
        return torch.addcmul(-self.mean / self.std, self.pixels[index].float(), 1 / (255 * self.std))

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return images (N, C, H, W) in 0…1 as ``floats`` gives them."""
        return (pixels - self.mean) / self.std

    def resized(self, resolution: int, batch: int, count: int | None = None) -> list[Tensor]:
        """Return the first ``count`` images (all by default) at a resolution, in batches."""
        stop = min(count or len(self), len(self))
        return [resize(self.floats(slice(i, min(i + batch, stop))), resolution) for i in range(0, stop, batch)]


def on_device(
    split: tuple[np.ndarray, np.ndarray], mean: list[float], std: list[float], device: torch.device
) -> Images:
    """Move arrays (pixels uint8, labels int64) to a device."""
    pixels, labels = (torch.from_numpy(array).to(device) for array in split)
    constants = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (mean, std))
    return Images(pixels, labels, *constants)


def join(first: Images, second: Images) -> Images:
    """Return two splits as one."""
    pixels, labels = torch.cat([first.pixels, second.pixels]), torch.cat([first.labels, second.labels])
    return Images(pixels, labels, first.mean, first.std)


class Order:
    """Which images a step sees: shuffled epochs, a function of (seed, step) alone, so a resumed run sees the same."""

    def __init__(self, size: int, batch: int, seed: int):
        self.size, self.batch, self.seed = size, min(batch, size), seed
        self._epoch, self._permutation = -1, torch.empty(0)

    def at(self, step: int) -> Tensor:
        """Return the image indices (batch) of a step."""
        per_epoch = self.size // self.batch
        epoch, position = divmod(step, per_epoch)
        if epoch != self._epoch:
            shuffled = np.random.default_rng([self.seed, epoch]).permutation(self.size)
            self._epoch, self._permutation = epoch, torch.from_numpy(shuffled)
        return self._permutation[position * self.batch : (position + 1) * self.batch]


def chunks(tensors: list[Tensor], labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pair batches of images with their labels."""
    start = 0
    for images in tensors:
        yield images, labels[start : start + len(images)]
        start += len(images)


def resize(images: Tensor, resolution: int) -> Tensor:
    """Resize images (N, C, H, W) to a square, bilinearly, with antialiasing where they shrink."""
    if images.shape[-2:] == (resolution, resolution):
        return images
    shrinks = images.shape[-1] > resolution
    return F.interpolate(images, (resolution, resolution), mode="bilinear", antialias=shrinks)
