"""How results are written: tables, shares, intervals, and what made them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Result = dict[str, Any]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines) + "\n"


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def interval(row: Result, sign: str = "") -> str:
    """Write a mean and its interval, in percent."""
    middle = f"{100 * row['mean']:{sign}.1f}"
    return (
        middle
        if row["low"] is None
        else f"{middle} [{100 * row['low']:{sign}.1f}, {100 * row['high']:{sign}.1f}]"
    )


def origin(result: Result, seeds: str = "") -> str:
    """Say what made a table."""
    machine = result["machine"].get("gpu") or result["machine"]["processor"]
    code, by = result["revision"], result.get("trained_by")
    trained = f", its trainings {', '.join(by)}" if by and by != [code] else ""
    return (
        f"`{result['command']}`: {seeds}{machine}, torch {result['versions']['torch']}, "
        f"{result['date']}, code {code}{trained}.\n"
    )


def millions(flops: float) -> str:
    """Write multiply-accumulates."""
    return f"{flops / 1e6:.3g} M"


def difference(row: Result | None) -> str:
    """Write a difference; none between a network and itself."""
    if row is None:
        return "the same network"
    p = "" if row["p"] is None else f", p = {row['p']:.2g}"
    return interval(row, "+") + p


def noisy(noise: Result) -> str:
    """Write a standard deviation of accuracies and its interval."""
    middle, low, high = (f"{100 * noise[name]:.2f}" for name in ("noise", "low", "high"))
    return f"{middle} [{low}, {high}] points"


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def average(values: list[float | None]) -> str:
    """Write the mean of the values that there are."""
    known = [value for value in values if value is not None]
    return f"{mean(known):.2f}" if known else "–"
