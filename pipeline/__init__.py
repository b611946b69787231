"""How the method is run and remembered: DVC decides whether, Prefect when and where, MLflow remembers."""

from __future__ import annotations

import os
from pathlib import Path


def home(root: Path) -> Path:
    """Return where tracking and servers live: the repository itself, also for an experiment in a copy of it."""
    return Path(os.environ.get("DVC_ROOT", root)).resolve()
