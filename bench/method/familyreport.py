"""The part of docs/results.md on the family against its baselines, from family.json."""

from __future__ import annotations

from typing import Any

from bench.method import noise as noises
from bench.method import statistics
from bench.method.family import PRINCIPAL
from bench.method.markdown import difference, interval, millions, noisy, origin, table
from scalenet.space.network import Network

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
            "and trained by the same recipe.",
            shapes(arms),
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
            f"({noise['dof']} degrees of freedom). {by_size(noise)}"
            "Ours less the baseline, in points, tested with it; in the random arms with the spread "
            "over the arm's own networks, whose seeds are its degrees of freedom. "
            "p is corrected by Holm for all "
            f"{count} comparisons, an interval is of its own one alone:\n",
            table(["ours less", *sizes], rows),
            verdict(result, found, noise),
        ]
    )


def by_size(noise: dict[str, Any]) -> str:
    """Write the noise of each size, and whether they may be taken for equal."""
    if noise["equal"] is None:
        return ""
    own = ", ".join(f"{100 * row['noise']:.2f} ({row['dof']})" for row in noise["sizes"].values())
    refused = "is not" if noise["equal"] > 1 - statistics.CONFIDENCE else "is"
    return (
        f"By size ({', '.join(noise['sizes'])}): {own}; that these are equal {refused} refused "
        f"(Bartlett's test, p = {noise['equal']:.2f}). "
    )


def shapes(arms: dict[str, Any]) -> str:
    """Write the layers and pixels of ours and of EfficientNet's law: roundings are part of both."""
    said = []
    for arm in PRINCIPAL:
        networks = [Network.parse(row["networks"][0]) for row in arms[arm].values()]
        depths = (sum(len(block.kernels) for block in network.blocks) for network in networks)
        by_size = zip(arms[arm], depths, networks, strict=True)
        said.append(f"{arm} {', '.join(f'{s} {d} at {n.resolution} px' for s, d, n in by_size)}")
    return (
        f"Layers: {'; '.join(said)}. A block's layers are rounded up, so that blocks of few layers "
        "grow faster than a law of depth says; width is then moved to equal FLOPs.\n"
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
