"""The family as text: its members, what they should beat, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scalenet.records.documents import Baseline, Family, Tested, Trained


def text(family: Family, versions: dict[str, str]) -> str:
    """Return a family's table, one member a line; ``versions`` are those in the model registry."""
    head = ("size", "FLOPs", "params", "px", *_judged(family), "registry", "strategy, network")
    return _aligned([head, *(_row(t, versions.get(t.member.name)) for t in family.members)])


def baselines(family: Family) -> str:
    """Return the table of what the family should beat, one baseline a line."""
    head = ("baseline", "FLOPs", "params", "steps", *_judged(family))
    return _aligned([head, *map(_baseline, family.baselines)])


def markdown(family: Family, versions: dict[str, str]) -> str:
    """Return a family's members, its baselines and its warnings in Markdown."""
    head = ("size", "FLOPs", "params", "px", *_judged(family), "registry", "strategy, network")
    members = [_row(trained, versions.get(trained.member.name)) for trained in family.members]
    rivals = [_baseline(baseline) for baseline in family.baselines]
    parts = [_grid([head, *members])]
    if rivals:
        parts.append(_grid([("baseline", "FLOPs", "params", "steps", *_judged(family)), *rivals]))
    parts += [f"**{line}**\n" for line in warnings(family)]
    return "\n".join(parts)


def _grid(rows: Sequence[tuple[str, ...]]) -> str:
    head, *rest = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    lines = (f"| {line} |\n" for line in (head, " | ".join("---" for _ in rows[0]), *rest))
    return "".join(lines)


def warnings(family: Family) -> list[str]:
    """Return a line for each warning."""
    return [f"warning: {sentence}" for sentence in family.warnings]


def _judged(family: Family) -> tuple[str, ...]:
    return ("select", "test", f"{family.members[0].confidence:.0%} interval", "balanced")


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _row(trained: Trained, version: str | None) -> tuple[str, ...]:
    m = trained.member
    size = (m.name, _short(m.flops), _short(m.params), str(m.network.resolution))
    found = f"{m.scaling} of {m.base} ({m.origin})"
    return (*size, *_results(trained), f"v{version}" if version else "–", found)


def _baseline(baseline: Baseline) -> tuple[str, ...]:
    steps = "–" if baseline.steps is None else f"{baseline.steps:,}"
    sizes = (_short(baseline.flops), _short(baseline.params), steps)
    return (baseline.about, *sizes, *_results(baseline))


def _results(tested: Tested) -> tuple[str, ...]:
    interval = f"{100 * tested.low:.1f}–{100 * tested.high:.1f} %"
    select = "–" if tested.select is None else _percent(tested.select.accuracy)
    return (select, _percent(tested.accuracy), interval, _percent(tested.balanced))


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def prediction(at: dict[str, Any]) -> str:
    """Return a line on what the accuracy law expects of one of the next budgets."""
    interval = f"{100 * at['low']:.1f}–{100 * at['high']:.1f} %"
    value = f"{100 * at['value']:.2f} %"
    return f"at {at['multiple']:g} x the base budget the accuracy law expects {value} ({interval})"


def _short(count: int | None) -> str:
    if count is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)
