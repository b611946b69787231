"""The nearest relative of a strategy that costs what another network does."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bench.method.lab import Lab
from scalenet.config.space import Space
from scalenet.space import cost
from scalenet.space.network import Network
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel, Scaling

TOLERANCE, MOST = (
    0.01,
    0.05,
)  # of the FLOPs to be met: near enough to stop at, and too far to compare
REACH, STEP, PIXELS = (
    0.5,
    0.002,
    3,
)  # how far a width may move in log units, how finely, and a resolution in px


def equal_cost(lab: Lab, space: Space, base: BaseModel, by: Scaling, flops: int) -> Network:
    """Return ``base`` scaled by the strategy nearest to ``by`` with ``flops`` within 1 %.

    Width moves, in steps of single channels (the space's own divisor leaves gaps of several per
    cent between small networks), and the resolution by at most 3 px; distance is that of the
    logarithms of both. Where networks are so small that none is within 1 %, the one nearest in
    FLOPs is returned; ``ValueError`` if that is 5 % off.
    """
    space, nearest, closest = space.model_copy(update={"divisor": 1}), math.inf, None
    for near in sorted(relatives(by), key=lambda other: _distance(by, other)):
        network = scale(space, base, near)
        miss = abs(cost.flops(network, lab.task) / flops - 1)
        if miss <= TOLERANCE:
            return network
        if miss < nearest:
            nearest, closest = miss, network
    if nearest > MOST:
        raise ValueError(
            f"{base} by {by}: no relative comes near {flops} FLOPs; "
            f"the nearest misses by {nearest:.1%}"
        )
    return closest


def relatives(by: Scaling) -> Iterator[Scaling]:
    """Yield strategies around one."""
    for pixels in range(-PIXELS, PIXELS + 1):
        for i in range(-round(REACH / STEP), round(REACH / STEP) + 1):
            yield Scaling(
                by.depth, round(by.width * math.exp(i * STEP), 4), max(1, by.resolution + pixels)
            )


def _distance(by: Scaling, other: Scaling) -> float:
    return abs(math.log(other.width / by.width)) + abs(math.log(other.resolution / by.resolution))
