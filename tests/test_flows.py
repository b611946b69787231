"""Runs of the tiny pipeline as flows, with Prefect's own server, clients and worker."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from copy import copy

import httpx
import psutil
import pytest
import yaml
from filelock import FileLock
from tiny import Project

ZOMBIE = psutil.STATUS_ZOMBIE  # ended, but the container's first process does not ask how


def told(project: Project, **variables: str) -> Project:
    """Return the project as one sees it who has more in the environment."""
    told = copy(project)
    told.environment = project.environment | variables
    return told


# --- its own server -------------------------------------------------------------------------------

OWN_SERVER = """
import json
from threading import Barrier
import httpx
from prefect import Flow, get_client, get_run_logger
from prefect.settings import get_current_settings
from prefect.states import Completed, Failed
from scalenet.pipeline.doors import servers
from scalenet.pipeline.runs import flows
needs = {"a": set(), "b": {"a"}, "c": {"a"}, "d": {"a"}, "e": {"b", "c", "d"}}
meet, order = Barrier(2, timeout=100), []
def run(most, wrong):
    order.clear()
    def built(tools, name):
        order.append(name)
        if most > 1 and name in ("b", "c"):
            meet.wait()  # neither goes on before both are there
        return Failed(message="wrong") if name == wrong else Completed()
    flows._built = built
    tasks = {name: flows._task(None, name) for name in needs}
    ended = Flow(lambda: flows._side_by_side(tasks, needs, most), name="some")()
    return [order[:], {name: state.is_completed() for name, state in ended.items()}]
with servers.prefect():
    said = {"side by side": [run(1, None), run(2, None), run(2, "c")]}
    url = get_current_settings().api.url
    said["strangers"] = [
        httpx.post(f"{url}/flow_runs/filter", json={}, headers=headers).status_code
        for headers in ({}, {"Authorization": "Basic c2NhbGVuZXQ6c2NhbGVuZXQ="})
    ]
    Flow(lambda: get_run_logger().info("the last word"), name="brief")(return_state=True)
with servers.prefect(), get_client(sync_client=True) as client:
    logs = client.request("POST", "/logs/filter", json={}).json()
    said["logs"] = [log["message"] for log in logs]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def own(project):
    """Return what a process said whose servers are its own; loopback goes through no proxy, and
    Prefect is told to keep results."""
    kept = {"HTTP_PROXY": "http://127.0.0.1:9", "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true"}
    return told(project, **kept).ask(OWN_SERVER)


def test_stages_that_are_ready_run_side_by_side_and_a_failure_lets_the_others_end(own):
    one, two, failed = own["side by side"]
    everything = dict.fromkeys("abcde", True)
    assert one == [list("abcde"), everything]
    assert two[1] == everything and two[0][0] == "a" and two[0][3:] == ["d", "e"]
    assert failed[1].items() >= {"a": True, "b": True, "c": False}.items()
    assert "e" not in failed[1]


def test_prefect_answers_for_no_stage_though_it_is_told_to_keep_results(own):
    assert own["side by side"][0][0] == list("abcde"), "each was run, and none was Cached"


def test_what_a_run_says_last_is_with_prefect_before_its_server_ends(own):
    assert "the last word" in own["logs"]


def test_the_server_of_a_run_answers_nobody_without_its_secret(own):
    assert own["strangers"] == [401, 401]


def test_a_dead_server_is_named(project):
    away = told(project, PREFECT_API_URL="http://127.0.0.1:9/api")
    printed = away.scalenet("stage", "prepare", code=3)
    assert "PREFECT_API_URL http://127.0.0.1:9/api does not" in printed
    assert "Traceback" not in printed


