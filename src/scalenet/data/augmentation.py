"""Augmentation: one resampling crops, rotates, zooms and mirrors; then erasing and mixing.

It runs on the images' device; all draws come from a CPU generator, the same for every device. They
are made for a whole batch, of which a part can then be computed alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalenet.config.recipe import Augment
from scalenet.data.images import Images, shrink
from scalenet.data.randaugment import compose, drawn, moved, recoloured


@dataclass(frozen=True)
class Targets:
    """What a view should be recognised as: labels (N), or a mixture of them with its partners'."""

    labels: Tensor
    partners: Tensor | None = None
    share: float = 1.0

    def loss(self, logits: Tensor, smoothing: float, weights: Tensor | None = None) -> Tensor:
        """Return the cross-entropy of logits (N, classes), each label weighted by its share.

        ``weights`` (classes) count some classes for more (``class_weights``).
        """
        loss = _cross_entropy(logits.float(), self.labels, smoothing, weights)
        if self.partners is None:
            return loss
        other = _cross_entropy(logits.float(), self.partners, smoothing, weights)
        return self.share * loss + (1 - self.share) * other


def _cross_entropy(
    logits: Tensor, labels: Tensor, smoothing: float, weights: Tensor | None
) -> Tensor:
    """Return the mean over a batch; weights do not change what a batch counts for in all."""
    if weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    losses = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    return (losses * weights[labels]).mean()


def class_weights(labels: Tensor, balance: float) -> Tensor | None:
    """Return what an image of each class counts for (classes), its mean over the images 1.

    Proportional to (1 / images of the class)^balance: at 1 all classes count for the same. None at
    0, where all images do.
    """
    if not balance:
        return None
    counts = torch.bincount(labels).clamp(min=1).float()
    weights = counts.pow(-balance)
    return weights / weights[labels].mean()


class Mixing(NamedTuple):
    """How the images of a view are mixed, all in one way and by one share."""

    way: Callable[[Tensor, Tensor, float, np.ndarray], tuple[Tensor, float]]
    own: slice  # which images the view shows
    partner: Tensor  # int64: which image each of them is mixed with
    share: float
    centre: np.ndarray  # (2) in 0…1


@dataclass(frozen=True)
class Draws:
    """What is random in a view, for each of the N images that it is made of."""

    rows: Tensor  # (N) their places in the batch
    maps: Tensor  # (N, 2, 3) from output to input coordinates, both in -1…1
    operations: list[tuple[Tensor, Tensor]]  # RandAugment's
    boxes: tuple[Tensor, Tensor] | None  # to erase: (N, 5) in 0…1, and colours (N, C, 1, 1)
    mixing: Mixing | None

    def part(self, part: slice) -> Draws:
        """Return those of a part of the whole batch: of its images and of their partners."""
        rows, mixing = self.rows[part], self.mixing
        if mixing:
            partner = mixing.partner[part]
            rows = torch.cat([rows, partner]).unique()
            first = int(torch.searchsorted(rows, part.start))
            own = slice(first, first + len(partner))
            mixing = mixing._replace(own=own, partner=torch.searchsorted(rows, partner))
        operations = [(chosen[rows], strength[rows]) for chosen, strength in self.operations]
        boxes = self.boxes and (self.boxes[0][rows], self.boxes[1][rows])
        return Draws(rows, self.maps[rows], operations, boxes, mixing)


def draw(count: int, channels: int, params: Augment, generator: torch.Generator) -> Draws:
    """Draw a view of a batch of so many images; ``generator`` is a CPU one.

    But for a few pixels at edges, views of several resolutions of equal draws show the same.
    """
    maps = affine(count, params, generator)
    operations, boxes = drawn(count, params.randaugment, generator), None
    if params.erase:
        boxes = (
            torch.rand(count, 5, generator=generator),
            torch.randn(count, channels, 1, 1, generator=generator),
        )
    mixing = draw_mixing(count, params, generator)
    return Draws(torch.arange(count), moved(maps, operations), operations, boxes, mixing)


