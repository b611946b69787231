"""Why a stage would run: what DVC finds changed, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.lock import LockError

from scalenet.pipeline import settings


def of(stage: Any) -> list[str] | None:
    """Say what changed for a stage; None if a process computes it now."""
    try:
        found = stage.status(check_updates=True).get(stage.addressing, [])
    except LockError:
        return None
    keys = dict(_edited(stage))
    return [line for entry in found for line in _reasons(entry, keys)]


def _reasons(entry: Any, keys: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield what one entry of DVC's status says; of a param it says ``search: modified``, and
    ``keys`` which of its keys."""
    if not isinstance(entry, dict):
        yield str(entry)
        return
    for named in entry.values():
        for name, how in named.items() if isinstance(named, dict) else ():
            if isinstance(how, dict):
                for key, change in how.items():
                    yield from keys.get(key) or [f"{key}: {change}"]
            else:
                yield f"{name}: {how}"


def _edited(stage: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield the params of a stage, each with its keys that differ from dvc.lock's, as
    ``search.population: 8 -> 16``."""
    for dep in stage.deps:
        if isinstance(dep, ParamsDependency) and dep.hash_info.value:
            now = dep.read_params()
            for key, locked in dep.hash_info.value.items():
                if key in now:
                    changes = settings.changed(locked, now[key], key)
                    yield key, [settings.line(*change) for change in changes]
