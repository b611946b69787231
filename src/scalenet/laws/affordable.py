"""The strategies that a budget affords a base model, whether a size offered them or not."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scalenet.config.params import Params
from scalenet.space.measure import measure
from scalenet.space.network import Task
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel, Scaling, all_strategies

APART = 1.06  # least factor between two depths, or two resolutions, that are tried
NEARING = 5  # widths tried for each pair of them, every one nearer to the budget
LEAST, MOST = 0.25, 2.0  # powers of the width that a network's cost grows by: FLOPs by its square


def affordable(
    params: Params,
    task: Task,
    base: BaseModel,
    multiple: float,
    size: int,
    known: Sequence[Scaling] = (),
) -> list[Scaling]:
    """Return strategies that bring a base model to ``multiple`` base budgets.

    Each depth with each resolution, the images' ``size`` in px among them, and the width that
    spends what they leave. Nothing lies below what the searched sizes offer, nor above it by more
    than the further budget would buy of one dimension alone. ``known`` strategies come first,
    whatever they are. ``ValueError`` names the nearest strategy between these bounds if none comes
    within extrapolate.tolerance, or says that none lies there.
    """
    least, most = _bounds(params, multiple)
    nearest: tuple[float, Scaling | None] = math.inf, None
    found = list(known)
    for depth in _depths(base, least.depth, most.depth):
        for resolution in _resolutions(params, size, least.resolution, most.resolution):
            by, miss = _widened(params, task, base, Scaling(depth, 1.0, resolution), multiple)
            if not least.width <= by.width <= most.width:
                continue
            nearest = min(nearest, (miss, by), key=lambda pair: pair[0])
            if miss <= params.extrapolate.tolerance:
                found.append(by)
    if found:
        return found
    asked = f"{multiple:g} x {measure(params.scaling).said(params.scaling.budget)}"
    if nearest[1] is None:
        raise ValueError(
            f"extrapolate.law: no strategy that spends {asked} lies between {least} and {most}, "
            "where the searched sizes' strategies lead; offer others in scaling.stages, lower "
            "extrapolate.resolution_step, or set extrapolate.law to dimensions"
        )
    raise off_budget(params, multiple, nearest[1], nearest[0])


def off_budget(params: Params, multiple: float, nearest: Scaling, miss: float) -> ValueError:
    """Return what to say, and what helps, where no strategy spends ``multiple`` base budgets."""
    least = math.ceil(100 * miss) / 100
    ways = [f"set it to {least:g}" if least < 1 else "take that member out of family"]
    if params.extrapolate.resolution_step > 1:
        ways.append("lower extrapolate.resolution_step")
    if params.space.divisor > 1:
        ways.append("lower space.divisor, with which the super-supernet is trained anew")
    return ValueError(
        f"extrapolate.tolerance: no strategy comes within {100 * params.extrapolate.tolerance:.3g}%"
        f" of {multiple:g} x {measure(params.scaling).said(params.scaling.budget)}; the nearest, "
        f"{nearest}, misses by {miss:.1%}: {', or '.join(ways)}"
    )


def _bounds(params: Params, multiple: float) -> tuple[Scaling, Scaling]:
    """Return the least and the most of each dimension."""
    offered, last = all_strategies(params.scaling), len(params.scaling.stages) - 1
    more, less = max(1.0, multiple / 2**last), min(1.0, multiple)
    depths, widths, resolutions = zip(
        *((by.depth, by.width, by.resolution) for by in offered), strict=True
    )
    least = Scaling(
        min(depths) * less,
        min(widths) * math.sqrt(less),
        math.ceil(min(resolutions) * math.sqrt(less)),
    )
    most = Scaling(
        max(depths) * more,
        max(widths) * math.sqrt(more),
        math.floor(max(resolutions) * math.sqrt(more)),
    )
    return least, most


def _depths(base: BaseModel, least: float, most: float) -> list[float]:
    """Return depths, apart, at which some block of a base model gets another layer."""
    counts, depths = {len(block.kernels) for block in base.blocks}, [least]
    while nexts := [
        layers / count
        for count in counts
        if (layers := _layers(count, depths[-1] * APART)) <= int(most * count)
    ]:
        depths.append(min(map(_rounded, nexts)))
    return depths


def _layers(count: int, depth: float) -> int:
    """Return the fewest layers that a block of so many gets at some depth from ``depth`` on."""
    layers = max(1, math.floor(depth * count))
    while _rounded(layers / count) < depth:
        layers += 1
    return layers


def _rounded(depth: float) -> float:
    """Round down, as ⌈n · 1.667⌉ is 6 layers of 3."""
    return math.floor(1000 * depth) / 1000


def _resolutions(params: Params, size: int, least: int, most: int) -> list[int]:
    """Return resolutions, multiples of extrapolate.resolution_step and the images' own."""
    step = params.extrapolate.resolution_step
    rounded = range(math.ceil(least / step) * step, most + 1, step)
    return sorted({*_apart(list(rounded)), *({size} if least <= size <= most else ())})


def _apart(values: list[float]) -> list[float]:
    """Leave out what is nearly the value before."""
    kept: list[float] = []
    for value in values:
        if not kept or value >= kept[-1] * APART:
            kept.append(value)
    return kept


def _widened(
    params: Params, task: Task, base: BaseModel, by: Scaling, multiple: float
) -> tuple[Scaling, float]:
    """Return a strategy whose width spends the budget, and by what share it misses it."""
    target, width, misses = multiple * params.scaling.budget, by.width, {}
    spending, power, before = measure(params.scaling), MOST, None
    for _ in range(NEARING):
        tried = Scaling(by.depth, round(max(width, 0.01), 3), by.resolution)
        spent = spending.spent(scale(params.space, base, tried), task)
        misses[tried] = abs(spent / target - 1)
        if before and before[0] != tried.width:
            grown = math.log(spent / before[1]) / math.log(tried.width / before[0])
            power = min(max(grown, LEAST), MOST)
        before = (tried.width, spent)
        width = tried.width * (target / spent) ** (1 / power)
    return min(misses.items(), key=lambda pair: pair[1])
