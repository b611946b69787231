"""What is searched: base models and scaling strategies, and the strategies that a space offers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from scalenet.config.space import Scalings
from scalenet.space.network import decimal


class BaseBlock(NamedTuple):
    """What a base model chooses for a block: every layer's kernel (so also its depth), one ratio.

    The expansion ratio is the block's, not a layer's, as EfficientNet-like spaces describe it.
    """

    kernels: tuple[int, ...]
    expand: int

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.kernels))}e{self.expand}"


@dataclass(frozen=True)
class BaseModel:
    """A base model α: for every block its depth, kernels and expansion ratio.

    Canonical string: ``k``, then the blocks joined by ``-``, each its layers' kernels joined by
    ``.`` and ``e`` with its expansion ratio: ``k3e1-3.5e3-5.5.3e6``.
    """

    blocks: tuple[BaseBlock, ...]

    def __str__(self) -> str:
        return "k" + "-".join(map(str, self.blocks))

    @classmethod
    def parse(cls, text: str) -> BaseModel:
        """Read the canonical string; ``ValueError`` if it is none."""
        if not _BASE.fullmatch(text):
            raise ValueError(
                f"{text!r} is no base model; expected one like 'k3e1-3.5e3-5.5.3e6': each block's "
                "kernels, then e and its expansion ratio"
            )
        blocks = (block.split("e") for block in text[1:].split("-"))
        return cls(
            tuple(BaseBlock(tuple(map(int, k.split("."))), int(expand)) for k, expand in blocks)
        )


_BASE = re.compile(r"k{0}(?:-{0})*".format(r"\d+(?:\.\d+)*e\d+"))


@dataclass(frozen=True)
class Scaling:
    """A strategy s = (depth multiplier, width multiplier, resolution in px).

    Canonical string: ``d1.2-w1.1-r240``.
    """

    depth: float
    width: float
    resolution: int

    def __str__(self) -> str:
        return f"d{decimal(self.depth)}-w{decimal(self.width)}-r{self.resolution}"

    @classmethod
    def parse(cls, text: str) -> Scaling:
        """Read the canonical string; ``ValueError`` if it is none."""
        match = re.fullmatch(r"d([\d.]+)-w([\d.]+)-r(\d+)", text)
        if not match:
            raise ValueError(f"{text!r} is no strategy; expected one like 'd1.2-w1.1-r240'")
        return cls(float(match[1]), float(match[2]), int(match[3]))


def strategies(scalings: Scalings, size: int) -> list[Scaling]:
    """List every strategy of a size, in a fixed order."""
    offered = scalings.stages[size]
    return [
        Scaling(*triple) for triple in product(offered.depths, offered.widths, offered.resolutions)
    ]


def all_strategies(scalings: Scalings) -> list[Scaling]:
    """List the strategies of all sizes."""
    return [s for size in range(len(scalings.stages)) for s in strategies(scalings, size)]
