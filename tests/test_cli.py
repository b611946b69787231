"""The command: what its help says, how it ends, and who is let in to its pages."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests
from conftest import verb
from PIL import Image

from scalenet.pipeline import cli
from scalenet.pipeline.cli import VERBS, report, run
from scalenet.pipeline.doors import guard
from scalenet.pipeline.models import deployment
from scalenet.pipeline.remember import stores
from scalenet.records.documents import Family, Trained
from scalenet.records.paths import Paths

ROOT = Path(__file__).parent.parent
FAMILY = "artifacts/family/family.json"


def scalenet(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "scalenet.pipeline", *arguments]
    environment = os.environ | variables
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, timeout=100)


def test_help_lists_the_verbs_and_each_shows_examples(tmp_path):
    said = scalenet("--help", cwd=tmp_path).stdout.decode()
    assert all(name in said and line in said for name, line in VERBS.items())
    for name in VERBS:
        _, said, _ = verb(tmp_path, name, "--help")
        assert f"scalenet {name}" in said.partition("\n")[2], f"{name} shows no example"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["nothing"], "'nothing' is no verb; there are init, latency, run"),
        (["exprot"], "did you mean export?"),
        (["run", "--set", "search.seed"], "expected KEY=VALUE"),
        (["params", "--set", "=3"], "expected KEY=VALUE"),
        (["init", "digits", "--minutes", "5min"], "'5min' is no finite number; give one above 0"),
        (["params", "--set", "search.seed=[1"], "not valid YAML"),
        (["init", "nowhere"], "nowhere does not exist; give a folder or an archive"),
        (["init", "digits", "my set"], "letters, digits, - and _, such as my-set"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(tmp_path, arguments, said):
    (tmp_path / "a file").touch()
    code, _, err = verb(tmp_path, *arguments)
    assert code == 2
    [message] = err.rpartition("\nError: ")[2].splitlines()  # below the usage, if click refuses it
    assert said in message


def test_a_folder_that_is_no_project_says_where_one_is(tmp_path):
    said = scalenet("family", cwd=tmp_path).stderr.decode()
    assert "no params.yaml" in said and "scalenet init PHOTOS" in said
    (tmp_path / "photos" / "artifacts").mkdir(parents=True)
    (tmp_path / "photos" / "params.yaml").touch()
    below = scalenet("predict", "s1", "photo.jpg", cwd=tmp_path)
    assert below.returncode == 2 and b"go to one first: cd photos" in below.stderr
    above = scalenet("export", "s1", cwd=tmp_path / "photos" / "artifacts")
    assert f"go to one first: cd {tmp_path / 'photos'}" in above.stderr.decode()
    wrong = scalenet("stage", "nothing", cwd=tmp_path / "photos")
    assert wrong.returncode == 2 and b"'nothing' is no stage" in wrong.stderr


def test_changed_params_are_told_and_the_same_ones_too(tmp_path):
    assert "begun" in scalenet("params", cwd=tmp_path).stdout.decode()
    change = ["params", "--set", "search.seed=7", "--set", "family.S6={multiple: 64, seed: 0}"]
    said = scalenet(*change, cwd=tmp_path).stdout.decode()
    assert "search.seed: 0 -> 7" in said
    assert 'family.S6: absent -> {"multiple": 64, "seed": 0}' in said
    assert "so already" in scalenet(*change, cwd=tmp_path).stdout.decode()
    code, said, _ = verb(tmp_path, "params", "--set", "scaling.budget=2e5")
    assert code == 0 and "scaling.budget: 100000.0 -> 200000.0" in said, "a number, not a word"
    assert "so already" in verb(tmp_path, "params", "--set", "scaling.budget=0.2e6")[1]


def test_a_family_beside_other_data_is_shown_to_nobody(built, tmp_path):
    """What a run that was stopped leaves: new images, and members that learnt from the old."""
    shutil.copytree(built / "artifacts", tmp_path / "artifacts")
    shutil.copy(built / "params.yaml", tmp_path)
    info = Paths(tmp_path).info().model_copy(update={"digest": "other"})
    info.write(tmp_path / "artifacts/data/info.json")
    for arguments in (["family"], ["pick"], ["predict", "s0", "."]):
        code, out, said = verb(tmp_path, *arguments)
        assert code == 2 and out == "", arguments
        assert "made from other data" in said and "scalenet run" in said and "Trace" not in said


def test_members_that_were_trained_since_the_family_was_published_are_told(built, tmp_path):
    """What a run that was stopped, or had another target, leaves: new weights, and old numbers."""
    shutil.copytree(built / "artifacts", tmp_path / "artifacts")
    shutil.copy(built / "params.yaml", tmp_path)
    file = Paths(tmp_path).member("S1") / "trained.json"
    Trained.read(file).model_copy(update={"weights": "others"}).write(file)
    told = "S1 was trained anew since the family was published; `scalenet run` makes it anew"
    for name in ("pick", "report"):
        code, out, said = verb(tmp_path, name)
        assert (code, out, said) == (2, "", f"{told}\n"), name
    code, out, said = verb(tmp_path, "family")
    assert code == 0 and f"\nwarning: {told}\n" in out, said
    shutil.rmtree(Paths(tmp_path).members)  # a clone that pulled the family alone
    assert verb(tmp_path, "pick")[0] == 0 and told not in verb(tmp_path, "family")[1]


def test_a_family_of_another_revision_than_dvc_lock_is_told(built, tmp_path, monkeypatch):
    """After `git checkout` of another branch, without `dvc checkout`."""
    monkeypatch.setattr(deployment, "enter", lambda root, params: "")  # takes seconds
    shutil.copytree(built / "artifacts", tmp_path / "artifacts")
    shutil.copy(built / "params.yaml", tmp_path)
    there = hashlib.md5((tmp_path / FAMILY).read_bytes()).hexdigest()
    for md5, told in ((there, False), ("0" * 32, True)):
        out = {"path": FAMILY, "hash": "md5", "md5": md5}
        lock = {"schema": "2.0", "stages": {"publish": {"cmd": "x", "outs": [out]}}}
        (tmp_path / "dvc.lock").write_text(json.dumps(lock))
        for name in ("family", "pick", "report", "register", "status"):
            _, _, said = verb(tmp_path, name)
            assert ("not the one that dvc.lock names" in said) == told, (name, said)
    (tmp_path / "dvc.lock").write_text("<<<<<<< HEAD")
    assert verb(tmp_path, "pick")[0] == 0


def test_a_run_tells_what_was_edited_too_late_for_it(make_params, tmp_path, monkeypatch, capsys):
    """A stage that is done is not looked at again: the run ended as if all were up to date."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "write", lambda root: "page")
    used = make_params().model_dump(mode="json")
    known = {"params.yaml": {"data": used["data"], "family": used["family"]}}
    lock = {"schema": "2.0", "stages": {"publish": {"params": known}}}
    (tmp_path / "dvc.lock").write_text(json.dumps(lock))
    for edited, told in (
        ({"compute": {"workers": 3}}, []),
        ({"data": {"seed": 9}}, ["data.seed: 1 -> 9"]),
    ):
        now = make_params(edited).model_dump(mode="json")
        (tmp_path / "params.yaml").write_text(json.dumps(now))
        assert run._published(False, registering=False, promote=False, quiet=False) == 0
        said = capsys.readouterr().out.splitlines()
        line = "edited    {}: too late for this run, `scalenet run` takes it up"
        assert said == ["report    page", *map(line.format, told)]


