"""Images that look alike though no pixel is the same: saved anew, mirrored, turned, at another size
or quality, or shots of one thing from one place.

What an image looks like is 64 bits: the signs of its lowest frequencies but the mean (perceptual
hash by the cosine transform: Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash
Functions; with signs in place of what is above the median, and without resizing, which keeps these
frequencies). A mirror changes the signs of every second one, and a turn by 90 degrees exchanges
axes, so looks tell of such copies, too. A cut copy mostly looks different.

Looks of few other bits are found by sorting them by some of their bits, of which near ones have
all the same in one of a few choices (Manku, Jain and Das Sarma 2007, Detecting Near-Duplicates for
Web Crawling, §3): at the cost of a sort, whatever the number of images.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations, pairwise

import numpy as np

SIDE = 8  # frequencies of each axis; smaller images have too few of them
BITS = SIDE**2
NEAR = 2  # bits: 94 to 98 of 100 images saved anew differ by no more (docs/own-images.md)
PIECES = NEAR + 3  # of a look's bits: in looks that are near, three of them are the same
MASKS = [  # bits of three pieces each; a piece has low frequencies and high ones
    np.uint64(sum(1 << bit for bit in range(BITS) if bit % PIECES in same))
    for same in combinations(range(PIECES), 3)
]
PAIRS = 2**20  # looks that are compared at a time
NONE, WHICH, TURNED = np.int64(2**62), np.int64(2**32 - 1), np.int64(NEAR + 1 << 32)


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
    """Return the lowest frequencies of so many pixels, float32 (8, side): rows of the orthonormal
    cosine transform (DCT-II). SciPy's takes longer to import than most folders to be looked at."""
    angles = np.pi / side * np.outer(np.arange(SIDE), np.arange(side) + 0.5)
    waves = np.sqrt(2 / side) * np.cos(angles)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)


def alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return, for each look in ``second``, the place of one in ``first`` that is alike; −1 where
    none is. int64 (N).

    It is the nearest, if that differs in at most ``NEAR`` bits; else that of a mirrored or turned
    copy, where one bit less may differ: they are seven times as many.
    """
    known, places = np.unique(first, return_index=True)
    known, places = known[known > 0], places[known > 0]
    if not len(known):
        return np.full(len(second), -1)
    rows = np.flatnonzero(second > 0)
    asked, best = second[rows], np.full(len(rows), NONE)
    turned = list(_turned(asked))
    for mask in MASKS:
        order = np.argsort(known & mask)
        best = np.minimum(best, _nearest(known, order, mask, asked, NEAR))
        for looks in turned:
            near = _nearest(known, order, mask, looks, NEAR - 1)
            best = np.minimum(best, np.where(near < NONE, near + TURNED, NONE))
    found = np.full(len(second), -1)
    there = best < NONE
    found[rows[there]] = places[best[there] & WHICH]
    return found


def _turned(looks: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the looks of images mirrored and turned by right angles, in all seven ways."""
    bits = np.unpackbits(looks.astype(">u8").view(np.uint8)).reshape(-1, SIDE, SIDE)
    exchanged, odd = _packed(bits.transpose(0, 2, 1)), np.arange(SIDE) % 2
    down, across = (_packed(np.broadcast_to(o, (SIDE, SIDE)))[0] for o in (odd[:, None], odd))
    yield exchanged
    for axes in (looks, exchanged):
        yield from (axes ^ down, axes ^ across, axes ^ down ^ across)


def _nearest(
    known: np.ndarray, order: np.ndarray, mask: np.uint64, looks: np.ndarray, most: int
) -> np.ndarray:
    """Return, for each look, the nearest of the known ones that have the same bits in a mask, as
    how many bits differ << 32 | which it is; NONE where more than ``most`` do. int64 (n).

    ``order`` sorts the known ones by these bits.
    """
    kept, wanted, found = (known & mask)[order], looks & mask, np.full(len(looks), NONE)
    start = np.searchsorted(kept, wanted)
    rows = np.flatnonzero(kept[start.clip(max=len(kept) - 1)] == wanted)
    start, count = start[rows], np.searchsorted(kept, wanted[rows], "right") - start[rows]
    for part in _portions(count):
        pairs = count[part]
        begins = np.cumsum(pairs) - pairs
        which = order[np.arange(pairs.sum()) + np.repeat(start[part] - begins, pairs)]
        bits = np.bitwise_count(known[which] ^ np.repeat(looks[rows[part]], pairs))
        near = np.where(bits <= most, bits.astype(np.int64) << 32 | which, NONE)
        found[rows[part]] = np.minimum.reduceat(near, begins)
    return found


def _portions(count: np.ndarray) -> list[slice]:
    """Part rows, each with so many others to be compared with, so that a part needs little
    memory."""
    part = np.cumsum(count) // PAIRS
    ends = [*(np.flatnonzero(np.diff(part)) + 1).tolist(), len(count)] if len(count) else []
    return [slice(*each) for each in pairwise([0, *ends])]
