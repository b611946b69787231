"""Room 4: fit the strategies as laws of the budget and plan every family member, searched or beyond the search."""

from __future__ import annotations

from scalenet.config.params import Params
from scalenet.laws.plan import run, table
from scalenet.records import files
from scalenet.records.documents import DataInfo, Found
from scalenet.records.paths import Paths


def main(params: Params, paths: Paths) -> None:
    """Read what the search found; write one plan per member, the laws and their plot."""
    info = DataInfo.read(paths.data / "info.json")
    members, report = run(params, info, Found.read(paths.search / "found.json"))
    for member in members:
        member.write(paths.plan / f"{member.name}.json")
    for stale in set(paths.plan.glob("*.json")) - {paths.plan / f"{member.name}.json" for member in members}:
        stale.unlink()
    files.write_json(paths.law / "law.json", report)
    columns = ("dimension", "multiple", "member", "used", "law", "low", "high")
    files.write_table(paths.law / "law.csv", columns, table(members, report))
    numbers = {name: law["growth"]["value"] for name, law in report["laws"].items()}
    files.write_json(paths.law / "metrics.json", {"growth_per_doubling": numbers})
