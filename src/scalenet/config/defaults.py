"""The preset that has every key, and what to say of a params file that lacks some.

Keys have no defaults in the code. But a file of an older version lacks what came later.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalenet.config.explain import some
from scalenet.config.yamlfile import read

_PACKAGE = Path(__file__).parents[1]  # its presets lie in it, those of a clone beside src
PRESETS = next(
    (p for p in (_PACKAGE / "presets", _PACKAGE.parents[1] / "presets") if p.is_dir()),
    _PACKAGE / "presets",
)
DEFAULTS = PRESETS / "digits.yaml"
OPEN = "family"  # the section whose keys are a user's own: the defaults say nothing of them
MOST = 10  # keys that a line names


def lacking(keys: list[str]) -> list[str]:
    """Return the lines on keys that are missing: what adds them, or where they are to be added."""
    known = read(DEFAULTS) if keys and DEFAULTS.exists() else {}
    there = [key for key in keys if _has(known, key)]
    own = [key for key in keys if key not in there]
    lines = []
    if there:
        them = "it with its default" if len(there) == 1 else "them with their defaults"
        lines.append(f"{some(there, MOST)}: missing; `scalenet params` adds {them}")
    if own:
        lines.append(f"{some(own, MOST)}: missing; add it in the file, as its neighbours have it")
    return lines


def _has(known: Any, key: str) -> bool:
    """Tell whether the defaults have a key; of members they have none."""
    parts = key.split(".")
    if parts[0] == OPEN and len(parts) > 1:
        return False
    for part in parts:
        if not isinstance(known, Mapping) or part not in known:
            return False
        known = known[part]
    return True
