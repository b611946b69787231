"""The wheel and the editable install: what they hold, from where they work, and a project in
any folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scalenet.stages import STAGES

ROOT = Path(__file__).parent.parent
BUILT = ("src", "stages", "pipeline", "presets", "pyproject.toml", "README.md")


def source(folder: Path) -> Path:
    """Return a copy of what a wheel is built from."""
    for name in BUILT:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy2(ROOT / name, folder / name)
    return folder


def build(folder: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(folder)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    [wheel] = (folder / "dist").glob("*.whl")
    return wheel


class Environment:
    """A fresh environment that has the libraries of this one, but not this project."""

    def __init__(self, folder: Path):
        self.folder = folder
        venv = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
        subprocess.run(venv, check=True)
        [site] = folder.glob("lib/python*/site-packages")
        (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.python = folder / "bin" / "python"
        drop = ("PREFECT_", "MLFLOW_", "DVC_", "PYTHON")
        self.variables = {k: v for k, v in os.environ.items() if not k.startswith(drop)}
        binaries = os.pathsep.join(
            [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        )
        self.variables |= {
            "PATH": binaries,
            "HOME": str(folder),
            "PREFECT_HOME": str(folder / "prefect"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def install(self, *what: str) -> None:
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet"]
        pip += ["--no-deps", "--no-index", "--no-build-isolation", "--force-reinstall", *what]
        subprocess.run(pip, check=True, capture_output=True, text=True, timeout=200)

    def run(self, *command: str, cwd: Path, code: int | None = 0) -> str:
        done = subprocess.run(
            command, cwd=cwd, env=self.variables, capture_output=True, text=True, timeout=300
        )
        said = done.stdout + done.stderr
        assert code is None or done.returncode == code, (
            f"{command}: {done.returncode}\n{said[-3000:]}"
        )
        return said


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def wheel(tree):
    return build(tree)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    environment = Environment(tmp_path_factory.mktemp("environment"))
    environment.install(str(wheel))
    return environment


def pins(text: str) -> dict[str, str]:
    """Return the versions that a file of requirements pins, by canonical name."""
    lines = [line.split(" ")[0].partition("==") for line in text.splitlines()]
    return {canonicalize_name(name): version for name, sign, version in lines if sign and name}


def test_the_lock_pins_by_content_what_was_tested_together():
    """`make lock` is to be run again when pyproject.toml or constraints.txt changes."""
    lock = (ROOT / "requirements.lock").read_text()
    locked, tested = pins(lock), pins((ROOT / "constraints.txt").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = ("parquet", "pipeline", "export", "servers", "dask")
    wanted = [*project["dependencies"], *(line for extra in named for line in extras[extra])]
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name != canonicalize_name(project["name"]):
            assert name in locked and requirement.specifier.contains(locked[name]), name
    assert {n: v for n, v in locked.items() if n in tested} == {
        n: v for n, v in tested.items() if n in locked
    }
    entries = re.split(r"\n(?=\S)", lock.split("make lock\n")[1])
    assert len(entries) == len(locked) > 200
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry) for entry in entries)
    assert "://" not in lock, "it names no place to take packages from"


def test_the_wheel_holds_scalenet_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"scalenet", "scalenet_pipeline"}
    for file in ("space/network.py", "stages/search.py", "pipeline/cli/run.py", "presets/tiny.yaml",
                 "pipeline/files/dvc.template.yaml", "pipeline/files/plots/page.html",
                 "pipeline/doors/page.html", "report/page.html", "report/page.css",
                 "report/page.js"):  # fmt: skip
        assert f"scalenet/{file}" in names
    ours = {f.relative_to(ROOT / "src").as_posix() for f in (ROOT / "src").rglob("*.py")}
    assert ours <= set(names)


@pytest.mark.parametrize("place", ["clone", "elsewhere"])
@pytest.mark.parametrize("way", ["wheel", "editable"])
def test_it_works_from_any_folder(way, place, tree, wheel, installed, tmp_path):
    environment = installed
    if way == "editable":
        environment = Environment(tmp_path / "environment")
        environment.install("--editable", str(tree))
    folder = tree if place == "clone" else tmp_path
    code = "import scalenet, scalenet.stages, scalenet.pipeline as p; print(p.__file__)"
    where = environment.run(str(environment.python), "-c", code, cwd=folder).strip()
    expected = tree if way == "editable" else environment.folder
    assert Path(where).is_relative_to(expected)
    assert "usage" in environment.run("python", "-m", "scalenet.stages", cwd=folder, code=2)
    assert "params.yaml" in environment.run("scalenet", "family", cwd=folder, code=2)


def test_a_bare_machine_runs_a_stage_and_the_command_says_what_is_missing(installed, tmp_path):
    missing = tmp_path / "missing"
    for name in ("click", "dvc", "prefect", "mlflow", "ruamel", "altair", "filelock", "httpx"):
        (missing / name).mkdir(parents=True)
        raised = f"raise ModuleNotFoundError('no module named {name}', name={name!r})\n"
        (missing / name / "__init__.py").write_text(raised)
    folder = tmp_path / "bare"
    (folder / "data/digits").mkdir(parents=True)
    shutil.copy2(ROOT / "params.yaml", folder)
    bare = Environment(tmp_path / "bare environment")
    [site] = bare.folder.glob("lib/python*/site-packages")
    [theirs] = installed.folder.glob("lib/python*/site-packages")
    (site / "scalenet").symlink_to(theirs / "scalenet")
    [info] = theirs.glob("scalenet_pipeline-*.dist-info")
    (site / info.name).symlink_to(info)
    bare.variables["PYTHONPATH"] = str(missing)
    bare.run("python", "-m", "scalenet.stages", "prepare", cwd=folder)
    assert (folder / "artifacts/data/train.npz").exists()
    said = bare.run("python", "-m", "scalenet.pipeline", "run", cwd=folder, code=2)
    assert "pip install 'scalenet-pipeline[pipeline]'" in said and "Traceback" not in said


def up_to_date(said: str) -> set[str]:
    """Return the stages that a run says it found done."""
    return set(re.findall(r"^(\w+): up to date$", said, re.MULTILINE))


@pytest.mark.long  # test_pipeline.py asks the same of a clone
def test_the_tiny_family_in_an_empty_folder_by_both_doors(installed, tmp_path):
    """The family by one door, and begun by the other: equal locks, and neither repeats a stage."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    installed.run("scalenet", "run", "--preset", "tiny", cwd=one)
    assert "S3" in installed.run("scalenet", "family", cwd=one)
    installed.run("scalenet", "params", "--preset", "tiny", cwd=other)
    installed.run("dvc", "repro", "code", "extrapolate", cwd=other)
    said = installed.run("scalenet", "run", cwd=other)
    assert up_to_date(said) == set(list(STAGES)[:4])
    assert (one / "dvc.lock").read_bytes() == (other / "dvc.lock").read_bytes()