def test_ctrl_c_ends_what_runs_side_by_side_and_their_checkpoints_are_kept(project):
    command = ["scalenet", "run", "--set", "retrain.recipe.steps=200000"]
    command += ["--set", "compute.workers=2"]
    state = project.folder / ".state"
    with subprocess.Popen(
        command, cwd=project.folder, env=project.environment, stderr=subprocess.PIPE, text=True
    ) as run:
        try:
            deadline = time.monotonic() + 200
            while len(list(state.glob("S*/*/checkpoint.pt"))) < 2:
                assert run.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
            children = psutil.Process(run.pid).children()
            run.send_signal(signal.SIGINT)
            said = run.communicate(timeout=100)[1]
        finally:
            run.kill()
    assert run.returncode == 130 and "Traceback" not in said
    for name in ("S2", "S3"):
        assert len(re.findall(rf"retrain@{name}: stopped after .* from its last", said)) == 1
    assert "failed" not in said
    alive = psutil.wait_procs(children, timeout=10)[1]
    assert len(children) >= 3 and all(child.status() == ZOMBIE for child in alive)
    assert len(list(state.glob("S*/*/checkpoint.pt"))) == 2
    shutil.rmtree(state)
    project.reset()


# --- a server that goes on running --------------------------------------------------------------

SERVER = """
import sys
from prefect.settings import get_current_settings
from scalenet.pipeline.doors import servers
with servers.prefect():
    api = get_current_settings().api
    print(api.url, api.auth_string.get_secret_value(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def served(project):
    """The project for who is told of a Prefect server that goes on running."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, cwd=project.folder, env=project.environment, **pipes) as server:
        url, secret = server.stdout.readline().split()
        yield told(project, PREFECT_API_URL=url, PREFECT_API_AUTH_STRING=secret)
        server.stdin.close()


def asked(served: Project, what: str, **wanted: object) -> list[dict]:
    """Return what Prefect's server knows, such as ``flow_runs``."""
    url, secret = (served.environment[f"PREFECT_API_{name}"] for name in ("URL", "AUTH_STRING"))
    answer = httpx.post(
        f"{url}/{what}/filter", json=wanted, auth=tuple(secret.split(":")), trust_env=False
    )
    return answer.raise_for_status().json()


def flow_runs(served: Project, *flows: str) -> list[dict]:
    """Return the runs of some flows, the newest first."""
    wanted = {"flows": {"name": {"any_": flows}}, "sort": "START_TIME_DESC"}
    return asked(served, "flow_runs", **wanted)


def states(served: Project) -> tuple[str, dict[str, str]]:
    """Return the last family flow's state and its tasks' states."""
    family, *_ = flow_runs(served, "family")
    tasks = asked(served, "task_runs", flow_runs={"id": {"any_": [family["id"]]}})
    return family["state_name"], {task["name"]: task["state_name"] for task in tasks}


def test_the_family_flow_shows_unchanged_stages_as_cached_and_reruns_what_a_number_changes(served):
    served.scalenet("run")
    state, tasks = states(served)
    assert state == "Completed" and set(tasks.values()) == {"Cached"} and "retrain@S3" in tasks
    served.scalenet("run", "--set", "search.seed=1", "--target", "search")
    state, tasks = states(served)
    assert tasks == {"prepare": "Cached", "supernet": "Cached", "search": "Completed"}
    assert yaml.safe_load(served.read("params.yaml"))["search"]["seed"] == 1
    assert "Running stage" not in served.run("dvc", "repro", "search"), "DVC finds it done"
    served.reset()


def test_a_member_that_fails_lets_the_one_beside_it_be_committed(served):
    before = yaml.safe_load(served.read("dvc.lock"))["stages"]
    change, params = ("--set", "retrain.calibration=100"), served.read("params.yaml")
    with FileLock(served.folder / ".state/S3/lock"):
        said = served.scalenet("run", *change, code=2)
        assert "S3: another process computes it, and params.yaml stays as it is" in said
        assert served.read("params.yaml") == params, "that one's work stays what it began with"
        served.scalenet("params", *change, "--set", "compute.workers=3")
        said = served.scalenet("run", code=2)
    assert "retrain@S3: S3: another process computes it; wait" in said
    assert "Traceback" not in said
    now = yaml.safe_load(served.read("dvc.lock"))["stages"]
    changed = {name for name in before if now[name] != before[name]}
    assert "retrain@S2" in changed and not changed & {"retrain@S3", "publish"}
    served.reset()


