"""The part of docs/results.md on the family against its baselines, from family.json."""

from __future__ import annotations

from typing import Any

from bench.method import noise as noises
from bench.method import statistics
from bench.method.markdown import difference, interval, millions, noisy, origin, table

Result = dict[str, Any]


def section(result: Result) -> str:
    """Write the comparison with the baselines."""
    arms, members = result["arms"], result["members"]
    sizes = [member["name"] for member in members]
    head = ["test top-1, %", *(f"{m['name']} ({millions(m['flops'])})" for m in members)]
    means = [
        [
            arm,
            *(
                f"{interval(rows[s])} n={len(rows[s]['accuracies'])}" if s in rows else "–"
                for s in sizes
            ),
        ]
        for arm, rows in arms.items()
    ]
    strategies = ", ".join(f"{m['name']} {m['scaling']}" for m in members)
    return "\n".join(
        [
            f"### The family against baselines\n\n{origin(result)}",
            f"Base `{members[0]['base']}`; {strategies}.",
            f"Every network is within {furthest(arms, members):.1%} of ours in FLOPs "
            "and trained by the same recipe.\n",
            table(head, means),
            comparison(result, sizes),
            "",
        ]
    )


def comparison(result: Result, sizes: list[str]) -> str:
    """Write ours less each baseline, tested with the pooled noise of trainings."""
    noise = result["noise"]
    if noise is None:
        return "Each network was trained once: what differs by noise alone cannot be told.\n"
    found = noises.differences(result, noise)
    rows = [
        [arm, *(difference(own[size]) if size in own else "–" for size in sizes)]
        for arm, own in found.items()
    ]
    count = sum(row is not None for own in found.values() for row in own.values())
    return "\n".join(
        [
            "One search; n seeds vary the trainings, and in the random arms the network too. "
            f"Trainings of one network differ by {noisy(noise)}: one standard deviation, pooled "
            "over all of this preset that were trained more than once "
            f"({noise['dof']} degrees of freedom). "
            "Ours less the baseline, in points, tested with it; in the random arms with the spread "
            "over the arm's own networks, whose seeds are its degrees of freedom. "
            "p is corrected by Holm for all "
            f"{count} comparisons, an interval is of its own one alone:\n",
            table(["ours less", *sizes], rows),
            verdict(result, found, noise),
        ]
    )


def furthest(arms: dict[str, Any], members: list[Result]) -> float:
    """Return the largest difference in FLOPs between a network and ours of its size."""
    ours = {member["name"]: member["flops"] for member in members}
    return max(
        abs(f / ours[size] - 1)
        for rows in arms.values()
        for size, row in rows.items()
        for f in row["flops"]
    )


def verdict(
    result: Result, found: dict[str, dict[str, Result | None]], noise: dict[str, float]
) -> str:
    """Say at how many sizes ours is beyond noise of each baseline, and the mean difference."""
    lines = []
    for arm, rows in found.items():
        own = [row for row in rows.values() if row and row["p"] < 1 - statistics.CONFIDENCE]
        better = sum(row["mean"] > 0 for row in own)
        if middle := noises.mean_over_sizes(result, arm, rows, noise):
            count = sum(row is not None for row in rows.values())
            lines.append(
                f"* {arm}: {interval(middle, '+')} points on average over {count} "
                f"{'size' if count == 1 else 'sizes'}; ours better beyond noise "
                f"at {better}, worse at {len(own) - better}."
            )
    return "\n".join(lines)
