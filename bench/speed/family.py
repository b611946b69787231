"""The default family, built in an empty copy of this project: its wall time, and the share that is not computing.

Computing is what the rooms of stages/ do, in the processes that run them. Everything else is orchestration: starting
processes and servers, importing, DVC's hashing, Prefect's and MLflow's records, the registry. Afterwards, what a
``dvc repro`` with nothing to do takes beside ``dvc status``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.speed.common import interleaved, options, ratio, show, spread, write

FILES = ("stages", "data", "pipeline", "presets", "params.yaml", "dvc.yaml", ".dvcignore", ".gitignore")
COMPUTED = re.compile(r"Flow run '([^']+)' - Finished in state Completed\('computed for ([\d.]+) s'\)")


def project(folder: Path) -> Path:
    """Copy the project, without anything built, into a folder and make it a git and DVC repository."""
    for name in FILES:
        source = Path(name)
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
    shutil.copytree(".dvc/plots", folder / ".dvc/plots")
    shutil.copy2(".dvc/config", folder / ".dvc/config")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def build(folder: Path, environment: dict[str, str]) -> tuple[float, dict[str, float]]:
    """Run ``dvc repro``; return its seconds and those that each stage computed."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "dvc", "repro"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    computed: dict[str, float] = {}
    for stage, spent in COMPUTED.findall(done.stdout + done.stderr):
        computed[stage] = computed.get(stage, 0) + float(spent)
    return seconds, computed


def nothing_to_do(folder: Path, environment: dict[str, str]) -> dict[str, float]:
    """Return what ``dvc repro`` of a built family takes, beside ``dvc status``."""

    def dvc(what: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "dvc", what], cwd=folder, env=environment, check=True, capture_output=True
        )

    return ratio(interleaved({"repro": lambda: dvc("repro"), "status": lambda: dvc("status")}, 5), "repro", "status")


def main() -> None:
    """Build, then time a build with nothing to do."""
    chosen = options(__doc__, repeats=1, preset="")
    totals, shares, stages = [], [], []
    for _ in range(chosen.repeats):
        with tempfile.TemporaryDirectory() as name:
            folder = project(Path(name) / "project")
            environment = os.environ | {"PREFECT_HOME": f"{name}/prefect", "PYTHONPATH": ""}
            python = [sys.executable, "-m"]
            if chosen.preset:
                command = [*python, "pipeline", "params", "--preset", chosen.preset]
                subprocess.run(command, cwd=folder, env=environment, check=True)
            seconds, computed = build(folder, environment)
            totals.append(seconds)
            shares.append(1 - sum(computed.values()) / seconds)
            stages.append(computed)
            nothing = nothing_to_do(folder, environment)
    show("the family", spread(totals), "s")
    show("of it not computing", spread(shares))
    show("dvc repro with nothing to do / dvc status", nothing)
    found = {"seconds": spread(totals), "not_computing": spread(shares), "nothing_to_do": nothing, "computed": stages}
    write("family", "cpu", **found, preset=chosen.preset, repeats=chosen.repeats)


if __name__ == "__main__":
    main()
