"""The tiny pipeline end to end, with DVC's own command, MLflow's and Prefect's own servers and
clients."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).parent.parent
FILES = ("src", "stages", "data", "pipeline", "presets", "params.yaml", "dvc.yaml", "prefect.yaml")
FILES += (".gitignore", ".dvcignore")
MEMBERS = ("S0", "S2", "S3")
ZOMBIE = psutil.STATUS_ZOMBIE  # ended, but the container's first process does not ask how


class Project:
    """A copy of the project in a folder of its own, with its own homes for git, Prefect and
    MLflow."""

    def __init__(self, folder: Path):
        self.folder = folder / "project"
        ignore = shutil.ignore_patterns("__pycache__")
        for name in FILES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(
                ROOT / name,
                self.folder / name,
                **({"ignore": ignore} if copy is shutil.copytree else {}),
            )
        shutil.copytree(ROOT / ".dvc/plots", self.folder / ".dvc/plots")
        shutil.copy2(ROOT / ".dvc/config", self.folder / ".dvc/config")
        shutil.copy2(ROOT / ".dvc/.gitignore", self.folder / ".dvc/.gitignore")
        self.environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "DVC_"))
        }
        self.environment |= {
            "HOME": str(folder / "home"),
            "PREFECT_HOME": str(folder / "prefect"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{
                f"GIT_{who}_{what}": "t@localhost"
                for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")
            },
        }
        (folder / "home").mkdir(exist_ok=True)
        self.run("git", "init", "--quiet")
        self.commit("start")

    def run(self, *command: str, code: int | None = 0, cwd: Path | None = None) -> str:
        """Run a command in the project; return what it printed, after checking its exit code."""
        done = self._done(command, code, cwd)
        return done.stdout + done.stderr

    def ask(self, code: str, cwd: Path | None = None) -> object:
        """Run Python in a process of its own, in the project, and return the JSON that it
        prints last."""
        return json.loads(self._done(("python", "-c", code), 0, cwd).stdout.splitlines()[-1])

    def _done(
        self, command: tuple[str, ...], code: int | None, cwd: Path | None
    ) -> subprocess.CompletedProcess:
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert code is None or done.returncode == code, (
            f"{command}: exit {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}"
        )
        return done

    def scalenet(self, *arguments: str, code: int | None = 0) -> str:
        return self.run("scalenet", *arguments, code=code)

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def reset(self) -> None:
        """Go back to what was committed."""
        self.run("git", "checkout", "--quiet", ".")
        self.run("dvc", "checkout", "--quiet")

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def artifacts(self) -> dict[str, bytes]:
        files = (path for path in (self.folder / "artifacts").rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("tiny"))
    project.scalenet("params", "--preset", "tiny")
    project.first = project.run("dvc", "repro")
    project.commit("built")
    return project


def test_repro_builds_every_stage_and_a_second_one_runs_nothing(project):
    for stage in (
        "prepare",
        "supernet",
        "search",
        "extrapolate",
        *(f"retrain@{m}" for m in MEMBERS),
        "baselines",
        "publish",
    ):
        assert f"Running stage '{stage}'" in project.first
    before = project.artifacts()
    again = project.run("dvc", "repro")
    assert "Running stage" not in again and "up to date" in again
    assert project.artifacts() == before


def test_the_same_params_give_the_same_bytes(project):
    lock = project.read("dvc.lock")
    project.run("dvc", "repro", "--force", "--single-item", "supernet", "search", "retrain@S0")
    assert project.read("dvc.lock") == lock


def test_every_candidate_is_a_run_and_the_charts_see_them_flat(project):
    runs = project.ask(
        "import json, mlflow\n"
        "mlflow.set_tracking_uri('sqlite:///mlflow.db')\n"
        "runs = mlflow.search_runs(experiment_names=['digits/candidates'], output_format='list')\n"
        "print(json.dumps([[r.data.metrics, r.data.params, r.data.tags, r.info.status]\n"
        "    for r in runs]))"
    )
    rows = project.read("artifacts/search/candidates.csv").splitlines()[1:]
    tuned = [run[1]["phase"] == "finetuned" for run in runs]
    assert (
        len({(run[1]["network"], fine) for run, fine in zip(runs, tuned, strict=True)})
        == len(runs)
        == len(rows)
    )
    assert 3 <= sum(tuned) < len(runs), "what the chain found is fine-tuned, beside its rivals"
    wanted = {
        "accuracy",
        "score",
        "flops",
        "params",
        "depth",
        "width",
        "resolution",
        "stage",
        "iteration",
        "generation",
    }
    assert all(wanted <= set(metrics) for metrics, *_ in runs)
    assert all(
        status == "FINISHED" and "mlflow.parentRunId" not in tags for *_, tags, status in runs
    )


def test_mlflow_answers_which_candidates_are_best(project):
    found = project.ask(
        "import json, mlflow\n"
        "mlflow.set_tracking_uri('sqlite:///mlflow.db')\n"
        "runs = mlflow.search_runs(experiment_names=['digits/candidates'], output_format='list',\n"
        "    filter_string='metrics.stage = 2 and metrics.flops < 3000000',\n"
        "    order_by=['metrics.accuracy DESC'])\n"
        "print(json.dumps([r.data.metrics['accuracy'] for r in runs]))"
    )
    assert found and found == sorted(found, reverse=True)


def test_a_registered_member_gives_its_published_accuracy_without_our_code(project, tmp_path):
    with np.load(project.folder / "artifacts/data/test.npz") as test:
        np.savez(
            tmp_path / "test.npz",
            images=test["pixels"].astype(np.float32) / 255,
            labels=test["labels"],
        )
    code = f"""
