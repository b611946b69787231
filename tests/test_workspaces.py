"""Workspaces: a copy of a revision that shares the project's cache and state, and what is in it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import dvc
from dvc.cli import main as commanded
from dvc.repo import Repo
from mlflow.artifacts import load_text
from PIL import Image

from scalenet.config import params as config
from scalenet.pipeline import doctor, home, project, settings
from scalenet.pipeline.remember import stores
from scalenet.pipeline.repro import Graph
from scalenet.pipeline.runs import flows, workspaces
from scalenet.pipeline.runs.alone import alone, is_held
from scalenet.pipeline.runs.scheduled import _check_committed, changes
from scalenet.pipeline.runs.workspaces import Workspace, bring, found, remove, save, workspace
from scalenet.records.files import sha256
from scalenet.training.loop import ignore

ROOT = Path(__file__).parent.parent


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Begin a project under git, with images that neither git nor DVC has."""
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "t")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "t@localhost")
    root = tmp_path / "mine"
    root.mkdir()
    git(root, "init", "--quiet")
    project.begin(root)
    project.refresh(root)
    settings.apply(root, "tiny", {"data.source": "photos", "data.name": "mine"})
    for i in range(8):
        file = root / "photos" / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 9 * i).save(file)
    (root / ".gitignore").open("a").write("/photos/\n")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "start")
    return root


def test_a_copy_has_the_revision_and_shares_what_the_project_keeps(mine, monkeypatch):
    committed = (mine / "params.yaml").read_text()
    (mine / "params.yaml").write_text(committed + "\n# not committed\n")
    with workspace(mine, "HEAD", "run") as made:
        assert made.name == f"{git(mine, 'rev-parse', 'HEAD')[:7]}-run"
        assert (made.root / "params.yaml").read_text() == committed
        assert home(made.root) == mine and stores.uri(made.root) == stores.uri(mine)
        bring(mine, made, config.load(made.root / "params.yaml"))
        assert (made.root / "photos").is_symlink(), "images outside of git are not copied"
        reasons = []
        for folder in (mine, made.root):
            monkeypatch.chdir(folder)
            reasons.append(Graph(folder).reasons()["prepare"])
        assert reasons[0] == reasons[1], "DVC sees the same images"
        assert git(made.root, "status", "--short") == ""
        assert (made.root / ".dvc/config.local").stat().st_mode & 0o077 == 0, "it may hold secrets"
        [kept] = found(mine)
        assert kept.busy and kept.name == made.name
        with pytest.raises(ValueError, match="a run is in it"):
            remove(mine, made.name)
        settings.apply(made.root, None, {"search.seed": 9})
        save(mine, made, ["code"])
    monkeypatch.chdir(mine)
    saved = f"refs/exps/{made.commit[:2]}/{made.commit[2:]}/{made.name}"
    assert "  seed: 9" in git(mine, "show", f"{saved}:params.yaml")
    assert not found(mine)[0].busy and found(mine)[0].age < 600 and found(mine)[0].size > 0
    with pytest.raises(ValueError, match=r"'else' is not there; there are \w+-run"):
        remove(mine, "else")
    remove(mine, made.name)
    assert not found(mine) and not list((mine / workspaces.FOLDER).iterdir())


@pytest.mark.parametrize("known", [{"user.name": "me", "user.email": "me@localhost"}, {}])
def test_a_result_is_saved_though_git_knows_no_name_outside_of_the_project(
    mine, tmp_path, monkeypatch, known
):
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{who}_NAME")
        monkeypatch.delenv(f"GIT_{who}_EMAIL")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    for key, value in known.items():
        git(mine, "config", key, value)
    with workspace(mine, "HEAD", "run") as made:
        monkeypatch.chdir(made.root)
        settings.apply(made.root, None, {"search.seed": 9})
        Graph(made.root).commit("code")
        save(mine, made, ["code"])
    saved = f"refs/exps/{made.commit[:2]}/{made.commit[2:]}/{made.name}"
    said = git(mine, "log", "-1", "--format=%an %ae", saved).strip()
    assert said == (" ".join(known.values()) or "scalenet scalenet@localhost")


