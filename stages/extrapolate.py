"""Stage 4: fit the strategies as laws of the budget and plan every member, searched or beyond."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from scalenet.laws import plan
from scalenet.records import files
from scalenet.records.documents import Candidate, DataInfo, Found, Member
from scalenet.records.emit import Emit
from scalenet.records.paths import Paths


class PlanInputs(NamedTuple):
    """What ``extrapolate`` reads."""

    info: DataInfo
    found: Found
    candidates: list[Candidate]


class Plan(NamedTuple):
    """What ``extrapolate`` makes: the members' networks and the report on the laws behind them."""

    members: list[Member]
    report: dict[str, Any]


def run(
    params: SimpleNamespace,
    inputs: PlanInputs,
    *,
    state: Path | None,
    generator: np.random.Generator,
    device: None,
    emit: Emit,
) -> Plan:
    """Plan the family from what the search found."""
    return Plan(*plan.family(params, *inputs, generator))


def main(params: SimpleNamespace, paths: Paths, emit: Emit) -> None:
    """Read what the search found and measured; write a plan a member, the laws, their plot."""
    candidates = Candidate.read_all(paths.search / "candidates.csv")
    inputs = PlanInputs(paths.info(), Found.read(paths.search / "found.json"), candidates)
    generator = np.random.default_rng(params.extrapolate.seed)
    made = run(params, inputs, state=None, generator=generator, device=None, emit=emit)
    for member in made.members:
        member.write(paths.plan / f"{member.name}.json")
    paths.keep([member.name for member in made.members])
    files.write_json(paths.law / "law.json", made.report)
    files.write_table(paths.law / "law.csv", plan.COLUMNS, plan.table(*made))
    files.write_json(paths.law / "metrics.json", plan.metrics(made.report))
