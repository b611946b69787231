"""Images that look alike though no pixel is the same: saved anew, at another size or quality, or
shots of one thing from one place.

What an image looks like is 64 bits: which of its lowest frequencies are above their median (pHash:
Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions, the one by cosine
transform; without resizing, which keeps these frequencies, and without the mean of all pixels,
which is none). A turned, mirrored or cut copy looks different.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
from scipy.fft import dct

SIDE = 8  # frequencies of each axis; smaller images have too few of them
BITS = SIDE**2
NEAR = 2  # bits: 95 to 99 of 100 images saved anew differ by no more (docs/own-images.md)
SHELVES = 24  # bits of a look that say whether it can be among others


def looks(images: np.ndarray) -> np.ndarray:
    """Return what uint8 images (N, C, S, S) look like, uint64 (N); 0, which is like nothing, for
    those of one colour and all below 8 px."""
    if images.shape[-1] < SIDE:
        return np.zeros(len(images), np.uint64)
    waves = _waves(images.shape[-1])
    low = waves @ images.mean(1, dtype=np.float32) @ waves.T
    # rounded, so that what is 0 but for the last bits of the arithmetic is not above
    low = np.round(low, 2).reshape(len(images), BITS)
    low[:, 0] = 0
    above = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(">u8")[:, 0].astype(np.uint64)


@cache
def _waves(side: int) -> np.ndarray:
    """Return the lowest frequencies of so many pixels, float32 (8, side)."""
    return dct(np.eye(side), axis=0, norm="ortho")[:SIDE].astype(np.float32)


def alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return, for each look in ``second``, the place of the nearest in ``first`` that is alike; −1
    where none is. int64 (N)."""
    found = np.full(len(second), -1)
    known, places = np.unique(first, return_index=True)
    known, places = known[known > 0], places[known > 0]
    if not len(known):
        return found
    filled = np.zeros(2**SHELVES, bool)
    filled[_shelf(known)] = True
    for others in range(NEAR, -1, -1):  # the nearest last: it stays
        for bits in combinations(range(BITS), others):
            wanted = second ^ np.uint64(sum(1 << bit for bit in bits))
            maybe = np.flatnonzero(filled[_shelf(wanted)])
            at = np.searchsorted(known, wanted[maybe]).clip(max=len(known) - 1)
            there = known[at] == wanted[maybe]
            found[maybe[there]] = places[at[there]]
    found[second == 0] = -1
    return found


def _shelf(of: np.ndarray) -> np.ndarray:
    """Return a number below 2**SHELVES that is the same for equal looks (Knuth's multiplier)."""
    return (of * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - SHELVES)
