"""The part of docs/results.md on the response surface, from surface.json."""

from __future__ import annotations

from typing import Any

from bench.method.markdown import interval, origin, percent, table

Result = dict[str, Any]


def section(result: Result) -> str:
    """Write what a surface says of sizes that it has not seen."""
    return "\n".join(
        [
            f"### The response surface\n\n{origin(result)}",
            f"Nothing is trained: {result['networks']} networks in {result['trainings']} trainings "
            "of the other tables. *The reference* is the surface fitted to all of them; it "
            f"says that a doubling pays, in points: {slopes(result['surface'])}. Scores by shared "
            "weights and after fine-tuning are off these slopes by "
            f"{result['own_slopes']['shared']:.2f} and {result['own_slopes']['fine-tuned']:.2f} of "
            "what a doubling of FLOPs pays (root mean square, sizes below the last searched).\n",
            losses(result["losses"]),
            regrets(result["regrets"]),
            errors(result["regressions"]),
        ]
    )


def slopes(surface: Result) -> str:
    return ", ".join(
        f"{name} {percent(value)}"
        for name, value in surface["slopes"].items()
        if name in ("depth", "width", "resolution", "beyond the images")
    )


def losses(found: Result) -> str:
    """Write what each law's strategy loses at a size that it has not seen."""
    rows = [
        [
            size,
            law,
            said["scaling"],
            interval(said["lost"], "+"),
            interval(said["lost_to_any"], "+"),
        ]
        for size, about in found.items()
        for law, said in about["laws"].items()
    ]
    head = ["size", "law", "strategy", "lost, points", "lost to the best of any pixels"]
    return (
        "Strategies for the found base at the last searched size and beyond, by what smaller sizes "
        "and searched ones tell. Lost, by the reference and with its 95 % interval: to the best "
        "strategy whose pixels the images hold, and to the best of all.\n\n"
        f"{table(head, rows)}"
    )


def regrets(found: Result) -> str:
    """Write what choosing among random networks costs."""
    rows = [
        [
            name,
            *(interval(row[what]) for what in ("trained", "reference")),
            interval(row["below_shared"], "+"),
        ]
        for name, row in found.items()
    ]
    head = ["chosen by", "by trainings", "by the reference", "below shared weights"]
    return (
        "Choosing the best of 5 random networks of the last searched size, in points below the "
        "best (by trainings, whose noise nobody foresees, and by the reference). Surfaces have "
        "seen no network of that size. Intervals are of the networks:\n\n"
        f"{table(head, rows)}"
    )


def errors(found: Result) -> str:
    """Write the errors of the regressions."""
    ways = list(next(iter(found.values())))
    rows = [[name, *(percent(row[way], 2) for way in ways)] for name, row in found.items()]
    return (
        "Root mean square error in points, below the last searched size, of what was hidden: the "
        "larger of two sizes, a tenth in turn, the larger half of a public grid:\n\n"
        f"{table(['hidden', *ways], rows)}"
    )
