"""Images as numbers that were thought of before networks: gradients by direction, and colours.

Histograms of oriented gradients: Dalal and Triggs 2005, with unsigned directions, the channel of
the strongest gradient at each pixel, and blocks of 2x2 cells under their norm "L2-Hys".
"""

from __future__ import annotations

import numpy as np

DIRECTIONS = 9
CELLS = 8  # along a side, or half as many as pixels
GRID = 4  # along a side: where colours are averaged
LEVELS = 16  # of a channel's histogram
LARGE = 96  # px; a side of twice that or more is averaged down first
CLIP = 0.2  # of a normalised block, against a single strong edge
CHUNK = 2**20  # pixel values that are described at a time: it bounds memory alone


def describe(pixels: np.ndarray) -> np.ndarray:
    """Return features, float32 (N, F), of images uint8 (N, C, H, H); F depends on C and H alone."""
    count = max(1, CHUNK // pixels[0].size)
    parts = (pixels[start : start + count] for start in range(0, len(pixels), count))
    return np.concatenate([_describe(part) for part in parts])


def _describe(pixels: np.ndarray) -> np.ndarray:
    images = shrunk(pixels.astype(np.float32) / 255)
    return np.concatenate([gradients(np.sqrt(images)), colours(images)], axis=1)


def shrunk(images: np.ndarray) -> np.ndarray:
    """Average squares of pixels until a side is below twice ``LARGE``."""
    factor = images.shape[-1] // LARGE
    return pooled(images, images.shape[-1] // factor) if factor > 1 else images


def pooled(images: np.ndarray, cells: int) -> np.ndarray:
    """Return the means (N, C, cells, cells) of square cells; pixels that fill none are left out."""
    side = images.shape[-1] // cells
    inside = images[..., : cells * side, : cells * side]
    return inside.reshape(*images.shape[:2], cells, side, cells, side).mean((3, 5))


def gradients(images: np.ndarray) -> np.ndarray:
    """Return the normalised histograms of gradient directions of images float32 (N, C, H, H)."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    strongest = (across**2 + down**2).argmax(1)[:, None]
    across, down = (np.take_along_axis(slope, strongest, 1) for slope in (across, down))
    strength = np.hypot(across, down)
    place = np.arctan2(down, across) % np.pi / np.pi * DIRECTIONS  # 0 … DIRECTIONS, a circle
    # each pixel votes for the two directions that it lies between
    away = np.abs(place - np.arange(DIRECTIONS, dtype=np.float32)[:, None, None])
    away = np.minimum(away, DIRECTIONS - away)
    cells = pooled(strength * np.maximum(0, 1 - away), _cells(images.shape[-1]))
    return _blocks(cells.astype(np.float32))


def _cells(side: int) -> int:
    return max(1, min(CELLS, side // 2))


def _blocks(cells: np.ndarray) -> np.ndarray:
    """Join neighbouring cells (N, DIRECTIONS, n, n) to normalised blocks, one row an image."""
    last = max(1, cells.shape[-1] - 1)
    corners = [cells[..., y : y + last, x : x + last] for y in (0, 1) for x in (0, 1)]
    joined = np.concatenate([c for c in corners if c.shape[-2:] == (last, last)], axis=1)
    for _ in range(2):
        joined = joined / np.sqrt((joined**2).sum(1, keepdims=True) + 1e-6)
        joined = np.minimum(joined, CLIP)
    return joined.reshape(len(joined), -1)


def colours(images: np.ndarray) -> np.ndarray:
    """Return each channel's histogram, and its means on a grid, one row an image."""
    flat = images.reshape(*images.shape[:2], -1)
    level = np.minimum((flat * LEVELS).astype(np.uint8), LEVELS - 1)
    shares = [(level == one).mean(2, dtype=np.float32) for one in range(LEVELS)]
    means = pooled(images, min(GRID, images.shape[-1]))
    return np.concatenate([np.sqrt(np.concatenate(shares, 1)), means.reshape(len(means), -1)], 1)
