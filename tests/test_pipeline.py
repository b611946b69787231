"""The tiny pipeline end to end, with DVC's own command, MLflow's and Prefect's own servers and clients."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parent.parent
FILES = ("stages", "data", "pipeline", "presets", "params.yaml", "dvc.yaml", "prefect.yaml", ".gitignore", ".dvcignore")
MEMBERS = ("S0", "S2", "S3")


class Project:
    """A copy of the project in a folder of its own, with its own homes for git, Prefect and MLflow."""

    def __init__(self, folder: Path):
        self.folder = folder / "project"
        ignore = shutil.ignore_patterns("__pycache__")
        for name in FILES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, self.folder / name, **({"ignore": ignore} if copy is shutil.copytree else {}))
        shutil.copytree(ROOT / ".dvc/plots", self.folder / ".dvc/plots")
        shutil.copy2(ROOT / ".dvc/config", self.folder / ".dvc/config")
        shutil.copy2(ROOT / ".dvc/.gitignore", self.folder / ".dvc/.gitignore")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "DVC_"))}
        self.environment |= {
            "HOME": str(folder / "home"),
            "PREFECT_HOME": str(folder / "prefect"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{f"GIT_{who}_{what}": "t@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        (folder / "home").mkdir(exist_ok=True)
        self.run("git", "init", "--quiet")
        self.commit("start")

    def run(self, *command: str, code: int | None = 0, cwd: Path | None = None) -> str:
        """Run a command in the project; return what it printed, after checking its exit code."""
        done = self._done(command, code, cwd)
        return done.stdout + done.stderr

    def ask(self, code: str, cwd: Path | None = None) -> object:
        """Run Python in a process of its own, in the project, and return the JSON that it prints last."""
        return json.loads(self._done(("python", "-c", code), 0, cwd).stdout.splitlines()[-1])

    def _done(self, command: tuple[str, ...], code: int | None, cwd: Path | None) -> subprocess.CompletedProcess:
        done = subprocess.run(
            command, cwd=cwd or self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert code is None or done.returncode == code, (
            f"{command}: exit {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}"
        )
        return done

    def pipeline(self, *arguments: str, code: int | None = 0) -> str:
        return self.run("python", "-m", "pipeline", *arguments, code=code)

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def artifacts(self) -> dict[str, bytes]:
        files = (path for path in (self.folder / "artifacts").rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("tiny"))
    project.pipeline("params", "--preset", "tiny")
    project.first = project.run("dvc", "repro")
    project.commit("built")
    return project


def test_repro_builds_every_stage_and_a_second_one_runs_nothing(project):
    for stage in ("prepare", "supernet", "search", "extrapolate", *(f"retrain@{m}" for m in MEMBERS), "publish"):
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
        "print(json.dumps([[r.data.metrics, r.data.params, r.data.tags, r.info.status] for r in runs]))"
    )
    rows = project.read("artifacts/search/candidates.csv").splitlines()[1:]
    tuned = [run[1]["phase"] == "finetuned" for run in runs]
    assert len({(run[1]["network"], fine) for run, fine in zip(runs, tuned, strict=True)}) == len(runs) == len(rows)
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
    assert all(status == "FINISHED" and "mlflow.parentRunId" not in tags for *_, tags, status in runs)


def test_mlflow_answers_which_candidates_are_best(project):
    found = project.ask(
        "import json, mlflow\n"
        "mlflow.set_tracking_uri('sqlite:///mlflow.db')\n"
        "runs = mlflow.search_runs(experiment_names=['digits/candidates'], output_format='list',\n"
        "    filter_string='metrics.stage = 2 and metrics.flops < 3000000', order_by=['metrics.accuracy DESC'])\n"
        "print(json.dumps([r.data.metrics['accuracy'] for r in runs]))"
    )
    assert found and found == sorted(found, reverse=True)


def test_a_registered_member_gives_its_published_accuracy_without_our_code(project, tmp_path):
    with np.load(project.folder / "artifacts/data/test.npz") as test:
        np.savez(tmp_path / "test.npz", images=test["pixels"].astype(np.float32) / 255, labels=test["labels"])
    code = f"""
