"""Params, code or inputs edited while a stage runs: through no door does DVC lock what was not
used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scalenet import stages
from scalenet.pipeline import settings
from scalenet.records.paths import Paths
from scalenet.stages import run_stage
from scalenet.training.loop import ignore

ROOT = Path(__file__).parents[2]
STEPS = {"supernet.recipe.steps": 300}  # seconds, of which the edit needs a few


def edit_params(root: Path) -> None:
    settings.apply(root, None, {"supernet.seed": 5})


def edit_input(root: Path) -> None:
    file = root / "artifacts/data/train.npz"
    content = file.read_bytes()
    file.unlink()  # it may be a link to DVC's cache
    file.write_bytes(content)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Return a tiny project whose images are prepared."""
    root = tmp_path_factory.mktemp("project") / "project"
    shutil.copytree(ROOT / "data", root / "data")
    shutil.copy2(ROOT / "params.yaml", root / "params.yaml")
    settings.apply(root, "tiny", {})
    run_stage(root, "prepare", None, ignore)
    return root


@pytest.fixture
def root(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "project")


def run_and(root: Path, edit, stage: str = "supernet") -> None:
    """Run a stage that something is edited beneath, as soon as it says its first word."""
    edited = []

    def emit(record):
        if not edited:
            edited.append(edit(root))

    run_stage(root, stage, None, emit)
    assert edited


def test_a_stage_refuses_at_its_end_what_was_edited_beneath_it(root):
    with pytest.raises(ValueError, match=r"^supernet: supernet\.seed changed while it ran"):
        run_and(root, edit_params)
    with pytest.raises(ValueError, match=r"^supernet: artifacts/data/train\.npz changed while"):
        run_and(root, edit_input)
    with pytest.raises(ValueError, match=r"params\.yaml"):
        run_and(root, lambda root: (root / "params.yaml").write_text("space: [\n"))


def test_an_image_that_is_added_while_images_are_read_is_named(root):
    def add(root):
        (root / "data/digits/new.csv").write_text("0\n")

    with pytest.raises(ValueError, match=r"^prepare: data/digits/new\.csv changed while it ran"):
        run_and(root, add, "prepare")


def test_what_a_stage_does_not_depend_on_may_change(root):
    run_and(root, lambda root: settings.apply(root, None, {"search.population": 4}))
    assert (Paths(root).supernet / "weights.pt").exists()


def test_code_that_is_not_what_this_process_loaded_is_refused(root, monkeypatch):
    """A process that goes on for days runs what it imported when it began."""
    monkeypatch.setitem(stages.LOADED, "supernet", "of another version")
    with pytest.raises(ValueError, match=r"^supernet: its code changed while it ran"):
        run_stage(root, "supernet", None, ignore)


def test_params_are_read_once_for_all_that_is_done_of_a_stage(root):
    """What was read before an edit is used, not a mixture; and then it is not locked."""
    params = settings.apply(root, None, {})
    edit_params(root)
    with pytest.raises(ValueError, match=r"supernet\.seed changed"):
        run_stage(root, "supernet", None, ignore, params)


# --- every door -----------------------------------------------------------------------------------

REPRO, RUN = ("dvc", "repro", "supernet"), ("scalenet", "run", "--target", "supernet")
STAGE = ("scalenet", "stage", "supernet")


def begin(root: Path, *command: str) -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    home = root.with_name("home")
    home.mkdir(exist_ok=True)
    environment = kept | {"HOME": str(home), "PATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=root, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """Return a tiny project whose first stage DVC has locked."""
    root = tmp_path_factory.mktemp("locked") / "project"
    root.mkdir()
    for command in (("scalenet", "params", "--preset", "tiny"), ("dvc", "repro", "prepare")):
        with begin(root, *command) as running:
            said, _ = running.communicate()
        assert running.returncode == 0, said
    settings.apply(root, None, STEPS)
    return root


@pytest.mark.parametrize(
    ("door", "edit"),
    [
        (REPRO, edit_params),
        pytest.param(RUN, edit_params, marks=pytest.mark.long),
        pytest.param(STAGE, edit_params, marks=pytest.mark.long),
        pytest.param(REPRO, edit_input, marks=pytest.mark.long),
    ],
)
def test_no_door_certifies_what_was_not_used(locked, tmp_path, door, edit):
    root = shutil.copytree(locked, tmp_path / "project", symlinks=True)
    with begin(root, *door) as running:
        deadline = time.monotonic() + 240
        while not list((root / ".state/supernet").glob("*/checkpoint.pt")):
            assert running.poll() is None and time.monotonic() < deadline, running.stdout.read()
            time.sleep(0.02)
        edit(root)
        said, _ = running.communicate()
    assert running.returncode != 0, said
    assert "changed while it ran" in said and "run it again" in said
    assert "supernet:" not in (root / "dvc.lock").read_text()
