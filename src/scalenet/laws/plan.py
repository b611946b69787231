"""The plan of a family: strategies as laws of the budget, and every member's network."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from scalenet.config.params import Params
from scalenet.laws.strategies import Law, fit
from scalenet.records.documents import Found, Member
from scalenet.space.cost import flops, parameters
from scalenet.space.network import Task
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel, Scaling

DIMENSIONS = ("depth", "width", "resolution")
# factor per doubling (Tan & Le 2019, §3.3)
EFFICIENTNET = {"depth": 1.2, "width": 1.1, "resolution": 1.15}
# how finely and how far a member may move along the law, in doublings of the budget
STEP, REACH = 0.01, 1.5
COLUMNS = ("dimension", "multiple", "member", "used", "law", "low", "high")  # of law.csv
Laws = dict[str, Law]


def searched_size(params: Params, multiple: float) -> int | None:
    """Return the size whose budget is ``multiple`` times the base, or None beyond the search."""
    size = math.log2(multiple)
    return int(size) if size in range(len(params.scaling.stages)) else None


def fit_laws(params: Params, strategies: list[Scaling]) -> Laws:
    """Fit depth, width and resolution as functions of log₂ of the budget (docs/method.md §6).

    Size 0 is the base itself: every law passes through it.
    """
    phi = [float(size) for size in range(1, len(strategies))]
    values = {name: [float(getattr(s, name)) for s in strategies] for name in DIMENSIONS}
    confidence = params.extrapolate.confidence
    return {name: fit(phi, v[1:], v[0], confidence) for name, v in values.items()}


def strategy(params: Params, fitted: Laws, phi: float, phi_width: float) -> Scaling:
    """Return the laws' strategy: depth and resolution at φ, width at a φ of its own.

    φ is log₂ of the budget in base budgets; the resolution is a multiple of
    extrapolate.resolution_step px.
    """
    depth, width = fitted["depth"].predict(phi).value, fitted["width"].predict(phi_width).value
    step = params.extrapolate.resolution_step
    resolution = max(1, round(fitted["resolution"].predict(phi).value / step)) * step
    return Scaling(round(max(depth, 0.01), 3), round(max(width, 0.01), 3), resolution)


def move(params: Params, task: Task, base: BaseModel, fitted: Laws, multiple: float) -> Scaling:
    """Move along the fitted laws until the FLOPs hit ``multiple`` base budgets.

    Where rounding jumps over the budget, width alone moves on. ``ValueError`` names the nearest
    strategy if none comes within extrapolate.tolerance.
    """
    phi, target = math.log2(multiple), multiple * params.scaling.budget
    reach = [i * STEP for i in range(-round(REACH / STEP), round(REACH / STEP) + 1)]
    nearest, tried = math.inf, None
    for lag in sorted(reach[:: round(0.1 / STEP)], key=abs):
        options = [
            strategy(params, fitted, phi + shift, phi + shift + lag)
            for shift in sorted(reach, key=abs)
        ]
        for option in dict.fromkeys(options):
            miss = abs(flops(scale(params.space, base, option), task) / target - 1)
            if miss < nearest:
                nearest, tried = miss, option
        if nearest <= params.extrapolate.tolerance:
            return tried
    raise ValueError(
        "extrapolate.tolerance: no strategy along the law comes within "
        f"{params.extrapolate.tolerance:.0%} of {multiple:g} x {params.scaling.budget:g} FLOPs; "
        f"the nearest, {tried}, misses by {nearest:.1%}: raise the tolerance, or lower "
        "extrapolate.resolution_step or space.divisor"
    )


def members(params: Params, task: Task, found: Found, fitted: Laws | None) -> list[Member]:
    """Return every family member: the searched network where its budget was, else the laws'.

    ``fitted`` may be None if every budget was searched.
    """
    planned = []
    for name, entry in params.family.items():
        size = searched_size(params, entry.multiple)
        searched = size is not None
        chosen = (
            found.strategies[size]
            if searched
            else move(params, task, found.base, fitted, entry.multiple)
        )
        network = scale(params.space, found.base, chosen)
        planned.append(
            Member(
                name=name,
                multiple=entry.multiple,
                budget=entry.multiple * params.scaling.budget,
                origin="searched" if searched else "extrapolated",
                base=found.base,
                scaling=chosen,
                network=network,
                flops=flops(network, task),
                params=parameters(network, task),
            )
        )
    return planned


def hidden(params: Params, strategies: list[Scaling]) -> dict[str, Any] | None:
    """Predict the last searched size from the others and set it beside what was found.

    None with fewer than four sizes: a law needs three.
    """
    if len(strategies) < 4:
        return None
    fitted, last = fit_laws(params, strategies[:-1]), strategies[-1]
    phi = float(len(strategies) - 1)
    predicted = {name: law.predict(phi, searched=True) for name, law in fitted.items()}
    return {name: {"found": getattr(last, name), **asdict(p)} for name, p in predicted.items()}


def family(params: Params, task: Task, found: Found) -> tuple[list[Member], dict[str, Any]]:
    """Plan the family; return its members and the report on the laws behind them."""
    strategies = found.strategies
    beyond = [
        name for name, m in params.family.items() if searched_size(params, m.multiple) is None
    ]
    if beyond and len(strategies) < 3:
        raise ValueError(
            f"family: {', '.join(beyond)} lies beyond the search, but a law needs at least 3 "
            f"entries of scaling.stages and there are {len(strategies)}; search more stages or "
            f"leave {', '.join(beyond)} out"
        )
    fitted = fit_laws(params, strategies) if len(strategies) >= 3 else None
    planned = members(params, task, found, fitted)
    report = {
        name: {
            "law": asdict(law),
            "growth": asdict(law.growth()),
            "efficientnet": EFFICIENTNET[name],
            "predicted": {m.name: asdict(law.predict(math.log2(m.multiple))) for m in planned},
        }
        for name, law in (fitted or {}).items()
    }
    return planned, {"laws": report, "hidden": hidden(params, strategies)}


def table(planned: list[Member], report: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return law.csv's rows: (dimension, multiple, member, value used, law's value, low, high)."""
    rows = []
    for name, law in report["laws"].items():
        for member in planned:
            predicted, used = law["predicted"][member.name], getattr(member.scaling, name)
            interval = (predicted[key] for key in ("value", "low", "high"))
            rows.append((name, member.multiple, member.name, used, *interval))
    return rows
