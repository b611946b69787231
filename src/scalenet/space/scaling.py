"""What is searched: base models and scaling strategies, and the strategies that a space offers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product

from scalenet.config.space import Scalings
from scalenet.space.network import decimal


@dataclass(frozen=True)
class BaseModel:
    """A base model α: for every block, the kernel of every layer (so also its depth).

    Canonical string: blocks joined by ``-``, layers by ``.``: ``k3-3.5-5.5.3``.
    """

    kernels: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        return "k" + "-".join(".".join(map(str, block)) for block in self.kernels)

    @classmethod
    def parse(cls, text: str) -> BaseModel:
        """Read the canonical string; ``ValueError`` if it is none."""
        if not re.fullmatch(r"k\d+(\.\d+)*(-\d+(\.\d+)*)*", text):
            raise ValueError(f"{text!r} is no base model; expected one like 'k3-3.5-5.5.3'")
        return cls(tuple(tuple(map(int, block.split("."))) for block in text[1:].split("-")))


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