import sys
sys.modules |= {{'scalenet': None}}  # importing it fails, wherever it is installed
import json, mlflow, numpy as np, torch
mlflow.set_tracking_uri('sqlite:///{project.folder}/mlflow.db')
test = np.load({str(tmp_path / "test.npz")!r})
correct = {{}}
for alias in ('s0', 's2'):
    model = mlflow.pytorch.load_model(f'models:/scalenet-digits@{{alias}}')
    logits = model(torch.from_numpy(test['images']))
    said = mlflow.pyfunc.load_model(f'models:/scalenet-digits@{{alias}}').predict(test['images'])
    assert list(said['class']) == [str(i) for i in logits.argmax(1).tolist()]
    correct[alias] = int((said['class'].astype(int) == test['labels']).sum())
print(json.dumps(correct))
"""
    for alias, count in project.ask(code, cwd=tmp_path).items():
        trained = json.loads(project.read(f"artifacts/members/{alias.upper()}/trained.json"))
        assert count == trained["correct"]


def test_show_prints_the_family_with_its_registry_versions(project):
    printed = project.scalenet("family")
    lines = {line.split()[0]: line for line in printed.splitlines() if line.startswith("S")}
    assert set(lines) == set(MEMBERS) and all(" v" in line for line in lines.values())
    assert " ms " in printed and "measured when it was registered" in printed


REPORTED = """
import json
from pathlib import Path
from mlflow import MlflowClient
from scalenet.config import params
from scalenet.pipeline.remember import remembered, stores
root = Path.cwd()
given = params.load(root / 'params.yaml')
run = remembered.published(root, given)
known = remembered.remembered(root, given)
logged = [file.path for file in stores.connect(root).list_artifacts(run.info.run_id)]
print(json.dumps([logged, known.latencies, known.seconds, known.revision, known.published]))
"""


def test_the_report_holds_what_mlflow_remembers_and_lies_beside_the_publishing_run(project):
    assert "report/index.html" in project.scalenet("report")
    logged, latencies, seconds, revision, published = project.ask(REPORTED)
    assert {"index.html", "family.svg", "confusion.svg"} <= set(logged)
    assert set(latencies) == set(MEMBERS) and all(ms > 0 for ms in latencies.values())
    assert next(iter(seconds)) == "prepare" and {*MEMBERS, "publish"} <= set(seconds)
    page = project.read("report/index.html")
    assert revision in page and published in page and "supernet.recipe.steps" in page
    assert all(f"{ms:.3g}" in page for ms in latencies.values())
    assert "report/" not in project.run("git", "status", "--short")


def test_metrics_and_plots_show(project):
    shown = project.run("dvc", "metrics", "show", "--json")
    assert list(json.loads(shown)[""]["data"]) == ["artifacts/family/metrics.json"]
    project.run("dvc", "plots", "show")
    page = project.read("dvc_plots/index.html")
    assert "candidates of the search" in page and "artifacts_family_family_csv" in page
    assert "FLOPs, log scale" in page and '"row": {"field": "rev"' in page
    assert 'src="http' not in page  # it opens offline


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


def test_both_doors_give_the_same_bytes_and_the_same_lock(project):
    lock, before = project.read("dvc.lock"), project.artifacts()
    shutil.rmtree(project.folder / "artifacts")
    (project.folder / "dvc.lock").unlink()
    shutil.rmtree(project.folder / ".dvc/cache")
    said = project.scalenet("run", "--set", f"compute.workers={len(MEMBERS)}")
    assert "http://" not in said, "a link would end with the run"
    assert project.read("dvc.lock") == lock and project.artifacts() == before
    assert not list((project.folder / ".state").glob("*/*/")), "nothing is left to resume"
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


def test_a_stage_that_runs_holds_it_against_dvc_repro(project):
    hold = """
