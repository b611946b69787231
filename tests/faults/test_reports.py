"""Reports that MLflow does not take as they are: each is made good or named, and keeps no other
back."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import verb
from test_late import next_run
from test_mlflow_away import reported, training, wait_for

from scalenet.pipeline.remember import reports, stores
from scalenet.pipeline.remember.reports import waiting

AWAY = "http://127.0.0.1:9"


@pytest.fixture
def there(tmp_path, make_params, monkeypatch):
    """Return a folder with params and an MLflow of its own, which is told often, and the params."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(reports, "PERIOD", 0.05)
    params = make_params()
    (tmp_path / "params.yaml").write_text(json.dumps(params.model_dump(mode="json")))
    return tmp_path, params


def runs_of(root: Path, params) -> list:
    """Return the runs of a project's stages that MLflow shows."""
    client = stores.connect(root)
    known = client.get_experiment_by_name(stores.stage_experiment(params))
    return client.search_runs([known.experiment_id]) if known else []


def steps_of(root: Path, run) -> list[int]:
    client = stores.connect(root)
    return sorted(
        point.step for point in client.get_metric_history(run.info.run_id, "training/loss")
    )


def test_a_run_that_is_deleted_while_its_stage_computes_is_made_anew(there):
    (root, params), said = there, []

    def delete(step):
        if step in (2, 4):
            [run] = wait_for(lambda: [r for r in runs_of(root, params) if steps_of(root, r)])
            stores.connect(root).delete_run(run.info.run_id)

    reported(root, training(root, 5, delete), said=said)
    [run] = runs_of(root, params)
    assert run.info.status == "FINISHED" and steps_of(root, run) == [1, 2, 3, 4, 5]
    assert not waiting(root) and not [line for line in said if "scalenet register" in line]


@pytest.mark.parametrize("lost", ["deleted", "another store"])
def test_a_report_is_delivered_though_its_run_is_there_no_more(lost, there, monkeypatch):
    (root, params), address = there, stores.uri(there[0])

    def leave(step):
        if step == 2:
            [run] = wait_for(lambda: runs_of(root, params))
            if lost == "deleted":
                stores.connect(root).delete_run(run.info.run_id)
            monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)

    reported(root, training(root, 3, leave))
    if lost == "another store":
        address = f"sqlite:///{root}/another.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert len(waiting(root)) == 1
    assert next_run(root) == [] and not waiting(root)
    [run] = runs_of(root, params)
    assert run.info.status == "FINISHED" and steps_of(root, run) == [1, 2, 3]


def test_a_report_that_mlflow_refuses_is_named_and_the_others_are_delivered(there, monkeypatch):
    root, params = there
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", AWAY)
        for steps in (2, 3, 4):
            reported(root, training(root, steps))
    refused, *others = waiting(root)
    content = json.loads((refused / "report.json").read_text())
    content["metrics"].append(["no\nname", 1.0, 1, 1])
    (refused / "report.json").write_text(json.dumps(content))
    [said] = next_run(root)
    assert waiting(root) == [refused] and len(runs_of(root, params)) == 1 + len(others)
    assert said.startswith(f"the report {refused.name} is not delivered: MLflow refuses it (")
    code, _, told = verb(root, "register")
    assert code == 2 and said in told and "MLflow could not be told" not in told
    subprocess.run(shlex.split(re.search("`(rm .*?)` gives it up", said)[1]), check=True)
    assert next_run(root) == []
