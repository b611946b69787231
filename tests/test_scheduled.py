"""A scheduled run says on Prefect's page what is about no stage: the flow as a worker calls it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import pytest
from tiny import Project

from scalenet.pipeline.runs import scheduled

# MLflow's server is killed once it was asked, and another run has the search's lock until Prefect
# has the line that says so
RUN = """
import json, os, socket, subprocess, time
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

root, held, end = Path.cwd(), Event(), time.monotonic() + 100
with closing(socket.create_server(("127.0.0.1", 0))) as free:
    port = free.getsockname()[1]
command = ["mlflow", "server", "--port", str(port), "--workers", "1"]
command += ["--backend-store-uri", "sqlite:///m.db", "--artifacts-destination", "kept"]
environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
mlflow = subprocess.Popen(command, cwd=root.parent, env=environment, **quiet)
os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"

from prefect.client.orchestration import get_client
from scalenet.config import params as config
from scalenet.pipeline.doors import servers
from scalenet.pipeline.runs import flows, scheduled
from scalenet.pipeline.runs.alone import alone, key_of

def killed_when_asked(*where, ask=flows.check_store):
    ask(*where)
    os.killpg(mlflow.pid, 9)
    mlflow.wait()

def log():
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/logs/filter", json={}).json()
    return [line["message"] for line in found]

def hold():
    params = config.load(root / "params.yaml")
    search = params.search.model_copy(update={"seed": 7})
    key = key_of(root, params.model_copy(update={"search": search}), "search")
    with alone(root, "search", key, print), servers.temporary_settings(reached):
        held.set()
        while time.monotonic() < end and not any("computes the same" in line for line in log()):
            time.sleep(0.2)

try:
    while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < end:
        time.sleep(0.2)
    flows.check_store = killed_when_asked
    with servers.prefect():
        names = servers.PREFECT_API_URL, servers.PREFECT_API_AUTH_STRING
        reached = {name: name.value() for name in names}
        Thread(target=hold).start()
        held.wait()
        wanted = {"overrides": "search.seed=7", "target": "search"}
        state = scheduled.family(**wanted, return_state=True)
        servers._deliver()
        print(json.dumps([state.name, state.message, log()]))
finally:
    end = 0
    mlflow.kill()
"""

LACKING = """
import json, sys
sys.modules["mlflow"] = None  # as if it were not installed
from scalenet.pipeline.runs.scheduled import family
state = family.fn()
print(json.dumps([state.name, state.message]))
"""


@pytest.fixture(scope="module")
def ended(project):
    """Return the last state of a scheduled run in bad weather, its message and its log."""
    return project.ask(RUN)


def test_a_scheduled_run_says_that_mlflow_went_away_and_what_waits_for_it(ended, project):
    state, message, log = ended
    waiting = f"MLflow lacks 1 report, which waits in {project.folder}/.state/mlflow; the next run"
    assert state == "Completed" and waiting in message
    assert len([line for line in log if line.startswith("mlflow: MLflow cannot be told")]) == 1
    assert len([line for line in log if line.startswith(f"mlflow: {waiting}")]) == 1


def test_what_a_run_of_some_stages_says_brings_its_result_into_the_checkout(ended, project):
    [advice] = re.findall(r"`(scalenet run .*?)` brings it into a checkout of (\w+)", ended[1])
    assert advice[1] == project.run("git", "rev-parse", "HEAD")[:7]
    assert "0 computed, 3 up to date" in project.run(*shlex.split(advice[0]))
    assert "  seed: 7" in project.read("params.yaml")
    project.reset()


def test_a_scheduled_run_says_that_it_waits_for_another_that_computes_the_same(ended):
    waits = r"lock: search: process \d+ on .* computes the same; this run waits"
    assert len([line for line in ended[2] if re.match(waits, line)]) == 1


ELSEWHERE = """
import json, os, subprocess
from prefect.client.orchestration import get_client
from scalenet.pipeline.doors import servers

with servers.prefect(), get_client(sync_client=True) as client:
    names = servers.PREFECT_API_URL, servers.PREFECT_API_AUTH_STRING
    environment = os.environ | {name.name: name.value() for name in names}
    def prefect(*arguments, cwd="."):
        command = ["prefect", *arguments]
        subprocess.run(command, env=environment, check=True, timeout=200, cwd=cwd)
    prefect("work-pool", "create", "gpu", "--type", "process")
    prefect("--no-prompt", "deploy", "--all")
    overrides = r'overrides="publish.seed=3\\npublish.draw=60"'
    prefect("deployment", "run", "family/family", "--param", overrides)
    prefect("worker", "start", "--pool", "gpu", "--run-once", cwd="../elsewhere")
    [run] = [run for run in client.read_flow_runs() if run.deployment_id]
    log = client.request("POST", "/logs/filter", json={"sort": "TIMESTAMP_ASC"}).json()
