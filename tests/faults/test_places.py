"""Places that cannot be written, databases that are none: one line each, and nothing that was there
is lost."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo
from PIL import Image
from requests.utils import should_bypass_proxies

from scalenet import pipeline, stages
from scalenet.config import params
from scalenet.config.away import Unavailable
from scalenet.data import intake, readers
from scalenet.pipeline import cli, make_prefect_home, project
from scalenet.pipeline.doors import servers
from scalenet.pipeline.models import registry
from scalenet.pipeline.remember import stores
from scalenet.pipeline.repro import Graph
from scalenet.pipeline.runs import alone
from scalenet.records import files
from scalenet.records.journal import Journal

ROOT = Path(__file__).parents[2]
LIMITED = """
import resource, sys
from pathlib import Path
from scalenet.records import files
from scalenet.records.journal import Journal
journal = Journal(Path("journal.jsonl"), "key")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for write in (lambda: files.write_bytes(Path("document"), bytes(9000)),
              lambda: [journal.append({"number": i}) for i in range(200)]):
    try:
        write()
    except ValueError as error:
        print(error)
"""
DAC_OVERRIDE, DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24


def test_a_disk_that_takes_no_more_is_named_and_the_old_file_stays(tmp_path):
    """A limit on the size of files refuses a write as a full disk does, in the middle."""
    (tmp_path / "document").write_text("old")
    command = [sys.executable, "-c", LIMITED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    document, journal = done.stdout.splitlines()
    assert document.startswith("document: cannot be written (File too large); raise the limit")
    assert journal.startswith("journal.jsonl: cannot be written")
    assert (tmp_path / "document").read_text() == "old"
    kept = Journal(tmp_path / "journal.jsonl", "key")
    assert len(kept.records) > 20 and not kept.damaged, "a torn last line is none"
    kept.close()
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has this file")
@pytest.mark.parametrize("by", ["this process", "another"])
def test_a_disk_that_takes_no_more_images_is_named(tmp_path, monkeypatch, by):
    """They lie there twice while they are taken in, so that is where it fills: for this process,
    and for those that decode."""
    full = Path("/dev/full").open("r+b", buffering=0)  # noqa: SIM115
    monkeypatch.setattr(intake.tempfile, "TemporaryFile", lambda **given: full)
    if by == "another":  # from the second batch on
        monkeypatch.setattr(intake.Shelf, "put", lambda *given: None)
        monkeypatch.setattr(intake, "ALONE", -1.0)
        monkeypatch.setattr(intake, "IMAGES", 4)
        monkeypatch.setattr(intake, "cores", lambda: 2)
    for name in ("ant", "bee"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(9):
            Image.new("L", (8, 8), 9 * i).save(tmp_path / "photos" / name / f"{i}.png")
    section = params.load(ROOT / "params.yaml").data.model_copy(update={"source": "photos"})
    with pytest.raises(ValueError, match=r"cannot be written \(No space left.*free space on that"):
        intake.take(section, readers.find(section, tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "free space on that disk"),
        (errno.EROFS, "not mounted read-only"),
        (errno.EACCES, "that you may write"),
    ],
)
def test_what_the_disk_refuses_has_a_remedy(tmp_path, monkeypatch, code, said):
    def refuse(descriptor):
        raise OSError(code, os.strerror(code))

    (tmp_path / "document").write_text("old")
    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(ValueError, match=rf"document: cannot be written \(.*{said}"):
        files.write_bytes(tmp_path / "document", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["document"]
    assert (tmp_path / "document").read_text() == "old"


def test_a_file_where_a_folder_should_be_and_a_path_too_long(tmp_path):
    (tmp_path / "artifacts").write_text("mine")
    with pytest.raises(ValueError, match="remove the file that lies where a folder should be"):
        files.write_json(tmp_path / "artifacts/data/info.json", {})
    assert (tmp_path / "artifacts").read_text() == "mine"
    with pytest.raises(ValueError, match="a folder with a shorter path"):
        files.write_json(tmp_path / ("x" * 300) / "info.json", {})


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root is weakened")
def test_a_folder_that_may_not_be_written(tmp_path):
    """As its owner without root's right to write anywhere."""

    def weaken():
        import ctypes

        for right in (DAC_OVERRIDE, DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, right, 0, 0, 0)

    shutil.copytree(ROOT / "data", tmp_path / "data")
    shutil.copy2(ROOT / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "artifacts").mkdir(mode=0o555)
    command = [sys.executable, "-m", "scalenet.stages", "prepare"]
    done = subprocess.run(command, cwd=tmp_path, preexec_fn=weaken, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    [*_, last] = done.stderr.splitlines()
    assert "artifacts/data" in last and "(Permission denied); make its folder" in last


def test_what_the_disk_refuses_dvc_is_a_line_too(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / ".dvc/cache"))

    monkeypatch.chdir(tmp_path)
    project.begin(tmp_path)
    monkeypatch.setattr(Repo, "commit", refuse)
    with pytest.raises(
        ValueError, match=r"\.dvc/cache: cannot be written \(Permission denied\); mak"
    ):
        Graph(tmp_path).commit("prepare")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", ".state/lock"), ".state/lock: cannot"),
        (OSError(errno.ENOSPC, "No space left on device"), "free space on that disk"),
        (MemoryError(), stages.MEMORY),
    ],
)
def test_what_the_machine_refuses_a_verb_is_one_line(monkeypatch, capsys, error, said):
    def refuse(**options):
        raise error

    monkeypatch.setattr(cli.scalenet, "main", refuse)
    assert cli.main() == cli.FAULT
    told = capsys.readouterr().err
    assert said in told and len(told.splitlines()) == 1


