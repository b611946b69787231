"""What would run and why, with DVC's own files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest
from click.testing import CliRunner
from conftest import dvc

from scalenet.config.params import Params
from scalenet.pipeline import project as projects
from scalenet.pipeline import settings, status
from scalenet.pipeline.cli import scalenet
from scalenet.pipeline.remember import stores
from scalenet.pipeline.repro import Graph
from scalenet.pipeline.status import expected, last, standings

GRAPH = """stages:
  first:
    cmd: python -c "open('a.txt', 'w').write('a')"
    params: [one, some]
    outs: [a.txt]
  second:
    cmd: python -c "open('b.txt', 'w').write('b')"
    deps: [a.txt]
    outs: [b.txt]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dvc(tmp_path, "init", "-q", "--no-scm")
    (tmp_path / "dvc.yaml").write_text(GRAPH)
    (tmp_path / "src" / "scalenet").mkdir(parents=True)  # a clone, whose dvc.yaml is its own
    (tmp_path / "params.yaml").write_text("one: 1\nsome: {a: 1, b: {c: [1, 2]}}\n")
    dvc(tmp_path, "repro", "-q")
    return tmp_path


def test_a_clone_that_pulled_nothing_is_told_what_fetches_it(project, monkeypatch):
    monkeypatch.setattr(status.config, "load", lambda path: None)
    monkeypatch.setattr(status, "took", lambda root, params: {})
    said = "what is not in cache `dvc pull` fetches, if a remote has it\n"
    assert said not in CliRunner().invoke(scalenet, ["status"]).output
    shutil.rmtree(project / ".dvc/cache")
    (project / "a.txt").unlink()
    assert said in CliRunner().invoke(scalenet, ["status"]).output


def test_what_is_up_to_date_has_no_reason(project):
    assert Graph(project).reasons() == {"first": [], "second": []}


def test_a_project_in_the_folder_of_its_images_names_the_param_to_change(project):
    (project / "dvc.yaml").write_text(GRAPH.replace("params:", "deps: [..]\n    params:"))
    with pytest.raises(ValueError, match=r"data.source .* may hold this project's own folder"):
        Graph(project).needs(None)


def test_a_stage_that_is_taken_out_while_a_run_is_on_is_told_by_what_was_edited(project):
    graph = Graph(project)
    told = r"'retrain@S2' .*dvc\.yaml.*: family \(params\.yaml\) was edited while the run was on"
    for ask in (graph.changed, graph.commit, lambda name: graph.committing(name).__enter__()):
        with pytest.raises(ValueError, match=told):
            ask("retrain@S2")


def test_reasons_name_the_param_and_the_file(project):
    graph = Graph(project)
    (project / "params.yaml").write_text("one: 2\nsome: {a: 1, b: {c: [1, 3], d: null}}\n")
    said = ["one: 1 -> 2", "some.b.c: [1, 2] -> [1, 3]", "some.b.d: absent -> null"]
    assert graph.reasons()["first"] == said
    (project / "a.txt").write_text("changed by hand")
    reasons = graph.reasons()
    assert "a.txt: modified" in reasons["second"] and "a.txt: modified" in reasons["first"]
    (project / "b.txt").unlink()
    assert "b.txt: deleted" in graph.reasons()["second"]


def test_of_a_stage_that_another_process_computes_nothing_is_said(project):
    writer = {str(project / "b.txt"): {"pid": os.getppid(), "cmd": "dvc repro"}}
    (project / ".dvc/tmp/rwlock").write_text(json.dumps({"write": writer, "read": {}}))
    assert Graph(project).reasons() == {"first": [], "second": None}


def test_a_stage_ends_well_though_another_process_took_its_locks_for_a_dead_ones(project):
    """As one does in another container, where no process of this number is."""
    (project / "params.yaml").write_text("one: 2\nsome: {a: 1, b: {c: [1, 2]}}\n")
    graph = Graph(project)
    with graph.committing("first"):
        (project / "a.txt").write_text("made anew")
        (project / ".dvc/tmp/rwlock").write_text(json.dumps({"write": {}, "read": {}}))
    assert not graph.changed("first")
    with graph.committing("second"):
        (project / "b.txt").write_text("b")
    assert not graph.changed("second") and not graph.running


@pytest.fixture
def pushing(project):
    """Return a process that holds DVC, as a push does, until its input ends."""
    code = "from dvc.repo import Repo\nwith Repo().lock: print('held', flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=project, text=True, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_who_asks_while_dvc_is_at_work_elsewhere_is_told_at_once(project, pushing):
    (project / "params.yaml").write_bytes(projects.DEFAULTS.read_bytes())
    said = CliRunner().invoke(scalenet, ["status"])
    assert said.exit_code == 0 and "DVC is at work in another process" in said.output


def test_a_run_waits_for_a_dvc_that_is_at_work_elsewhere(project, pushing):
    Timer(4, pushing.stdin.close).start()  # DVC itself gives up after 3 s
    assert not Graph(project).changed("first")


@pytest.mark.parametrize("server", [None, "http://127.0.0.1:1"])
def test_of_a_new_project_nothing_was_run_yet(server, tmp_path, monkeypatch):
    if server:  # that is away: it would only say how long stages took
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.chdir(tmp_path)
    projects.begin(tmp_path)
    projects.refresh(tmp_path)
    assert {tuple(stage.reasons) for stage in standings(tmp_path)} == {("not run yet",)}


def ran(root: Path, params: Params, stage: str, seconds: float, member: str = "") -> None:
    """Leave a finished run of a stage, and of its params those that say how much it trained."""
    client = stores.connect(root)
    experiment = stores.experiment_id(client, root, stores.stage_experiment(params))
    tags = {"stage": stage, "place": "here"} | ({"member": member} if member else {})
    begun = 1000 * (1 + len(client.search_runs([experiment])))
    run = client.create_run(experiment, start_time=begun, tags=tags).info.run_id
    if stage != "search":
        recipe = getattr(params, stage).recipe
        for name in ("steps", "batch"):
            client.log_param(run, f"{stage}.recipe.{name}", getattr(recipe, name))
    client.set_terminated(run, end_time=begun + round(1000 * seconds))


def test_a_training_of_more_images_than_the_last_is_expected_to_take_longer(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    projects.begin(tmp_path)
    params = settings.apply(tmp_path, "tiny", {})
    for stage, seconds, member in (("supernet", 5, ""), ("search", 3, ""), ("retrain", 2, "S2")):
        ran(tmp_path, params, stage, seconds, member)
    names = ["supernet", "search", "retrain@S2", "retrain@S3"]
    same = {"supernet": 5.0, "search": 3.0, "retrain@S2": 2.0}
    assert expected(tmp_path, params, names) == same
    changes = {"supernet.recipe.steps": 4000, "retrain.recipe.batch": 16}
    changed = settings.apply(tmp_path, None, changes)
    more = {"supernet": 5.0 * 4000 / 20, "retrain@S2": 2.0 * 16 / 32}
    assert expected(tmp_path, changed, names) == pytest.approx(same | more)
    assert list(last(tmp_path, changed).values()) == [2.0, 3.0, 5.0], "what they took, as it was"
