"""Room 6: gather the tested members into a family, with the accuracy law that predicts the next size."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import Any

import numpy as np

from scalenet.config.params import Params
from scalenet.laws import accuracy
from scalenet.records import files
from scalenet.records.documents import DataInfo, Family, Trained
from scalenet.records.paths import Paths
from scalenet.space.network import Network


def run(params: Params, info: DataInfo, members: list[Trained]) -> Family:
    """Order the members by budget and fit the accuracy law (docs/method.md §6) if there are enough of them."""
    members = sorted(members, key=lambda trained: trained.member.multiple)
    return Family(name=params.data.name, members=members, law=accuracy_law(params, members))


def accuracy_law(params: Params, members: list[Trained]) -> dict[str, Any] | None:
    """Fit top-1 as a saturating power law of FLOPs and predict the next budgets; None below three members."""
    if len({trained.member.flops for trained in members}) < 3:
        return None
    section = params.publish
    points = [accuracy.Member(t.member.flops, t.correct, t.tested) for t in members]
    law = accuracy.fit_accuracy(points, section.confidence, section.draws, np.random.default_rng(section.seed))
    predicted = [
        {"multiple": multiple} | asdict(law.predict(multiple * params.scaling.budget))
        for multiple in section.next_multiples
    ]
    numbers = ("top", "scale", "exponent", "flops0", "dispersion")
    return {name: getattr(law, name) for name in numbers} | {"next": predicted}


def main(params: Params, paths: Paths) -> None:
    """Read every member's test; write the family and its table."""
    info = DataInfo.read(paths.data / "info.json")
    family = run(params, info, [Trained.read(paths.member(name) / "trained.json") for name in params.family])
    family.write(paths.family / "family.json")
    for left in set(paths.members.glob("*")) - {paths.member(name) for name in params.family}:
        shutil.rmtree(left)  # a size that left the family: DVC hashes the folder, and its cache still has it
    columns = ("member", "flops", "params", "resolution", "accuracy", "low", "high", "network")
    rows = []
    for t in family.members:
        resolution = Network.parse(t.member.network).resolution
        size = (t.member.name, t.member.flops, t.member.params, resolution)
        rows.append((*size, t.accuracy, t.low, t.high, t.member.network))
    files.write_table(paths.family / "family.csv", columns, rows)
    files.write_json(paths.family / "metrics.json", {t.member.name: t.accuracy for t in family.members})