import sys
sys.modules |= {{'stages': None, 'pipeline': None}}  # importing them fails, wherever they are installed
import json, mlflow, numpy as np, torch
mlflow.set_tracking_uri('sqlite:///{project.folder}/mlflow.db')
test = np.load({str(tmp_path / "test.npz")!r})
correct = {{}}
for alias in ('s0', 's2'):
    model = mlflow.pytorch.load_model(f'models:/scalenet-digits@{{alias}}')
    logits = model(torch.from_numpy(test['images']))
    served = mlflow.pyfunc.load_model(f'models:/scalenet-digits@{{alias}}').predict(test['images'])
    assert np.allclose(served, logits.detach().numpy(), atol=1e-5)
    correct[alias] = int((logits.argmax(1).numpy() == test['labels']).sum())
print(json.dumps(correct))
"""
    for alias, count in project.ask(code, cwd=tmp_path).items():
        trained = json.loads(project.read(f"artifacts/members/{alias.upper()}/trained.json"))
        assert count == trained["correct"]


def test_show_prints_the_family_with_its_registry_versions(project):
    printed = project.pipeline("show")
    lines = {line.split()[0]: line for line in printed.splitlines() if line.startswith("S")}
    assert set(lines) == set(MEMBERS) and all(" v" in line for line in lines.values())


def test_metrics_and_plots_show(project):
    assert "accuracy" in project.run("dvc", "metrics", "show")
    project.run("dvc", "plots", "show", "--out", "plots")
    page = project.read("plots/index.html")
    assert "candidates" in page and "artifacts_family_family_csv" in page
    assert 'src="http' not in page  # it opens offline


FLOW_STATES = """
import json
from pathlib import Path
import httpx
from pipeline import server
with server.api(Path()) as url:
    kinds = ('flows', 'flow_runs', 'task_runs')
    flows, runs, tasks = (httpx.post(f'{url}/{kind}/filter', json={}).json() for kind in kinds)
names = {flow['id']: flow['name'] for flow in flows}
family = sorted((r for r in runs if names[r['flow_id']] == 'family'), key=lambda r: r['created'])[-1]
own = {t['id']: t for t in tasks if t['flow_run_id'] == family['id']}
states = {t['name']: t['state_name'] for t in own.values()}
children = {own[r['parent_task_run_id']]['name']: names[r['flow_id']] for r in runs if r['parent_task_run_id'] in own}
print(json.dumps([family['state_name'], states, children]))
"""


def states(project: Project) -> list:
    """Return the last family flow's state, its tasks' states and the stage flows under them, as the server tells."""
    return project.ask(FLOW_STATES)


def test_the_family_flow_shows_unchanged_stages_as_cached_and_reruns_what_a_search_number_changes(project):
    project.pipeline("family")
    state, tasks, _ = states(project)
    assert state == "Completed" and set(tasks.values()) == {"Cached"} and "retrain@S3" in tasks
    project.pipeline("family", "--set", "search.seed=1", "--target", "search")
    state, tasks, children = states(project)
    assert tasks == {"prepare": "Cached", "supernet": "Cached", "search": "Completed"}
    assert children == {"search": "search"}
    assert yaml.safe_load(project.read("params.yaml"))["search"]["seed"] == 1
    project.run("git", "checkout", "--quiet", ".")
    project.run("dvc", "checkout", "--quiet")


DEPLOY = """
import json, os, subprocess, sys
from pathlib import Path
import httpx
from pipeline import server
with server.api(Path()) as url:
    def prefect(*arguments):
        environment = os.environ | {"PREFECT_API_URL": url}
        subprocess.run([sys.executable, "-m", "prefect", *arguments], env=environment, check=True, timeout=200)
    prefect("work-pool", "create", "gpu", "--type", "process")
    prefect("--no-prompt", "deploy", "--all")
    prefect("deployment", "run", "family/family", "--param", 'target="prepare"')
    prefect("worker", "start", "--pool", "gpu", "--run-once")
    deployment = httpx.get(f"{url}/deployments/name/family/family").json()
    run = httpx.post(f"{url}/flow_runs/filter", json={"deployments": {"id": {"any_": [deployment["id"]]}}}).json()[0]
