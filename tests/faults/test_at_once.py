"""Clones on one server that register or deploy the same family at once: versions once, aliases
right."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import pytest
from families import INFO, LARGE, SMALL, publish, train

from scalenet.pipeline.models import deployment, generations, promotion, registry
from scalenet.pipeline.remember import stores
from scalenet.records.paths import Paths

ENTER = """
import sys, time
from pathlib import Path
from scalenet.config import params
from scalenet.pipeline.models import deployment, program
content = params.load(Path("params.yaml"))
Path("ready").touch()
while not Path("../go").exists():
    time.sleep(0.01)
print(deployment.enter(Path.cwd(), content))
"""


@pytest.fixture
def params(make_params):
    return make_params({"data": {"name": "x"}})


@pytest.fixture
def clones(tmp_path, params, monkeypatch):
    """Return two folders with the same family, and one store for both."""
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    stores.connect(tmp_path / "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stores.uri(tmp_path / "store"))
    INFO.write(Paths(first).data / "info.json")
    publish(first, [train(Paths(first), "S0", SMALL, 0), train(Paths(first), "S1", LARGE, 1)])
    (first / "params.yaml").write_text(params.model_dump_json())
    shutil.copytree(first, second)
    return first, second


def registered(root):
    """Return the member of each version, and the versions of the aliases."""
    client = stores.connect(root)
    members = {v.version: v.tags["member"] for v in registry.all_versions(client, "scalenet-x")}
    return sorted(members.values()), generations.deployed(client, "scalenet-x"), members


def test_two_clones_register_at_once(clones):
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", ENTER],
            cwd=clone,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for clone in clones
    ]
    while not all((clone / "ready").exists() for clone in clones):
        assert all(process.poll() is None for process in begun)
        time.sleep(0.05)
    (clones[0].parent / "go").touch()
    for process in begun:
        said, wrong = process.communicate(timeout=100)
        assert process.returncode == 0, wrong
        assert "is deployed" in said
    members, aliases, known = registered(clones[0])
    assert members == ["S0", "S1"]
    assert {alias: known[int(version)] for alias, version in aliases.items()} == {
        "s0": "S0",
        "s1": "S1",
    }


def test_who_deploys_what_another_clone_is_just_deploying_goes_on(clones, params):
    generation = generations.register(clones[0], params)
    client, wanted = stores.connect(clones[0]), promotion.plan(clones[0], params)
    client.set_registered_model_alias("scalenet-x", "s0", generation.numbers["S0"])  # half of it
    deployment.apply(clones[1], wanted)
    assert generations.deployed(client, "scalenet-x") == wanted.target
    assert len(deployment.history(client, "scalenet-x")) == 1
    client.set_registered_model_alias("scalenet-x", "s0", generation.numbers["S1"])
    with pytest.raises(ValueError, match="were moved meanwhile"):
        deployment.apply(clones[1], wanted)