def test_after_an_upgrade_only_the_stages_whose_code_changed_run(tree, tmp_path):
    environment = Environment(tmp_path / "environment")
    environment.install(str(build(source(tmp_path / "first"))))
    folder = tmp_path / "project"
    folder.mkdir()
    environment.run("scalenet", "params", "--preset", "tiny", cwd=folder)
    environment.run("dvc", "repro", "extrapolate", cwd=folder)
    newer = source(tmp_path / "newer")
    with (newer / "src/scalenet/search/evolution.py").open("a") as file:
        file.write("# a newer version\n")
    environment.install(str(build(newer)))
    said = environment.run("dvc", "repro", "code", "extrapolate", cwd=folder, code=255)
    assert "`scalenet params` brings it up to date" in said and "search" in said
    environment.run("scalenet", "params", cwd=folder)  # as the message says
    said = environment.run("scalenet", "run", "--target", "extrapolate", cwd=folder)
    assert up_to_date(said) == {"prepare", "supernet", "extrapolate"}
    assert "search: done in" in said


def test_a_folder_with_other_things_is_left_alone(installed, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    said = installed.run("scalenet", "run", cwd=tmp_path, code=2)
    assert "scalenet init" in said and [f.name for f in tmp_path.iterdir()] == ["photo.jpg"]