@pytest.mark.parametrize("disk", ["scratch/mine", "scratch/.state"])
def test_a_state_on_another_disk_is_the_projects_own(mine, disk, monkeypatch):
    """Projects whose states lie side by side there would share a database, and scheduled runs
    would look for the project there."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    there = mine.parent / disk
    there.mkdir(parents=True)
    (mine / ".state").symlink_to(there)
    assert home(mine) == mine and stores.uri(mine) == f"sqlite:///{mine}/mlflow.db"
    with alone(mine, "search", "key", ignore):
        assert is_held(mine, "search"), "two runs in this folder would write over each other"
    with workspace(mine, "HEAD", "run") as made:
        made_there = made.root.resolve()  # as a process in it sees it
        assert made_there.is_relative_to(there) and home(made_there) == mine
        assert [kept.name for kept in found(mine)] == [made.name]


@pytest.mark.parametrize("file", ["mlflow.db", "other.db?timeout=30"])
def test_a_database_by_a_relative_address_outlives_the_copy(mine, file, monkeypatch):
    """README's address, exported before a worker is started."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    with workspace(mine, "HEAD", "run") as made:
        monkeypatch.chdir(made.root)  # as the run does
        client = stores.connect(made.root)
        run = client.create_run(stores.experiment_id(client, made.root, "mine")).info.run_id
        client.log_text(run, "kept", "said.txt")
    monkeypatch.chdir(mine)
    workspaces.drop(made.folder)
    assert (mine / file.partition("?")[0]).exists()
    [file] = stores.connect(mine).list_artifacts(run)
    assert load_text(f"runs:/{run}/{file.path}") == "kept"


def test_images_that_dvc_has_are_those_of_the_revision(mine, monkeypatch):
    monkeypatch.chdir(mine)
    (mine / ".gitignore").write_text((mine / ".gitignore").read_text().replace("/photos/\n", ""))
    dvc(mine, "add", "photos")
    git(mine, "add", "--all")
    git(mine, "commit", "--quiet", "--message", "images")
    shutil.rmtree(mine / "photos/b")
    with workspace(mine, "HEAD", "run") as made:
        bring(mine, made, config.load(made.root / "params.yaml"))
        assert not (made.root / "photos").is_symlink()
        names = [path.name for path in (made.root / "photos").rglob("*.png")]
        assert sorted(names) == [f"{i}.png" for i in range(8)]
        linked = [path.stat().st_nlink for path in (made.root / "photos").rglob("*.png")]
        assert min(linked) > 1, "nothing is copied from DVC's cache"


def prepare_reads(root: Path) -> dict[str, object]:
    """Return what prepare depends on in a folder, by its name in dvc.lock, as DVC sees it."""
    with contextlib.chdir(root), Repo(str(root)) as repo:
        [stage] = repo.stage.collect("prepare")
        return {dep.def_path: dep.get_hash().value for dep in stage.deps if dep.exists}


@pytest.mark.parametrize("up", ["..", "../../.."])
def test_images_beside_the_project_are_those_that_its_link_leads_to_now(mine, tmp_path, up):
    """A link that is led to another release, as a scheduled run comes again and again."""
    mine = Path(shutil.copytree(mine, tmp_path / "home/user/family"))
    link = (mine / up).resolve() / "images"
    for i, release in enumerate(("v1", "v2")):
        shutil.copytree(mine / "photos", link.with_name(release))
        Image.new("L", (8, 8), 100 + i).save(link.with_name(release) / "a/0.png")
    params = settings.apply(mine, None, {"data.source": f"{up}/images"})
    git(mine, "commit", "--quiet", "--all", "--message", "beside")
    names = []
    for release in ("v1", "v2"):
        link.unlink(missing_ok=True)
        link.symlink_to(release)
        with workspace(mine, "HEAD", release) as made:
            bring(mine, made, params)
            seen = made.root / params.data.source
            assert (seen / "a/0.png").read_bytes() == (link / "a/0.png").read_bytes(), release
            locked = [prepare_reads(folder) for folder in (mine, made.root)]
            assert f"{up}/images" in locked[0] and locked[0] == locked[1], "as dvc.lock has them"
        names.append(made.name)
        shutil.rmtree(link.with_name("v1"), ignore_errors=True)
    assert sorted(p.name for p in (mine / workspaces.FOLDER).glob("[!.]*")) == sorted(names)
    assert [p.name for p in (mine / ".state").iterdir()] == ["workspaces"]
    assert not (mine / "images").exists(), "nothing is written outside of workspaces"


def test_a_name_that_leads_above_everything_is_refused(mine):
    over = "/".join([".."] * len(mine.parts))
    with workspace(mine, "HEAD", "run") as made:
        params = settings.apply(made.root, None, {"data.source": f"{over}{mine}/photos"})
        with pytest.raises(ValueError, match=rf"{mine}/photos: .*; give this absolute one"):
            bring(mine, made, params)


