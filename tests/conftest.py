"""Fixtures: params in a tiny size, images that can be learnt in milliseconds."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from hypothesis import settings
from tiny import Project, build

from scalenet.config import params as params_module
from scalenet.config.params import Params
from scalenet.data.images import on_device
from scalenet.pipeline import cli
from scalenet.records.documents import DataInfo, Found
from scalenet.records.files import write_table
from scalenet.records.paths import Paths
from scalenet.space.budget import Budget
from scalenet.stages import run_stage
from scalenet.training.loop import ignore

# slow machines, and the same run every time
settings.register_profile("scalenet", deadline=None, derandomize=True)
settings.load_profile("scalenet")


def _loud(leave: Callable[[int], None], own: int) -> Callable[[int], None]:
    """Return an ``os._exit`` that fails where it would end pytest, with the tests to come."""

    def leave_loudly(code: int) -> None:
        if os.getpid() == own:
            traceback.print_stack(file=sys.__stderr__)
            code = code or 1
        leave(code)

    return leave_loudly


os._exit = _loud(os._exit, os.getpid())

ROOT = Path(__file__).parents[1]
LONGEST = ("flows", "pipeline", "terminal", "servers", "tutorial", "install", "cluster", "torchrun")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes, so that no process waits for another's at the end."""
    first = [f"test_{name}" for name in LONGEST]
    items.sort(key=lambda item: item.path.stem not in first)


RECIPE = {"steps": 20, "batch": 16, "lr": 0.3, "warmup": 3, "ema": 0.8, "log": 4, "checkpoint": 8}
STILL = {
    "rotate": 0,
    "shift": 0,
    "scale": [1, 1],
    "crop": [1, 1],
    "aspect": 1,
    "flip": False,
    "erase": 0,
    "mixup": 0,
    "cutmix": 0,
}
DATA = {  # the section ``data`` of params.yaml, but for name, source and the shares
    "table": None,
    "group": None,
    "duplicates": "keep",
    "channels": 1,
    "size": 8,
    "store": "raw",
    "per_class": None,
    "most_skipped": 0.0,
    "seed": 0,
}
STILL["randaugment"] = {"ops": 0, "magnitude": 0}
TINY: dict[str, Any] = {  # merged over params.yaml: the same keys, small numbers
    "space": {
        "stem": {"width": 4},
        "stages": [
            {"width": 4, "depth": 1, "stride": 1, "expands": [1], "kernels": [3]},
            {"width": 8, "depth": 3, "stride": 2, "expands": [2], "kernels": [3, 5]},
            {"width": 8, "depth": 2, "stride": 2, "expands": [1, 3], "kernels": [3, 5, 7]},
        ],
        "head": {"width": 16},
    },
    "scaling": {
        "budget": 25e3,
        "tolerance": 0.3,
        "tries": 300,
        "stages": [
            {"tolerance": 0.3, "depths": [1.0], "widths": [1.0], "resolutions": [8]},
            {
                "tolerance": 0.3,
                "depths": [1.0, 1.2, 1.5],
                "widths": [1.0, 1.25, 1.5],
                "resolutions": [8, 9, 11],
            },
            {
                "tolerance": 0.3,
                "depths": [1.0, 1.4, 2.0],
                "widths": [1.2, 1.5, 2.0],
                "resolutions": [9, 12, 13],
            },
        ],
    },
    "supernet": {"recipe": RECIPE, "stage_weights": None},
    "search": {"stage_weights": [1, 1, 1], "calibration": 32},
    "family": {"S0": {"multiple": 1, "seed": 0}, "S1": {"multiple": 2, "seed": 0}},
    "retrain": {"recipe": RECIPE, "calibration": 64},
    "baselines": {
        "svm": 60,
        "residual": {"widths": [4, 8], "trial": [6, 4], "member": [20, 16], "run": [30, 24]},
    },
}


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the keys of ``over`` replaced, mappings within mappings; ``family``,
    whose keys are the members, whole."""
    merged = deepcopy(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        nested = nested and key != "family"
        merged[key] = merge(merged[key], value) if nested else deepcopy(value)
    return merged


def dvc(folder: Path, *arguments: str) -> str:
    """Run DVC's command in a folder; return what it printed."""
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def verb(folder: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run a verb of the command in this process; return its exit code and what it printed on
    either stream."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["scalenet", *arguments])
        for name, value in variables.items():
            patch.setenv(name, value)
        try:
            code = cli.main()
        except SystemExit as ended:
            code = ended.code
    return code or 0, out.getvalue(), err.getvalue()


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_params():
    """Return tiny params with nested changes: ``make_params({"search": {"tries": 5}})``."""
    content = merge(params_module.read_yaml(ROOT / "params.yaml"), TINY)

    def make(over: dict[str, Any] | None = None) -> Params:
        return params_module.parse(merge(content, over or {}))

    return make


@pytest.fixture(scope="session")
def params(make_params) -> Params:
    return make_params()


@pytest.fixture(scope="session")
def info() -> DataInfo:
    counts = {"train": 96, "select": 53, "test": 53}
    classes = ["a", "b", "c"]
    return DataInfo(
        channels=1,
        size=8,
        classes=classes,
        counts=counts,
        mean=[0.4],
        std=[0.3],
        digest="0",
    )


@pytest.fixture(scope="session")
def toy(info):
    """Return images of a split: noise with a bright bar whose place is the class."""

    def make(count: int, seed: int = 0):
        rng = np.random.default_rng([seed, count])
        labels = rng.integers(0, 3, count)
        pixels = rng.integers(0, 90, (count, 1, 8, 8))
        for i, label in enumerate(labels):
            pixels[i, 0, 1 + 2 * label : 3 + 2 * label] += 150
        return on_device(
            (pixels.astype(np.uint8), labels.astype(np.int64)),
            info.mean,
            info.std,
            torch.device("cpu"),
        )

    return make


@pytest.fixture(scope="session")
def still() -> dict[str, Any]:
    """Return the augmentation that changes nothing."""
    return dict(STILL)


@pytest.fixture(scope="session")
def built(make_params, tmp_path_factory):
    """Build a tiny family of the digits; what a search would find is given."""
    folder = tmp_path_factory.mktemp("family")
    longer = {"retrain": {"recipe": {"steps": 40}}}
    params = make_params({"space": {"head": {"width": 32}}, "publish": {"draws": 20}} | longer)
    content = params.model_dump(mode="json")
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    run_stage(folder, "prepare", None, ignore)
    paths, rng = Paths(folder), np.random.default_rng(0)
    budget = Budget(params.space, params.scaling, paths.info().task)
    bases = (budget.draw(rng) for _ in range(300))
    base = next(b for b in bases if all(budget.feasible(b, size) for size in range(3)))
    chosen = [budget.feasible(base, size)[0] for size in range(3)]
    found = Found(base=base, strategies=chosen, score=0.5, chain=[], measured=0)
    found.write(paths.search / "found.json")
    write_table(paths.search / "candidates.csv", ["number"], [])
    run_stage(folder, "extrapolate", None, ignore)
    for member in params.family:
        run_stage(folder, "retrain", member, ignore)
    run_stage(folder, "baselines", None, ignore)
    run_stage(folder, "publish", None, ignore)
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Build the tiny project once, for all processes that run tests; nobody changes it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "whole"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "first.txt").exists():
            build(folder)
    return folder


@pytest.fixture(scope="module")
def project(whole, tmp_path_factory):
    """Return a copy of the built tiny project, for the tests of one file."""
    folder = tmp_path_factory.mktemp("tiny") / "copy"
    shutil.copytree(whole, folder, symlinks=True)
    return Project(folder)
