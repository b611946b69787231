"""Runs of the tiny pipeline as flows, with Prefect's own server, clients and worker."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time

import psutil
import yaml
from filelock import FileLock
from tiny import Project

ZOMBIE = psutil.STATUS_ZOMBIE  # ended, but the container's first process does not ask how


FLOW_STATES = """
import json
from pathlib import Path
from prefect.client.orchestration import get_client
from scalenet.pipeline.doors import servers
with servers.prefect(), get_client(sync_client=True) as client:
    flows = {flow.id: flow.name for flow in client.read_flows()}
    runs = [run for run in client.read_flow_runs() if flows[run.flow_id] == 'family']
    family = sorted(runs, key=lambda run: run.created)[-1]
    tasks = {run.name: run.state_name for run in client.read_task_runs()
             if run.flow_run_id == family.id}
print(json.dumps([family.state_name, tasks]))
"""


def states(project: Project) -> list:
    """Return the last family flow's state and its tasks' states, as a later server tells."""
    return project.ask(FLOW_STATES)


def test_the_family_flow_shows_unchanged_stages_as_cached_and_reruns_what_a_number_changes(project):
    project.scalenet("run")
    state, tasks = states(project)
    assert state == "Completed" and set(tasks.values()) == {"Cached"} and "retrain@S3" in tasks
    project.scalenet("run", "--set", "search.seed=1", "--target", "search")
    state, tasks = states(project)
    assert tasks == {"prepare": "Cached", "supernet": "Cached", "search": "Completed"}
    assert yaml.safe_load(project.read("params.yaml"))["search"]["seed"] == 1
    assert "Running stage" not in project.run("dvc", "repro", "search"), "DVC finds it done"
    project.reset()


SIDE_BY_SIDE = """
import json
from threading import Barrier
from prefect import Flow, Task
from prefect.states import Completed, Failed
from scalenet.pipeline.doors import servers
from scalenet.pipeline.runs import flows
needs = {"a": set(), "b": {"a"}, "c": {"a"}, "d": {"a"}, "e": {"b", "c", "d"}}
meet, order = Barrier(2, timeout=100), []
def task(name, most, wrong):
    def body():
        order.append(name)
        if most > 1 and name in ("b", "c"):
            meet.wait()  # neither goes on before both are there
        return Failed(message="wrong") if name == wrong else Completed()
    return Task(body, name=name)
def run(most, wrong):
    order.clear()
    tasks = {name: task(name, most, wrong) for name in needs}
    ended = Flow(lambda: flows._side_by_side(tasks, needs, most), name="some")()
    return [order[:], {name: state.is_completed() for name, state in ended.items()}]
with servers.prefect():
    print(json.dumps([run(1, None), run(2, None), run(2, "c")]))
"""


def test_stages_that_are_ready_run_side_by_side_and_a_failure_lets_the_others_end(project):
    one, two, failed = project.ask(SIDE_BY_SIDE)
    everything = dict.fromkeys("abcde", True)
    assert one == [list("abcde"), everything]
    assert two[1] == everything and two[0][0] == "a" and two[0][3:] == ["d", "e"]
    assert failed[1].items() >= {"a": True, "b": True, "c": False}.items()
    assert "e" not in failed[1]


LAST_WORDS = """
import json
from prefect import Flow, get_client, get_run_logger
from scalenet.pipeline.doors import servers
with servers.prefect():
    state = Flow(lambda: get_run_logger().info("the last word"), name="brief")(return_state=True)
with servers.prefect(), get_client(sync_client=True) as client:
    found = client.request("POST", "/logs/filter", json={}).json()
    print(json.dumps([log["message"] for log in found]))
"""


def test_what_a_run_says_last_is_with_prefect_before_its_server_ends(project):
    assert "the last word" in project.ask(LAST_WORDS)


def test_a_member_that_fails_lets_the_one_beside_it_be_committed(project):
    before = yaml.safe_load(project.read("dvc.lock"))["stages"]
    with FileLock(project.folder / ".state/S3/lock"):
        change = ("--set", "retrain.calibration=100", "--set", "compute.workers=3")
        said = project.scalenet("run", *change, code=2)
    assert "retrain@S3: S3: another process computes it; wait" in said
    assert "Traceback" not in said
    now = yaml.safe_load(project.read("dvc.lock"))["stages"]
    changed = {name for name in before if now[name] != before[name]}
    assert "retrain@S2" in changed and not changed & {"retrain@S3", "publish"}
    project.reset()


def test_ctrl_c_ends_what_runs_side_by_side_and_their_checkpoints_are_kept(project):
    command = ["scalenet", "run", "--set", "retrain.recipe.steps=200000"]
    command += ["--set", "compute.workers=2"]
    state = project.folder / ".state"
    with subprocess.Popen(
        command, cwd=project.folder, env=project.environment, stderr=subprocess.PIPE, text=True
    ) as run:
        while len(list(state.glob("S*/*/checkpoint.pt"))) < 2 and run.poll() is None:
            time.sleep(0.1)
        children = psutil.Process(run.pid).children()
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=100)[1]
    assert run.returncode == 130 and "Traceback" not in said
    for name in ("S2", "S3"):
        assert len(re.findall(rf"retrain@{name}: stopped after .* from its last", said)) == 1
    assert "failed" not in said
    alive = psutil.wait_procs(children, timeout=10)[1]
    assert len(children) >= 3 and all(child.status() == ZOMBIE for child in alive)
    assert len(list(state.glob("S*/*/checkpoint.pt"))) == 2
    shutil.rmtree(state)
    project.reset()


def test_a_stage_of_dvc_repro_is_a_flow_of_the_server_that_is_configured(project):
    said = project.ask(REPRO_UNDER_A_SERVER)
    assert said == [["publish", "Completed"]]


REPRO_UNDER_A_SERVER = """
import json, os, subprocess
from pathlib import Path
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings
from scalenet.pipeline.doors import servers
with servers.prefect(), get_client(sync_client=True) as client:
    known = {run.id for run in client.read_flow_runs()}
    settings = get_current_settings().api
    os.environ["PREFECT_API_URL"] = settings.url
    os.environ["PREFECT_API_AUTH_STRING"] = settings.auth_string.get_secret_value()
    repro = ["dvc", "repro", "--force", "--single-item", "publish"]
    subprocess.run(repro, check=True, capture_output=True)
    flows = {flow.id: flow.name for flow in client.read_flows()}
    runs = [run for run in client.read_flow_runs() if run.id not in known]
