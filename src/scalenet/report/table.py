"""The family as text: its members, what they should beat, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scalenet.records import written
from scalenet.records.documents import Baseline, Family, Tested, Trained
from scalenet.records.written import percent, short
from scalenet.report import marks

DROPPED = ("balanced", "version", "px", "params", "interval", "baselines", "ms", "front")
FRONT, DOMINATED = "●", "○"


def text(
    family: Family,
    versions: Mapping[str, str] | None,
    latencies: Mapping[str, float],
    columns: int | None = None,
) -> str:
    """Return a family's table, a member a line, at most ``columns`` characters wide.

    ``versions`` are those in the model registry, None where that is not known, ``latencies``
    milliseconds. A narrow table leaves out columns, those of DROPPED one after the other.
    """
    rows = _rows(family, versions, latencies)
    for name in DROPPED:
        drawn = _aligned(_lined(rows))
        if columns is None or max(map(len, drawn.splitlines())) <= columns:
            return drawn
        for row in rows:
            row.pop(name, None)
    return _aligned(_lined(rows))


def key(family: Family, latencies: Mapping[str, float]) -> list[str]:
    """Return what the table's columns mean, a line each."""
    lines = []
    if family.by_latency:
        lines.append("device ms one image on the device of scaling.latency, by its layers")
    if latencies:
        lines.append("ms        one image on one CPU thread, measured when it was registered")
    if all(t.select for t in family.members):
        few = "so few device ms" if family.by_latency else "so few FLOPs"
        lines.append(f"front     {FRONT} none with {few} is as good on select, {DOMINATED} one is")
    if family.baselines:
        lines.append(
            "baselines as listed above, on test: "
            f"{marks.BETTER} better beyond noise, {marks.WORSE} worse, {marks.EVEN} neither"
        )
    return lines


def networks(family: Family) -> str:
    """Return what each member is: its strategy, its base, its network."""
    return _aligned(_networks(family))


def baselines(family: Family) -> str:
    """Return the table of what the family should beat, one baseline a line."""
    return _aligned(_rivals(family))


def markdown(family: Family, versions: Mapping[str, str]) -> str:
    """Return a family's members, its baselines, its networks and its warnings in Markdown."""
    parts = [_grid(_lined(_rows(family, versions, {})))]
    if family.baselines:
        parts.append(_grid(_rivals(family)))
    parts += [f"* {line}\n" for line in key(family, {})]
    parts.append(_grid(_networks(family)))
    parts += [f"**{written.markdown(line)}**\n" for line in warnings(family)]
    return "\n".join(parts)


def _grid(rows: Sequence[tuple[str, ...]]) -> str:
    head, *rest = [" | ".join(map(written.markdown, row)) for row in rows]
    lines = (f"| {line} |\n" for line in (head, " | ".join("---" for _ in rows[0]), *rest))
    return "".join(lines)


def warnings(family: Family) -> list[str]:
    """Return a line for each warning."""
    return [f"warning: {sentence}" for sentence in family.warnings]


def _rows(
    family: Family, versions: Mapping[str, str] | None, latencies: Mapping[str, float]
) -> list[dict[str, str]]:
    """Return the members' cells by column, without the columns of which nothing is known."""
    front = marks.pareto(family.members, lambda trained: trained.member.spent)
    device, rivals = family.by_latency, family.baselines
    known = {"ms": latencies, "device ms": device, "baselines": rivals, "front": front}
    lacking = {name for name, values in known.items() if not values}
    lacking |= {"version"} if versions is None else set()
    rows = (
        _row(t, family, front) | _kept(t.member.name, versions or {}, latencies)
        for t in family.members
    )
    return [{name: cell for name, cell in row.items() if name not in lacking} for row in rows]


def _lined(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, ...]]:
    return [tuple(rows[0]), *(tuple(row.values()) for row in rows)]


def _networks(family: Family) -> list[tuple[str, ...]]:
    members = (trained.member for trained in family.members)
    rows = [(m.name, f"{m.scaling} of {m.base}", m.origin, str(m.network)) for m in members]
    return [("size", "strategy", "origin", "network"), *rows]


def _rivals(family: Family) -> list[tuple[str, ...]]:
    head = ("baseline", "FLOPs", "params", "select", "test", _interval(family), "balanced")
    return [head, *map(_baseline, family.baselines)]


def _interval(family: Family) -> str:
    return f"{family.members[0].confidence:.0%} interval"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _row(trained: Trained, family: Family, front: set[str]) -> dict[str, str]:
    m = trained.member
    select, test, interval, balanced = _results(trained)
    return {
        "size": m.name,
        "FLOPs": short(m.flops),
        "params": short(m.params),
        "px": str(m.network.resolution),
        "device ms": f"{m.latency:.3g}" if m.latency else "–",
        "ms": "–",
        "select": select,
        "test": test,
        "interval": interval,
        "balanced": balanced,
        "front": FRONT if m.name in front else DOMINATED,
        "baselines": " ".join(marks.against(family, m.name).values()),
        "version": "–",
    }


def _kept(name: str, versions: Mapping[str, str], latencies: Mapping[str, float]) -> dict[str, str]:
    """Return what MLflow knows of a member, as cells."""
    version = {"version": f"v{versions[name]}"} if name in versions else {}
    return version | ({"ms": f"{latencies[name]:.3g}"} if name in latencies else {})


def _baseline(baseline: Baseline) -> tuple[str, ...]:
    return (baseline.about, short(baseline.flops), short(baseline.params), *_results(baseline))


def _results(tested: Tested) -> tuple[str, ...]:
    interval = f"{100 * tested.low:.1f}–{100 * tested.high:.1f} %"
    select = "–" if tested.select is None else percent(tested.select.accuracy)
    return (select, percent(tested.accuracy), interval, percent(tested.balanced))


def prediction(at: dict[str, Any]) -> str:
    """Return a line on what the accuracy law expects of one of the next budgets."""
    interval = f"{100 * at['low']:.1f}–{100 * at['high']:.1f} %"
    value = percent(at["value"])
    return f"at {at['multiple']:g} x the base budget the accuracy law expects {value} ({interval})"
