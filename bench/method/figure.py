"""The family and its baselines as one figure: top-1 against FLOPs, with intervals over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

matplotlib.use("Agg")

STYLES = {
    "ours": "o-",
    "EfficientNet's law": "s--",
    "random base": "^",
    "random strategies": "v",
    "one-shot per size": "D",
}
SHIFT = 1.02  # between arms of one size, so that their intervals can be told apart


def draw(family: dict[str, Any], path: Path) -> None:
    """Write an SVG; equal results give equal bytes."""
    flops = {member["name"]: member["flops"] for member in family["members"]}
    with plt.rc_context({"svg.hashsalt": "scalenet", "svg.fonttype": "none", "font.size": 10}):
        figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
        for place, (arm, rows) in enumerate(family["arms"].items()):
            x = [flops[size] * SHIFT ** (place - 2) for size in rows]
            means = [100 * row["mean"] for row in rows.values()]
            known = [(row["mean"], row["low"]) for row in rows.values() if row["low"] is not None]
            bars = (
                [100 * (middle - low) for middle, low in known] if len(known) == len(rows) else None
            )
            principal = arm in list(STYLES)[:2]
            axes.errorbar(
                x,
                means,
                yerr=bars,
                fmt=STYLES[arm],
                capsize=3,
                alpha=1 if principal else 0.5,
                label=arm,
            )
        axes.set_ylim(*_shown(family["arms"]))
        for size, row in family["arms"]["ours"].items():
            axes.annotate(
                size, (flops[size], 100 * row["mean"]), (-16, 8), textcoords="offset points"
            )
        axes.set(
            xscale="log", xlabel="FLOPs (multiply-accumulates of one image)", ylabel="test top-1, %"
        )
        axes.set_title("Searched family and baselines: means and 95 % intervals over seeds")
        axes.set_xticks(list(flops.values()), [f"{count / 1e6:.3g} M" for count in flops.values()])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)


def _shown(arms: dict[str, Any]) -> tuple[float, float]:
    """Return the range of the axis in %: all means and the two first arms' intervals. An interval
    of two trainings runs over the edge, and would flatten all else."""
    rows = [(row, arm in list(STYLES)[:2]) for arm, of in arms.items() for row in of.values()]
    ends = [row["mean"] for row, _ in rows]
    ends += [row[end] for row, first in rows if first for end in ("low", "high") if row[end]]
    spare = 0.06 * (max(ends) - min(ends))
    return 100 * (min(ends) - spare), 100 * (max(ends) + 2 * spare)
