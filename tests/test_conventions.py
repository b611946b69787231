"""Conventions that are tests: one-way floors, seven stages of one form, the map in dvc.yaml,
short functions."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml

import scalenet
from scalenet.config import params as config
from scalenet.pipeline import project
from scalenet.pipeline.settings import merge
from scalenet.space.budget import Budget
from scalenet.space.network import Task
from scalenet.stages import STAGES, declared

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "scalenet"
GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())
ALLOWED = {"torch", "numpy", "scipy", "sklearn", "PIL", "yaml", "pydantic"}  # of a bare machine
EXTRA = {  # imported where they are asked for
    "architecture.py": {"altair"},
    "candidates.py": {"altair", "vl_convert"},
    "charts.py": {"altair"},
    "confusion.py": {"altair"},
    "figure.py": {"altair"},
    "style.py": {"altair", "vl_convert"},
    "page.py": {"altair", "vl_convert", "jinja2"},
    "transfer.py": {"timm", "safetensors"},
    "arrow.py": {"pyarrow"},
    "cluster.py": {"distributed"},
    "pixels.py": {"pi_heif"},
}
FORM = ["params", "inputs", "state", "generator", "device", "emit"]
CODE = [*SRC.rglob("*.py"), *(ROOT / "stages").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")]


def imported(file: Path) -> set[str]:
    """Return every module name that a file imports, anywhere in it; ``from a import b`` gives a
    and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def folders(file: Path) -> set[str]:
    """Return the folders of scalenet that a file imports from."""
    return {name.split(".")[1] for name in imported(file) if name.startswith("scalenet.")}


def stage_entry(stage: str, graph: dict = GRAPH) -> dict:
    return graph["stages"][stage].get("do", graph["stages"][stage])


# --- floors ---------------------------------------------------------------------------------------


def test_imports_point_down():
    assert {path.name for path in SRC.iterdir() if path.is_dir()} - {"__pycache__"} == set(
        scalenet.FLOORS
    )
    for file in SRC.rglob("*.py"):
        if file.parent == SRC:
            continue
        floor = scalenet.FLOORS.index(file.relative_to(SRC).parts[0])
        assert folders(file) <= set(scalenet.FLOORS[: floor + 1]), file
    for file in (ROOT / "stages").glob("*.py"):
        assert folders(file) <= {*scalenet.FLOORS, "stages"}, file


