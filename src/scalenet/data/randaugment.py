"""RandAugment (Cubuk et al. 2020): every image gets a few of 14 operations, drawn for it alone.

Operations on colours change the pixels; those on places become one affine map, so that an image is
resampled once. A strength is the magnitude as a share of 10, with a random sign where an operation
has two directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from scalenet.config.recipe import RandAugment

# images (n, C, H, W) in 0…1 and strengths (n, 1, 1, 1) -> images
Colour = Callable[[Tensor, Tensor], Tensor]


def autocontrast(x: Tensor, strength: Tensor) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp(min=1e-6), x)


def equalize(x: Tensor, strength: Tensor) -> Tensor:
    """Make every channel's levels equally frequent."""
    levels = (x * 255).round().long().flatten(2)
    counts = levels.new_zeros(*x.shape[:2], 256).scatter_add_(2, levels, torch.ones_like(levels))
    below = counts.cumsum(2)  # of whole numbers: CUDA sums them in any order to the same
    least = below.gather(2, levels.amin(2, keepdim=True))
    even = (below.gather(2, levels) - least) / (levels.shape[2] - least).clamp(min=1)
    return torch.where(least < levels.shape[2], even, x.flatten(2)).view_as(x)


def solarize(x: Tensor, strength: Tensor) -> Tensor:
    return torch.where(x > 1 - strength.abs(), 1 - x, x)


def posterize(x: Tensor, strength: Tensor) -> Tensor:
    step = 2 ** (4 * strength.abs()).round()
    return ((x * 255).round() / step).floor() * step / 255


def colour(x: Tensor, strength: Tensor) -> Tensor:
    return _between(_grey(x), x, strength)


def contrast(x: Tensor, strength: Tensor) -> Tensor:
    return _between(_grey(x).mean((2, 3), keepdim=True), x, strength)


def brightness(x: Tensor, strength: Tensor) -> Tensor:
    return _between(torch.zeros_like(x), x, strength)


def sharpness(x: Tensor, strength: Tensor) -> Tensor:
    kernel = torch.tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]).to(x.device, non_blocking=True) / 13
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    smooth = F.conv2d(padded, kernel.expand(x.shape[1], 1, 3, 3), groups=x.shape[1])
    return _between(smooth, x, strength)


def _between(least: Tensor, x: Tensor, strength: Tensor) -> Tensor:
    """Move from an image of none of a quality towards, or beyond, the image itself."""
    return (least + (1 + 0.9 * strength) * (x - least)).clamp(0, 1)


def _grey(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    weights = torch.tensor([0.299, 0.587, 0.114]).to(x.device, non_blocking=True)
    return (x * weights.view(1, 3, 1, 1)).sum(1, keepdim=True)


def unchanged(x: Tensor, strength: Tensor) -> Tensor:
    return x


COLOURS: tuple[Colour, ...] = (
    unchanged, autocontrast, equalize, solarize, posterize, colour, contrast, brightness, sharpness,
)  # fmt: skip
# up to 30 degrees, 0.3, 0.45 of the side
PLACES = ("rotate", "shear x", "shear y", "translate x", "translate y")


def drawn(
    count: int, params: RandAugment, generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Draw ``params.ops`` operations for each of so many images: numbers and strengths (N)."""
    operations = []
    for _ in range(params.ops):
        chosen = torch.randint(len(COLOURS) + len(PLACES), (count,), generator=generator)
        sign = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
        operations.append((chosen, sign * (params.magnitude / 10)))
    return operations


def recoloured(images: Tensor, operations: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Apply those on colours to images (N, C, H, W) in 0…1; the given ones stay."""
    images = images.clone()
    for chosen, strength in operations:
        for number, operation in enumerate(COLOURS):
            rows = (chosen == number).nonzero()[:, 0]
            if len(rows):
                asked = strength[rows].view(-1, 1, 1, 1).to(images.device, non_blocking=True)
                rows = rows.to(images.device, non_blocking=True)
                images[rows] = operation(images[rows], asked)
    return images


def moved(maps: Tensor, operations: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return maps (N, 2, 3) followed by those on places."""
    warp = torch.eye(2, 3).expand(len(maps), 2, 3)
    for chosen, strength in operations:
        # maps look back: the last is asked first
        warp = compose(places(chosen - len(COLOURS), strength), warp)
    return compose(maps, warp) if operations else maps


def places(chosen: Tensor, strength: Tensor) -> Tensor:
    """Return the map (N, 2, 3) of each chosen place operation; the identity for other numbers."""
    angle, shear, shift = (torch.where(chosen == number, strength, 0.0) for number in (0, 1, 3))
    shear_y, shift_y = (torch.where(chosen == number, strength, 0.0) for number in (2, 4))
    angle = angle * math.radians(30)
    cosine, sine = angle.cos(), angle.sin()
    rows = [cosine, 0.3 * shear - sine, 0.9 * shift, 0.3 * shear_y + sine, cosine, 0.9 * shift_y]
    return torch.stack(rows, 1).view(-1, 2, 3)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """Return the maps (N, 2, 3) that apply ``first``, then ``second``."""
    linear = second[:, :, :2]
    return torch.cat([linear @ first[:, :, :2], linear @ first[:, :, 2:] + second[:, :, 2:]], 2)
