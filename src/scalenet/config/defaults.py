"""The preset that has every key, and what to say of a params file that lacks some.

Keys have no defaults in the code. But a file of an older version lacks what came later.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalenet.config.yamlfile import parse, read

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
    leaves = {key: leaf for key in keys if (leaf := _first_leaf(known, key))}
    own = [key for key in keys if key not in leaves]
    lines = []
    if leaves:
        words = " ".join(f"--set {shlex.quote(leaf)}" for leaf in leaves.values())
        them = "it with its default" if len(leaves) == 1 else "them with their defaults"
        lines.append(f"{_some(leaves)}: missing; add {them}: `scalenet params {words}`")
    if own:
        lines.append(f"{_some(own)}: missing; add it in the file, as its neighbours have it")
    return lines


def _some(keys: Any) -> str:
    more = f" and {len(keys) - MOST} more" if len(keys) > MOST else ""
    return ", ".join([*keys][:MOST]) + more


def _first_leaf(known: Any, key: str) -> str:
    """Return KEY=DEFAULT of a key, or of the first one in a section; nothing if there is none."""
    parts = key.split(".")
    if parts[0] == OPEN and len(parts) > 1:
        return ""
    for part in parts:
        if not isinstance(known, Mapping) or part not in known:
            return ""
        known = known[part]
    while isinstance(known, Mapping) and known:
        key, known = f"{key}.{next(iter(known))}", next(iter(known.values()))
    return f"{key}={_text(known)}"


def _text(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, str) and parse(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)
