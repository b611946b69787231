"""The family's figure: accuracy against FLOPs with intervals and the accuracy law."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from scalenet.records import files
from scalenet.records.documents import Family, Trained

STYLE = {"svg.hashsalt": "scalenet", "svg.fonttype": "none", "font.size": 10}
COLOURS = {"searched": "tab:blue", "extrapolated": "tab:orange"}


def draw(family: Family, path: Path) -> None:
    """Draw a family to a file; equal families give equal bytes."""
    files.write_bytes(path, svg(family).encode())


def svg(family: Family) -> str:
    """Return a family's figure as SVG."""
    content = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        for origin, colour in COLOURS.items():
            if members := [t for t in family.members if t.member.origin == origin]:
                _members(axes, members, colour)
        if family.law is not None:
            _law(axes, family)
        axes.set(xscale="log", xlabel="FLOPs (multiply-accumulates of one image)")
        axes.set(ylabel="test top-1, %")
        confidence = family.members[0].confidence
        axes.set_title(f"{family.name}: the family and its {confidence:.0%} intervals")
        axes.grid(alpha=0.3)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
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
