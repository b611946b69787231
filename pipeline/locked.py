"""Whether a file is the one that dvc.lock names; read without DVC, whose import takes a second."""

from __future__ import annotations

import hashlib
from pathlib import Path

import yaml


def is_other(root: Path, file: str) -> bool:
    """Tell whether dvc.lock names another content of a file than lies here."""
    lock, there = root / "dvc.lock", root / file
    if not lock.exists() or not there.exists():
        return False
    try:
        content = yaml.safe_load(lock.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError):
        return False  # `scalenet status` says what is wrong with it
    stages = content.get("stages") if isinstance(content, dict) else None
    outs = [out for stage in (stages or {}).values() for out in stage.get("outs") or ()]
    named = [out.get("md5") for out in outs if out.get("path") == file]
    return bool(named) and hashlib.md5(there.read_bytes()).hexdigest() not in named