def test_params_are_changed_in_a_locale_that_is_not_utf_8(tmp_path):
    """params.yaml has letters beyond ASCII, which such a locale reads and writes otherwise."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    env = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "scalenet.pipeline", "params", "--set", "search.seed=2"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    text = (tmp_path / "params.yaml").read_text(encoding="utf-8")
    assert "\n  seed: 2 " in text and "…" in text, "comments stay as they are"


# --- whose place it is ----------------------------------------------------------------------------


def test_a_project_that_another_pipeline_runs_keeps_what_is_its_own(tmp_path, monkeypatch):
    """DVC_ROOT is the outer project then; of a copy that DVC made, it is the copied one."""
    own, outer = tmp_path / "outer" / "vision", tmp_path / "outer"
    copy = outer / ".dvc" / "tmp" / "exps" / "tmp1"
    for folder in (own, copy):
        folder.mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", str(outer))
    assert pipeline.home(own) == own.resolve()
    assert pipeline.home(copy) == pipeline.home(outer) == outer.resolve()


@pytest.mark.parametrize(("given", "direct"), [("*", True), ("10.0.0.5", True), ("a.b", False)])
def test_what_a_user_reaches_without_a_proxy_stays_so(monkeypatch, given, direct):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, given)
    pipeline._set_environment()
    assert should_bypass_proxies("http://10.0.0.5:5000", None) == direct
    assert should_bypass_proxies("http://127.0.0.1:5000", None)


# --- the database ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)


def refused(root: Path) -> str:
    with pytest.raises(Unavailable) as error:
        stores.connect(root)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_a_database_that_is_none_is_named_with_a_remedy_that_helps(tmp_path):
    database = tmp_path / "mlflow.db"
    database.mkdir()
    assert "mlflow.db: unable to open" in (said := refused(tmp_path)) and "move it away" in said
    database.rmdir()
    database.write_text("some text\n" * 99)
    assert "move it away" in refused(tmp_path)
    database.rename(tmp_path / "away")
    stores.connect(tmp_path)


def test_the_folder_of_a_project_may_be_called_anything(tmp_path):
    """MLflow's address of it is a URI, where some letters mean something else."""
    root = tmp_path / "a b #1? %25 ü 字;&$x @y:z"
    root.mkdir()
    client = stores.connect(root)
    experiment = stores.experiment_id(client, root, "digits/candidates")
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "hello", "note.txt")
    assert [file.path for file in client.list_artifacts(run)] == ["note.txt"]
    [note] = root.rglob("note.txt")
    assert note.is_relative_to(root / "mlruns/digits/candidates")
    assert [path.name for path in tmp_path.iterdir()] == [root.name], "and no folder beside it"


def test_a_state_that_is_a_file_is_named(tmp_path):
    (tmp_path / ".state").write_text("")
    assert "remove the file .state" in refused(tmp_path)


def test_a_state_that_leads_to_a_folder_that_is_gone_is_made_there(tmp_path):
    """What speaks to MLflow before any run, such as `scalenet register`, asked for free space."""
    project, there = tmp_path / "project", tmp_path / "disk/mine"
    project.mkdir()
    (project / ".state").symlink_to(there)
    assert stores.connect(project).search_experiments() and (there / "mlflow.lock").exists()
    shutil.rmtree(tmp_path / "disk")
    with registry.locked(project):
        assert (there / "registry.lock").exists()
    shutil.rmtree(tmp_path / "disk")
    with alone.alone(project, "prepare", "key", print):
        assert (there / "prepare/lock").exists()
    shutil.rmtree(tmp_path / "disk")
    (tmp_path / "disk").write_text("no folder can be made here")
    assert f"make the folder {there}, to which .state leads, or remove" in refused(project)


