"""Reports that MLflow does not take as they are, that two runs keep at once, or over which one is
killed: each is made good or named, and harms no other."""

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

from scalenet.pipeline import clean
from scalenet.pipeline.remember import reports, stores
from scalenet.pipeline.remember.post import Post
from scalenet.pipeline.remember.reports import Report, waiting
from scalenet.training.loop import ignore

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


def test_two_runs_that_keep_reports_at_once_leave_each_others_whole(there, monkeypatch):
    root, params = there
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    training(root, 2)(root, "supernet", None, ignore, params)
    one = Report(Post(root, print), params, "supernet", None, {})
    wait_for(lambda: reports._now() > one.began)  # a report's name begins with its moment
    another, link = Report(Post(root, print), params, "supernet", None, {}), reports._link

    def meanwhile(*folders):
        link(*folders)
        monkeypatch.setattr(reports, "_link", link)
        another.keep("FINISHED")

    monkeypatch.setattr(reports, "_link", meanwhile)
    one.keep("FINISHED")
    assert waiting(root) == [one.folder, another.folder]
    for folder in waiting(root):
        assert (folder / "artifacts/supernet/training.csv").exists(), folder


def test_a_run_whose_process_was_killed_while_it_kept_the_report_does_not_seem_to_run(
    there, monkeypatch
):
    root, params = there
    report = Report(Post(root, print), params, "supernet", None, {"key": "k"})
    wait_for(lambda: report.run)

    def killed(*_):
        raise InterruptedError

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(reports.files, "write_json", killed)
        report.keep("FINISHED")
    reports.end_abandoned(stores.connect(root), root, params, None)
    assert [run.info.status for run in runs_of(root, params)] == ["KILLED"]
    monkeypatch.setattr(clean.psutil, "pid_exists", lambda number: False)
    [left] = clean.left_over(root)
    assert report.folder.name in left.what and left.free() == ""
    assert not [path for path in reports.folder_of(root).iterdir() if path.name != "lock"]
