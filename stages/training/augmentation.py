"""Augmentation on the device: one resampling rotates, zooms, shifts, mirrors and resizes a batch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.params import Augment


def augment(images: Tensor, resolution: int, by: Augment, generator: torch.Generator) -> Tensor:
    """Map images (N, C, H, W) to (N, C, resolution, resolution), each by a random affine map of its own."""
    theta = affine(len(images), by, generator).to(images.device)
    where = grid(theta, resolution)
    return F.grid_sample(images, where, mode="bilinear", padding_mode="reflection", align_corners=False)


def grid(theta: Tensor, resolution: int) -> Tensor:
    """Return where each output pixel looks (N, resolution, resolution, 2): F.affine_grid is slower on a CPU."""
    centres = (torch.arange(resolution, device=theta.device) * 2 + 1) / resolution - 1
    rows = centres[:, None] * theta[:, None, :, 1] + theta[:, None, :, 2]
    return torch.addcmul(rows[:, :, None], centres[:, None], theta[:, None, None, :, 0])


def affine(count: int, by: Augment, generator: torch.Generator) -> Tensor:
    """Draw maps (N, 2, 3) from output to input coordinates, both in -1…1."""
    draws = torch.rand(count, 5, generator=generator)
    angle = (2 * draws[:, 0] - 1) * math.radians(by.rotate)
    low, high = by.scale
    zoom = 1 / (low + (high - low) * draws[:, 1])
    mirror = torch.where(draws[:, 2] < 0.5, -1.0, 1.0) if by.flip else torch.ones(count)
    shift = (2 * draws[:, 3:] - 1) * 2 * by.shift
    cosine, sine = angle.cos() * zoom, angle.sin() * zoom
    rows = torch.stack([cosine * mirror, -sine, shift[:, 0], sine * mirror, cosine, shift[:, 1]], 1)
    return rows.view(count, 2, 3)
