"""What a killed process leaves: no stage that goes on alone, no run that seems to run for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from scalenet.pipeline import stores, tracking
from scalenet.pipeline.alone import alone, is_held, place
from scalenet.pipeline.single import committed_before, forget
from scalenet.records.paths import Paths

STAGE = """
from scalenet.pipeline import children
import os, time
children.belong_to_dvc()
print(os.getpid(), flush=True)
time.sleep(60)
"""
DVC = f"""
import os, subprocess, sys
stage = [sys.executable, "-c", {STAGE!r}]
subprocess.run(["sh", "-c", '"$@"; true', "sh", *stage], env=os.environ | {{"DVC_STAGE": "search"}})
"""


def test_a_stage_ends_with_a_killed_dvc():
    environment = {name: v for name, v in os.environ.items() if name != "DVC_STAGE"}
    dvc = subprocess.Popen([sys.executable, "-c", DVC], stdout=subprocess.PIPE, env=environment)
    stage = psutil.Process(int(dvc.stdout.readline()))
    dvc.kill()
    dvc.wait()
    deadline = time.monotonic() + 20
    while stage.is_running() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not stage.is_running()
    dvc.stdout.close()


def test_who_computes_a_stage_is_named(tmp_path):
    with alone(tmp_path, "search"):
        assert is_held(tmp_path, "search") and not is_held(tmp_path, "S0")
        said = rf"search: process {os.getpid()} on .*computes it"
        with pytest.raises(ValueError, match=said), alone(tmp_path, "search"):
            pass
    assert not is_held(tmp_path, "search")


def test_runs_of_killed_processes_are_ended_at_the_next_start(make_params, tmp_path):
    params = make_params({"data": {"name": "left"}})
    client = stores.connect(tmp_path)
    experiment = stores.experiment_id(client, tmp_path, "left")

    def begun(**tags):
        return client.create_run(experiment, tags=tags).info.run_id

    here = place(tmp_path)
    own = begun(stage="search", place=here)
    dead = begun(stage="retrain", member="S0", place=here)
    alive = begun(stage="retrain", member="S1", place=here)
    elsewhere = begun(stage="search", place="another folder")

    def started(stage):
        with (
            pytest.raises(InterruptedError),
            tracking.stage_run(tmp_path, params, stage, None, {}),
        ):
            raise InterruptedError

    with alone(tmp_path, "S1"), alone(tmp_path, "search"):
        started("extrapolate")
        states = {run: client.get_run(run).info.status for run in (own, dead, alive, elsewhere)}
    assert states == {own: "RUNNING", dead: "KILLED", alive: "RUNNING", elsewhere: "RUNNING"}
    started("search")
    assert client.get_run(own).info.status == "KILLED"


def test_state_is_kept_until_dvc_has_what_was_made(params, tmp_path):
    """DVC starts a stage after it has committed those before: only then their state goes."""
    assert committed_before(params, "retrain") == []
    assert set(committed_before(params, "publish")) == {*params.family, "baselines"}
    state = Paths(tmp_path).state("search", "key")
    state.mkdir(parents=True)
    for work in committed_before(params, "search"):
        forget(tmp_path, work)
    assert state.exists(), "a search that is run again goes on"
    for work in committed_before(params, "extrapolate"):
        forget(tmp_path, work)
    assert not state.exists()