form = sorted(deployment["parameter_openapi_schema"]["properties"])
print(json.dumps([deployment["work_pool_name"], form, run["state_name"]]))
"""


def test_a_worker_of_the_gpu_pool_runs_the_deployed_family(project):
    pool, form, state = project.ask(DEPLOY)
    assert (pool, form, state) == ("gpu", ["overrides", "preset", "target"], "Completed")


def test_an_experiment_changes_only_what_follows(project):
    printed = project.run("dvc", "exp", "run", "-S", "publish.draws=60")
    assert "Running stage 'publish'" in printed and "Running stage 'retrain@S0'" not in printed
    project.run("git", "checkout", "--quiet", ".")
    project.run("dvc", "checkout", "--quiet")


def test_another_clone_pulls_the_family_and_computes_nothing(project, tmp_path):
    project.run("dvc", "remote", "add", "--local", "--default", "store", str(tmp_path / "store"))
    project.run("dvc", "push", "--quiet")
    clone = tmp_path / "clone"
    project.run("git", "clone", "--quiet", str(project.folder), str(clone))
    project.run("dvc", "remote", "add", "--local", "--default", "store", str(tmp_path / "store"), cwd=clone)
    project.run("dvc", "pull", "--quiet", cwd=clone)
    assert "Running stage" not in project.run("dvc", "repro", cwd=clone)
    table = project.run("python", "-m", "pipeline", "show", cwd=clone)
    assert "S3" in table and " v1" not in table
    project.run("python", "-m", "pipeline", "register", cwd=clone)
    assert " v1" in project.run("python", "-m", "pipeline", "show", cwd=clone)


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
        project.run("git", "checkout", "--quiet", ".")
        project.run("dvc", "checkout", "--quiet")


def test_an_unreadable_image_is_named(project, tmp_path):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(12):
            Image.new("L", (8, 8), i * 9).save(tmp_path / name / f"{i}.png")
    (tmp_path / "a" / "3.png").write_bytes(b"not a picture")
    project.pipeline("params", "--set", f"data.source={tmp_path}")
    try:
        printed = project.pipeline("stage", "prepare", code=2)
        assert "3.png" in printed and "Traceback" not in printed
    finally:
        project.run("git", "checkout", "--quiet", ".")


@pytest.mark.parametrize("arguments", [["stage", "retrain"], ["stage", "nothing"], ["stage", "retrain", "S9"]])
def test_a_wrong_stage_is_refused(project, arguments):
    printed = project.pipeline(*arguments, code=2)
    assert "Traceback" not in printed and ("member" in printed or "stage" in printed)


def test_a_dead_server_is_named(project):
    project.environment["PREFECT_API_URL"] = "http://127.0.0.1:9/api"
    try:
        printed = project.pipeline("stage", "prepare", code=3)
        assert "PREFECT_API_URL" in printed and "Traceback" not in printed
    finally:
        del project.environment["PREFECT_API_URL"]


def test_a_member_that_left_the_family_leaves_its_folder_too(project):
    project.pipeline("family", "--set", "family={S0: {multiple: 1, seed: 0}, S2: {multiple: 4, seed: 0}}")
    try:
        assert sorted(path.name for path in (project.folder / "artifacts/members").iterdir()) == ["S0", "S2"]
        assert "S3" not in project.pipeline("show")
    finally:
        project.run("git", "checkout", "--quiet", ".")
        project.run("dvc", "checkout", "--quiet")


def test_a_wrong_target_leaves_params_as_they_were(project):
    before = project.read("params.yaml")
    printed = project.pipeline("family", "--set", "search.seed=5", "--target", "serch", code=2)
    assert "serch" in printed and "retrain@S0" in printed and "Traceback" not in printed
    assert project.read("params.yaml") == before
    assert "not valid YAML" in project.pipeline("params", "--set", "search.seed=[1", code=2)


def test_the_guides_snippet_picks_the_largest_member_that_fits(project):
    code = re.search(r"```python\n(import mlflow.*?)```", (ROOT / "docs/guide.md").read_text(), re.DOTALL)[1]
    code = code.replace("500000", "70000")  # the tiny members' FLOPs
    given = "import numpy as np\nimages = np.zeros((3, 1, 8, 8), dtype=np.float32)\n"
    shape, member = project.ask(
        f"import json\n{given}{code}\nprint(json.dumps([logits.shape, fits[0].tags['member']]))"
    )
    assert (shape, member) == ([3, 10], "S0")