print(json.dumps([[flows[run.flow_id], run.state_name] for run in runs]))
"""


def test_the_server_of_a_run_answers_nobody_without_its_secret(project):
    code = """
import json, httpx
from pathlib import Path
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings
from scalenet.pipeline.doors import servers
with servers.prefect(), get_client(sync_client=True) as client:
    client.read_flows()
    url = get_current_settings().api.url
    said = [httpx.post(f"{url}/flow_runs/filter", json={}, headers=headers).status_code
            for headers in ({}, {"Authorization": "Basic c2NhbGVuZXQ6c2NhbGVuZXQ="})]
print(json.dumps(said))
"""
    assert project.ask(code) == [401, 401]


DEPLOY = """
import json, os, subprocess, sys
from pathlib import Path
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings
from scalenet.pipeline.doors import servers
with servers.prefect(), get_client(sync_client=True) as client:
    api = get_current_settings().api
    environment = os.environ | {
        "PREFECT_API_URL": api.url, "PREFECT_API_AUTH_STRING": api.auth_string.get_secret_value()
    }
    def prefect(*arguments):
        command = [sys.executable, "-m", "prefect", *arguments]
        subprocess.run(command, env=environment, check=True, timeout=200)
    prefect("work-pool", "create", "gpu", "--type", "process")
    prefect("--no-prompt", "deploy", "--all")
    changes = ("publish.draws=60", "publish.draw=60", "publish.draws=70")
    for change in changes:
        promote = f"promote={json.dumps(change == changes[2])}"
        run = ("deployment", "run", "family/family", "--param", f"overrides={change}")
        prefect(*run, "--param", promote)
    prefect("worker", "start", "--pool", "gpu", "--run-once", "--limit", "3")
    deployment = client.read_deployment_by_name("family/family")
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


def test_a_scheduled_run_works_in_a_workspace_and_leaves_the_checkout_as_it_was(project):
    before = project.artifacts(), project.read("params.yaml"), project.read("dvc.lock")
    form, done, wrong, undeployed, tasks, shown = project.ask(DEPLOY)
    assert {"tiny", "photographs", "params.yaml as committed"} <= set(form["preset"]["enum"])
    assert {"everything", "search", "retrain"} <= set(form["target"]["enum"])
    assert form["overrides"]["type"] == "string" and form["revision"]["default"] == "HEAD"
    assert all(entry["description"] for entry in form.values())
    assert (project.artifacts(), project.read("params.yaml"), project.read("dvc.lock")) == before
    assert project.run("git", "status", "--short") == ""
    commit = project.run("git", "rev-parse", "HEAD")[:7]
    assert done[:2] == ["Completed", f"digits {commit}"]
    assert {name for name, state in tasks.items() if state != "Cached"} == {"publish"}
    assert "| S2 |" in shown[0] and "data:image/svg+xml" in shown[0]
    assert wrong[0] == "Refused" and "publish.draw: unknown key" in wrong[1]
    assert undeployed[0] == "Refused" and "built, but not deployed" in undeployed[1]
    assert "one and the same class" in undeployed[1] or "is refused" in undeployed[1]
    [kept] = [path.name for path in (project.folder / ".state/workspaces").glob("*/")]
    assert f"workspace {kept}" in project.scalenet("doctor", code=None)
    assert re.search(r"generation \w+", done[2])
    name = re.search(r"`dvc exp apply (\S+)`", done[2])[1]
    assert name.startswith(commit) and name != kept
    project.run("dvc", "exp", "apply", name)
    assert "draws: 60" in project.read("params.yaml")
    assert "Running stage" not in project.run("dvc", "repro"), "what it made is here"
    project.reset()


def test_a_dead_server_is_named(project):
    project.environment["PREFECT_API_URL"] = "http://127.0.0.1:9/api"
    try:
        printed = project.scalenet("stage", "prepare", code=3)
        assert "PREFECT_API_URL http://127.0.0.1:9/api does not" in printed
        assert "Traceback" not in printed
        project.environment["HTTP_PROXY"] = "http://127.0.0.1:9"
        del project.environment["PREFECT_API_URL"]
        project.scalenet("run", "--target", "prepare")  # loopback goes through no proxy
    finally:
        project.environment.pop("PREFECT_API_URL", None)
        del project.environment["HTTP_PROXY"]


def test_a_member_that_left_the_family_leaves_its_folder_too(project):
    family = "family={S0: {multiple: 1, seed: 0}, S2: {multiple: 4, seed: 0}}"
    project.scalenet("run", "--set", family)
    try:
        assert sorted(path.name for path in (project.folder / "artifacts/members").iterdir()) == [
            "S0",
            "S2",
        ]
        assert "S3" not in project.scalenet("family")
    finally:
        project.reset()