said = [run.parameters["overrides"], run.state_name, run.state.message]
print(json.dumps([*said, [line["message"] for line in log]]))
"""


def test_a_worker_without_a_library_says_what_to_install_there(tmp_path):
    said = subprocess.run(
        [sys.executable, "-c", LACKING], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    name, message = json.loads(said.stdout)
    assert name == "Refused" and message.startswith("mlflow is not installed in the environment of")
    assert "pip install 'scalenet-pipeline[pipeline]' there" in message


def test_a_worker_works_in_the_folder_in_which_it_is_started(project):
    elsewhere = project.folder.parent / "elsewhere"
    project.run("git", "clone", "--quiet", ".", str(elsewhere))
    overrides, state, message, log = project.ask(ELSEWHERE)
    assert overrides.splitlines() == ["publish.seed=3", "publish.draw=60"]
    assert state == "Refused" and message.startswith("publish.draw: unknown key")
    assert log[-1].startswith("Finished in state Refused("), "and no traceback"
    assert len(list((elsewhere / ".state/workspaces").glob("*/"))) == 1
    assert not list((project.folder / ".state/workspaces").glob("*/"))


# a report that another run left waits, and cannot be delivered; then MLflow is away
WAITS = """
import json, os
from pathlib import Path
from scalenet.pipeline.doors import servers
from scalenet.pipeline.runs import scheduled

left = Path(".state/mlflow/1-2-search")
left.mkdir(parents=True)
(left / "report.json").write_text(json.dumps({"params": {"of a later version": 1}}))
root, states = Path.cwd(), []
with servers.prefect():
    states += [scheduled.family(return_state=True)]
    os.chdir(root)
    os.environ["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
    states += [scheduled.family(promote=promote, return_state=True) for promote in (False, True)]
print(json.dumps([[state.name, state.message] for state in states]))
"""


def test_a_scheduled_run_tells_a_report_of_another_run_from_an_absent_mlflow(project):
    there, away, promoting = project.ask(WAITS)
    assert there[0] == "Completed" and " is deployed: versions 1 to 3" in there[1]
    assert away[0] == "Completed" and re.search(
        r"`dvc exp apply \S+` brings it .*; then `scalenet register`, once MLflow is back", away[1]
    )
    assert promoting[0] == "Refused" and "not deployed: MLflow is away" in promoting[1]


KILLED = """
import json, os, subprocess, sys, time
from pathlib import Path
from prefect.client.orchestration import get_client
from scalenet.pipeline.doors import servers
from scalenet.pipeline.runs import scheduled

root, run = Path.cwd(), "from scalenet.pipeline.runs import scheduled; scheduled.family()"

def states():
    os.chdir(root)
    scheduled.family(overrides="search.populaton=4", return_state=True)
    return sorted(run.state_name for run in client.read_flow_runs())

with servers.prefect(), get_client(sync_client=True) as client:
    names = servers.PREFECT_API_URL, servers.PREFECT_API_AUTH_STRING
    environment = os.environ | {name.name: name.value() for name in names}
    with subprocess.Popen([sys.executable, "-c", run], env=environment) as process:
        while not list(Path(".state/workspaces").rglob("params.yaml")):
            assert process.poll() is None
            time.sleep(0.1)
        said = [states()]
        process.kill()
    said += [states()]
print(json.dumps(said))
"""


def test_a_run_whose_worker_died_with_it_ends_when_the_next_one_begins(tmp_path):
    project = Project(tmp_path)
    alive, dead = project.ask(KILLED)
    assert alive == ["Refused", "Running"] and dead == ["Crashed", "Refused", "Refused"]


SCHEDULE = """
import json, os, socket, subprocess, time
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings

with socket.create_server(("127.0.0.1", 0)) as free:
    port = str(free.getsockname()[1])
command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
environment = os.environ | {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1"}
server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
runs, end = [], time.monotonic() + 200
monday = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 3 * * 1"), active=True)
address = {PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}
try:
    with temporary_settings(address), get_client(sync_client=True) as client:
        while client.api_healthcheck() and time.monotonic() < end:
            time.sleep(0.2)
        flow = client.create_flow_from_name("family")
        client.create_deployment(flow_id=flow, name="family", schedules=[monday])
        while not (runs := client.read_flow_runs()) and time.monotonic() < end:
            time.sleep(0.2)
finally:
    server.kill()
print(json.dumps([[run.state_name, str(run.id)] for run in runs]))
"""


def test_a_schedule_makes_runs_and_each_has_a_workspace_of_its_own(tmp_path):
    """Prefect's scheduler numbers runs by the time: those that it makes at once begin alike."""
    runs = Project(tmp_path).ask(SCHEDULE)
    assert len(runs) >= 3 and {state for state, _ in runs} == {"Scheduled"}
    assert len({scheduled.own(run) for _, run in runs}) == len(runs)
    assert len({run[:8] for _, run in runs}) == 1, "else the beginning would do, too"
