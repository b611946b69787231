"""Half an hour on a GPU: what it plans fits the machine, and a call goes on where one stopped."""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench import gpu
from bench.method import halfhour
from bench.speed import gpu as speed
from scalenet.space import cost
from scalenet.space.budget import Budget, Budgeted
from scalenet.space.network import Task

ROOT = Path(__file__).parents[1]


def chosen(work: Path, **over) -> argparse.Namespace:
    given = {"until": time.monotonic() + 60, "minutes": 25.0, "work": work}
    return argparse.Namespace(**{**given, "status": False, "toy": True, **over})


def test_every_searched_size_has_networks_within_its_budget(monkeypatch):
    monkeypatch.chdir(ROOT)
    params, task = halfhour.base_params(toy=False), Task(3, 10)
    budget = Budget(params.space, params.scaling, task)
    for size, stage in enumerate(params.scaling.stages):
        weights = tuple(float(i == size) for i in range(4))
        draw = Budgeted(budget, weights).draw
        flops = [cost.flops(draw(np.random.default_rng(i)).network, task) for i in range(5)]
        assert flops == pytest.approx([3e6 * 2**size] * 5, rel=stage.tolerance)
    drawn = budget.draw(np.random.default_rng(0))
    assert all(len(budget.feasible(drawn, size)) >= 8 for size in (1, 2, 3))


def test_steps_fit_the_time_that_is_given():
    seconds, step, rate = 1500.0, 0.02, 400.0
    steps = halfhour.chosen_steps(seconds, step, rate)
    trained = halfhour.TRAININGS * steps["retrain"] / rate
    assert steps["supernet"] * step + trained == pytest.approx(0.75 * seconds, rel=0.01)
    twice = halfhour.chosen_steps(2 * seconds, step, rate)
    assert twice["retrain"] == pytest.approx(2 * steps["retrain"], abs=1)


def test_pytorchs_word_that_it_looks_for_waits_is_none(monkeypatch):
    def begin(mode):
        if mode == "warn":
            warnings.warn("The mode does not detect all synchronizing operations", stacklevel=1)

    def wait():
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", begin)
    assert speed.waits(lambda: None) == 0 and speed.waits(wait) == 1


@pytest.mark.parametrize(
    ("device", "there", "backend"),
    [("cpu", {"g++"}, "inductor"), ("cpu", {"gcc"}, "eager"), ("cuda", {"cc"}, "inductor"),
     ("cuda", {"g++"}, "eager")],
)  # fmt: skip
def test_nothing_is_compiled_where_no_compiler_is(monkeypatch, device, there, backend):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(speed.shutil, "which", lambda name: name if name in there else None)
    assert speed.compiler(device) == backend


def test_a_step_takes_what_a_device_needs_for_it_not_what_the_host_does(monkeypatch):
    """The host hands steps over at once; whoever reads a loss waits for all before it."""
    clock, waiting = [0.0], []

    def read():
        clock[0] += 0.5 * len(waiting)
        waiting.clear()

    def step(number):
        waiting.append(number)
        return SimpleNamespace(item=read)

    monkeypatch.setattr(halfhour, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert halfhour.seconds_of(step) == 0.5


def test_a_slow_machine_still_trains_a_few_hundred_steps():
    assert set(halfhour.chosen_steps(60.0, 10.0, 0.1).values()) == {halfhour.STEPS[0]}


def test_a_unit_on_file_is_not_run_again(tmp_path, monkeypatch):
    ran = []

    def named(name):
        return lambda _: ran.append(name) or {"made": name}

    monkeypatch.setattr(halfhour, "units", lambda _: {name: named(name) for name in "abc"})
    monkeypatch.setattr(halfhour, "opened", lambda *_: None)
    monkeypatch.setattr(halfhour, "base_params", lambda _: None)
    (tmp_path / "gpu.json").write_text(json.dumps({"a": {"made": "before"}}))
    assert halfhour.go_on(chosen(tmp_path)) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert ran == ["b", "c"]
    assert [found[name]["made"] for name in "abc"] == ["before", "b", "c"]


def test_what_was_done_with_other_params_is_not_gone_on_with(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(halfhour, "units", lambda _: {"a": lambda _: {}, "b": lambda _: {}})
    monkeypatch.setattr(halfhour, "opened", lambda *_: None)
    assert halfhour.go_on(chosen(tmp_path)) == 0
    made = (tmp_path / "gpu.json").read_bytes()
    assert halfhour.go_on(chosen(tmp_path)) == 0
    base = halfhour.base_params(True)
    longer = base.model_copy(update={"compute": base.compute.model_copy(update={"threads": 9})})
    monkeypatch.setattr(halfhour, "base_params", lambda _: longer)
    assert halfhour.go_on(chosen(tmp_path)) == 2
    assert "is of other params than those of now (a, b); give another" in capsys.readouterr().out
    assert (tmp_path / "gpu.json").read_bytes() == made


def test_a_call_ends_at_its_time_unless_it_is_done(tmp_path, monkeypatch):
    ended = Event()
    monkeypatch.setattr(halfhour, "stop", lambda file: ended.set())
    with halfhour.ended_at(time.monotonic() + 0.1, tmp_path):
        pass
    assert not ended.wait(0.5)
    with halfhour.ended_at(time.monotonic() + 0.1, tmp_path):
        assert ended.wait(10)


def test_a_call_that_ends_ends_its_benchmark(tmp_path, monkeypatch):
    """The next call would measure beside it."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(halfhour, "BENCHMARKS", [process])
    monkeypatch.setattr(halfhour.os, "_exit", lambda code: None)
    halfhour.stop(tmp_path / "gpu.json")
    assert process.wait(10) != 0


def test_without_a_gpu_it_says_how_to_rehearse(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(halfhour.torch.cuda, "is_available", lambda: False)
    assert halfhour.go_on(chosen(tmp_path, toy=False)) == 2
    assert "--toy" in capsys.readouterr().out


def test_wheels_are_imported_from_in_processes_too(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")
    with zipfile.ZipFile(tmp_path / "carried-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried_here.py", "")
    gpu.unpack(tmp_path, tmp_path / "unpacked")
    command = [sys.executable, "-c", "import carried_here"]
    assert subprocess.run(command, env=os.environ).returncode == 0
    with pytest.raises(SystemExit, match=r"no \*.whl is"):
        gpu.unpack(tmp_path / "unpacked", tmp_path)


@pytest.mark.parametrize(
    ("tags", "fits"),
    [
        ("py3-none-any", True),
        ("cp{}-cp{}-manylinux_2_17_{}", True),
        ("cp38-abi3-manylinux_2_17_{2}", True),
        ("cp39-cp39-manylinux_2_17_{2}", False),
        ("cp{}-cp{}-manylinux_2_17_s390x", False),
    ],
)
def test_a_wheel_of_another_python_or_machine_is_refused_by_name(tmp_path, tags, fits):
    python = "{}{}".format(*sys.version_info)
    file = tmp_path / f"core-1-{tags.format(python, python, platform.machine().lower())}.whl"
    assert gpu.fits(file) == fits
    if not fits:
        file.touch()
        with pytest.raises(SystemExit, match=f"{re.escape(file.name)} is of another Python or"):
            gpu.unpack(tmp_path, tmp_path)
