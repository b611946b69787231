"""The family's figure: accuracy against FLOPs, intervals, the accuracy law, and the baselines."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from scalenet.records import files
from scalenet.records.documents import Baseline, Family, Trained

STYLE = {"svg.hashsalt": "scalenet", "svg.fonttype": "none", "font.size": 10}
COLOURS = {"searched": "tab:blue", "extrapolated": "tab:orange"}
LINES, MARKERS = ("--", ":", "-.", (0, (1, 3))), "Dv^"  # of baselines without FLOPs, and with
LABEL = 42  # characters of a line of the legend, which has two columns


def draw(family: Family, path: Path) -> None:
    """Draw a family to a file; equal families give equal bytes."""
    files.write_bytes(path, svg(family).encode())


def svg(family: Family) -> str:
    """Return a family's figure as SVG."""
    content = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.subplots()
        for origin, colour in COLOURS.items():
            if members := [t for t in family.members if t.member.origin == origin]:
                _members(axes, members, colour)
        if family.law is not None:
            _law(axes, family)
        _baselines(axes, family)
        axes.set(xscale="log", xlabel="FLOPs (multiply-accumulates of one image)")
        axes.set(ylabel="test top-1, %")
        confidence = family.members[0].confidence
        axes.set_title(f"{family.name}: the family and its {confidence:.0%} intervals")
        axes.grid(alpha=0.3)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()


def _members(axes: Any, members: list[Trained], colour: str) -> None:
    """Draw members of one origin with their intervals and names."""
    x, y = [t.member.flops for t in members], [100 * t.accuracy for t in members]
    below = [100 * (t.accuracy - t.low) for t in members]
    above = [100 * (t.high - t.accuracy) for t in members]
    label = f"{members[0].member.origin} sizes"
    axes.errorbar(x, y, yerr=[below, above], fmt="o", capsize=3, color=colour, label=label)
    for t, at in zip(members, zip(x, y, strict=True), strict=True):
        axes.annotate(t.member.name, at, (6, -12), textcoords="offset points")


def _baselines(axes: Any, family: Family) -> None:
    """Draw baselines: a marker at its FLOPs, or a dashed line; far below all else only in words."""
    low, high = axes.get_ylim()
    networks = [b for b in family.baselines if b.flops]
    for baseline, marker in zip(networks, MARKERS, strict=False):
        at, label = 100 * baseline.accuracy, _label(baseline)
        axes.plot([baseline.flops], [at], marker, mfc="none", color="tab:red", label=label)
    others = [b for b in family.baselines if not b.flops]
    for baseline, line in zip(others, LINES, strict=False):
        axes.axhline(100 * baseline.accuracy, ls=line, color="tab:red", label=_label(baseline))
    shown = [100 * b.accuracy for b in family.baselines if b.name != "majority"]
    near = [at for at in shown if at > low - 2 * (high - low)]
    axes.set_ylim(min([low, *(at - 1 for at in near)]), max([high, *(at + 1 for at in near)]))


def _label(baseline: Baseline) -> str:
    return textwrap.fill(f"{baseline.about}: {100 * baseline.accuracy:.1f} %", LABEL)


def _law(axes: Any, family: Family) -> None:
    """Draw the accuracy law and its prediction of the next sizes."""
    law, smallest, largest = family.law, family.members[0].member, family.members[-1].member
    base = smallest.budget / smallest.multiple
    following = [(at["multiple"] * base, at) for at in law["next"]]
    first, last = smallest.flops, max([largest.flops, *(flops for flops, _ in following)])
    x = [first * (last / first) ** (i / 100) for i in range(101)]
    falls = [law["scale"] * (flops / law["flops0"]) ** -law["exponent"] for flops in x]
    y = [100 * (law["top"] - fall) for fall in falls]
    axes.plot(x, y, "--", color="gray", linewidth=1, label="accuracy law")
    for flops, at in following:
        bars = [[100 * (at["value"] - at["low"])], [100 * (at["high"] - at["value"])]]
        style = {"fmt": "s", "mfc": "none", "capsize": 3, "color": "gray"}
        axes.errorbar([flops], [100 * at["value"]], yerr=bars, **style)
