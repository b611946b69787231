"""How the method is run and remembered: DVC decides whether, Prefect when and where, MLflow remembers."""

from __future__ import annotations

import os
from pathlib import Path

# Nothing here reports to anybody: Prefect and MLflow read these when they are imported.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


class Unavailable(ValueError):
    """A server that a stage needs does not answer: worth another try, unlike wrong input."""


def home(root: Path) -> Path:
    """Return where tracking and servers live: the repository itself, also for an experiment in a copy of it."""
    return Path(os.environ.get("DVC_ROOT", root)).resolve()
