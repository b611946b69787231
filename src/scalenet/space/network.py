"""A network: a small frozen value with one canonical string."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


def decimal(value: float) -> str:
    """Write a float so that reading it gives the same float: 1, 1.15, 0.00001."""
    return np.format_float_positional(value, trim="-")


class Task(NamedTuple):
    """What a network is for: ``channels`` of its images (1 or 3) and the number of ``classes``."""

    channels: int
    classes: int


@dataclass(frozen=True)
class Block:
    """Inverted residuals of one width; the first has the block's stride, the others stride 1."""

    kernels: tuple[int, ...]
    stride: int
    expand: int
    width: int


@dataclass(frozen=True)
class Network:
    """A complete network, independent of the space it came from.

    Canonical string, one token a part:
    ``r12-stem_k3_s1_c8-ir_k3.5_s2_e4_c16-head_c64-se0.25e-hard_swish``.
    """

    resolution: int
    stem_kernel: int
    stem_stride: int
    stem_width: int
    blocks: tuple[Block, ...]
    head_width: int
    se_ratio: float
    se_from: str
    activation: str

    def __str__(self) -> str:
        blocks = (
            f"ir_k{'.'.join(map(str, b.kernels))}_s{b.stride}_e{b.expand}_c{b.width}"
            for b in self.blocks
        )
        stem = f"stem_k{self.stem_kernel}_s{self.stem_stride}_c{self.stem_width}"
        squeeze = f"se{decimal(self.se_ratio)}{self.se_from[0]}"
        head = f"head_c{self.head_width}"
        parts = (f"r{self.resolution}", stem, *blocks, head, squeeze, self.activation)
        return "-".join(parts)

    @classmethod
    def parse(cls, text: str) -> Network:
        """Read the canonical string; ``ValueError`` if it is none."""
        match = _NETWORK.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} is no network; expected one like {_EXAMPLE!r}")
        blocks = tuple(
            Block(tuple(map(int, kernels.split("."))), int(stride), int(expand), int(width))
            for kernels, stride, expand, width in _BLOCK.findall(match["blocks"])
        )
        numbers = {
            key: int(match[key])
            for key in ("resolution", "stem_kernel", "stem_stride", "stem_width")
        }
        return cls(
            **numbers,
            blocks=blocks,
            head_width=int(match["head_width"]),
            se_ratio=float(match["se_ratio"]),
            se_from={"e": "expanded", "i": "input"}[match["se_from"]],
            activation=match["activation"],
        )

    @property
    def depth(self) -> int:
        """Number of inverted residuals."""
        return sum(len(block.kernels) for block in self.blocks)


_EXAMPLE = "r12-stem_k3_s1_c8-ir_k3.5_s2_e4_c16-head_c64-se0.25e-hard_swish"
_N, _K = r"[1-9]\d*", r"\d*[13579]"  # from 1 on; kernels are odd
_BLOCK = re.compile(rf"-ir_k({_K}(?:\.{_K})*)_s({_N})_e({_N})_c({_N})")
_BLOCKS = rf"(?:-ir_k{_K}(?:\.{_K})*_s{_N}_e{_N}_c{_N})+"
_NETWORK = re.compile(
    rf"r(?P<resolution>{_N})-stem_k(?P<stem_kernel>{_K})_s(?P<stem_stride>{_N})_c(?P<stem_width>{_N})"
    rf"(?P<blocks>{_BLOCKS})-head_c(?P<head_width>{_N})"
    r"-se(?P<se_ratio>\d+(?:\.\d+)?)(?P<se_from>[ei])-(?P<activation>hard_swish|swish|relu)"
)
