"""A folder without a clone, begun by an older version: what is refused, and how it is renewed."""

from __future__ import annotations

import pytest
import yaml
from conftest import verb

from scalenet.pipeline import doctor, renewal
from scalenet.pipeline import project as projects
from scalenet.pipeline.repro import Graph
from scalenet.pipeline.runs import single
from scalenet.stages import STAGES

TEMPLATE = projects.FILES / projects.LAID["dvc.yaml"]
OWN = """
  mine: # a stage of a user's own
    cmd: cp artifacts/family/family.json mine.json
    deps:
      - artifacts/family/family.json
    outs:
      - mine.json
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    projects.begin(tmp_path)
    projects.refresh(tmp_path)
    return tmp_path


def older(text: str) -> str:
    """Return dvc.yaml without the stage baselines, a dep of publish and a param of search."""
    first, last = text.index("  baselines: #"), text.index("  publish:")
    text = text[:first] + text[last:]
    lines = ("      - artifacts/baselines/baselines.json\n", "      - supernet.recipe\n")
    for line in lines:
        assert line in text
        text = text.replace(line, "")
    return text


@pytest.mark.parametrize("words", [["run", "--target", "baselines"], ["status"]])
def test_stages_of_another_version_are_refused_with_what_renews_them(project, words):
    file = project / "dvc.yaml"
    file.write_text(older(file.read_text()) + OWN)
    old = file.read_bytes()
    code, _, said = verb(project, *words)
    [line] = said.splitlines()
    assert code == 2 and "(stages search, baselines, publish)" in line
    assert "`scalenet params` renews it" in line and file.read_bytes() == old
    with pytest.raises(ValueError) as refused:
        single.run(project, "code", None)  # what a bare `dvc repro` does first
    assert str(refused.value) == line
    assert f"code: {line}" in {finding.what for finding in doctor._project(project)}
    code, said, _ = verb(project, "params")  # as the line says
    assert code == 0 and "search, baselines, publish as the installed scalenet has them" in said
    stages = yaml.safe_load(file.read_text())["stages"]
    assert stages.pop("mine") == yaml.safe_load(OWN)["mine"] and "a user's own" in file.read_text()
    assert stages == yaml.safe_load(TEMPLATE.read_text())["stages"]
    assert (project / "dvc.yaml.old").read_bytes() == old, "nothing is lost"
    assert {*STAGES, "mine"} <= {name.partition("@")[0] for name in Graph(project).needs(None)}
    assert single.run(project, "code", None) == 0


def test_a_file_that_is_the_packages_alone_is_laid_anew(project):
    file = project / "dvc.yaml"
    gone = "  gone:\n    cmd: scalenet stage gone\n    outs: [gone.json]\n\n"
    file.write_text(older(file.read_text()).replace("stages:\n", f"stages:\n{gone}", 1))
    verb(project, "params")
    assert file.read_bytes() == TEMPLATE.read_bytes()
    file.unlink()
    assert "dvc.yaml" in verb(project, "status")[2]
    assert verb(project, "params")[0] == 0 and file.read_bytes() == TEMPLATE.read_bytes()


def test_how_a_user_keeps_and_draws_what_a_stage_makes_is_theirs(project):
    file = project / "dvc.yaml"
    text = file.read_text().replace("title: the family", "title: mine") + OWN
    text = text.replace(
        "artifacts/family/family.json: {persist: true}",
        "artifacts/family/family.json: {persist: true, push: false}",
    )
    file.write_text(text.replace("  publish:\n", "  publish:\n    frozen: true\n"))
    assert verb(project, "status")[0] == 0
    before = file.read_bytes()
    assert verb(project, "params") == (0, "", "") and file.read_bytes() == before
    file.write_text(older(file.read_text().removesuffix(OWN)))
    assert verb(project, "params")[0] == 0, "stages of another version are laid anew"
    law = next(iter(yaml.safe_load(file.read_text())["stages"]["publish"]["outs"]))
    assert law == {"artifacts/family/family.json": {"persist": True}}


def test_a_dvc_yaml_that_cannot_be_written_stays_with_a_users_stages(project, monkeypatch):
    """Also after a kill between the two renamings that replace it."""
    file, own = project / "dvc.yaml", "  mine:\n    cmd: echo mine\n"
    file.write_text(before := "stages:\n" + own)

    def full(path, content):
        raise ValueError(f"{path}: cannot be written (No space left on device)")

    with monkeypatch.context() as patched, pytest.raises(ValueError, match="No space left"):
        patched.setattr(renewal.files, "write_bytes", full)
        renewal.renew(file, TEMPLATE)
    assert file.read_text() == before and not file.with_name("dvc.yaml.old").exists()
    assert "the file as it was is dvc.yaml.old" in renewal.renew(file, TEMPLATE)
    assert "mine" in yaml.safe_load(renewed := file.read_text())["stages"]
    file.rename(file.with_name("dvc.yaml.new"))
    assert renewal.renew(file, TEMPLATE) == "" and file.read_text() == renewed
    assert not file.with_name("dvc.yaml.new").exists()


@pytest.mark.parametrize("text", ["", "# nothing\n", "stages:\n", "vars: [mine.yaml]\nstages:\n"])
def test_a_dvc_yaml_without_stages_gets_them(project, text):
    (project / "mine.yaml").write_text("a: 1\n")
    (project / "dvc.yaml").write_text(text)
    code, _, said = verb(project, "status")
    assert code == 2 and "`scalenet params` renews it" in said
    assert "a scheduled run takes what is committed: commit it first" in said
    assert verb(project, "params")[0] == 0
    content = yaml.safe_load((project / "dvc.yaml").read_text())
    assert content["stages"] == yaml.safe_load(TEMPLATE.read_text())["stages"]
    assert content.get("vars") == (["mine.yaml"] if "vars" in text else None)


def test_a_dvc_yaml_that_git_merges_is_named(project):
    file = project / "dvc.yaml"
    file.write_text("<<<<<<< ours\n" + file.read_text())
    code, _, said = verb(project, "status")
    assert code == 2 and "dvc.yaml: not valid YAML" in said and len(said.splitlines()) == 1
    assert "git left two versions from line 1 on" in said


def test_a_merge_that_git_left_in_what_the_package_wrote_is_written_anew(project):
    """Digests are the package's to write, and seconds are a plan; no verb is stopped by them."""
    conflict = '<<<<<<< ours\n{"code": "a"}\n=======\n{"code": "b"}\n>>>>>>> theirs\n'
    for file in (".scalenet/prepare.json", ".scalenet/init.json"):
        (project / file).write_text(conflict)
    (project / ".scalenet/search.json").write_text("[]")
    with pytest.raises(ValueError, match=r"\(stages prepare, search\); `scalenet params` brings"):
        projects.check_code(project)
    assert verb(project, "params")[0] == 0
    projects.check_code(project)
    assert verb(project, "status")[0] == 0
