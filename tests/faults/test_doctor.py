"""What ``scalenet doctor`` finds, and that what it advises helps."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest
from conftest import ROOT, dvc
from dvc.repo import Repo

from scalenet.pipeline import cache, doctor
from scalenet.pipeline.repro import Graph

GRAPH = """stages:
  made:
    cmd: python -c "open('out.txt', 'w').write('weights' * 99)"
    outs: [out.txt]
"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A project of DVC's with one stage that was run, and one folder under version control."""
    folder = tmp_path_factory.mktemp("sound")
    dvc(folder, "init", "-q", "--no-scm")
    (folder / "dvc.yaml").write_text(GRAPH)
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / "images").mkdir()
    for name in "ab":
        (folder / "images" / name).write_text(name * 50)
    dvc(folder, "add", "-q", "images")
    dvc(folder, "repro", "-q")
    return folder


@pytest.fixture
def project(sound, tmp_path):
    """A copy of it, to spoil."""
    return shutil.copytree(sound, tmp_path / "project", symlinks=True)


def spoil(path: Path) -> None:
    """Flip a bit and leave the mode, as a failing disk does."""
    mode, content = path.stat().st_mode, bytearray(path.read_bytes())
    content[7] ^= 4
    path.chmod(mode | stat.S_IWUSR)
    path.write_bytes(content)
    path.chmod(mode)


def test_what_no_other_verb_works_in_is_a_finding(project, monkeypatch):
    monkeypatch.chdir(project)
    found = {finding.what: finding.remedy for finding in doctor._project(project)}
    assert found.get("DVC: knows the stages of dvc.yaml") == "", found
    (project / ".dvc/config").write_text("")  # git is wanted now, and is not there
    wrong = [finding.what for finding in doctor._project(project) if finding.remedy]
    assert any("`git init`" in line for line in wrong), wrong
    assert any("of another version of scalenet than the installed one" in line for line in wrong)


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("dvc.lock", "stages: {a: [", "`scalenet run` mends it"),
        ("dvc.lock", "<<<<<<< HEAD\na: 1\n=======\n>>>>>>> b\n", "keep one, `git checkout --ours"),
        ("dvc.yaml", "stages: [", "do what"),
    ],
)
def test_a_file_of_dvcs_that_is_cut_is_named_once(project, monkeypatch, name, content, remedy):
    monkeypatch.chdir(project)
    (project / name).write_text(content)
    [line] = [f for f in doctor._project(project) if f.what.startswith("DVC: ")]
    assert line.what.count("DVC: ") == 1 and name in line.what and remedy in line.remedy


def test_a_project_without_dvc_yaml_is_told_what_lays_it(project, monkeypatch):
    monkeypatch.chdir(project)
    (project / "dvc.yaml").unlink()
    wrong = [finding.what for finding in doctor._project(project) if finding.remedy]
    assert any("`scalenet params` renews it" in line for line in wrong)
    assert not any("DVC" in line for line in wrong), wrong


def test_a_sound_cache_is_no_finding(project):
    assert cache.damaged(project) == []


def test_a_damaged_object_is_named_set_aside_and_made_again(project):
    whole = (project / "out.txt").read_bytes()
    made = [p for p in (project / ".dvc/cache/files/md5").glob("??/*") if p.read_bytes() == whole]
    spoil(made[0])
    (project / "out.txt").unlink()
    dvc(project, "checkout", "-q")
    assert (project / "out.txt").read_bytes() != whole, "DVC deploys it without a word"
    [found] = cache.damaged(project)
    assert found.path == made[0] and found.files == (project / "out.txt",)
    cache.mend([found])
    dvc(project, "repro", "-q")
    assert (project / "out.txt").read_bytes() == whole and cache.damaged(project) == []


def test_a_damaged_file_of_a_folder_is_named(project):
    one = next(p for p in (project / ".dvc/cache/files/md5").glob("??/*") if p.stat().st_size == 50)
    spoil(one)
    [found] = cache.damaged(project)
    assert found.path == one and found.files[0].parent == project / "images"