def test_a_family_is_shown_and_picked_from_where_nothing_may_be_written(
    built, tmp_path, monkeypatch
):
    """In somebody else's project both ended in a line about the folder."""

    def refuse(database):
        raise PermissionError(13, "Permission denied", f"{tmp_path}/.state/mlflow.lock")

    shutil.copytree(built / "artifacts", tmp_path / "artifacts")
    shutil.copy(built / "params.yaml", tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    stores.connect(tmp_path)  # makes the database
    code, out, said = verb(tmp_path, "family")
    assert code == 0 and " version" in out and "\nload  " in out and not said
    monkeypatch.setattr(stores.database, "ready", refuse)
    for name in ("family", "pick"):
        code, out, said = verb(tmp_path, name)
        [line] = said.splitlines()
        assert code == 0 and line.startswith("warning: the model registry is not shown: ")
        assert "mlflow.lock" in line and "S0" in out and "version" not in out and "load " not in out
    assert (
        verb(tmp_path, "pick", "--alias", "mine")[0] == verb(tmp_path, "promote", "--list")[0] == 3
    )


def test_a_member_that_was_trained_since_is_used_and_that_is_told(built, tmp_path):
    shutil.copytree(built / "artifacts", tmp_path / "artifacts")
    shutil.copy(built / "params.yaml", tmp_path)
    Image.new("L", (8, 8)).save(tmp_path / "photo.png")
    asked = (["predict", "s1", "photo.png"], ["export", "s1", "--torch"])
    assert verb(tmp_path, *asked[0])[::2] == (0, "")
    family = Family.read(file := Paths(tmp_path).family / "family.json")
    other = family.members[1].model_copy(update={"weights": "others"})
    family.model_copy(update={"members": [family.members[0], other]}).write(file)
    told = "warning: S1 was trained anew since the family was published; `scalenet run` makes it"
    for arguments in asked:
        code, out, said = verb(tmp_path, *arguments)
        assert code == 0 and out and said.startswith(told) and len(said.splitlines()) == 1, said
    assert verb(tmp_path, "predict", "s0", "photo.png")[::2] == (0, "")
    file.unlink()
    assert verb(tmp_path, *asked[0])[::2] == (0, ""), "none is published yet"


def test_output_degrades_where_the_terminal_has_no_utf8(tmp_path):
    (tmp_path / "café").mkdir()
    done = scalenet("family", cwd=tmp_path / "café", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 2 and b"caf?" in done.stderr


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    command = f"{sys.executable} -m scalenet.pipeline --help | true"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""


def test_a_fault_is_told_as_mlflows_only_if_it_is():
    assert stores.OWN  # MLflow is known here, as after a command that asked it
    said, code = cli._told(requests.HTTPError("500 Server Error: x for url: y/mlflow-artifacts/z"))
    assert code == 3 and "cannot keep files" in said
    for ours in (OSError("odd"), ConnectionResetError("of another server")):
        with pytest.raises(OSError, match=str(ours)):
            cli._told(ours)


# --- the pages' door ------------------------------------------------------------------------------


def ask(query="", path="/runs", token="secret", **headers):
    """Send one request through the door; return the status and headers of the answer."""
    sent = []

    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "path": path, "query_string": query.encode("latin-1"),
        "server": ("127.0.0.1", 5000),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    asyncio.run(guard.guarded(page, token)(scope, None, send))
    return sent[0]["status"], dict(sent[0]["headers"])


def test_the_door_opens_for_the_secret_alone():
    assert ask()[0] == ask("token=other")[0] == ask(cookie="scalenet-5000=no")[0] == 401
    assert ask(authorization="Basic a")[0] == ask("token=%ff\xff")[0] == 401  # nor is it a fault
    assert ask(authorization="Basic !!!")[0] == ask(authorization="Bearer x")[0] == 401
    status, headers = ask("token=secret&a=1")
    assert status == 303 and headers[b"location"] == b"/runs?a=1"
    for path in ("//other.org/", "/\r\nx: y"):  # the way on is a page of this server, in one line
        place = ask("token=secret", path)[1][b"location"]
        assert place[1:2] != b"/" and b"\n" not in place
    cookie = headers[b"set-cookie"].decode()
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert ask(cookie=cookie.partition(";")[0])[0] == 200
    for others in ('prefs={"a":1}; ', "a/b=1; "):  # of programs at other ports of this host
        assert ask(cookie=others + "scalenet-5000=secret")[0] == 200
    assert ask(authorization="Bearer secret")[0] == 200
    assert ask(authorization="Basic c2NhbGVuZXQ6c2VjcmV0")[0] == 200


@pytest.mark.parametrize("token", ['a;b, "c" d', "p@ss%41/+=#?&", "sé→"])
def test_the_door_opens_for_a_secret_of_any_signs(token):
    status, headers = ask(urlencode({"token": token}), token=token)
    assert status == 303
    cookie = headers[b"set-cookie"].decode("ascii").partition(";")[0]
    assert ask(cookie=cookie, token=token)[0] == 200
    assert ask(cookie=cookie + "x", token=token)[0] == 401


def test_the_pages_are_not_opened_where_another_program_would_be_sent_their_secret(tmp_path):
    (tmp_path / "params.yaml").touch()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        code, out, said = verb(tmp_path, "ui", "--mlflow-port", port)
    assert code == 2 and not out and len(said.splitlines()) == 1
    assert f"--mlflow-port {port}: cannot listen there (Address already in use)" in said
    assert "give another --mlflow-port" in said