def augment(
    images: Images, index: Tensor, resolution: int, params: Augment, draws: Draws
) -> tuple[Tensor, Targets]:
    """Return a view of images, each changed in its own way, and its targets.

    ``index`` is that of the images the draws are for. The view is float32 (n, C, resolution,
    resolution), normalised.
    """
    side = reading_side(resolution, params)  # the resampling alone would skip pixels
    if draws.operations:
        pixels = images.pixels(index).float() / 255
        floats = shrink(images.normalised(recoloured(pixels, draws.operations)), side)
    else:
        floats = images.shrunk(index, side)
    where = grid(draws.maps.to(floats.device, non_blocking=True), resolution)
    view = F.grid_sample(
        floats, where, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    if draws.boxes:
        view = erase(view, *draws.boxes, params.erase)
    labels = images.labels[index.to(images.labels.device, non_blocking=True)]
    return mix(view, labels, draws.mixing) if draws.mixing else (view, Targets(labels))


def grid(theta: Tensor, resolution: int) -> Tensor:
    """Return where each output pixel looks (N, resolution, resolution, 2).

    That is F.affine_grid, which is slower on a CPU.
    """
    centres = (torch.arange(resolution, device=theta.device) * 2 + 1) / resolution - 1
    rows = centres[:, None] * theta[:, None, :, 1] + theta[:, None, :, 2]
    return torch.addcmul(rows[:, :, None], centres[:, None], theta[:, None, None, :, 0])


def reading_side(resolution: int, params: Augment) -> int:
    """Return the side in px that images are shrunk to before a view is resampled from them.

    Of random crops it is that of a crop of a middling area: a larger one costs more than it shows.
    It is never less than the view's own: a view enlarged from a smaller image is blurred.
    """
    if params.cropped:
        return max(resolution, math.ceil(0.8 * resolution / math.sqrt(params.crop[0])))
    return math.ceil(resolution * params.scale[1])


def affine(count: int, params: Augment, generator: torch.Generator) -> Tensor:
    """Draw maps (N, 2, 3) from output to input coordinates, both in -1…1."""
    draws = torch.rand(count, 5, generator=generator)
    if params.cropped:
        return compose(turned(draws, params), crops(draws, params, generator))
    return turned(draws, params)


def crops(draws: Tensor, params: Augment, generator: torch.Generator) -> Tensor:
    """Return maps (N, 2, 3) onto crops inside the image (Szegedy et al. 2015, §6).

    ``draws`` (N, 5) in 0…1 give a crop's area and place; one more draw its ratio of sides.
    """
    low, high = params.crop
    side = (low + (high - low) * draws[:, 1]).sqrt()
    ratio = (2 * torch.rand(len(draws), generator=generator) - 1) * math.log(params.aspect) / 2
    wide, tall = (side * ratio.exp()).clamp(max=1), (side / ratio.exp()).clamp(max=1)
    left, top = (2 * draws[:, 3] - 1) * (1 - wide), (2 * draws[:, 4] - 1) * (1 - tall)
    nought = torch.zeros(len(draws))
    return torch.stack([wide, nought, left, nought, tall, top], 1).view(-1, 2, 3)


def turned(draws: Tensor, params: Augment) -> Tensor:
    """Return maps (N, 2, 3) that rotate, zoom, mirror and shift, of draws (N, 5) in 0…1."""
    count = len(draws)
    angle = (2 * draws[:, 0] - 1) * math.radians(params.rotate)
    low, high = params.scale
    zoom = 1 / (low + (high - low) * draws[:, 1])
    mirror = torch.where(draws[:, 2] < 0.5, -1.0, 1.0) if params.flip else torch.ones(count)
    shift = (2 * draws[:, 3:] - 1) * 2 * params.shift
    cosine, sine = angle.cos() * zoom, angle.sin() * zoom
    rows = torch.stack([cosine * mirror, -sine, shift[:, 0], sine * mirror, cosine, shift[:, 1]], 1)
    return rows.view(count, 2, 3)


def draw_mixing(count: int, params: Augment, generator: torch.Generator) -> Mixing | None:
    """Draw how a batch is mixed: one of the two ways, by a share of a beta distribution; or None.

    mixup: Zhang et al. 2018; CutMix: Yun et al. 2019.
    """
    offered = ((params.mixup, _blended), (params.cutmix, _pasted))
    ways = [(alpha, way) for alpha, way in offered if alpha]
    if not ways:
        return None
    random = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    alpha, way = ways[int(random.integers(len(ways)))]
    partner = torch.from_numpy(random.permutation(count))
    share = float(random.beta(alpha, alpha))
    return Mixing(way, slice(0, count), partner, share, random.random(2))


def mix(view: Tensor, labels: Tensor, mixing: Mixing) -> tuple[Tensor, Targets]:
    """Blend each image with its partner, or paste a box of it."""
    own, partner = mixing.own, mixing.partner.to(view.device, non_blocking=True)
    mixed, share = mixing.way(view[own], view[partner], mixing.share, mixing.centre)
    return mixed, Targets(labels[own], labels[partner], share)


def _blended(
    view: Tensor, partners: Tensor, share: float, _centre: np.ndarray
) -> tuple[Tensor, float]:
    return torch.lerp(partners, view, share), share


def _pasted(
    view: Tensor, partners: Tensor, share: float, centre: np.ndarray
) -> tuple[Tensor, float]:
    """Paste a box of ``1 - share`` of the area; return the share that its clipped pixels leave."""
    side, half = view.shape[-1], math.sqrt(1 - share) / 2
    (top, bottom), (left, right) = (
        [round(side * min(1, max(0, c + d))) for d in (-half, half)] for c in centre
    )
    view = view.clone()
    view[..., top:bottom, left:right] = partners[..., top:bottom, left:right]
    return view, 1 - (bottom - top) * (right - left) / side**2


def erase(view: Tensor, draws: Tensor, colours: Tensor, probability: float) -> Tensor:
    """Fill a random rectangle, 2 to 33 % of an image, with its random colour (N, C, 1, 1).

    ``draws`` (N, 5) in 0…1 give its area, ratio of sides and place, and whether there is one.
    Random erasing, Zhong et al. 2020.
    """
    area, aspect = 0.02 + 0.31 * draws[:, 0], torch.exp((2 * draws[:, 1] - 1) * math.log(3.3))
    sides = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 1).clamp(max=1)
    start = draws[:, 2:4] * (1 - sides)
    chosen = (draws[:, 4] < probability)[:, None, None]
    start, end, chosen, colours = (  # small: a copy of whole masks would be waited for
        drawn.to(view.device, non_blocking=True)
        for drawn in (start[..., None], (start + sides)[..., None], chosen, colours)
    )
    centres = (torch.arange(view.shape[-1], device=view.device) + 0.5) / view.shape[-1]
    inside = (centres >= start) & (centres < end)  # (N, 2, R)
    box = inside[:, 0, :, None] & inside[:, 1, None, :] & chosen
    return torch.where(box[:, None], colours, view)
