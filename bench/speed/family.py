"""The default family, built in an empty copy of this project: seconds, and those not computing.

Built by ``scalenet run``, by one that has a single worker, and by ``dvc repro``, each in a copy of
its own. Computing is what the stages do, which adds up to a share where one follows the other.
Everything else is orchestration: starting processes and servers, importing, DVC's hashing,
Prefect's and MLflow's records, the registry. Afterwards, what a ``dvc repro`` with nothing to do
takes beside ``dvc status``.
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

FILES = (
    "src",
    "stages",
    "data",
    "pipeline",
    "presets",
    "params.yaml",
    "dvc.yaml",
    ".dvcignore",
    ".gitignore",
)
COMPUTED = re.compile(
    r"Task run '([^']+)' - Finished in state Completed\('computed for ([\d.]+) s'\)"
)
RUN = ("scalenet.pipeline", "run")
ALONE = (*RUN, "--set", "compute.workers=1")
REPRO = ("dvc", "repro")
HEARD = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO"}  # each stage's end, with its seconds


def project(folder: Path) -> Path:
    """Copy the project, without anything built, into a folder: a git and DVC repository."""
    for name in FILES:
        source, target = Path(name), folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    shutil.copytree(".dvc/plots", folder / ".dvc/plots")
    shutil.copy2(".dvc/config", folder / ".dvc/config")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def build(
    folder: Path, environment: dict[str, str], command: tuple[str, ...]
) -> tuple[float, dict[str, float]]:
    """Build the family; return the seconds, and those that each stage says it computed.

    Stages say so to Prefect, which ``dvc repro`` does without.
    """
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    computed = {stage: float(n) for stage, n in COMPUTED.findall(done.stdout + done.stderr)}
    if command != REPRO and not computed:
        raise SystemExit(f"no stage says that it computed:\n{done.stderr[-3000:]}")
    return seconds, computed


def nothing_to_do(folder: Path, environment: dict[str, str]) -> dict[str, float]:
    """Return what ``dvc repro`` of a built family takes, beside ``dvc status``."""

    def dvc(what: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "dvc", what],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
        )

    return ratio(
        interleaved({"repro": lambda: dvc("repro"), "status": lambda: dvc("status")}, 5),
        "repro",
        "status",
    )


def built(parent: Path, preset: str, command: tuple[str, ...]) -> tuple[float, dict, dict]:
    """Build in a new folder; return the seconds, those computed, and those of nothing to do."""
    folder = project(parent / "project")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # dvc.yaml: `scalenet`
    own = {"PREFECT_HOME": f"{parent}/prefect", "PYTHONPATH": "", "PATH": path}
    environment = os.environ | HEARD | own
    if preset:
        chosen = [sys.executable, "-m", "scalenet.pipeline", "params", "--preset", preset]
        subprocess.run(chosen, cwd=folder, env=environment, check=True)
    seconds, computed = build(folder, environment, command)
    return seconds, computed, nothing_to_do(folder, environment) if command == RUN else {}


def main() -> None:
    """Build, then time a build with nothing to do."""
    chosen = options(__doc__, repeats=1, preset="")
    totals, alone, shares, stages, repros = [], [], [], [], []
    for _ in range(chosen.repeats):
        with tempfile.TemporaryDirectory() as name:
            seconds, _, nothing = built(Path(name), chosen.preset, RUN)
        totals.append(seconds)
        with tempfile.TemporaryDirectory() as name:
            seconds, computed, _ = built(Path(name), chosen.preset, ALONE)
        alone.append(seconds)
        shares.append(1 - sum(computed.values()) / seconds)
        stages.append(computed)
        with tempfile.TemporaryDirectory() as name:
            repros.append(built(Path(name), chosen.preset, REPRO)[0])
    show("the family by scalenet run", spread(totals), "s")
    show("the same with one worker", spread(alone), "s")
    show("of that not computing", spread(shares))
    show("the family by dvc repro", spread(repros), "s")
    show("dvc repro with nothing to do / dvc status", nothing)
    found = {
        "seconds": spread(totals),
        "one_worker_seconds": spread(alone),
        "not_computing": spread(shares),
        "repro_seconds": spread(repros),
        "nothing_to_do": nothing,
        "computed": stages,
    }
    name = f"family-{chosen.preset}" if chosen.preset else "family"
    write(name, "cpu", **found, preset=chosen.preset, repeats=chosen.repeats)


if __name__ == "__main__":
    main()
