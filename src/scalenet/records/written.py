"""Numbers as people write them, and text that is no markup."""

from __future__ import annotations

import re


def percent(share: float) -> str:
    """Write a share of 1: 86.3 %."""
    return f"{100 * share:.1f} %"


def counted(count: int, one: str, many: str = "") -> str:
    """Write a count with what is counted: 1 group, 1,797 groups, 2 classes; ``many`` is its plural
    where that is not ``one`` and an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def short(count: int | None) -> str:
    """Write a count with three digits and its unit: 1.79 M; – if it is not known."""
    if count is None:
        return "–"
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:  # with three digits it is the unit: 999,600 is 1 M
            return f"{count / size:.3g} {unit}"
    return str(count)


def duration(seconds: float) -> str:
    """Write a time in the unit that fits it: 12.3 s, 4 min 10 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def markdown(text: str) -> str:
    """Write a text as Markdown that shows it as it is, whatever it holds: a class may have any
    name."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]~|#>@])", r"\\\1", plain)