def test_the_method_needs_what_a_bare_machine_has():
    for file in [*SRC.rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        outside = {name.split(".")[0] for name in imported(file)} - {"scalenet", "__future__"}
        allowed = ALLOWED | EXTRA.get(file.name, set())
        allowed |= {"onnx", "onnxruntime"} if file.parent.name == "export" else set()
        assert outside - set(sys.stdlib_module_names) <= allowed, file
    for floor in ("config", "space", "records/documents.py", "laws"):
        for file in [SRC / floor] if floor.endswith(".py") else (SRC / floor).glob("*.py"):
            assert not any(name.startswith("torch") for name in imported(file)), file


def test_the_method_runs_with_no_orchestration_installed():
    names = ", ".join(f"scalenet.stages.{stage}" for stage in STAGES)
    code = f"import sys, {names}\n"
    code += "print([m for m in ('prefect', 'mlflow', 'dvc', 'click') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_stages_without_arithmetic_on_tensors_import_no_torch():
    code = "import sys, scalenet.stages.{}\nprint('torch' in sys.modules)"
    for stage in ("prepare", "extrapolate", "publish"):
        command = [sys.executable, "-c", code.format(stage)]
        assert subprocess.run(command, capture_output=True, text=True).stdout == "False\n", stage


def test_nothing_is_imported_by_a_name_that_others_may_have():
    for file in [*CODE, *(ROOT / "tests").glob("*.py"), *(ROOT / "bench").rglob("*.py")]:
        roots = {name.split(".")[0] for name in imported(file)}
        assert not roots & {"stages", "pipeline"}, file


def test_no_two_classes_have_one_name():
    places: dict[str, list[Path]] = {}
    for file in CODE:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(file)
    assert not {name: files for name, files in places.items() if len(files) > 1}


def test_text_files_are_utf_8_in_every_locale():
    """Without its name Python takes the locale's encoding, and params.yaml has a … in it."""
    texts, silent = {"read_text", "write_text"}, []
    for file in CODE:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                first = node.args[0] if node.args else None
                mode = first.value if isinstance(first, ast.Constant) else "b"
                opened = node.func.attr == "open" and "b" not in mode
                named = any(word.arg == "encoding" for word in node.keywords)
                if (node.func.attr in texts or opened) and not named:
                    silent.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert not silent, silent


# --- stages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_the_one_form(stage):
    module = import_module(f"scalenet.stages.{stage}")
    parameters = inspect.signature(module.run).parameters
    assert list(parameters) == FORM
    kinds = [parameter.kind for parameter in parameters.values()]
    assert all(kind is inspect.Parameter.KEYWORD_ONLY for kind in kinds[2:])
    member = ["name"] if stage == "retrain" else []
    assert list(inspect.signature(module.main).parameters) == ["params", "paths", *member, "emit"]
    file = ROOT / "stages" / f"{stage}.py"
    functions = {n.name: n for n in ast.parse(file.read_text()).body if hasattr(n, "args")}
    assert len(functions["main"].body) - 1 <= 12, "main has at most twelve statements"
    del functions["main"]
    for function in functions.values():
        assert "paths" not in ast.unparse(function), f"only main touches paths: {function.name}"


@pytest.mark.parametrize("stage", STAGES)
def test_the_map_says_what_a_stage_depends_on(stage):
    entry, about = stage_entry(stage), STAGES[stage]
    code = [dep for dep in entry["deps"] if dep.startswith(("src/", "stages/"))]
    named = [f"src/scalenet/{folder}" for folder in about.code]
    assert sorted(code) == sorted(["stages/__init__.py", f"stages/{stage}.py", *named])
    source = ["${data.source}"] if stage == "prepare" else []
    read = [dep for dep in entry["deps"] if dep not in code]
    assert read == [*source, *(f"artifacts/{name}" for name in about.documents)]
    assert set(about.resumes) <= set(about.documents)
    assert entry["params"] == list(about.params)
    assert entry["cmd"] == f"scalenet stage {stage}" + " ${key}" * (stage == "retrain")


IMPORTED = """
import os, sys
from importlib import import_module
import PIL, pydantic, scipy, sklearn, torch, torch.distributed, yaml
assert not [module for module in sys.modules if module.startswith("scalenet")]
for stage in sys.argv[1:]:
    if os.fork() == 0:
        import_module(f"scalenet.stages.{stage}")
        print(stage, *{m.split(".")[1] for m in sys.modules if m.startswith("scalenet.")})
        sys.exit()
    assert os.wait()[1] == 0, stage
"""


def test_a_stage_names_every_folder_that_it_runs():
    run = [sys.executable, "-c", IMPORTED, *STAGES]
    lines = subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {stage: set(folders) - {"stages"} for stage, *folders in map(str.split, lines)}
    assert found == {stage: set(about.code) for stage, about in STAGES.items()}


def test_a_stage_sees_the_params_that_it_declares_alone(params):
    seen = declared(params, "search")
    assert vars(seen.supernet).keys() == {"recipe"} and not hasattr(seen, "family")
    assert list(declared(params, "retrain", "S1").family) == ["S1"]


def test_the_map_of_another_folder_is_the_clones():
    """The same graph, where the code is one small file a stage, and a stage that checks these
    files."""
    other = yaml.safe_load((project.FILES / project.LAID["dvc.yaml"]).read_text())
    assert other["stages"].pop(project.CHECK)["always_changed"]
    assert list(other["stages"]) == list(GRAPH["stages"]) == list(STAGES)
    for stage in STAGES:
        ours, theirs = stage_entry(stage), stage_entry(stage, other)
        rest = [dep for dep in ours["deps"] if not dep.startswith(("src/", "stages/"))]
        assert theirs == ours | {"deps": [f"{project.CODE}/{stage}.json", *rest]}


def test_the_default_params_are_packaged():
    assert (ROOT / "presets/digits.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()
    bundled = project.FILES / "data/digits/README.md"
    assert bundled.read_bytes() == (ROOT / "data/digits/README.md").read_bytes()


@pytest.mark.parametrize("stage", STAGES)
def test_every_output_survives_a_stage_that_refuses(stage):
    entry = stage_entry(stage)
    for out in [*entry.get("outs", []), *entry.get("metrics", []), *entry.get("plots", [])]:
        assert isinstance(out, dict) and next(iter(out.values())).get("persist"), out


def test_only_what_is_tested_once_reads_the_test_split():
    test = [s for s in STAGES if any("data/test.npz" in str(d) for d in stage_entry(s)["deps"])]
    assert test == ["retrain", "baselines"]


def test_every_preset_is_valid():
    for preset in (ROOT / "presets").glob("*.yaml"):
        content = config.read_yaml(ROOT / "params.yaml")
        merge(content, config.read_yaml(preset))
        params = config.parse(content, preset.name)
        budget = Budget(params.space, params.scaling, Task(params.data.channels, 10))
        budget.check(np.random.default_rng(0))  # something meets every budget


# --- habits ---------------------------------------------------------------------------------------


def test_readme_commands_are_the_ones_ci_runs():
    commands = re.findall(r"^(make \w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert commands[:2] == ["make family", "make test"]
    assert "make test" in (ROOT / ".ci/run").read_text().splitlines()
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"family", "test", "wheel"} <= set(targets)


def test_nothing_unsafe_is_loaded():
    for file in CODE:
        text = file.read_text()
        unsafe = re.search(r"pickle\.load|yaml\.load\(|shell=True|[^.]eval\(", text)
        assert not unsafe or "YAML(" in text, file
        loads = re.findall(r"torch\.load\([^)]*\)", text)
        assert all("weights_only=True" in call for call in loads), file


def test_functions_files_and_lines_stay_short():
    lengths = []
    for file in CODE:
        text = file.read_text()
        assert len(text.splitlines()) <= 300, file
        nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)]
        lengths += [(n.end_lineno - n.lineno + 1, f"{file.name}:{n.name}") for n in nodes]
    lengths.sort()
    assert lengths[-1][0] <= 60, lengths[-1]
    assert lengths[int(0.9 * len(lengths))][0] <= 25, lengths[int(0.9 * len(lengths)) :]
    for file in [
        *ROOT.glob("*.yaml"),
        *ROOT.glob("presets/*.yaml"),
        *ROOT.glob("pipeline/**/*.yaml"),
    ]:
        long = [line for line in file.read_text().splitlines() if len(line) > 100]
        assert not long, (file, long)
