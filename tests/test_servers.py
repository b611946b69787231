"""docs/operations.md's servers that outlive a laptop, with its own commands: a family on PostgreSQL
and S3, and what is said and kept when one of them is full, away or refuses a credential."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import stack as stacks
from mlflow import MlflowClient
from stack import typed
from test_operations import sections

SECRETS, CLIENT, KEPT, CLONED, WORKER = sections()["Servers that outlive a laptop"]
UP = "docker compose --profile worker up --detach\n"
DELIVER = """
import sys
from pathlib import Path
from scalenet.config import params as config
from scalenet.pipeline.remember import candidates, stores
root, key = Path(sys.argv[1]), sys.argv[2]
params = config.load(root / "params.yaml")
params = params.model_copy(update={"data": params.data.model_copy(update={"name": "crowd"})})
client = stores.connect(root)
experiment = stores.experiment_id(client, root, stores.candidate_experiment(params))
runs = candidates.Runs(client, experiment, key, "a search")
for number in range(12):
    record = dict.fromkeys(candidates.METRICS, 1.0) | dict.fromkeys(candidates.PARAMS, "x")
    runs.deliver(record | {"network": f"n{number}"})
"""


def tried(environment: dict[str, str], folder: Path, *command: str) -> tuple[int, str]:
    """Run a command; return its exit code and all that it printed, which holds no secret."""
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=400
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    secrets = [environment[name] for name in ("POSTGRES_PASSWORD", "AWS_SECRET_ACCESS_KEY")]
    secrets += [environment["MLFLOW_TRACKING_TOKEN"], environment["PREFECT_API_AUTH_STRING"]]
    assert not [secret for secret in secrets if secret in said]
    return done.returncode, said


def flow_runs(client: dict[str, str]) -> list[dict]:
    """Return Prefect's flow runs, the newest first."""
    answer = httpx.post(
        f"{client['PREFECT_API_URL']}/flow_runs/filter",
        json={"sort": "START_TIME_DESC"},
        auth=tuple(client["PREFECT_API_AUTH_STRING"].split(":")),
    )
    return answer.raise_for_status().json()


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    if stacks.postgres_binaries() is None:
        pytest.skip("there is no PostgreSQL here: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("stack")
    base = stacks.surroundings(folder)
    typed(SECRETS, folder, base)
    stack = stacks.Stack(
        folder, base, dict(re.findall("(.+?)=(.+)\n", (folder / ".env").read_text()))
    )
    try:
        stack.start("postgres")
        stack.setup()
        stack.setup()  # which changes nothing
        stack.start("mlflow", "prefect")
        yield stack
    finally:
        stack.end()


@pytest.fixture(scope="module")
def client(stack):
    """Return the environment of who uses the servers, as the document's exports leave it."""
    exports = re.sub(r"127\.0\.0\.1:\d+", lambda found: stack.here(found[0]), CLIENT)
    lines = typed(f"{exports}env -0", stack.folder, stack.base).split("\0")
    return dict(line.split("=", 1) for line in lines if line)


@pytest.fixture(scope="module")
def told(stack, client):
    """Build a family while the store is full; return its folder and what was said."""
    folder = stack.folder / "family"
    stack.store.full = True
    try:
        typed(sections()["A project under git"][0], stack.folder, client)
        code, said = tried(client, folder, "scalenet", "run")
        refused = tried(client, folder, "scalenet", "register")
    finally:
        stack.store.full = False
    assert code == 0, said
    return folder, said, refused


@pytest.fixture(scope="module")
def family(client, told):
    """Return the folder of a family that the servers know, since the store has room again."""
    folder, *_ = told
    assert "generation" in typed(KEPT, folder, client)
    return folder


@pytest.fixture
def mlflow(client, monkeypatch):
    """Return a client that has the secret, and no credentials of the store."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.setenv(name, client[name])
    return MlflowClient(client["MLFLOW_TRACKING_URI"])


def experiment(mlflow: MlflowClient, name: str) -> list:
    return list(mlflow.search_runs([mlflow.get_experiment_by_name(name).experiment_id]))


# --- a family on the servers ----------------------------------------------------------------------


def test_a_full_store_stops_no_run_and_is_named(told, client):
    folder, said, (code, refused) = told
    assert said.count("its server cannot keep files: the artifact store behind it is full") == 1, (
        said
    )
    assert "MLflow lacks" in said and "not yet a report" in said
    assert (folder / "artifacts/family/family.json").exists()
    assert code == 3 and "cannot keep files" in refused and "nothing is lost" in refused
    assert [run["state_name"] for run in flow_runs(client)][-1] == "Completed"


def test_a_store_that_fills_when_nothing_waits_is_one_line_too(stack, client, family):
    stack.store.full = True
    try:
        code, said = tried(client, family, "scalenet", "report")
    finally:
        stack.store.full = False
    assert code == 3 and "cannot keep files" in said and len(said.splitlines()) < 3


def test_what_waited_is_delivered_once_the_store_has_room(stack, family, mlflow):
    assert not list((family / ".state/mlflow").glob("[!.]*/report.json"))
    assert not (family / "mlflow.db").exists() and not (family / "mlruns").exists()
    stages, candidates = experiment(mlflow, "digits"), experiment(mlflow, "digits/candidates")
    assert {run.info.status for run in [*stages, *candidates]} == {"FINISHED"}
    assert [run.data.tags["stage"] for run in stages].count("publish") == 1
    with (family / "artifacts/search/candidates.csv").open() as rows:
        assert len(candidates) == len(list(csv.DictReader(rows)))
    kept = stack.objects("mlflow")
    assert [name for name in kept if name.endswith("family.svg")]
    assert len([name for name in kept if name.endswith("model.pt2")]) == 3


def test_a_clone_has_the_family_by_way_of_s3(stack, client, family):
    assert stack.objects("dvc")
    said = typed(CLONED, family, client)
    assert "is deployed: versions 1 to 3" in said
    for file in (family / "artifacts/members").rglob("*.*"):
        copy = family.parent / "copy" / file.relative_to(family)
        assert copy.read_bytes() == file.read_bytes()
    code, said = tried(client, family.parent / "copy", "dvc", "repro")
    assert code == 0 and re.findall("Running stage '(.+)'", said) == ["code"], said  # its check


def test_workers_that_write_candidates_at_once_write_each_once(client, family, mlflow):
    keys = ["one", "two"]
    workers = [
        subprocess.Popen([sys.executable, "-c", DELIVER, family, key], env=client) for key in keys
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    runs = experiment(mlflow, "crowd/candidates")
    names = [f"{key} n{number}" for key in keys for number in range(12)]
    assert sorted(run.data.tags["candidate"] for run in runs) == sorted(names)
    assert {(run.info.status, len(run.data.metrics)) for run in runs} == {("FINISHED", 14)}


# --- bad weather ----------------------------------------------------------------------------------


def test_a_remote_that_refuses_the_key_or_is_full_gets_all_of_it_later(stack, client, family):
    def push(**changes: str) -> tuple[int, str]:
        return tried(client | changes, family, "dvc", "push", "--remote", "other")

    assert (
        tried(client, family, "dvc", "remote", "add", "--local", "other", "s3://dvc/other")[0] == 0
    )
    code, said = push(AWS_ACCESS_KEY_ID="another")
    assert code != 0 and "Forbidden" in said
    stack.store.full = True
    code, said = push()
    stack.store.full = False
    assert code != 0 and "drive is full" in said and not stack.objects("dvc", "other/")
    assert push()[0] == 0
    assert len(stack.objects("dvc", "other/")) == len(stack.objects("dvc", "files/")) > 0


def test_a_wrong_secret_is_named_before_anything_is_computed(client, tmp_path):
    for name, wrong in {
        "PREFECT_API_AUTH_STRING": "admin:wr0ng",
        "MLFLOW_TRACKING_TOKEN": "wr0ng",
    }.items():
        command = ("scalenet", "run", "--preset", "tiny")
        code, said = tried(client | {name: wrong}, tmp_path, *command)
        assert code == 2 and f"refuses {name}" in said and "wr0ng" not in said
        assert not (tmp_path / "artifacts").exists()
    newest = flow_runs(client)[0]["state"]
    assert newest["name"] == "Refused" and "refuses MLFLOW_TRACKING_TOKEN" in newest["message"]


def test_a_wrong_password_of_a_database_is_told_and_not_shown(stack, client, family):
    address = stack.here("postgresql+psycopg2://scalenet:wr0ng@postgres:5432/mlflow")
    code, said = tried(client | {"MLFLOW_TRACKING_URI": address}, family, "scalenet", "register")
    assert code == 3 and "password authentication failed" in said and "wr0ng" not in said


def test_nothing_is_computed_while_the_database_is_away(stack, client, family):
    before = [(family / name).read_bytes() for name in ("dvc.lock", "params.yaml")]
    stack.stop("postgres")
    try:
        code, said = tried(client, family, "scalenet", "run", "--set", "publish.draws=60")
        assert not stack.healthy("prefect")
    finally:
        stack.start("postgres")
    assert code == 3 and "its database is away" in said
    code, said = tried(client, family, "scalenet", "run", "--target", "prepare")
    assert code == 0 and "0 computed, 1 up to date" in said, said
    assert [(family / name).read_bytes() for name in ("dvc.lock", "params.yaml")] == before


@pytest.mark.long
def test_a_run_goes_on_without_the_database_and_is_told_in_full_later(stack, client, family):
    command = ["scalenet", "run", "--set", "supernet.seed=5"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    run = subprocess.Popen(command, cwd=family, env=client, **pipes)
    said = next(line for line in run.stdout if line.startswith("supernet: begins"))
    stack.stop("postgres")
    try:
        said += run.stdout.read()
        assert run.wait() == 0, said
    finally:
        stack.start("postgres")
    assert said.count("MLflow cannot be told") == said.count("prefect: its server") == 1, said
    assert "MLflow lacks 7 reports" in said and "7 computed, 2 up to date" in said
    code, said = tried(client, family, "scalenet", "run")
    assert code == 0 and "0 computed, 9 up to date" in said and "registered generation" in said
    assert not list((family / ".state/mlflow").glob("[!.]*/report.json"))
    assert {run["state_name"] for run in flow_runs(client)[:2]} == {"Completed"}


@pytest.mark.long
def test_the_worker_of_compose_takes_a_run(stack, client):
    folder = stack.folder / "volume"
    folder.mkdir()
    first, last = WORKER.split(UP)
    inside = next(line for line in first.splitlines(keepends=True) if line.startswith("inside="))
    typed(first, folder, stack.variables("worker"))
    stack.start("worker", folder=folder)
    try:
        typed(inside + last, folder, stack.variables("worker"))
    finally:
        stack.stop("worker")
    newest = flow_runs(client)[0]
    assert newest["state_name"] == "Completed" and newest["deployment_id"]
