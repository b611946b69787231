"""Stage 7: gather the tested members into a family, beside what they should beat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from scalenet.laws import accuracy, scores, verdict
from scalenet.records import files, predictions
from scalenet.records.documents import Baseline, DataInfo, Family, Measurements, Trained
from scalenet.records.emit import Emit
from scalenet.records.paths import Paths
from scalenet.records.predictions import Answers

COLUMNS = (
    "member", "flops", "params", "resolution", "select", "accuracy", "low", "high", "balanced",
    "network",
)  # fmt: skip
CONFUSION = ("member", "true", "predicted", "count")
RECALL = ("member", "class", "images", "recall")


class PublishInputs(NamedTuple):
    """What ``publish`` reads; ``said`` are the members' and the baselines' answers, ``warnings``
    those of the images."""

    info: DataInfo
    warnings: list[str]
    members: list[Trained]
    baselines: list[Baseline]
    said: Answers


def run(
    params: SimpleNamespace,
    inputs: PublishInputs,
    *,
    state: Path | None,
    generator: np.random.Generator,
    device: None,
    emit: Emit,
) -> Family:
    """Order the members by budget, fit the accuracy law (method §6) if there are enough, judge."""
    members = sorted(inputs.members, key=lambda trained: trained.member.multiple)
    said, budget = inputs.said, params.scaling.budget
    compared = verdict.comparisons(members, inputs.baselines, said)
    law = accuracy.law_of(members, said, params.publish, budget, generator)
    return Family(
        name=params.data.name,
        members=members,
        law=law,
        baselines=inputs.baselines,
        comparisons=compared,
        warnings=inputs.warnings + verdict.warnings(members, inputs.baselines, compared, law, said),
    )


def row(trained: Trained) -> tuple:
    """Return a member's row of family.csv."""
    member, select = trained.member, trained.select and trained.select.accuracy
    size = (member.name, member.flops, member.params, member.network.resolution)
    test = (trained.accuracy, trained.low, trained.high, trained.balanced)
    return (*size, select, *test, member.network)


def confused(family: Family, inputs: PublishInputs) -> Iterator[tuple]:
    """Yield the rows of confusion.csv: pairs of classes that occur among a member's test images."""
    names = inputs.info.classes
    for trained in family.members:
        name = trained.member.name
        for true, predicted, count in scores.confusion(inputs.said[name]["test"]):
            yield name, names[true], names[predicted], count


def recalled(family: Family, inputs: PublishInputs) -> Iterator[tuple]:
    """Yield the rows of recall.csv: a member's recall of each class on test, empty of none."""
    names = inputs.info.classes
    for trained in family.members:
        name = trained.member.name
        counted = zip(*scores.recall(inputs.said[name]["test"], len(names)), strict=True)
        for label, (images, share) in zip(names, counted, strict=True):
            yield name, label, int(images), float(share) if images else None


def main(params: SimpleNamespace, paths: Paths, emit: Emit) -> None:
    """Read every member's and baseline's test; write the family, its tables and the verdict."""
    tests = [paths.trained(name) for name in params.family]
    known = Measurements.read(paths.baselines / "baselines.json").baselines
    folders = [paths.baselines, *map(paths.member, params.family)]
    said = {k: v for f in folders for k, v in predictions.read(f / "predictions.npz").items()}
    generator, out = np.random.default_rng(params.publish.seed), paths.family
    inputs = PublishInputs(paths.info(), paths.reading().warnings, tests, known, said)
    family = run(params, inputs, state=None, generator=generator, device=None, emit=emit)
    family.write(out / "family.json")
    files.write_table(out / "family.csv", COLUMNS, map(row, family.members))
    files.write_table(out / "confusion.csv", CONFUSION, confused(family, inputs))
    files.write_table(out / "recall.csv", RECALL, recalled(family, inputs))
    files.write_json(out / "metrics.json", {t.member.name: t.accuracy for t in family.members})
