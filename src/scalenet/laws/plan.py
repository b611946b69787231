"""The plan of a family: strategies by laws of the budget, and every member's network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from scalenet.config.params import LAW_SIZES, Params
from scalenet.laws import surface
from scalenet.laws.advice import (
    DIMENSIONS,
    Advice,
    advise,
    evaluations,
    options,
)
from scalenet.laws.affordable import off_budget
from scalenet.laws.strategies import Law, fit
from scalenet.laws.surface import Surface
from scalenet.records.documents import Candidate, DataInfo, Found, Member
from scalenet.space.cost import flops, parameters
from scalenet.space.measure import measure
from scalenet.space.network import Task
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel, Scaling

# factor per doubling (Tan & Le 2019, §3.3)
EFFICIENTNET = {"depth": 1.2, "width": 1.1, "resolution": 1.15}
# how finely and how far a member may move along the law, in doublings of the budget
STEP, REACH = 0.01, 1.5
# of law.csv
COLUMNS = (
    *("dimension", "multiple", "member", "used", "law", "low", "high"),
    *("surface", "surface_low", "surface_high", "regret"),
)
Laws = dict[str, Law]


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
    """Move along the fitted laws until a network spends ``multiple`` base budgets.

    Where rounding jumps over the budget, width alone moves on. ``ValueError`` names the nearest
    strategy if none comes within extrapolate.tolerance.
    """
    phi, target = math.log2(multiple), multiple * params.scaling.budget
    spending = measure(params.scaling)
    reach = [i * STEP for i in range(-round(REACH / STEP), round(REACH / STEP) + 1)]
    nearest, tried = math.inf, None
    for lag in sorted(reach[:: round(0.1 / STEP)], key=abs):
        options = [
            strategy(params, fitted, phi + shift, phi + shift + lag)
            for shift in sorted(reach, key=abs)
        ]
        for option in dict.fromkeys(options):
            miss = abs(spending.spent(scale(params.space, base, option), task) / target - 1)
            if miss < nearest:
                nearest, tried = miss, option
        if nearest <= params.extrapolate.tolerance:
            return tried
    raise off_budget(params, multiple, tried, nearest)


def members(
    params: Params, task: Task, found: Found, beyond: Mapping[str, Scaling]
) -> list[Member]:
    """Return every family member: the searched network where its budget was, else ``beyond``'s."""
    planned, spending = [], measure(params.scaling)
    by_latency = params.scaling.measure == "latency"
    for name, entry in params.family.items():
        size = params.scaling.searched(entry.multiple)
        chosen = beyond[name] if size is None else found.strategies[size]
        network = scale(params.space, found.base, chosen)
        planned.append(
            Member(
                name=name,
                multiple=entry.multiple,
                budget=entry.multiple * params.scaling.budget,
                origin="extrapolated" if size is None else "searched",
                base=found.base,
                scaling=chosen,
                network=network,
                flops=flops(network, task),
                params=parameters(network, task),
                latency=spending.spent(network, task) if by_latency else None,
            )
        )
    return planned


def family(
    params: Params,
    info: DataInfo,
    found: Found,
    candidates: Sequence[Candidate],
    generator: np.random.Generator,
) -> tuple[list[Member], dict[str, Any]]:
    """Plan the family; return its members and the report on the laws behind them.

    What lies beyond the search is planned by ``extrapolate.law``; all laws are reported, the
    surface if enough was measured to fit it.
    """
    by_surface = params.extrapolate.law == "surface"
    multiples = {name: entry.multiple for name, entry in params.family.items()}
    beyond = [
        name for name, multiple in multiples.items() if params.scaling.searched(multiple) is None
    ]
    fitted = fit_laws(params, found.strategies) if len(found.strategies) >= LAW_SIZES else {}
    fitted_surface = _fit_surface(params, info, candidates, by_surface and bool(beyond), generator)
    chosen = {
        name: move(params, info.task, found.base, fitted, multiples[name])
        for name in beyond
        if not by_surface
    }
    advices = _advices(params, info, found.base, fitted_surface, chosen) if fitted_surface else {}
    planned = members(
        params, info.task, found, chosen or {name: advices[name].best for name in beyond}
    )
    report = {"laws": _laws(fitted, planned), "hidden": hidden(params, found.strategies)}
    return planned, report | {"surface": _surface(fitted_surface, advices, planned)}


# --- the laws of depth, width and resolution ------------------------------------------------------


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


def _laws(fitted: Laws, planned: list[Member]) -> dict[str, Any]:
    """Return what law.json says of each dimension."""
    return {
        name: {
            "law": asdict(law),
            "growth": asdict(law.growth()),
            "efficientnet": EFFICIENTNET[name],
            "predicted": {m.name: asdict(law.predict(math.log2(m.multiple))) for m in planned},
        }
        for name, law in fitted.items()
    }


# --- the surface ----------------------------------------------------------------------------------


def _fit_surface(
    params: Params,
    info: DataInfo,
    candidates: Sequence[Candidate],
    wanted: bool,
    generator: np.random.Generator,
) -> Surface | None:
    """Fit the surface; None where it is refused, unless it is ``wanted`` to plan by."""
    measured = evaluations(candidates)
    if not wanted and surface.refused(measured, info.size):
        return None
    return surface.fit(measured, info.size, params.extrapolate.draws, generator)


def _advices(
    params: Params,
    info: DataInfo,
    base: BaseModel,
    fitted: Surface,
    chosen: Mapping[str, Scaling],
) -> dict[str, Advice]:
    """Return what the surface says of each member's budget; ``chosen``: what others plan."""
    advices = {}
    for name, entry in params.family.items():
        offered = options(params, info, base, entry.multiple, chosen.get(name))
        advices[name] = advise(params, fitted, base, offered)
    return advices


def _surface(
    fitted: Surface | None, advices: Mapping[str, Advice], planned: list[Member]
) -> dict[str, Any] | None:
    """Return what law.json says of the surface."""
    if fitted is None:
        return None
    return fitted.plain() | {"members": {m.name: advices[m.name].plain(m.scaling) for m in planned}}


def table(planned: list[Member], report: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return law.csv's rows (`COLUMNS`): for each dimension and member, what is used and what the
    laws say; the regret is the member's."""
    rows = []
    for name, law in report["laws"].items():
        for member in planned:
            predicted, used = law["predicted"][member.name], getattr(member.scaling, name)
            interval = (predicted[key] for key in ("value", "low", "high"))
            rows.append((name, member.multiple, member.name, used, *interval))
            rows[-1] += _of_surface(report["surface"], name, member.name)
    return rows


def _of_surface(said: dict[str, Any] | None, dimension: str, member: str) -> tuple[Any, ...]:
    if said is None:
        return (None,) * 4
    about = said["members"][member]
    predicted = about["predicted"][dimension]
    return predicted["value"], predicted["low"], predicted["high"], about["regret"]


def metrics(report: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return metrics.json: how each dimension grows, and what each member's strategy risks."""
    growth = {name: law["growth"]["value"] for name, law in report["laws"].items()}
    said = report["surface"]["members"] if report["surface"] else {}
    regret = {name: about["regret"] for name, about in said.items()}
    return {"growth_per_doubling": growth, "regret": regret}
