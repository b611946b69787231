"""The plan of a family: strategies as laws of the budget, and every member's network."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from scalenet.config.params import Params
from scalenet.laws.strategies import Law
from scalenet.records.documents import DataInfo, Found, Member
from scalenet.space import cost
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel, Scaling

DIMENSIONS = ("depth", "width", "resolution")
EFFICIENTNET = {"depth": 1.2, "width": 1.1, "resolution": 1.15}  # factor per doubling (Tan & Le 2019, §3.3)
STEP, REACH = 0.01, 1.5  # how finely and how far a member may move along the law, in doublings of the budget
Laws = dict[str, Law]


def searched_stage(params: Params, multiple: float) -> int | None:
    """Return the scaling stage whose budget is ``multiple`` times the base, or None beyond the search."""
    stage = math.log2(multiple)
    return int(stage) if stage in range(len(params.scaling.stages)) else None


def fit_laws(params: Params, strategies: list[Scaling]) -> Laws:
    """Fit depth, width and resolution as functions of log₂ of the budget (docs/method.md §6).

    Stage 0 is the base itself: every law passes through it.
    """
    base, scaled = strategies[0], strategies[1:]
    phi = [float(stage) for stage in range(1, len(strategies))]
    confidence = params.extrapolate.confidence
    return {
        name: strategies.fit(phi, [float(getattr(by, name)) for by in scaled], float(getattr(base, name)), confidence)
        for name in DIMENSIONS
    }


def strategy(params: Params, fitted: Laws, phi: float, phi_width: float) -> Scaling:
    """Return the laws' strategy: depth and resolution at φ, width at its own φ, rounded as params.yaml says."""
    depth, width = (fitted[name].predict(at).value for name, at in (("depth", phi), ("width", phi_width)))
    step = params.extrapolate.resolution_step
    resolution = max(1, round(fitted["resolution"].predict(phi).value / step)) * step
    return Scaling(round(max(depth, 0.01), 3), round(max(width, 0.01), 3), resolution)


def move(params: Params, info: DataInfo, base: BaseModel, fitted: Laws, multiple: float) -> Scaling:
    """Move along the fitted laws until the FLOPs hit the budget; where rounding jumps over it, width alone moves on."""
    phi, target = math.log2(multiple), multiple * params.scaling.budget
    reach = [i * STEP for i in range(-round(REACH / STEP), round(REACH / STEP) + 1)]
    nearest, tried = math.inf, None
    for lag in sorted(reach[:: round(0.1 / STEP)], key=abs):
        options = [strategy(params, fitted, phi + shift, phi + shift + lag) for shift in sorted(reach, key=abs)]
        for by in dict.fromkeys(options):
            miss = abs(cost.flops(scale(params.space, base, by), info.channels, len(info.classes)) / target - 1)
            if miss < nearest:
                nearest, tried = miss, by
        if nearest <= params.extrapolate.tolerance:
            return tried
    raise ValueError(
        f"extrapolate.tolerance: no strategy along the law comes within {params.extrapolate.tolerance:.0%} of "
        f"{multiple:g} x {params.scaling.budget:g} FLOPs; the nearest, {tried}, misses by {nearest:.1%}: raise the "
        "tolerance, or lower extrapolate.resolution_step or space.divisor"
    )


def plan(params: Params, info: DataInfo, found: Found, fitted: Laws | None) -> list[Member]:
    """Return every family member's network: the searched one where its budget was searched, else the laws'."""
    base, members = BaseModel.parse(found.base), []
    for name, entry in params.family.items():
        stage = searched_stage(params, entry.multiple)
        searched = stage is not None
        by = Scaling.parse(found.strategies[stage]) if searched else move(params, info, base, fitted, entry.multiple)
        network = scale(params.space, base, by)
        members.append(
            Member(
                name=name,
                multiple=entry.multiple,
                budget=entry.multiple * params.scaling.budget,
                origin="searched" if searched else "extrapolated",
                base=found.base,
                scaling=str(by),
                network=str(network),
                flops=cost.flops(network, info.channels, len(info.classes)),
                params=cost.params(network, info.channels, len(info.classes)),
            )
        )
    return members


def hidden(params: Params, strategies: list[Scaling]) -> dict[str, Any] | None:
    """Predict the last searched stage from the others and set it beside what was found; None with too few stages."""
    if len(strategies) < 4:
        return None
    fitted, last = fit_laws(params, strategies[:-1]), strategies[-1]
    predicted = {name: law.predict(float(len(strategies) - 1), searched=True) for name, law in fitted.items()}
    return {name: {"found": getattr(last, name), **asdict(at)} for name, at in predicted.items()}


def run(params: Params, info: DataInfo, found: Found) -> tuple[list[Member], dict[str, Any]]:
    """Plan the family; return its members and the report on the laws behind them."""
    strategies = [Scaling.parse(text) for text in found.strategies]
    beyond = [name for name, m in params.family.items() if searched_stage(params, m.multiple) is None]
    if beyond and len(strategies) < 3:
        raise ValueError(
            f"family: {', '.join(beyond)} lies beyond the search, but a law needs at least 3 entries of "
            f"scaling.stages and there are {len(strategies)}; search more stages or leave {', '.join(beyond)} out"
        )
    fitted = fit_laws(params, strategies) if len(strategies) >= 3 else None
    members = plan(params, info, found, fitted)
    report = {
        name: {
            "law": asdict(law),
            "growth": asdict(law.growth()),
            "efficientnet": EFFICIENTNET[name],
            "predicted": {m.name: asdict(law.predict(math.log2(m.multiple))) for m in members},
        }
        for name, law in (fitted or {}).items()
    }
    return members, {"laws": report, "hidden": hidden(params, strategies)}


def table(members: list[Member], report: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return rows (dimension, multiple, member, value used, law's value, low, high) for the plot."""
    rows = []
    for name, law in report["laws"].items():
        for member in members:
            at = law["predicted"][member.name]
            used = getattr(Scaling.parse(member.scaling), name)
            rows.append((name, member.multiple, member.name, used, at["value"], at["low"], at["high"]))
    return rows
