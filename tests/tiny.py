"""The tiny project in a folder of its own, as a user has it, and commands typed there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
FILES = ("src", "stages", "data", "pipeline", "presets", "params.yaml", "dvc.yaml", "prefect.yaml")
FILES += (".gitignore", ".dvcignore", ".dvc/plots", ".dvc/config", ".dvc/.gitignore")
MEMBERS = ("S0", "S2", "S3")


def youngest(pid: int | None = None) -> psutil.Process:
    """Return the child of a process, by default of this one, that began last; its number may be
    below an older one's, as numbers begin anew."""
    return max(psutil.Process(pid).children(), key=lambda child: child.create_time())


class Project:
    """A copy of the project in a folder of its own, with its own homes for git, Prefect and
    MLflow."""

    def __init__(self, folder: Path):
        """Begin in a folder, or go on with what lies there."""
        self.folder = folder / "project"
        self.environment = _environment(folder)
        if not self.folder.exists():
            self._begin(folder)

    def _begin(self, folder: Path) -> None:
        for name in FILES:
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, target, ignore=ignore)
            else:
                shutil.copy2(ROOT / name, target)
        (folder / "home").mkdir(exist_ok=True)
        self.run("git", "init", "--quiet")
        self.commit("start")

    def run(self, *command: str, code: int | None = 0, cwd: Path | None = None) -> str:
        """Run a command in the project; return what it printed, after checking its exit code."""
        done = self._done(command, code, cwd)
        return done.stdout + done.stderr

    def ask(self, code: str, cwd: Path | None = None) -> object:
        """Run Python in a process of its own, in the project, and return the JSON that it
        prints last."""
        return json.loads(self._done(("python", "-c", code), 0, cwd).stdout.splitlines()[-1])

    def _done(
        self, command: tuple[str, ...], code: int | None, cwd: Path | None
    ) -> subprocess.CompletedProcess:
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert code is None or done.returncode == code, (
            f"{command}: exit {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}"
        )
        return done

    def scalenet(self, *arguments: str, code: int | None = 0) -> str:
        return self.run("scalenet", *arguments, code=code)

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def reset(self) -> None:
        """Go back to what was committed."""
        self.run("git", "checkout", "--quiet", ".")
        self.run("dvc", "checkout", "--quiet")

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def artifacts(self) -> dict[str, bytes]:
        files = (path for path in (self.folder / "artifacts").rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def _environment(folder: Path) -> dict[str, str]:
    """Return one in which nothing of this user's homes is seen or changed."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "DVC_"))
    }
    return kept | {
        "HOME": str(folder / "home"),
        "PREFECT_HOME": str(folder / "prefect"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{
            f"GIT_{who}_{what}": "t@localhost"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }


def build(folder: Path) -> None:
    """Build the family there by ``dvc repro``; what that said lies beside it."""
    project = Project(folder)
    project.scalenet("params", "--preset", "tiny")
    said = project.run("dvc", "repro")
    project.commit("built")
    (folder / "first.txt").write_text(said)
