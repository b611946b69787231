"""Images reached by index, on a device or in a file.

Everything that reads images does so through `Images`: arrays on the device while they fit, else a
file that is read a step ahead. Another store needs `pixels`, `labels`, `mean` and `std`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import tee

import torch
import torch.nn.functional as F
from torch import Tensor

from scalenet.data import ahead
from scalenet.data.store import FilePixels
from scalenet.records import files

HELD = 2**28  # bytes of a split's pixels that are kept in memory; on a GPU, a share of its own:
SHARE = 0.25  # of what is free there
MANY = 2048  # images that are better read ahead where each is decoded, …
LARGE = 2**32  # … or bytes where none is
PART = 256  # images that are moved to a device at a time


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

    @property
    def channels(self) -> int:
        """How many an image has."""
        return self.mean.shape[1]

    def __len__(self) -> int:
        return len(self.labels)

    def far(self, count: int) -> bool:
        """Tell whether so many images are better read ahead by other processes, which take seconds
        to start."""
        return False

    def coming(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the pixels of one index after the other; read ahead where they are in a file."""
        return map(self.pixels, indices)

    def parts(self, index: Tensor, count: int) -> Iterator[Tensor]:
        """Yield the pixels of an index, so many at a time; read ahead if that is better."""
        parts = index.split(count) if len(index) else ()
        return self.coming(parts) if self.far(len(index)) else map(self.pixels, parts)

    def held(self, count: int) -> Images:
        """Return the first images in memory, for whoever reads them again and again."""
        count = min(count, len(self))
        first = self.pixels(torch.arange(count))
        return Arrays(first, self.labels[:count], self.mean, self.std)

    def floats(self, index: Tensor) -> Tensor:
        """Return chosen images as normalised float32 (n, C, H, W)."""
        return self._floats(self.pixels(index))

    def shrunk(self, index: Tensor, side: int) -> Tensor:
        """Return chosen images as ``floats`` gives them, shrunk to a side in px if it is less."""
        return shrink(self.floats(index), side)

    def _floats(self, pixels: Tensor) -> Tensor:
        scale = 1 / (255 * self.std)
        return torch.addcmul(-self.mean / self.std, pixels.float(), scale)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return images (n, C, H, W) in 0…1 as ``floats`` gives them."""
        return (pixels - self.mean) / self.std

    def resized(
        self, resolution: int, batch: int, count: int | None = None, start: int = 0
    ) -> Iterator[Tensor]:
        """Yield ``count`` images (all by default) from ``start`` on, as far as there are so many,
        at a resolution in px, in batches."""
        index = torch.arange(len(self))[start:][:count]
        for pixels in self.parts(index, batch):
            yield resize(self._floats(pixels), resolution)


@dataclass(frozen=True, eq=False)
class Arrays(Images):
    """Images that live on the device as one array of bytes (N, C, H, W)."""

    array: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def pixels(self, index: Tensor) -> Tensor:
        return self.array[index.to(self.device, non_blocking=True)]

    def held(self, count: int) -> Images:
        return Arrays(self.array[:count], self.labels[:count], self.mean, self.std)


@dataclass(frozen=True, eq=False)
class Filed(Images):
    """Images that lie in a file, too many for the device."""

    stored: FilePixels
    labels: Tensor
    mean: Tensor
    std: Tensor

    def pixels(self, index: Tensor) -> Tensor:
        return torch.from_numpy(self.stored[index.numpy()]).to(self.device, non_blocking=True)

    def far(self, count: int) -> bool:
        if self.stored.raw:
            return count * self.stored.form.bytes >= LARGE
        return count >= MANY

    def coming(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        return ahead.read(self.stored, indices, self.device)


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
        return _merged(inside, first, second)

    def far(self, count: int) -> bool:
        return self.first.far(count) or self.second.far(count)

    def coming(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        start = len(self.first)
        for_all, for_first, for_second = tee(indices, 3)
        firsts = self.first.coming(index[index < start] for index in for_first)
        seconds = self.second.coming(index[index >= start] - start for index in for_second)
        for index, first, second in zip(for_all, firsts, seconds, strict=True):
            yield _merged(index < start, first, second)


def _merged(inside: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return pixels (n, C, H, W): those of the first where ``inside`` (n) is true, in order."""
    pixels = first.new_empty(len(inside), *first.shape[1:])
    for rows, part in ((inside, first), (~inside, second)):
        pixels[rows.nonzero()[:, 0].to(pixels.device, non_blocking=True)] = part
    return pixels


def on_device(
    split: files.Split, mean: list[float], std: list[float], device: torch.device
) -> Images:
    """Move a split to a device, or leave it in its file if it is too large for that."""
    pixels, labels = split[0], torch.from_numpy(split[1]).to(device)
    constants = [torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (mean, std)]
    if not isinstance(pixels, FilePixels):
        return Arrays(torch.from_numpy(pixels).to(device), labels, *constants)
    filed = Filed(pixels, labels, *constants)
    if len(pixels) * pixels.form.bytes > _room(device):
        return filed
    return Arrays(_all(filed), labels, *constants)


def _room(device: torch.device) -> int:
    """Return how many bytes a split may take on a device."""
    if device.type != "cuda":
        return HELD
    torch.cuda.empty_cache()  # what PyTorch keeps of it for this process does not count as free
    return int(torch.cuda.mem_get_info(device)[0] * SHARE)


def _all(filed: Filed) -> Tensor:
    """Return all pixels of a file."""
    pixels = torch.empty(filed.stored.shape, dtype=torch.uint8, device=filed.device)
    start = 0
    for part in filed.parts(torch.arange(len(filed)), PART):
        pixels[start : start + len(part)] = part
        start += len(part)
    return pixels


def join(first: Images, second: Images) -> Images:
    """Return two splits as one."""
    labels = torch.cat([first.labels, second.labels])
    return Joined(first, second, labels, first.mean, first.std)


def chunks(batches: Iterable[Tensor], labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pair batches of images with their labels."""
    start = 0
    for images in batches:
        yield images, labels[start : start + len(images)]
        start += len(images)


def shrink(images: Tensor, side: int) -> Tensor:
    """Resize images (N, C, H, H) to a side in px if it is less than theirs."""
    return resize(images, min(side, images.shape[-1]))


def resize(images: Tensor, resolution: int) -> Tensor:
    """Resize images (N, C, H, W) to a square in px, bilinearly, antialiased where they shrink."""
    if images.shape[-2:] == (resolution, resolution):
        return images
    shrinks = max(images.shape[-2:]) > resolution
    return F.interpolate(images, (resolution, resolution), mode="bilinear", antialias=shrinks)