@pytest.mark.parametrize("kept", ["photos", "photos/a"])
def test_images_that_dvc_lacks_of_the_revision_are_not_the_checkouts(mine, kept, monkeypatch):
    """As in a clone that pulled one revision alone, and after `dvc gc -w`."""
    monkeypatch.chdir(mine)
    (mine / ".gitignore").write_text((mine / ".gitignore").read_text().replace("/photos/\n", ""))
    said = [f"remote add --default r {mine.parent}/remote", f"add {kept}", "push"]
    assert not any(commanded(line.split()) for line in said)
    git(mine, "add", "--all")
    git(mine, "commit", "--quiet", "--message", "first")
    (mine / "photos/a/0.png").write_bytes((mine / "photos/b/1.png").read_bytes())
    assert not any(commanded(line.split()) for line in (f"add {kept}", "gc --workspace --force"))
    git(mine, "commit", "--quiet", "--all", "--message", "second")
    params = config.load(mine / "params.yaml")
    with workspace(mine, "HEAD~1", "run") as made:
        with pytest.raises(ValueError, match=rf"^{kept} is under `dvc add`.*has not all") as error:
            bring(mine, made, params)
        advice = re.search("`dvc (fetch .*?)`", str(error.value))[1]
        assert not commanded(advice.split())
        bring(mine, made, params)
        seen = made.root / "photos/a/0.png"
        assert seen.read_bytes() != (mine / "photos/a/0.png").read_bytes()
        assert not (made.root / kept).is_symlink()


@pytest.mark.parametrize("name", ["photographs", "../photographs", "/photographs"])
def test_images_that_are_nowhere_on_this_machine_are_named_by_where_they_are_wanted(mine, name):
    with workspace(mine, "HEAD", "run") as made:
        params = settings.apply(made.root, None, {"data.source": name})
        wanted = os.path.normpath(mine / name)
        with pytest.raises(ValueError, match=rf"data\.source: {wanted} does not .*bring it"):
            bring(mine, made, params)


def test_weights_that_are_nowhere_on_this_machine_may_not_be_needed(mine):
    with workspace(mine, "HEAD", "run") as made:
        nowhere = {"file": "nowhere.pt", "sha256": "0" * 64}
        bring(mine, made, settings.apply(made.root, None, {"supernet.init": nowhere}))


def test_images_that_a_stage_of_the_project_makes_may_be_made_later(mine):
    with (mine / "dvc.yaml").open("a") as file:
        file.write("  small:\n    cmd: cp -r photos small\n    deps: [photos]\n    outs: [small]\n")
    git(mine, "commit", "--quiet", "--all", "--message", "a stage")
    with workspace(mine, "HEAD", "run") as made:
        bring(mine, made, settings.apply(made.root, None, {"data.source": "small"}))


@pytest.mark.parametrize("name", ["weights/base.pt", "../base.pt"])
def test_weights_that_lie_in_the_project_alone_are_those_to_start_from(mine, name):
    (mine / name).parent.mkdir(exist_ok=True)
    (mine / name).write_bytes(b"weights")
    with workspace(mine, "HEAD", "run") as made:
        params = settings.apply(made.root, None, changes(f"supernet.init={name}"))
        assert params.supernet.init.sha256 == sha256(mine / name)
        bring(mine, made, params)
        assert (made.root / name).read_bytes() == b"weights"
        with pytest.raises(ValueError, match=r"other.pt: cannot be read"):
            settings.apply(made.root, None, changes("supernet.init=other.pt"))


def test_a_project_that_begins_below_a_repository_is_under_its_git(mine, monkeypatch):
    monkeypatch.chdir(mine)
    (mine / "below").mkdir()
    (mine / "below/.gitignore").write_text("/own")
    project.begin(Path("below"))
    assert "no_scm" not in (mine / "below/.dvc/config").read_text()
    ignored = (mine / "below/.gitignore").read_text().splitlines()
    assert ignored[0] == "/own" and {"/.state", "/mlflow.db*"} < set(ignored)


def test_git_takes_nothing_of_dvcs_own_though_the_project_began_before_it(mine, tmp_path):
    plain = tmp_path / "plain"
    project.begin(plain)
    for file in ("cache/files/md5/ab/cd", "tmp/lock", "config.local"):
        (plain / ".dvc" / file).parent.mkdir(parents=True, exist_ok=True)
        (plain / ".dvc" / file).touch()
    git(plain, "init", "--quiet")
    git(plain, "add", "--all")
    taken = git(plain, "ls-files", ".dvc")
    assert taken == git(mine, "ls-files", ".dvc") and ".dvc/config\n" in taken


def test_a_project_in_a_folder_of_a_repository_has_its_copy_there(mine, monkeypatch):
    (mine / "inner").mkdir()
    project.begin(mine / "inner")
    git(mine, "add", "--all")
    git(mine, "commit", "--quiet", "--message", "inner")
    with workspace(mine / "inner", "HEAD", "run") as made:
        assert made.root == made.clone / "inner" and home(made.root) == mine / "inner"
        assert (made.root / "params.yaml").exists()


