"""How the method is run and remembered: DVC decides whether, Prefect when and where, MLflow remembers."""

from __future__ import annotations

import os
from pathlib import Path

# Prefect and MLflow read these when they are imported, and so does whatever a stage starts.
DEFAULTS = {
    "DO_NOT_TRACK": "true",  # nothing here reports to anybody
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "1",  # no lines and bars between a stage's own
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
os.environ.update({name: value for name, value in DEFAULTS.items() if name not in os.environ})


REFUSED, UNAVAILABLE = 2, 3  # exit codes: wrong input, not worth another try; a server that is away


class Unavailable(ValueError):
    """A server that a stage needs does not answer: worth another try, unlike wrong input."""


def home(root: Path) -> Path:
    """Return where tracking and servers live: the repository itself, also for an experiment in a copy of it."""
    return Path(os.environ.get("DVC_ROOT", root)).resolve()
