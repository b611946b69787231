"""The part of docs/results.md on rank correlation, from rank.json."""

from __future__ import annotations

from typing import Any

from bench.method import noise as noises
from bench.method.markdown import average, noisy, origin, table
from bench.method.rank import EVERY_IMAGE

Result = dict[str, Any]


def section(result: Result) -> str:
    """Write the rank correlations, beside what they can be at best and what needs no weights."""
    metric, other = sorted(("accuracy", "probability"), key=lambda name: name != result["metric"])
    scored = {
        name: [row[metric] for row in rows] for name, rows in result["scores"].items()
    } | noises.baselines(result)
    found = {name: noises.taus(result, scores) for name, scores in scored.items()}
    groups = list(next(iter(found.values())))
    rows = [
        [
            name,
            *(tau(own[group]) for group in groups),
            average([own[group]["tau"] for group in groups[:-1]]),
            average([result["tau"][name][other]["mean"]]) if name in result["tau"] else "–",
        ]
        for name, own in found.items()
    ]
    named = [*(f"stage {name}" for name in groups[:-1]), "all together"]
    count = result.get("trainings", 1)
    seen = "1 seed" if count == 1 else f"the mean of {count} seeds"
    return "\n".join(
        [
            f"### Rank correlation\n\n{origin(result)}",
            f"Kendall's τ between the score by shared weights ({metric}; "
            f"in the last column {other}) and test top-1 "
            f"after training from scratch, {seen}; bootstrap intervals over networks; the mean is "
            "over the stages. Every super-supernet is trained "
            "with the default's arithmetic, but for half and double steps; "
            "`fine-tuned` costs more, for each. Scores see as many images of "
            f"select as the search's do, all of it in the rows `{EVERY_IMAGE}` and `fine-tuned`. "
            "The last two rows need no weights: FLOPs, and the "
            "search's surrogate given the trained accuracy of nine tenths of the networks, asked "
            "for the others.\n",
            table(["score", *named, "mean", f"mean by {other}"], [*ceilings(result), *rows]),
        ]
    )


def ceilings(result: Result) -> list[list[str]]:
    """Write how far the ranked networks differ, and the τ of a perfect score."""
    trained = [row["stage"] for row in result["networks"]]
    if not result["noise"]:
        return []
    found = noises.ceilings(result, result["noise"])
    counts = [trained.count(stage) for stage in sorted(set(trained))] + [len(trained)]
    seen = [spread(n, row) for n, row in zip(counts, found.values(), strict=True)]
    best = [tau(row) if row else "–" for row in found.values()]
    mean_of_best = average([row and row["tau"] for row in list(found.values())[:-1]])
    return [
        [f"*spread in points; trainings differ by {noisy(result['noise'])}*", *seen, "", ""],
        ["*a perfect score*", *best, mean_of_best, ""],
    ]


def spread(networks: int, row: Result | None) -> str:
    if row is None:
        return "–"
    return f"{networks} networks: {100 * row['spread']:.2f}, truly {100 * row['true']:.2f}"


def tau(row: Result) -> str:
    return "–" if row["tau"] is None else f"{row['tau']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
