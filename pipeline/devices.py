"""What layers take on a device, as a file: measured there, read where a project begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pydantic
import yaml

from scalenet.config import yamlfile
from scalenet.config.explain import explain
from scalenet.config.params import Params
from scalenet.config.space import Latency
from scalenet.records import files
from scalenet.space.network import Task

if TYPE_CHECKING:
    from scalenet.pipeline.init.timing import Trial

HEAD = "# Of layers of a kind: microseconds each, nanoseconds a value and a multiply-accumulate.\n"
MOST = 5  # wrong keys that are named


def measure(
    params: Params, task: Task, name: str | None = None, threads: int = 1, seconds: float = 20.0
) -> tuple[Latency, Trial]:
    """Time networks of a space on this machine; ``ValueError`` if what their layers take does not
    tell what other networks do."""
    from scalenet.pipeline.init.timing import measured  # seconds of imports: reading needs none
    from scalenet.training.device import processor

    of = "" if threads == 1 else f", {threads} threads"
    latency, trial = measured(params, task, name or f"{processor()}{of}", threads, seconds)
    trial.check()
    return latency, trial


def check_place(path: Path) -> None:
    """Refuse to write a device's file over anything else."""
    if path.exists():
        try:
            read(path)
        except ValueError as error:
            raise ValueError(
                f"--out {path}: a file that is no device's lies there; give another name, or move "
                "it away"
            ) from error


def write(path: Path, latency: Latency) -> None:
    """Write a device's file."""
    text = yaml.safe_dump(latency.model_dump(), sort_keys=False, default_flow_style=None, width=96)
    files.write_bytes(path, f"{HEAD}{text}".encode())


def read(path: Path) -> Latency:
    """Read a device's file; ``ValueError`` says what is wrong with it."""
    try:
        content = yamlfile.parse(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("holds no rates")
        return Latency.model_validate(content)
    except pydantic.ValidationError as error:
        wrong = "; ".join(explain(item, Latency) for item in error.errors()[:MOST])
    except (OSError, ValueError) as error:
        wrong = str(error)
    raise ValueError(f"{path}: {wrong}; `scalenet latency` writes such a file, on the device")
