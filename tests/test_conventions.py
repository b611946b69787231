"""Conventions that are tests: imports point down, dvc.yaml names each stage's code, the README's commands are CI's."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from scalenet.config import params as stage_params
from scalenet.space.budget import Budget
from scalenet.stages import ROOMS

ROOT = Path(__file__).parent.parent
GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())
ALLOWED = {"torch", "numpy", "scipy", "sklearn", "PIL", "yaml", "pydantic", "tqdm"}


def module_file(name: str) -> Path | None:
    """Return the file of a module of this project, or None."""
    path = ROOT / Path(*name.split("."))
    found = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()]
    return found[0] if found else None


def imported(file: Path) -> set[str]:
    """Return every module name that a file imports, anywhere in it; ``from a import b`` gives a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def code_of(room: str) -> set[str]:
    """Return the project files that a room runs: what it imports, and the packages on the way."""
    wanted, seen = [f"stages.{room}"], set()
    while wanted:
        name = wanted.pop()
        parents = [".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)]
        for module in (name, *parents):
            file = module_file(module)
            if file is not None and file not in seen and module.startswith("stages"):
                seen.add(file)
                # stages/__init__.py names Params and Paths for type checkers only
                wanted += [] if file == ROOT / "stages/__init__.py" else [n for n in imported(file) if n]
    return {str(file.relative_to(ROOT)) for file in seen}


def stage_entry(room: str) -> dict:
    return GRAPH["stages"][room].get("do", GRAPH["stages"][room])


@pytest.mark.parametrize("room", ROOMS)
def test_dvc_lists_the_code_each_stage_runs(room):
    declared = {dep for dep in stage_entry(room)["deps"] if dep.startswith("stages/")}
    assert declared == code_of(room)


@pytest.mark.parametrize("room", ROOMS)
def test_every_output_survives_a_stage_that_refuses(room):
    entry = stage_entry(room)
    for out in [*entry.get("outs", []), *entry.get("metrics", []), *entry.get("plots", [])]:
        assert isinstance(out, dict) and next(iter(out.values())).get("persist"), out


def test_only_retrain_reads_the_test_split():
    readers = {room for room in ROOMS if any("data/test.npz" in str(dep) for dep in stage_entry(room)["deps"])}
    assert readers == {"retrain"}


def test_imports_point_down():
    for file in (ROOT / "stages").rglob("*.py"):
        outside = {name.split(".")[0] for name in imported(file)} - {"stages", "__future__"}
        assert outside - set(sys.stdlib_module_names) <= ALLOWED, file
    for module in ("params", "space", "cost", "laws"):
        assert not any(name.startswith("torch") for name in imported(ROOT / f"stages/{module}.py")), module


def test_rooms_do_not_import_rooms():
    for room in ROOMS:
        other = {f"stages.{name}" for name in ROOMS if name != room}
        folder = ROOT / "stages" / room
        files = folder.glob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]
        for file in files:
            assert not any(name.startswith(tuple(other)) for name in imported(file)), file


def test_the_method_runs_with_no_orchestration_installed():
    code = "import sys, stages.search, stages.retrain, stages.publish, stages.extrapolate, stages.supernet\n"
    code += "print([m for m in ('prefect', 'mlflow', 'dvc', 'pipeline') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"


def test_every_preset_is_valid():
    from scalenet.pipeline.settings import merge

    for preset in (ROOT / "presets").glob("*.yaml"):
        content = stage_params.read_yaml(ROOT / "params.yaml")
        merge(content, stage_params.read_yaml(preset))
        params = stage_params.parse(content, preset.name)
        budget = Budget(params.space, params.scaling, params.data.channels, classes=10)
        budget.check(np.random.default_rng(0), params.scaling.tries)  # some network meets every budget


def test_readme_commands_are_the_ones_ci_runs():
    commands = re.findall(r"^(make \w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert commands[:2] == ["make family", "make test"]
    assert "make test" in (ROOT / ".ci/run").read_text().splitlines()
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"family", "test"} <= set(targets)


def test_nothing_unsafe_is_loaded():
    for file in [*(ROOT / "stages").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")]:
        text = file.read_text()
        assert not re.search(r"pickle\.load|yaml\.load\(|shell=True|[^.]eval\(", text) or "YAML(" in text, file
        assert all("weights_only=True" in call for call in re.findall(r"torch\.load\([^)]*\)", text)), file


def test_functions_and_files_stay_short():
    lengths = []
    for file in [*(ROOT / "stages").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")]:
        text = file.read_text()
        assert len(text.splitlines()) <= 300, file
        nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
        lengths += [(n.end_lineno - n.lineno + 1, f"{file.name}:{n.name}") for n in nodes]
    lengths.sort()
    assert lengths[-1][0] <= 60, lengths[-1]
    assert lengths[int(0.9 * len(lengths))][0] <= 25, lengths[int(0.9 * len(lengths)) :]