def test_a_stage_of_dvc_repro_is_a_flow_of_the_server_that_is_configured(served):
    before = flow_runs(served, "publish")
    served.run("dvc", "repro", "--force", "--single-item", "publish")
    newest, *earlier = flow_runs(served, "publish")
    assert newest["state_name"] == "Completed" and earlier == before


DEPLOY = """
import json, subprocess, sys
from prefect.client.orchestration import get_client
def prefect(*arguments):
    subprocess.run([sys.executable, "-m", "prefect", *arguments], check=True, timeout=200)
prefect("work-pool", "create", "gpu", "--type", "process")
prefect("--no-prompt", "deploy", "--all")
changes = ("publish.draws=60", "publish.draw=60", "publish.draws=70")
with get_client(sync_client=True) as client:
    deployment = client.read_deployment_by_name("family/family")
    for change in changes:
        parameters = {"overrides": change, "promote": change == changes[2]}
        client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    prefect("worker", "start", "--pool", "gpu", "--run-once", "--limit", "3")
    runs = [run for run in client.read_flow_runs() if run.deployment_id == deployment.id]
    runs = {run.parameters["overrides"]: run for run in runs}
    done, wrong, kept = (runs[change] for change in changes)
    tasks = {t.name: t.state_name for t in client.read_task_runs() if t.flow_run_id == done.id}
    shown = [a.data for a in client.read_artifacts()
             if a.flow_run_id == done.id and a.type == "markdown"]
form = deployment.parameter_openapi_schema["properties"]
print(json.dumps([form, [done.state_name, done.name, done.state.message],
                  [wrong.state_name, wrong.state.message],
                  [kept.state_name, kept.state.message], tasks, shown]))
"""


def test_a_scheduled_run_works_in_a_workspace_and_leaves_the_checkout_as_it_was(served):
    before = served.artifacts(), served.read("params.yaml"), served.read("dvc.lock")
    form, done, wrong, undeployed, tasks, shown = served.ask(DEPLOY)
    assert {"tiny", "photographs", "params.yaml as committed"} <= set(form["preset"]["enum"])
    assert {"everything", "search", "retrain"} <= set(form["target"]["enum"])
    assert form["overrides"]["type"] == "string" and form["revision"]["default"] == "HEAD"
    assert all(entry["description"] for entry in form.values())
    assert (served.artifacts(), served.read("params.yaml"), served.read("dvc.lock")) == before
    assert served.run("git", "status", "--short") == ""
    commit = served.run("git", "rev-parse", "HEAD")[:7]
    assert done[:2] == ["Completed", f"digits {commit}"]
    assert {name for name, state in tasks.items() if state != "Cached"} == {"publish"}
    assert "| S2 |" in shown[0] and "data:image/svg+xml" in shown[0]
    assert wrong[0] == "Refused" and "publish.draw: unknown key" in wrong[1]
    assert undeployed[0] == "Refused" and "built, but not deployed" in undeployed[1]
    assert "one and the same class" in undeployed[1] or "is refused" in undeployed[1]
    [kept] = [path.name for path in (served.folder / ".state/workspaces").glob("*/")]
    assert f"workspace {kept}" in served.scalenet("doctor", code=None)
    assert re.search(r"generation \w+", done[2])
    name = re.search(r"`dvc exp apply (\S+)`", done[2])[1]
    assert name.startswith(commit) and name != kept
    served.run("dvc", "exp", "apply", name)
    assert "draws: 60" in served.read("params.yaml")
    assert "Running stage" not in served.run("dvc", "repro"), "what it made is here"
    served.reset()


def test_a_member_that_left_the_family_leaves_its_folder_too(served):
    family = "family={S0: {multiple: 1, seed: 0}, S2: {multiple: 4, seed: 0}}"
    served.scalenet("run", "--set", family)
    try:
        assert sorted(path.name for path in (served.folder / "artifacts/members").iterdir()) == [
            "S0",
            "S2",
        ]
        assert "S3" not in served.scalenet("family")
    finally:
        served.reset()
