"""The part of docs/results.md on public tables, from tables.json."""

from __future__ import annotations

from statistics import median
from typing import Any

from bench.method.markdown import origin, percent, table
from bench.method.statistics import CONFIDENCE
from bench.method.tablelaws import NONE

Result = dict[str, Any]


def section(result: Result) -> str:
    """Write what the laws and the searches did on public tables."""
    parts = [
        f"## Public tables of trained networks\n\n{origin(result)}",
        "Nothing is trained: `--tables DIR` names a folder of CSV files. What the columns of "
        "NAME.csv are is said by NAME.schema.yaml beside it, else in `--schemas`, by default "
        "bench/method/schemas, which has those of these tables to copy from. An interval of a "
        "share is Wilson's, which takes families for independent.\n",
    ]
    parts += [laws(name, found) for name, found in result["laws"].items()]
    parts += [learnt(result["prior"])] if result["prior"] else []
    parts += [searches(name, found) for name, found in result["searches"].items()]
    parts += [
        f"### The searches on `{name}`\n\nNot tried: {reason}.\n"
        for name, reason in result.get("refused", {}).items()
    ]
    return "\n".join(parts)


def laws(name: str, found: Result) -> str:
    """Write how well the accuracy law predicts the members that follow the first ones."""
    rows = [
        [
            way,
            str(row["fitted"]),
            {1: "next", 2: "next but one"}[row["ahead"]],
            str(row["families"]),
            percent(row["mean_error"], 2),
            percent(row["median_error"], 2),
            *covered(row),
        ]
        for way, rows in found["summary"].items()
        for row in rows
    ]
    if not rows:
        return f"### The accuracy law on `{name}`\n\nNot tried: {NONE}.\n"
    head = ["law", "members", "predicted", "families", "mean error", "median error",
            within(found.get("confidence", CONFIDENCE)), "mean width"]  # fmt: skip
    return (
        f"### The accuracy law on `{name}`\n\n"
        "Fitted to the first members of a published family, by FLOPs; held against the published "
        "accuracy of the next one and the next but one. Errors (absolute) and widths in points. "
        "`lineage left out`: no family of the same descent taught the prior; the prior of "
        "params.yaml has seen all of them.\n\n"
        f"{table(head, rows)}"
    )


def within(confidence: float) -> str:
    """Return the head of a column of coverages: of which interval of the law."""
    return f"inside its {100 * confidence:g} % interval, %"


def covered(row: Result) -> list[str]:
    """Write a coverage with its interval, and the mean width."""
    if "inside" not in row:
        return ["–", "–"]
    share = row["inside"] / row["families"]
    ends = f"[{percent(row['low'], 0)}, {percent(row['high'], 0)}]"
    return [f"{percent(share, 0)} {ends}", percent(row["mean_width"], 2)]


def learnt(prior: Result) -> str:
    """Write the prior that all families teach, as params.yaml has it."""
    exponent, floor, scatter = (prior[name] for name in ("exponent", "floor", "scatter"))
    return (
        f"All families, a lineage counting once, teach: exponent {exponent[0]:.2f} (standard "
        f"deviation of its logarithm {exponent[1]:.2f}), share of the smallest member's errors "
        f"that stays {floor[0]:.2f} ± {floor[1]:.2f}, scatter {100 * scatter[0]:.2f} points "
        f"({scatter[1]:.2f} in the logarithm). These are `publish.prior`.\n"
    )


def searches(name: str, found: dict[str, Result]) -> str:
    """Write how many evaluations each search took to plain evolution's final score."""
    first = next(iter(found.values()))
    heads = [
        f"cheapest {percent(float(share), 0)} % ({one['networks']} networks)"
        for share, one in found.items()
    ]
    rows = [
        [search, *(reached(one["reached"][search], one["evaluations"]) for one in found.values())]
        for search in first["reached"]
    ]
    text = (
        f"### The searches on `{name}`\n\n"
        "Evaluations until a search has what pymoo's evolution has with the same seed after "
        f"{first['evaluations']}: median, quartiles over {len(first['goals'])} seeds. A search is "
        "told the mean accuracy of a network's trainings, and may choose among the cheapest "
        f"networks only.{drawn(found)}\n\n"
        f"{table(['search', *heads], rows)}"
    )
    known = [one["ceiling"] for one in found.values() if one["ceiling"]]
    if known:
        text += "\n" + " ".join(
            f"{head}: networks differ by {percent(one['spread'], 2)} points, truly "
            f"{percent(one['true'], 2)}; a perfect score would have τ {one['tau']:.2f} with one "
            "training."
            for head, one in zip(heads, known, strict=True)
        )
    return text + "\n"


def drawn(found: dict[str, Result]) -> str:
    """Say of a large table that searches of the whole one are of a part of it at a time."""
    judged = max(one.get("judged", one["networks"]) for one in found.values())
    if judged >= max(one["networks"] for one in found.values()):
        return ""
    return f" `whole table` chooses each network among {judged:,} that are drawn of it."


def reached(evaluations: list[int | None], most: int) -> str:
    """Write the median and the quartiles; a search that never got there counts as more."""
    counts = sorted(most + 1 if n is None else n for n in evaluations)
    middle = median(counts)
    low, high = counts[len(counts) // 4], counts[-1 - len(counts) // 4]
    never = sum(n is None for n in evaluations)
    text = " to ".join(f"{most}+" if n > most else str(n) for n in (low, high))
    return (f"over {most}" if middle > most else f"{middle:g}") + f" ({text})" + (
        f", never with {never}" if never else ""
    )  # fmt: skip