def test_what_is_wrong_has_a_remedy(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    (project / "artifacts").mkdir()
    (project / "artifacts" / ".weights.pt.4194303.tmp").touch()
    wrong = {f.what: f.remedy for f in doctor.examine(project, deep=False, mend=False) if f.remedy}
    [left] = [what for what in wrong if ".4194303.tmp" in what]
    assert "scalenet clean --only leftovers --yes" in wrong[left]
    assert any("MLflow cannot be reached" in what for what in wrong)
    assert any("data/digits does not exist" in what for what in wrong)


def test_looking_makes_nothing(project):
    before = sorted(project.rglob("*"))
    list(doctor.examine(project, deep=True, mend=False))
    assert [p for p in sorted(project.rglob("*")) if ".dvc/tmp" not in str(p)] == [
        p for p in before if ".dvc/tmp" not in str(p)
    ]


@pytest.mark.parametrize("said", ["relpath", "md5", "["])
def test_a_damaged_list_of_a_folder_is_named(project, said):
    """A list that is still JSON, but not of DVC's form, is a list that cannot be read, too."""
    [one] = (project / ".dvc/cache/files/md5").glob("??/*.dir")
    one.chmod(0o644)
    one.write_text(one.read_text().replace(said, "x" * len(said)))
    one.chmod(0o444)
    [found] = cache.damaged(project)
    assert found.path == one and found.files == (project / "images",)


def test_a_damaged_object_is_not_brought_for_what_a_stage_makes(project, monkeypatch):
    """DVC trusts it, and would lock what was brought as what the stage makes."""
    (project / "dvc.yaml").write_text(GRAPH + "    deps: [params.yaml]\n")
    dvc(project, "repro", "-q")
    monkeypatch.chdir(project)
    whole = (project / "out.txt").read_bytes()
    [one] = [p for p in (project / ".dvc/cache/files/md5").glob("??/*") if p.read_bytes() == whole]
    spoil(one)
    (project / "out.txt").unlink()
    stages = Graph(project)
    assert stages.changed("made") and not stages.restored("made")
    assert not one.exists() and not (project / "out.txt").exists()
    (project / "out.txt").write_bytes(whole)  # as the stage does
    stages.commit("made")
    assert not stages.changed("made") and cache.damaged(project) == []


LISTS = {
    "a key": lambda said: said.replace(b"relpath", b"relqath", 1),
    "a name": lambda said: said.replace(b'"1"', b'"3"', 1),
    "no sum": lambda said: said.replace(b'"md5": "', b'"md5": null, "md": "', 1),
    "cut": lambda said: said[:40],
    "numbers": lambda said: b"[1, 2]",
    "deep": lambda said: b"[" * 100_000,
}


def test_a_damaged_list_of_what_a_stage_made_is_named_and_made_again(tmp_path, monkeypatch):
    """DVC ends with a traceback, or makes other files, wherever it reads such a list."""
    monkeypatch.chdir(tmp_path)
    Repo.init(str(tmp_path), no_scm=True).close()
    (tmp_path / "given").write_text("a")
    stage = {"cmd": "make out", "deps": ["given"], "outs": ["out"]}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": {"made": stage}}))
    graph, out = Graph(tmp_path), tmp_path / "out"

    def make() -> None:
        out.mkdir(exist_ok=True)
        for i in (1, 2):
            (out / str(i)).write_text("w" * i)
        graph.commit("made")

    make()
    for number, (kind, damage) in enumerate(LISTS.items()):
        [one] = (tmp_path / ".dvc/cache/files/md5").glob("??/*.dir")
        one.chmod(0o644)
        one.write_bytes(damage(one.read_bytes()))
        one.chmod(0o444)
        if number % 2:
            shutil.rmtree(out)
        with pytest.raises(ValueError, match=rf"damaged in DVC's cache: {one}; `scalenet run`"):
            graph.needs(None)
        [line] = graph.mend()
        aside = f"{one}.{number + 1}.damaged" if number else f"{one}.damaged"  # all are kept
        assert aside in line and "\n" not in line, kind
        assert graph.changed("made"), kind
        make()
        assert not graph.changed("made") and sorted(p.name for p in out.iterdir()) == ["1", "2"]


def test_an_output_that_was_damaged_is_made_again(project, monkeypatch):
    """DVC's run cache has what the stage made, and would ask before it replaces other bytes."""
    (project / "dvc.yaml").write_text(GRAPH + "    deps: [params.yaml]\n")
    dvc(project, "repro", "-q")
    monkeypatch.chdir(project)  # where DVC looks for a stage by its name
    stages = Graph(project)
    (project / "out.txt").unlink()
    assert stages.restored("made")
    (project / "out.txt").write_bytes(b"damaged")
    assert stages.changed("made") and not stages.restored("made")


def test_an_absent_mlflow_is_one_finding_and_its_reports_are_no_states(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (project / ".state/mlflow/1-search").mkdir(parents=True)
    (project / ".state/mlflow/1-search/report.json").write_text("{}")
    found = [one.what for one in doctor.examine(project, False, False)]
    assert sum("MLflow cannot be reached" in what for what in found) == 1
    assert not [what for what in found if "kept to resume from" in what]