def test_a_repository_of_another_user_is_said_to_be_so(mine, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own, for its tests
    with pytest.raises(ValueError, match="--add safe") as error, workspace(mine, "HEAD", "run"):
        pass
    assert "\n" not in str(error.value) and "git init" not in str(error.value)


def test_what_cannot_be_copied_is_said_in_one_line(mine, tmp_path, monkeypatch):
    def refused(root: Path, revision: str, said: str) -> None:
        with pytest.raises(ValueError, match=said) as error, workspace(root, revision, "run"):
            pass
        assert "\n" not in str(error.value)

    refused(mine, "nowhere", r"revision 'nowhere' is no commit of .*; give a branch")
    refused(mine, "--all", r"revision '--all' is no commit")
    git(mine, "rm", "--quiet", "--cached", "params.yaml")
    git(mine, "commit", "--quiet", "--message", "less")
    refused(mine, "HEAD", r"holds no params.yaml; commit the project")
    plain = tmp_path / "plain"
    plain.mkdir()
    refused(plain, "HEAD", r"plain has no params.yaml; a worker works in the folder in which it is")
    project.begin(plain)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    refused(plain, "HEAD", r"no git repository; run `git init`, `dvc config core.no_scm false`")
    git(plain, "init", "--quiet")
    git(plain, "add", "--all")
    git(plain, "commit", "--quiet", "--message", "start")
    refused(plain, "HEAD", r"`dvc config core.no_scm false`, and commit")
    assert not list((plain / workspaces.FOLDER).glob("*/"))


@pytest.fixture
def small(mine):
    """Put a disk of its own where workspaces lie; return what makes it: its options for mount."""
    there = mine / workspaces.FOLDER
    there.mkdir(parents=True)

    def made(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(there)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("nothing may be mounted here")
        return there

    yield made
    subprocess.run(["umount", str(there)], capture_output=True)


@pytest.mark.parametrize(
    ("options", "why", "remedy"),
    [
        ("size=40k", "No space left on device", "free space on that disk"),  # git's clone
        ("size=500k", "No space left on device", "free space on that disk"),  # its checkout
        ("nr_inodes=20", "No space left on device", "free space on that disk"),
        ("ro", "Read-only file system", "or mount it for writing"),
    ],
)
def test_a_disk_that_takes_no_workspace_is_told_in_a_line(mine, small, options, why, remedy):
    there = small(options)
    with pytest.raises((ValueError, OSError)) as refused, workspace(mine, "HEAD", "run"):
        pass
    said = flows.failed(refused.value)
    assert said.name == "Refused" and "\n" not in said.message
    assert said.message.startswith(str(there))
    assert f"cannot be written ({why}); " in said.message and remedy in said.message
    [disk] = [f for f in doctor._disks(mine) if f.remedy.startswith(("free some", "mount"))][-1:]
    assert str(there) in disk.what
    assert not any(kept.busy for kept in found(mine)), "and those that are there can be listed"


def test_what_a_disk_refuses_is_told_and_what_is_no_disks_fault_is_raised(mine, monkeypatch):
    monkeypatch.chdir(mine)
    full = flows.failed(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert full.message.startswith(f"{mine}: cannot be written (No space left on device)")
    for other in (ConnectionError("reset"), FileNotFoundError(errno.ENOENT, "no such file", "a")):
        with pytest.raises(type(other)):  # a file that is missing is a fault of ours, and is shown
            flows.failed(other)


def test_a_clone_of_other_code_than_is_installed_is_refused(tmp_path):
    for name in ("src/scalenet", "stages"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    project.check_code(tmp_path)
    with (tmp_path / "src/scalenet/search/evolution.py").open("a") as file:
        file.write("# changed\n")
    said = r"other code than is installed \(stages search\); run `pip install"
    with pytest.raises(ValueError, match=said):
        project.check_code(tmp_path)


def test_the_forms_overrides_are_lines():
    assert changes("search.seed=1\n\n supernet.recipe.lr = 0.001\n") == {
        "search.seed": 1,
        "supernet.recipe.lr": 0.001,
    }
    with pytest.raises(ValueError, match=r"overrides 'search.seed 1': expected KEY=VALUE"):
        changes("search.seed 1")


def test_a_revision_whose_params_cannot_be_read_is_named_and_not_its_copy(tmp_path):
    made = Workspace("a-run", tmp_path, tmp_path, tmp_path, "1234567" + 33 * "0")
    (tmp_path / "params.yaml").write_text("search: {seed: 0\n")
    with pytest.raises(
        ValueError, match=r"^revision 1234567: params\.yaml: not valid YAML: .*commit"
    ):
        _check_committed(made)
