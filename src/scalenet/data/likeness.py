"""Images that look alike though no pixel is the same: saved anew, mirrored, turned, at another size
or quality, or shots of one thing from one place.

What an image looks like is 64 bits: the signs of its lowest frequencies but the mean (perceptual
hash by the cosine transform: Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash
Functions; with signs in place of what is above the median, and without resizing, which keeps these
frequencies). A mirror changes the signs of every second one, and a turn by 90 degrees exchanges
axes, so looks tell of such copies, too. A cut copy mostly looks different.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import chain, combinations

import numpy as np
from scipy.fft import dct

SIDE = 8  # frequencies of each axis; smaller images have too few of them
BITS = SIDE**2
NEAR = 2  # bits: 94 to 98 of 100 images saved anew differ by no more (docs/own-images.md)
SHELVES = 24  # bits of a look that say whether it can be among others


def looks(images: np.ndarray) -> np.ndarray:
    """Return what uint8 images (N, C, S, S) look like, uint64 (N); 0, which is like nothing, for
    those of one colour and all below 8 px."""
    if images.shape[-1] < SIDE:
        return np.zeros(len(images), np.uint64)
    waves = _waves(images.shape[-1])
    low = waves @ images.mean(1, dtype=np.float32) @ waves.T
    low[:, 0, 0] = 0
    # rounded, so that what is 0 but for the last bits of the arithmetic has no sign
    return _packed(np.round(low, 2) > 0)


def _packed(bits: np.ndarray) -> np.ndarray:
    """Return bits (N, 8, 8) as uint64 (N)."""
    return np.packbits(bits.reshape(-1, BITS), axis=1).view(">u8")[:, 0].astype(np.uint64)


@cache
def _waves(side: int) -> np.ndarray:
    """Return the lowest frequencies of so many pixels, float32 (8, side)."""
    return dct(np.eye(side), axis=0, norm="ortho")[:SIDE].astype(np.float32)


def alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return, for each look in ``second``, the place of one in ``first`` that is alike; −1 where
    none is. int64 (N).

    It is the nearest, if that differs in at most ``NEAR`` bits; else that of a mirrored or turned
    copy, where one bit less may differ: they are seven times as many.
    """
    found = np.full(len(second), -1)
    known, places = np.unique(first, return_index=True)
    known, places = known[known > 0], places[known > 0]
    if not len(known):
        return found
    filled = np.zeros(2**SHELVES, bool)
    filled[_shelf(known)] = True
    for looks, most in chain([(second, NEAR)], ((turned, NEAR - 1) for turned in _turned(second))):
        left = np.flatnonzero((found < 0) & (second > 0))
        nearest = _nearest(known, filled, looks[left], most)
        found[left] = np.where(nearest < 0, -1, places[nearest])
    return found


def _turned(looks: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the looks of images mirrored and turned by right angles, in all seven ways."""
    bits = np.unpackbits(looks.astype(">u8").view(np.uint8)).reshape(-1, SIDE, SIDE)
    exchanged, odd = _packed(bits.transpose(0, 2, 1)), np.arange(SIDE) % 2
    down, across = (_packed(np.broadcast_to(o, (SIDE, SIDE)))[0] for o in (odd[:, None], odd))
    yield exchanged
    for axes in (looks, exchanged):
        yield from (axes ^ down, axes ^ across, axes ^ down ^ across)


def _nearest(known: np.ndarray, filled: np.ndarray, looks: np.ndarray, most: int) -> np.ndarray:
    """Return, for each look, the place of the nearest of sorted ``known`` ones that differ in at
    most so many bits; −1 where there is none."""
    found = np.full(len(looks), -1)
    for others in range(most, -1, -1):  # the nearest last: it stays
        for bits in combinations(range(BITS), others):
            wanted = looks ^ np.uint64(sum(1 << bit for bit in bits))
            maybe = np.flatnonzero(filled[_shelf(wanted)])
            at = np.searchsorted(known, wanted[maybe]).clip(max=len(known) - 1)
            there = known[at] == wanted[maybe]
            found[maybe[there]] = at[there]
    return found


def _shelf(of: np.ndarray) -> np.ndarray:
    """Return a number below 2**SHELVES that is the same for equal looks (Knuth's multiplier)."""
    return (of * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - SHELVES)
