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
    return (
        f"`{result['command']}`: {seeds}{machine}, torch {result['versions']['torch']}, "
        f"{result['date']}, "
        f"code {result['revision']}.\n"
    )
