"""The family as text."""

from __future__ import annotations

from typing import Any

from scalenet.records.documents import Family, Trained


def text(family: Family, versions: dict[str, str]) -> str:
    """Return a family's table, one member a line; ``versions`` are those in the model registry."""
    interval = f"{family.members[0].confidence:.0%} interval"
    head = ("size", "FLOPs", "params", "px", "top-1", interval, "registry", "strategy, network")
    rows = [head, *(_row(t, versions.get(t.member.name)) for t in family.members)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _row(trained: Trained, version: str | None) -> tuple[str, ...]:
    m = trained.member
    size = (m.name, _short(m.flops), _short(m.params), str(m.network.resolution))
    accuracy = f"{100 * trained.accuracy:.2f} %"
    interval = f"{100 * trained.low:.1f}–{100 * trained.high:.1f} %"
    found = f"{m.scaling} of {m.base} ({m.origin})"
    return (*size, accuracy, interval, f"v{version}" if version else "–", found)


def prediction(at: dict[str, Any]) -> str:
    """Return a line on what the accuracy law expects of one of the next budgets."""
    interval = f"{100 * at['low']:.1f}–{100 * at['high']:.1f} %"
    value = f"{100 * at['value']:.2f} %"
    return f"at {at['multiple']:g} x the base budget the accuracy law expects {value} ({interval})"


def _short(count: int) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)
