"""Tiny projects in folders of their own, and what a finished one holds."""

from __future__ import annotations

import csv
import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

MEMBERS = 3  # of the preset tiny


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which nothing of this user's homes is seen or changed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "DVC"))}
    homes = {"HOME": str(folder / "home"), "PREFECT_HOME": str(folder / "prefect")}
    homes["TMPDIR"] = str(folder / "temporary")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return kept | homes | {"PATH": path, "OMP_NUM_THREADS": "1"}


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """Start a command in a folder's project, as the first of a group of processes; what it says
    goes to a file beside it."""
    root = folder / "project"
    root.mkdir(parents=True, exist_ok=True)
    for name in ("home", "temporary"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "said.txt").unlink(missing_ok=True)  # the last words of a killed one go with it
    with (folder / "said.txt").open("w") as said:
        return subprocess.Popen(
            command,
            cwd=root,
            env=environment(folder),
            stdout=said,
            stderr=said,
            text=True,
            process_group=0,
        )


def under_way(folder: Path) -> list[str]:
    """Name the stages that a command said to have begun, and not to have ended."""
    found: dict[str, None] = {}
    for line in (folder / "said.txt").read_text().splitlines():
        name, _, what = line.partition(": ")
        if what == "begins":
            found[name] = None
        elif what.startswith("done"):
            found.pop(name, None)
    return list(dict.fromkeys(name.partition("@")[0] for name in found))


def finish(folder: Path, *command: str, seconds: float = 900) -> str:
    """Run a command to its end; return "" or, if it failed, how."""
    process = start(folder, *command)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return f"{' '.join(command)} hung for {seconds:.0f} s"
    said = (folder / "said.txt").read_text().splitlines()[-3:]
    return f"{' '.join(command)} ended with {code}: {' | '.join(said)}" if code else ""


def content(folder: Path) -> dict[str, str]:
    """Return the digests of what a project's stages made, and of dvc.lock."""
    root = folder / "project"
    files = [root / "dvc.lock", *(p for p in (root / "artifacts").rglob("*") if p.is_file())]
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def differences(folder: Path, reference: dict[str, str]) -> list[str]:
    """Name the files that are not, byte for byte, those of an uninterrupted run."""
    found = content(folder)
    return sorted(n for n in found | reference if found.get(n) != reference.get(n))


def misremembered(folder: Path) -> list[str]:
    """Say what MLflow lacks, has twice, or believes to be running."""
    root, wrong = folder / "project", []
    with (root / "artifacts/search/candidates.csv").open() as file:
        candidates = len(list(csv.DictReader(file)))
    with closing(sqlite3.connect(f"file:{root}/mlflow.db?mode=ro", uri=True)) as database:

        def ask(query: str) -> list[tuple]:
            return database.execute(query).fetchall()

        [(running,)] = ask("SELECT COUNT(*) FROM runs WHERE status = 'RUNNING'")
        [(runs, distinct)] = ask(
            "SELECT COUNT(*), COUNT(DISTINCT value) FROM tags WHERE key = 'candidate'"
        )
        versions = ask(
            "SELECT value, COUNT(*) FROM model_version_tags WHERE key = 'member' GROUP BY value"
        )
    if running:
        wrong.append(f"{running} runs seem to run for ever")
    if runs != candidates or distinct != candidates:
        wrong.append(f"{runs} runs ({distinct} distinct) for {candidates} candidates")
    if len(versions) != MEMBERS or any(count != 1 for _, count in versions):
        wrong.append(f"versions by member: {versions}")
    return wrong
