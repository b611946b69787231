"""What would run and why, with DVC's own files."""

from __future__ import annotations

import json
import os

import pytest
from conftest import dvc

from scalenet.pipeline import project as projects
from scalenet.pipeline.repro import Graph
from scalenet.pipeline.status import standings

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
    (tmp_path / "params.yaml").write_text("one: 1\nsome: {a: 1, b: {c: [1, 2]}}\n")
    dvc(tmp_path, "repro", "-q")
    return tmp_path


def test_what_is_up_to_date_has_no_reason(project):
    assert Graph(project).reasons() == {"first": [], "second": []}


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


def test_of_a_new_project_nothing_was_run_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    projects.begin(tmp_path)
    projects.refresh(tmp_path)
    assert {tuple(stage.reasons) for stage in standings(tmp_path)} == {("not run yet",)}
