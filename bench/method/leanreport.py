"""The part of docs/results.md on the lean search, from lean.json."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from bench.method.markdown import origin, percent, table

Result = dict[str, Any]


def section(result: Result) -> str:
    """Write what lean searches cost and find."""
    return "\n".join(
        [
            f"### A lean search\n\n{origin(result)}",
            "Replayed on a scoreboard of surfaces with the noise that scores have: nothing is "
            "trained. Multiply-accumulates are exact for the networks drawn and measured. Times "
            "dearer is one-shot NAS for the searched sizes and for the whole family: as it was run "
            "(`Search cost`), searched like the row, and if its searches cost nothing. The find is "
            "the mean accuracy over the searched sizes by the surface of all trainings; less the "
            "first row's with its 95 % interval over paired seeds.\n",
            table(
                ["search", "candidates", "super-supernet", "search", "searched sizes, times dearer",
                 "family, times dearer", "find, %", "less the first, points"],
                [arm(name, row) for name, row in result["arms"].items()],
            ),
        ]
    )  # fmt: skip


def arm(name: str, row: Result) -> list[str]:
    """Write a search's row."""
    ways = row["ratios"].values()
    less = row["less_reference"]
    points = "–"
    if less["p"] is not None:
        ends = f"[{100 * less['low']:+.2f}, {100 * less['high']:+.2f}]"
        points = f"{100 * less['mean']:+.2f} {ends}"
    return [
        name, f"{fmean(row['candidates']):.0f}",
        f"{row['training']:.3g}", f"{fmean(row['macs']):.3g}",
        *(", ".join(f"{way[what]:.2f}" for way in ways)
          for what in ("searched sizes", "whole family")),
        percent(fmean(row["worth"]), 2), points,
    ]  # fmt: skip
