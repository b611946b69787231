"""The family's table."""

from __future__ import annotations

from scalenet.records.documents import Family


def table(family: Family, versions: dict[str, str]) -> str:
    """Return the family as text, one member a line."""
    rows = [("size", "FLOPs", "params", "px", "top-1", "95 % interval", "registry", "strategy, network")]
    rows[0] = (*rows[0][:5], f"{family.members[0].confidence:.0%} interval", *rows[0][6:])
    for t in family.members:
        m = t.member
        interval = f"{100 * t.low:.1f}–{100 * t.high:.1f} %"
        version = f"v{versions[m.name]}" if m.name in versions else "–"
        size = (m.name, _short(m.flops), _short(m.params), m.network.partition("-")[0][1:])
        rows.append((*size, f"{100 * t.accuracy:.2f} %", interval, version, f"{m.scaling} of {m.base} ({m.origin})"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _short(count: int) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)
