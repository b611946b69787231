"""Processes that compute stages: what they say, how they end, and that none is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import psutil
import pytest
import torch

from scalenet.config.params import Compute
from scalenet.data import cores
from scalenet.pipeline import settings
from scalenet.pipeline.runs import workers
from scalenet.pipeline.runs.workers import Killed, Workers
from scalenet.training import device as devices

ROOT = Path(__file__).parent.parent


@pytest.fixture
def root(tmp_path):
    shutil.copytree(ROOT / "data", tmp_path / "data")
    shutil.copy2(ROOT / "params.yaml", tmp_path / "params.yaml")
    settings.apply(tmp_path, "tiny", {"supernet.recipe.steps": 200_000})
    return tmp_path


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_stage_is_computed_and_told_of_and_what_it_refuses_is_refused_here(root):
    told = []
    with Workers() as pool:
        pool.run_stage(root, "prepare", None, told.append)
        assert (root / "artifacts/data/train.npz").exists() and told[0]["event"] == "read"
        settings.apply(root, None, {"data.source": "no-such-folder"})
        with pytest.raises(ValueError, match="no-such-folder") as refused:
            pool.run_stage(root, "prepare", None, told.append)
        assert not isinstance(refused.value, Killed)
        assert len(pool.begun) == 1, "the second stage ran where the first did"


def test_a_killed_process_is_named_once_and_another_takes_its_place(root):
    errors = []

    def train():
        try:
            pool.run_stage(root, "supernet", None, lambda record: None)
        except Killed as error:
            errors.append(str(error))

    with Workers() as pool:
        pool.run_stage(root, "prepare", None, lambda record: None)
        thread = Thread(target=train)
        thread.start()
        wait_for(lambda: list((root / ".state/supernet").glob("*/*")))
        os.kill(pool.begun[0].process.pid, signal.SIGKILL)
        thread.join(30)
        assert len(errors) == 1
        assert errors[0].startswith("supernet: its process was killed (SIGKILL)")
        assert list((root / ".state/supernet").glob("*/*")), "its checkpoint is kept"
        pool.run_stage(root, "prepare", None, lambda record: None)


def test_processes_end_with_the_one_that_began_them():
    begin = """
import time
from scalenet.pipeline.runs.workers import Workers
pool = Workers()
pool.warm()
print(pool.begun[0].process.pid, flush=True)
time.sleep(600)
"""
    command = [sys.executable, "-c", begin]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        wait_for(lambda: os.getsid(worker.pid) == worker.pid)  # it has begun
        parent.kill()
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


@pytest.fixture
def six_cores(monkeypatch, tmp_path):
    """Have a machine of six cores; return where a container's limits are looked for."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(cores, "LIMITS", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ({}, 6),
        ({"cpu.max": "max 100000\n"}, 6),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 6),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 6),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_a_container_has_the_cores_whose_time_it_is_given(six_cores, limits, found):
    """As by ``docker run --cpus 2``, whose processes may run on every core of the machine."""
    for name, text in limits.items():
        (six_cores / name).parent.mkdir(exist_ok=True)
        (six_cores / name).write_text(text)
    compute = Compute(device="cpu", threads=1, workers="auto", processes=1, scoring=None)
    assert workers.count(compute) == cores.cores() == found


@pytest.mark.parametrize(
    ("device", "threads", "asked", "found"),
    [("cpu", 2, "auto", 3), ("cpu", 8, "auto", 1), ("cuda", 1, "auto", 1), ("cuda:0", 1, 3, 3)],
)
def test_stages_at_once_are_as_many_as_the_cores_bear(
    monkeypatch, six_cores, device, threads, asked, found
):
    compute = Compute(device=device, threads=threads, workers=asked, processes=1, scoring=None)
    assert workers.count(compute) == found


@pytest.mark.parametrize(
    ("device", "visible", "each", "found"),
    [
        ("auto", None, 1, ["0", "1", "2", "3"]),
        ("cuda", None, 2, ["0,1", "2,3"]),
        ("cuda", None, 3, ["0,1,2"]),
        ("auto", "2,GPU-7", 1, ["2", "GPU-7"]),
        ("auto", "0,1,2,3,4,5", 1, ["0", "1", "2", "3"]),
        ("cuda:1", None, 1, []),
        ("cpu", None, 1, []),
    ],
)
def test_stages_side_by_side_share_the_devices(monkeypatch, device, visible, each, found):
    """Of a machine that would have four."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    compute = Compute(device=device, threads=1, workers="auto", processes=each, scoring=None)
    assert devices.shares(compute, each) == found
    if device != "cpu":
        assert workers.count(compute) == max(1, len(found))


def test_a_process_sees_its_share_of_the_devices_and_another_takes_over_a_lost_ones():
    def seen():
        living = [worker.process.pid for worker in pool.begun if not worker.unwanted]
        return [psutil.Process(pid).environ().get("CUDA_VISIBLE_DEVICES") for pid in living]

    with Workers(["5", "7"]) as pool:
        _, second, _ = pool._take(), pool._take(), pool._take()
        wait_for(lambda: seen() == ["5", "7", "5"])
        second.end()
        pool._take()
        wait_for(lambda: seen() == ["5", "5", "7"])
