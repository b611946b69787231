"""Marks of members: whom none beats at its cost, and which baselines each is better than."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scalenet.laws.choice import leader
from scalenet.records.documents import Comparison, Family, Trained
from scalenet.records.written import percent

BETTER, WORSE, EVEN = "+", "−", "="  # beyond noise, or not told apart
Cost = Callable[[Trained], float | None]


def pareto(members: Sequence[Trained], cost: Cost) -> set[str]:
    """Name the members that no other one dominates: as cheap or cheaper, and as good on select.

    Of equals in both, the first stays. A member of unknown cost or score is left out.
    """
    known = [(cost(t), t.select.correct, t.member.name) for t in members if t.select]
    points = [point for point in known if point[0] is not None]
    kept: set[str] = set()
    best = -1
    for _, correct, name in sorted(points, key=lambda point: (point[0], -point[1])):
        if correct > best:
            kept.add(name)
            best = correct
    return kept


def against(family: Family, member: str) -> dict[str, str]:
    """Return a member's mark beside each baseline, from their answers on test."""
    level = 1 - family.members[0].confidence
    return {c.baseline: _mark(c, level) for c in family.comparisons if c.member == member}


def _mark(compared: Comparison, level: float) -> str:
    if compared.p >= level:
        return EVEN
    return BETTER if compared.difference > 0 else WORSE


def verdict(family: Family) -> str:
    """Say in a sentence how good the family's best member is, and beside what."""
    best = leader(family.members)
    found = against(family, best.member.name)
    names = {b.name: b.about for b in family.baselines}
    said = f"{best.member.name} labels {percent(best.accuracy)} of {best.tested:,} test images"
    interval = f"{100 * best.low:.1f} to {100 * best.high:.1f} %"
    said += f" right ({best.confidence:.0%} interval {interval})"
    said += " and is the most accurate on select" if best.select else " and is the largest"
    if not found:
        return f"{said}; there are no baselines to say whether that is any good."
    beyond = [names[name] for name, mark in found.items() if mark == BETTER]
    if len(beyond) == len(found):
        return f"{said}; it is better than every baseline beyond noise."
    if not beyond:
        return f"{said}; it is better than no baseline beyond noise."
    rest = [names[name] for name, mark in found.items() if mark != BETTER]
    said += f". It is better beyond noise than: {'; '.join(beyond)}"
    return f"{said}. Not so: {'; '.join(rest)}."