import sys, time
from pathlib import Path
from scalenet.pipeline.repro import Graph
with Graph(Path()).committing("search"):
    print("held", flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", hold]
    with subprocess.Popen(
        command, cwd=project.folder, env=project.environment, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        said = project.run("dvc", "repro", "--force", "--single-item", "search", code=255)
        holder.kill()
    assert "busy" in said and str(holder.pid) in said
    assert "up to date" in project.run("dvc", "repro", "search")


def test_what_changes_while_a_stage_runs_is_not_locked(project):
    change = """
from pathlib import Path
from scalenet.pipeline.repro import Graph
try:
    with Graph(Path()).committing("publish"):
        text = Path("params.yaml").read_text()
        Path("params.yaml").write_text(text.replace("draws: 50", "draws: 51"))
except ValueError as error:
    print(error)
"""
    lock = project.read("dvc.lock")
    said = project.run("python", "-c", change)
    assert "params.yaml changed while it ran" in said and project.read("dvc.lock") == lock
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


def test_an_experiment_changes_only_what_follows(project):
    printed = project.run("dvc", "exp", "run", "-S", "publish.draws=60")
    assert "Running stage 'publish'" in printed and "Running stage 'retrain@S0'" not in printed
    shown = project.run("dvc", "exp", "show", "--only-changed", "--drop", ".*/", "--csv")
    columns = shown.splitlines()[0].split(",")
    assert "publish.draws" in columns and len(columns) <= 10
    project.reset()


def test_another_clone_pulls_the_family_and_computes_nothing(project, tmp_path):
    project.run("dvc", "remote", "add", "--local", "--default", "store", str(tmp_path / "store"))
    project.run("dvc", "push", "--quiet")
    clone = tmp_path / "clone"
    project.run("git", "clone", "--quiet", str(project.folder), str(clone))
    project.run(
        "dvc", "remote", "add", "--local", "--default", "store", str(tmp_path / "store"), cwd=clone
    )
    project.run("dvc", "pull", "--quiet", cwd=clone)
    assert "Running stage" not in project.run("dvc", "repro", cwd=clone)
    table = project.run("scalenet", "family", cwd=clone)
    assert "S3" in table and " v1" not in table
    project.run("scalenet", "register", cwd=clone)
    assert " v1" in project.run("scalenet", "family", cwd=clone)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"search": {"populaton": 3}}, "populaton"),
        ({"scaling": {"budget": "many"}}, "scaling.budget"),
        ({"scaling": {"budget": 1e9}}, "scaling.budget"),
        ({"data": {"source": "no-such-folder"}}, "no-such-folder"),
        ({"search": {"stage_weights": [1.0]}}, "search.stage_weights"),
    ],
)
def test_bad_params_give_one_message_and_leave_the_artifacts(project, change, said):
    before = project.artifacts()
    content = yaml.safe_load(project.read("params.yaml"))
    for section, values in change.items():
        content[section] |= values
    (project.folder / "params.yaml").write_text(yaml.safe_dump(content))
    try:
        printed = project.run("dvc", "repro", code=None)
        assert "ERROR: failed to reproduce" in printed and said in printed
        assert "Traceback" not in printed
        assert project.artifacts() == before
    finally:
        project.reset()


