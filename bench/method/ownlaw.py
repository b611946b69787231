"""The part of docs/results.md on how the accuracy law holds for trained families, from family.json.

Nothing is trained: the first members of ours and of EfficientNet's law are what it is fitted to,
with the prior of params.yaml, and the next ones what it is held against.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.method import tablelaws
from bench.method.family import PRINCIPAL
from bench.method.markdown import percent, table
from bench.method.tablefiles import Published
from bench.method.tablelaws import Trial
from bench.method.tablereport import covered, within
from scalenet.config import params
from scalenet.laws.accuracy import Point

Result = dict[str, Any]
TESTED = 10_000  # CIFAR-10's test images


def section(result: Result) -> str:
    """Write errors, bias and coverage by the number of members; "" of a family of few sizes."""
    publish = params.load("params.yaml").publish
    law = tablelaws.law_with(lambda _: publish.prior, publish)
    found = list(tablelaws.trials(families(result["arms"]), law))
    if not found:
        return ""
    rows = []
    for row in tablelaws.summary(found):
        own = [t for t in found if (t.fitted, t.ahead) == (row["fitted"], row["ahead"])]
        ahead = {1: "next", 2: "next but one"}[row["ahead"]]
        sizes = str(row["fitted"]), ahead, str(row["families"])
        rows.append([*sizes, percent(row["mean_error"], 2), bias(own), *covered(row)])
    head = ["members", "predicted", "predictions", "mean error", "mean of predicted less reached",
            within(publish.confidence), "mean width"]  # fmt: skip
    return (
        "### The accuracy law on this family\n\n"
        "Fitted, with the prior of params.yaml, to the first members of ours and of EfficientNet's "
        "law, each seed a family; held against what the next one and the next but one reached. "
        "In points. Seeds share networks and an arm's sizes a base, so the predictions depend on "
        f"one another and the intervals of coverage are too narrow.\n\n{table(head, rows)}"
    )


def families(arms: dict[str, Any]) -> list[Published]:
    """Return the families of two arms, one for each seed that all of their sizes have."""
    found = []
    for arm in PRINCIPAL:
        rows = list(arms[arm].values())
        for seed in range(min(len(row["accuracies"]) for row in rows)):
            points = (
                Point(row["flops"][seed], round(TESTED * row["accuracies"][seed]), TESTED)
                for row in rows
            )
            found.append(Published(f"{arm}, {seed}", "scalenet", tuple(points)))
    return found


def bias(trials: Sequence[Trial]) -> str:
    """Write the mean of what was predicted less what was reached."""
    return f"{100 * np.mean([t.predicted.value - t.reached for t in trials]):+.2f}"
