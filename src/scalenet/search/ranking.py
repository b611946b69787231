"""How what was scored is compared; ties are settled by name, so that a search repeats itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def ranked(scores: Mapping[T, float]) -> list[T]:
    """List what has scores, best first; equal ones in the order of their names."""
    return sorted(scores, key=lambda option: (-scores[option], str(option)))


def best(scores: Mapping[T, float], current: T) -> T:
    """Return the option with the best score; the current one wins ties."""
    first = ranked(scores)[0]
    return current if scores[current] == scores[first] else first
