"""Augmentation: one resampling crops, rotates, zooms and mirrors; then erasing and mixing.

It runs on the images' device; all draws come from a CPU generator, the same for every device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalenet.config.recipe import Augment
from scalenet.data.images import Images, resize
from scalenet.data.randaugment import compose, randaugment


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


def augment(
    images: Images, index: Tensor, resolution: int, params: Augment, generator: torch.Generator
) -> tuple[Tensor, Targets]:
    """Return chosen images as a view, each changed in its own way, and its targets.

    The view is float32 (n, C, resolution, resolution), normalised. All draws come from
    ``generator``, a CPU one; but for a few pixels at edges, views of several resolutions from equal
    generators show the same.
    """
    theta = affine(len(index), params, generator)
    if params.randaugment.ops:
        pixels = images.pixels(index).float() / 255
        pixels, warp = randaugment(pixels, params.randaugment, generator)
        floats, theta = images.normalised(pixels), compose(theta, warp)
    else:
        floats = images.floats(index)
    side = reading_side(resolution, params)
    if side < floats.shape[-1]:  # as in evaluation: the resampling alone would skip pixels
        floats = resize(floats, side)
    where = grid(theta.to(floats.device), resolution)
    view = F.grid_sample(
        floats, where, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return mix(erase(view, params.erase, generator), images.labels[index], params, generator)


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
    """
    if params.cropped:
        return math.ceil(0.8 * resolution / math.sqrt(params.crop[0]))
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


def mix(
    view: Tensor, labels: Tensor, params: Augment, generator: torch.Generator
) -> tuple[Tensor, Targets]:
    """Blend each image with a partner of its batch, or paste a box of it: one of the two a batch.

    The batch has one share, of a beta distribution. mixup: Zhang et al. 2018; CutMix: Yun et al.
    2019.
    """
    offered = ((params.mixup, _blended), (params.cutmix, _pasted))
    kinds = [(alpha, kind) for alpha, kind in offered if alpha]
    if not kinds:
        return view, Targets(labels)
    random = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    alpha, kind = kinds[int(random.integers(len(kinds)))]
    partner = torch.from_numpy(random.permutation(len(view))).to(view.device)
    view, share = kind(view, view[partner], float(random.beta(alpha, alpha)), random.random(2))
    return view, Targets(labels, labels[partner], share)


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


def erase(view: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Fill a random rectangle, 2 to 33 % of an image, with a random colour.

    Random erasing, Zhong et al. 2020.
    """
    if not probability:
        return view
    count, channels = view.shape[:2]
    draws = torch.rand(count, 5, generator=generator)
    area, aspect = 0.02 + 0.31 * draws[:, 0], torch.exp((2 * draws[:, 1] - 1) * math.log(3.3))
    sides = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 1).clamp(max=1)
    start = draws[:, 2:4] * (1 - sides)
    centres = (torch.arange(view.shape[-1]) + 0.5) / view.shape[-1]
    inside = (centres >= start[..., None]) & (centres < (start + sides)[..., None])  # (N, 2, R)
    chosen = (draws[:, 4] < probability)[:, None, None]
    box = (inside[:, 0, :, None] & inside[:, 1, None, :] & chosen)[:, None].to(view.device)
    colour = torch.randn(count, channels, 1, 1, generator=generator).to(view.device)
    return torch.where(box, colour, view)
