"""What the speed benchmarks share: interleaved repeats, paired ratios, one JSON file a script."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from scalenet.config import params as stage_params
from scalenet.config.params import Params
from scalenet.pipeline import settings
from scalenet.records.documents import DataInfo
from scalenet.training.device import prepare, processor

CLASSES = 10
PASSES = 3  # of a training step, in forward ones: also the inputs' and the weights' gradients
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "mlflow", "prefect", "dvc")
Times = dict[str, list[float]]  # variant -> seconds of each repeat


def options(doc: str | None, repeats: int, **more: Any) -> argparse.Namespace:
    """Read ``--repeats``, ``--device`` and a script's own options, given as name=default; a GPU
    computes as the stages have it."""
    parser = argparse.ArgumentParser(description=doc)
    defaults = {"repeats": repeats, "device": "cuda" if torch.cuda.is_available() else "cpu"} | more
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    chosen = parser.parse_args()
    if chosen.device.startswith("cuda") and torch.cuda.is_available():
        on = params_of("").compute.model_copy(update={"device": chosen.device})
        prepare(on)
    return chosen


def params_of(preset: str) -> Params:
    """Return params.yaml as a preset makes it, as it is for an empty name; the file stays."""
    content = stage_params.read_yaml("params.yaml")
    if preset:
        settings.merge(content, stage_params.read_yaml(settings.preset_path(Path.cwd(), preset)))
    return stage_params.parse(content)


def invented(params: Params) -> DataInfo:
    """Describe images that nobody took, shaped as the params' own."""
    channels, classes = params.data.channels, [str(i) for i in range(CLASSES)]
    return DataInfo(
        channels=channels, size=params.data.size, classes=classes,
        counts={}, mean=[0.5] * channels, std=[0.25] * channels, digest="0",
    )  # fmt: skip


def interleaved(
    variants: Mapping[str, Callable[[], Any]], repeats: int, device: str = "cpu"
) -> Times:
    """Time every variant once a round, so that a machine that drifts treats all alike.

    The first round is dropped.
    """
    torch.set_num_threads(1)
    times: Times = {name: [] for name in variants}
    for _ in range(repeats + 1):
        for name, run in variants.items():
            _wait(device)
            start = time.perf_counter()
            run()
            _wait(device)
            times[name].append(time.perf_counter() - start)
    return {name: seconds[1:] for name, seconds in times.items()}


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def ratio(times: Times, of: str, to: str) -> dict[str, float]:
    """Return the least, median and largest ratio of two variants' times, paired by round."""
    return spread([a / b for a, b in zip(times[of], times[to], strict=True)])


def spread(values: list[float]) -> dict[str, float]:
    """Return the least, the median and the largest of some numbers."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def show(what: str, values: Mapping[str, float], unit: str = "") -> None:
    """Print one figure."""
    print(
        f"{what:58} {values['median']:9.4g} {unit} ({values['min']:.4g} to {values['max']:.4g})",
        flush=True,
    )


def write(name: str, device: str, **content: Any) -> None:
    """Write a script's figures with the machine and the versions they belong to."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}-{device.partition(':')[0]}.json"
    file.write_text(json.dumps(about(device) | content, indent=2) + "\n")


def peak() -> float:
    """Return the peak of this process's memory in MB: not ru_maxrss, which begins with that of the
    process that began it."""
    status = Path("/proc/self/status").read_text().splitlines()
    [found] = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    return int(found) / 1024


@lru_cache(maxsize=1)
def revision() -> str:
    """Return the commit of the code, and whether it had been changed when this process asked first:
    the results that it writes itself do not count."""
    if not shutil.which("git"):
        return "unknown: no git here"
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    return asked.stdout.strip() or "unknown: no repository here"


def about(device: str) -> dict[str, Any]:
    """Return the day, the code, the machine and the versions."""
    machine = {
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    if device.startswith("cuda"):
        machine["gpu"] = torch.cuda.get_device_name(device)
    return {
        "date": date.today().isoformat(),
        "revision": revision(),
        "machine": machine,
        "versions": {p: installed(p) for p in PACKAGES},
    }


def installed(package: str) -> str:
    """Return a package's version; a bare machine with PyTorch lacks some."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
