"""How large images are stored and seen, and the shape of the space that goes with that.

Stored size, resolutions, stem stride and blocks belong together: the last block should see a few
positions a side at the base's resolution, and no layer should work at more pixels than it needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from scalenet.config.space import Space

STORED = 96  # px: where nobody says otherwise, larger images are stored at this
GROWTH = 0.2  # resolution ~ budget^0.2, as EfficientNet's
TINY_GROWTH = 1 / 3  # of tiny images, where a pixel is a step
TINY, SMALL, MIDDLE = 20, 40, 72  # px: the largest stored side that each kind of frame is for


@dataclass(frozen=True)
class Frame:
    """Sides in px (stored, of the base, the largest) in multiples of ``step``, and the space.

    ``blocks`` are space.stages at width 1, ``head`` is the head's width there, and widths are
    multiples of ``divisor``.
    """

    size: int
    base: int
    largest: int
    step: int
    stem_stride: int
    blocks: tuple[dict[str, Any], ...]
    head: int
    divisor: int

    def space(self, width: float, classes: int, common: dict[str, Any]) -> Space:
        """Return the space with its widths multiplied; ``common`` has what no frame changes.

        The head has a channel a class, up to 256: fewer would be a bottleneck before the classes.
        """
        divisor = self.divisor if width >= 1 else 4

        def wide(channels: int) -> int:
            return max(divisor, round(channels * width / divisor) * divisor)

        head = max(wide(self.head), 8 * math.ceil(min(classes, 256) / 8))
        own = {
            "stem": {"width": wide(8), "kernel": 3, "stride": self.stem_stride},
            "stages": [block | {"width": wide(block["width"])} for block in self.blocks],
            "head": {"width": head},
            "divisor": divisor,
        }
        return Space.model_validate(common | own)

    def sides(self, sizes: int) -> list[float]:
        """Return the middle of each size's resolutions in px, from the base's to the largest.

        With few sizes the last does not get to the largest.
        """
        growth = TINY_GROWTH if self.size <= TINY else GROWTH
        most = min(self.largest, self.base * 2 ** (growth * (sizes - 1)))
        return [self.base * (most / self.base) ** (i / (sizes - 1)) for i in range(sizes)]


def frame_of(side: int, size: int | None) -> Frame:
    """Return the frame for images of a shorter side in px; ``size`` asks for a stored side.

    Up to 40 px images are stored as they are, larger ones at 96 px or at what they hold.
    """
    kept = size or (side if side <= SMALL else min(STORED, side // 8 * 8))
    if kept <= TINY:
        base = kept if kept <= 12 else max(8, kept // 2)
        return Frame(kept, base, max(kept, 2 * base), 1, 1, _blocks(3, 3, (8, 12, 20), 1), 64, 4)
    if kept <= SMALL:
        blocks = _blocks(3, 3, (8, 12, 20, 32), 1)
        return Frame(kept, _whole(kept / 2, 2), _whole(kept, 2), 2, 1, blocks, 96, 4)
    step, first = (4, 1) if kept <= MIDDLE else (8, 2)
    blocks = _blocks(3, 4, (8, 16, 24, 40), first)
    return Frame(kept, _whole(kept / 2, step), _whole(kept, step), step, 2, blocks, 128, 8)


def _whole(side: float, step: int) -> int:
    """Return a side in whole steps, at least two of them."""
    return max(2, int(side / step)) * step


def _blocks(depth: int, expand: int, widths: tuple[int, ...], stride: int) -> tuple[dict, ...]:
    """Return space.stages: the first block has one plain layer, the second kernels of 3 where
    it works at many positions."""
    first = {"width": widths[0], "depth": 1, "stride": stride, "expands": [1], "kernels": [3]}
    rest = [
        {"width": width, "depth": depth, "stride": 2, "expands": [expand], "kernels": [3, 5]}
        for width in widths[1:]
    ]
    if stride == 2:
        rest[0] |= {"depth": 2, "kernels": [3]}
    return (first, *rest)