def test_an_unreadable_image_is_named(project, tmp_path):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(12):
            Image.new("L", (8, 8), i * 9).save(tmp_path / name / f"{i}.png")
    (tmp_path / "a" / "3.png").write_bytes(b"not a picture")
    project.scalenet("params", "--set", f"data.source={tmp_path}")
    try:
        printed = project.scalenet("stage", "prepare", code=2)
        assert "3.png" in printed and "Traceback" not in printed
    finally:
        project.run("git", "checkout", "--quiet", ".")


@pytest.mark.parametrize(
    "arguments", [["stage", "retrain"], ["stage", "nothing"], ["stage", "retrain", "S9"]]
)
def test_a_wrong_stage_is_refused(project, arguments):
    printed = project.scalenet(*arguments, code=2)
    assert "Traceback" not in printed and ("member" in printed or "stage" in printed)


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


def test_a_wrong_target_leaves_params_as_they_were(project):
    before = project.read("params.yaml")
    printed = project.scalenet("run", "--set", "search.seed=5", "--target", "serch", code=2)
    assert "serch" in printed and "retrain@S0" in printed and "Traceback" not in printed
    assert project.read("params.yaml") == before
    assert "not valid YAML" in project.scalenet("params", "--set", "search.seed=[1", code=2)


def test_the_guides_snippet_picks_the_best_deployed_member_that_fits(project):
    code = re.search(
        r"```python\n(import mlflow.*?)```", (ROOT / "docs/guide.md").read_text(), re.DOTALL
    )[1]
    code = code.replace("500000", "40000")  # the tiny members' FLOPs
    given = "import numpy as np\nimages = np.zeros((3, 1, 8, 8), dtype=np.float32)\n"
    columns, rows, member = project.ask(
        f"import json\n{given}{code}\n"
        "print(json.dumps([list(said), len(said), fits[0].tags['member']]))"
    )
    assert (columns, rows, member) == (["class", "probability", "probabilities"], 3, "S0")


def test_the_same_images_at_another_path_train_nothing_anew(project, tmp_path):
    """Only ``prepare`` runs; DVC finds what it wrote for the others unchanged."""
    from PIL import Image

    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "here" / name).mkdir(parents=True)
        for i in range(60):
            pixels = random.integers(0, 256, (8, 8)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "here" / name / f"{i}.png")
    try:
        project.scalenet("params", "--set", f"data.source={tmp_path / 'here'}")
        for key in ("search.calibration", "retrain.calibration"):
            project.scalenet("params", "--set", f"{key}=32")
        project.run("dvc", "repro", "supernet")
        (tmp_path / "here").rename(tmp_path / "there")
        project.scalenet("params", "--set", f"data.source={tmp_path / 'there'}")
        said = project.run("dvc", "repro", "supernet")
        assert "Running stage 'prepare'" in said and "Running stage 'supernet'" not in said
    finally:
        project.reset()


def test_images_under_version_control_are_there_for_an_experiment_elsewhere(tmp_path):
    from PIL import Image

    project = Project(tmp_path)
    project.scalenet("params", "--preset", "tiny", "--set", "data.source=data/mine")
    for i in range(120):
        file = project.folder / "data/mine" / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), i).save(file)
    project.run("dvc", "add", "data/mine")
    project.commit("images")
    assert "data/mine.dvc" in project.run("git", "ls-files", "data")
    assert "data/mine/" not in project.run("git", "ls-files", "data")
    said = project.run("dvc", "exp", "run", "--temp", "prepare")
    assert "120 images of 2 classes taken" in said and "Ran experiment" in said
