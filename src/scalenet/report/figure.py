"""The family's figure."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt

from scalenet.records.documents import Family
from scalenet.records.paths import Paths

FIGURE = "family.svg"


def draw(paths: Paths) -> Path:
    """Draw accuracy against FLOPs with intervals and the accuracy law; equal families give equal bytes."""
    family = Family.read(paths.family / "family.json")
    with plt.rc_context({"svg.hashsalt": "scalenet", "svg.fonttype": "none", "font.size": 10}):
        figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
        for origin, colour in (("searched", "tab:blue"), ("extrapolated", "tab:orange")):
            members = [t for t in family.members if t.member.origin == origin]
            if not members:
                continue
            x = [t.member.flops for t in members]
            y = [100 * t.accuracy for t in members]
            bars = [[100 * (t.accuracy - t.low) for t in members], [100 * (t.high - t.accuracy) for t in members]]
            axes.errorbar(x, y, yerr=bars, fmt="o", capsize=3, color=colour, label=f"{origin} sizes")
        _law(axes, family)
        for t in family.members:
            axes.annotate(t.member.name, (t.member.flops, 100 * t.accuracy), (6, -12), textcoords="offset points")
        axes.set(xscale="log", xlabel="FLOPs (multiply-accumulates of one image)", ylabel="test top-1, %")
        axes.set_title(f"{family.name}: the family and its {family.members[0].confidence:.0%} intervals")
        axes.grid(alpha=0.3)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        path = paths.family / FIGURE
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return path


def _law(axes, family: Family) -> None:
    """Draw the accuracy law and its prediction of the next sizes."""
    if family.law is None:
        return
    law, budget = family.law, family.members[0].member.budget / family.members[0].member.multiple
    following = [(at["multiple"] * budget, at) for at in law["next"]]
    first, last = family.members[0].member.flops, max([family.members[-1].member.flops, *(x for x, _ in following)])
    x = [first * (last / first) ** (i / 100) for i in range(101)]
    y = [100 * (law["top"] - law["scale"] * (flops / law["flops0"]) ** -law["exponent"]) for flops in x]
    axes.plot(x, y, "--", color="gray", linewidth=1, label="accuracy law")
    for flops, at in following:
        bars = [[100 * (at["value"] - at["low"])], [100 * (at["high"] - at["value"])]]
        axes.errorbar([flops], [100 * at["value"]], yerr=bars, fmt="s", mfc="none", capsize=3, color="gray")