def test_a_database_is_made_though_the_state_lies_on_another_disk(tmp_path, monkeypatch):
    def moved(self, target, move=Path.replace):
        if self.parent.resolve() != Path(target).parent.resolve():
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return move(self, target)

    monkeypatch.setattr(Path, "replace", moved)
    (tmp_path / "disk").mkdir()
    (tmp_path / "project").mkdir()
    (tmp_path / "project/.state").symlink_to(tmp_path / "disk")
    assert stores.connect(tmp_path / "project").search_experiments()
    assert (tmp_path / "project/mlflow.db").exists()


def test_nobody_else_may_read_the_database(tmp_path):
    before = os.umask(0o022)
    try:
        stores.connect(tmp_path)
    finally:
        os.umask(before)
    for file in tmp_path.glob("mlflow.db*"):
        assert not file.stat().st_mode & 0o007, file


def test_who_holds_the_database_is_to_be_waited_for(tmp_path, monkeypatch):
    def held(database):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(stores.database, "ready", held)
    assert "another process holds it" in refused(tmp_path)


# --- Prefect's own server -------------------------------------------------------------------------

START = """
from prefect.client.orchestration import get_client
from scalenet.pipeline.doors import servers
with servers.prefect(), get_client(sync_client=True) as client:
    print(client.hello().json())
"""


def test_our_own_server_that_cannot_start_says_why(tmp_path):
    (tmp_path / "prefect.db").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment, command = kept | {"PREFECT_HOME": str(tmp_path)}, [sys.executable, "-c", START]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    [*_, last] = done.stderr.splitlines()
    assert last.startswith("scalenet.config.away.Unavailable: Prefect's own server did not start (")
    assert f"unable to open database file); its database is {tmp_path}/prefect.db" in last
    assert "ERROR" not in done.stderr, "the server itself says nothing"


def test_our_own_server_that_ends_without_a_word_is_told_as_that(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = kept | {"PREFECT_HOME": str(tmp_path)}
    ending = f"import multiprocessing\nmultiprocessing.set_executable('/bin/false')\n{START}"
    command = [sys.executable, "-c", ending]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    [*_, last] = done.stderr.splitlines()
    assert last.startswith("scalenet.config.away.Unavailable: Prefect's own server ended without")


def test_a_database_that_the_user_gave_our_own_server_is_named_by_its_variable(tmp_path):
    name = "PREFECT_API_DATABASE_CONNECTION_URL"
    kept = {n: value for n, value in os.environ.items() if not n.startswith("PREFECT_")}
    kept |= {"PREFECT_HOME": str(tmp_path), name: "postgresql+asyncpg://me:hush@127.0.0.1:9/own"}
    command = [sys.executable, "-c", START]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=120)
    [*_, last] = done.stderr.splitlines()
    assert f"postgresql+asyncpg://***@127.0.0.1:9/own, which {name} gives it" in last
    assert "prefect.db" not in last and "hush" not in last


def test_our_own_server_is_where_we_look_whatever_is_set_for_another(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    kept |= {"PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_API_BASE_PATH": "/v2/api"}
    command = [sys.executable, "-c", START]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize("asked", [project.prefect_is_configured, servers.configured])
def test_prefects_profiles_that_cannot_be_read_are_named(tmp_path, monkeypatch, asked):
    """Prefect says of them: Invalid value (at end of document)."""
    (tmp_path / "profiles.toml").write_text("active = [")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_PROFILES_PATH", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=rf"^{tmp_path}/profiles.toml: Prefect's .*; mend them"):
        asked()


def test_who_has_no_home_has_no_profiles_of_prefects(monkeypatch):
    def nowhere(self):
        raise RuntimeError("Could not determine home directory.")

    for name in ("PREFECT_API_URL", "PREFECT_PROFILES_PATH", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", nowhere)
    assert not project.prefect_is_configured()


@pytest.mark.parametrize("name", ["HOME", "PREFECT_HOME"])
def test_a_home_that_cannot_be_is_one_line_that_names_it(tmp_path, monkeypatch, capsys, name):
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    monkeypatch.setenv(name, str(tmp_path / "file/of/mine"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"file/of/mine.* \(Not a directory\); set {name} to a"):
        cli.scalenet.main(["run"], standalone_mode=False)


def test_a_home_that_is_not_there_is_made_for_its_user_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "not/yet"))
    make_prefect_home()
    assert (tmp_path / "not/yet/.prefect").stat().st_mode & 0o777 == 0o700
