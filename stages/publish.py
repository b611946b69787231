"""Stage 6: gather the tested members into a family, with the law that predicts the next size."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from scalenet.laws import accuracy
from scalenet.records import files
from scalenet.records.documents import DataInfo, Family, Trained
from scalenet.records.paths import Paths
from scalenet.stages import Emit

COLUMNS = ("member", "flops", "params", "resolution", "accuracy", "low", "high", "network")


class PublishInputs(NamedTuple):
    """What ``publish`` reads."""

    info: DataInfo
    members: list[Trained]


def run(
    params: SimpleNamespace,
    inputs: PublishInputs,
    *,
    state: Path | None,
    generator: np.random.Generator,
    device: None,
    emit: Emit,
) -> Family:
    """Order the members by budget and fit the accuracy law (method §6) if there are enough."""
    members = sorted(inputs.members, key=lambda trained: trained.member.multiple)
    law = accuracy.law_of(members, params.publish, params.scaling.budget, generator)
    return Family(name=params.data.name, members=members, law=law)


def row(trained: Trained) -> tuple:
    """Return a member's row of family.csv."""
    member = trained.member
    size = (member.name, member.flops, member.params, member.network.resolution)
    return (*size, trained.accuracy, trained.low, trained.high, member.network)


def main(params: SimpleNamespace, paths: Paths, emit: Emit) -> None:
    """Read every member's test; write the family and its table."""
    tests = [Trained.read(paths.member(name) / "trained.json") for name in params.family]
    generator = np.random.default_rng(params.publish.seed)
    inputs = PublishInputs(paths.info(), tests)
    family = run(params, inputs, state=None, generator=generator, device=None, emit=emit)
    family.write(paths.family / "family.json")
    files.write_table(paths.family / "family.csv", COLUMNS, map(row, family.members))
    accuracies = {t.member.name: t.accuracy for t in family.members}
    files.write_json(paths.family / "metrics.json", accuracies)
