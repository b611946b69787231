"""What dvc.lock names: a file's content, the numbers; read without DVC, whose import takes a
second."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

from scalenet.config import params as config
from scalenet.config.params import Params


def is_other(root: Path, file: str) -> bool:
    """Tell whether dvc.lock names another content of a file than lies here."""
    there = root / file
    if not there.exists():
        return False
    outs = [out for stage in _stages(root).values() for out in stage.get("outs") or ()]
    named = [out.get("md5") for out in outs if out.get("path") == file]
    return bool(named) and hashlib.md5(there.read_bytes()).hexdigest() not in named


def made_anew(root: Path) -> list[str]:
    """Name the stages that were run again since the family was published, whose documents lie
    beside it and are not what it was made of: ``search``, after a run up to it."""
    stages, found = _stages(root), {}
    made = {
        out["path"]: (name, out.get("md5"))
        for name, stage in stages.items()
        for out in stage.get("outs") or ()
    }
    waiting = ["publish"]
    while waiting:
        for dep in (stages.get(waiting.pop()) or {}).get("deps") or ():
            place = Path(dep["path"])
            maker, now = made.get(str(place)) or (made.get(str(place.parent), ("", ""))[0], None)
            if not maker:
                continue  # code, and what a user gives
            if maker not in found:
                found[maker] = False
                waiting.append(maker)
            there = root / place
            if now is None and there.exists():  # a file of a folder
                now = hashlib.md5(there.read_bytes()).hexdigest()
            found[maker] |= now not in (None, dep.get("md5"))
    return sorted({name.partition("@")[0] for name, other in found.items() if other})


def params(root: Path, given: Params) -> Params:
    """Return the params that the stages were run with: params.yaml, which is ``given``, may have
    been edited since. What no stage depends on is as given."""
    content = given.model_dump(mode="json")
    for name, stage in _stages(root).items():
        known = (stage.get("params") or {}).get("params.yaml") or {}
        # those that a member alone depends on are in the section of all
        for key, value in {} if "@" in name else known.items():
            *sections, last = key.split(".")
            place: Any = content
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = value
    try:
        return config.parse(content, "dvc.lock")
    except ValueError:  # of another version of scalenet
        return given


def _stages(root: Path) -> dict[str, Any]:
    """Return the stages of dvc.lock; none of one that cannot be read."""
    lock = root / "dvc.lock"
    if not lock.exists():
        return {}
    try:
        content = yaml.safe_load(lock.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}  # `scalenet status` says what is wrong with it
    return (content.get("stages") or {}) if isinstance(content, dict) else {}
