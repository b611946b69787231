"""A family whose report another run delivers, while it runs or long after: it is registered from
where it lies, or waits for who has it."""

from __future__ import annotations

import re
import shutil
from copy import copy
from pathlib import Path

import pytest
from conftest import verb
from test_mlflow_away import reported

from scalenet.config import params as config
from scalenet.pipeline.models import generations, page, registry
from scalenet.pipeline.remember import reports, stores
from scalenet.pipeline.remember.post import Post
from scalenet.records.paths import Paths


@pytest.fixture
def home(built, tmp_path, monkeypatch):
    """Return a project in which no family was built."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "home/.state").mkdir(parents=True)
    shutil.copy(built / "params.yaml", tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def made(built, home):
    """Return a workspace of that project in which a family was built."""
    made = home / ".state/workspaces/1234567-run"
    shutil.copytree(built, made, ignore=shutil.ignore_patterns(".state", "mlflow.db", "mlruns"))
    (made / ".state").symlink_to(home / ".state")
    return made


def publish_while_away(root: Path, monkeypatch) -> str:
    """Publish the family that lies there while MLflow is away; return its generation."""
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        reported(root, lambda *_: None, "publish")
    return generations.here(root)


def registered(root: Path) -> dict[str, generations.Generation]:
    params = config.load(root / "params.yaml")
    return generations.known(stores.connect(root), registry.model_name(params))


def next_run(root: Path) -> list[str]:
    """Deliver what waits, as each run does; return what that said."""
    said: list[str] = []
    with Post(root, said.append):
        pass
    return said


def publishing(root: Path):
    client, params = stores.connect(root), config.load(root / "params.yaml")
    experiment = client.get_experiment_by_name(stores.stage_experiment(params)).experiment_id
    [run] = client.search_runs([experiment], "tags.stage = 'publish'")
    return run


def test_a_family_that_lies_nowhere_waits_until_somebody_has_it(built, home, made, monkeypatch):
    name = publish_while_away(made, monkeypatch)
    shutil.rmtree(made)  # as at the end of a scheduled run
    said = next_run(home)
    how = r"not registered; `dvc exp apply 1234567-run && scalenet register` does that"
    assert re.search(how, said[-1]), said
    assert publishing(home).info.status == "FINISHED" and not registered(home)
    assert next_run(home) == [], "it was said"
    assert not reports.waiting(home), "MLflow lacks nothing that can be told now"
    code, *said = verb(home, "register")
    assert code == 0 and re.search(how, "".join(said)) and "cannot be read" not in "".join(said)
    shutil.copytree(built / "artifacts", home / "artifacts")  # as dvc exp apply does
    code, said, _ = verb(home, "register")
    assert code == 0 and said.splitlines() == [
        line for line in said.splitlines() if f"generation {name} is deployed" in line
    ]
    assert list(registered(home)) == [name] and not list((home / ".state/mlflow").glob("*-publish"))
    assert publishing(home).data.tags[page.GENERATION] == name


def test_a_family_whose_run_was_deleted_is_registered_all_the_same(built, home, made, monkeypatch):
    name = publish_while_away(made, monkeypatch)
    shutil.rmtree(made)
    next_run(home)
    stores.connect(home).delete_run(publishing(home).info.run_id)
    shutil.copytree(built / "artifacts", home / "artifacts")
    code, said, _ = verb(home, "register")
    assert code == 0 and f"generation {name} is deployed" in said
    assert publishing(home).data.tags[page.GENERATION] == name


def test_a_run_registers_the_family_of_another_that_still_has_it(home, made, monkeypatch):
    name = publish_while_away(made, monkeypatch)
    [folder] = reports.waiting(home)
    assert f"generation {name} is deployed" in next_run(home)[-1]
    assert list(registered(home)) == [name]
    assert reports.deliver(made, folder) == "", "its own run finds it done"


def test_a_family_that_a_clone_registers_waits_no_more(home, made, monkeypatch):
    publish_while_away(made, monkeypatch)
    clone = home.parent / "clone"
    shutil.move(made, clone)
    next_run(home)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stores.uri(home))
    (clone / ".state").unlink()
    assert "is deployed" in verb(clone, "register")[1]
    assert next_run(home) == [] and not list((home / ".state/mlflow").glob("*-publish"))


def test_a_family_that_was_replaced_is_named_by_register_and_the_doctor(home, built, monkeypatch):
    shutil.copytree(built / "artifacts", home / "artifacts")
    publish_while_away(home, monkeypatch)
    shutil.rmtree(Paths(home).family)
    next_run(home)
    how = "bring it back by git and DVC, and `scalenet register` does that"
    for name in ("register", "doctor"):
        assert how in "".join(map(str, verb(home, name))), name


@pytest.fixture(scope="module")
def stuck(project):
    """Return the built tiny project, where a report of a later version of scalenet waits."""
    folder = project.folder / ".state/mlflow/1-2-search"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text('{"params": {"of a later version": 1}}')
    return project


def test_a_report_of_another_run_keeps_no_family_from_being_promoted(stuck):
    said = stuck.scalenet("run", "--promote")
    assert "deployed already" in said and "not yet a report" not in said
    assert (stuck.folder / "report/index.html").exists()
    assert "MLflow lacks" not in said, "this run has told it everything"


def test_a_promotion_that_an_absent_mlflow_prevents_is_an_error(stuck):
    away = copy(stuck)
    away.environment = stuck.environment | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    assert "not yet a report" in away.scalenet("run")
    said = away.scalenet("run", "--quiet", "--promote", code=3)
    assert "not promoted: MLflow is away" in said and "scalenet promote" in said
