"""The tiny pipeline end to end, with DVC's own command and MLflow's own clients."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from tiny import MEMBERS, ROOT, Project

from scalenet.laws import verdict
from scalenet.records import predictions
from scalenet.records.documents import Candidate
from scalenet.records.paths import Paths


def test_repro_builds_every_stage_and_a_second_one_runs_nothing(project):
    first = (project.folder.parent / "first.txt").read_text()
    for stage in (
        "prepare",
        "supernet",
        "search",
        "extrapolate",
        *(f"retrain@{m}" for m in MEMBERS),
        "baselines",
        "publish",
    ):
        assert f"Running stage '{stage}'" in first
    before = project.artifacts()
    again = project.run("dvc", "repro")
    assert "Running stage" not in again and "up to date" in again
    assert project.artifacts() == before


@pytest.mark.long  # the short one: test_terminal's, both doors give the same bytes
def test_the_same_params_give_the_same_bytes(project):
    lock = project.read("dvc.lock")
    project.run("dvc", "repro", "--force", "--single-item", "supernet", "search", "retrain@S0")
    assert project.read("dvc.lock") == lock


def candidates_in_mlflow(project, **query):
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("digits/candidates")
    return list(client.search_runs([experiment.experiment_id], **query))


def candidates_in_the_table(project):
    return Candidate.read_all(project.folder / "artifacts/search/candidates.csv")


def test_every_candidate_is_a_run_and_the_charts_see_them_flat(project):
    runs = candidates_in_mlflow(project)
    tuned = [run.data.params["phase"] == "finetuned" for run in runs]
    networks = {(run.data.params["network"], fine) for run, fine in zip(runs, tuned, strict=True)}
    assert len(networks) == len(runs) == len(candidates_in_the_table(project))
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
    assert all(wanted <= set(run.data.metrics) for run in runs)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert not any("mlflow.parentRunId" in run.data.tags for run in runs)


def test_mlflow_answers_which_candidates_are_best(project):
    large = [candidate for candidate in candidates_in_the_table(project) if candidate.size == 2]
    limit = sorted(candidate.flops for candidate in large)[len(large) // 2]
    small = [candidate.accuracy for candidate in large if candidate.flops < limit]
    found = candidates_in_mlflow(
        project,
        filter_string=f"metrics.stage = 2 and metrics.flops < {limit}",
        order_by=["metrics.accuracy DESC"],
    )
    assert 0 < len(small) < len(large)
    best = [run.data.metrics["accuracy"] for run in found]
    assert best == pytest.approx(sorted(small, reverse=True))


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


def test_an_experiment_changes_only_what_follows(project):
    printed = project.run("dvc", "exp", "run", "-S", "publish.draws=60")
    assert "Running stage 'publish'" in printed and "Running stage 'retrain@S0'" not in printed
    shown = project.run("dvc", "exp", "show", "--only-changed", "--drop", ".*/", "--csv")
    columns = shown.splitlines()[0].split(",")
    assert "publish.draws" in columns and len(columns) <= 10
    project.reset()


@pytest.mark.long  # the short ones: test_servers' clone, faults/test_at_once.py's empty registry
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
    said = project.run("scalenet", "register", cwd=clone)
    assert "is deployed: versions 1 to 3" in said
    assert " v1" in project.run("scalenet", "family", cwd=clone)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"search": {"populaton": 3}}, "populaton"),
        ({"scaling": {"budget": 1e9}}, "scaling.budget"),
        ({"data": {"source": "no-such-folder"}}, "no-such-folder"),
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


def test_a_wrong_target_leaves_params_as_they_were(project):
    before = project.read("params.yaml")
    printed = project.scalenet("run", "--set", "search.seed=5", "--target", "serch", code=2)
    assert "serch" in printed and "retrain@S0" in printed and "Traceback" not in printed
    assert project.read("params.yaml") == before
    assert "not valid YAML" in project.scalenet("params", "--set", "search.seed=[1", code=2)


def test_the_guides_snippet_picks_the_best_deployed_member_that_fits(project):
    code = re.search(
        r"```python\n(from pathlib import Path.*?)```",
        (ROOT / "docs/guide.md").read_text(),
        re.DOTALL,
    )[1]
    code = code.replace("500000", "40000")  # the tiny members' FLOPs
    given = "from PIL import Image\nImage.new('L', (8, 8)).save('photo.jpg')\n"
    columns, rows, member = project.ask(
        f"import json\n{given}{code}\n"
        "Path('photo.jpg').unlink()\n"
        "print(json.dumps([list(said), len(said), fits[0].tags['member']]))"
    )
    assert (columns, rows, member) == (["class", "probability", "probabilities"], 1, "S0")


def test_pick_says_which_smaller_member_is_as_good(project):
    paths = Paths(project.folder)
    members = {trained.member.name: trained for trained in paths.published().members}
    said = {m: predictions.read(paths.member(m) / "predictions.npz")[m] for m in members}
    printed = project.scalenet("pick")
    best = members[re.search(r"picked    (S\d+)", printed)[1]]
    sentence = verdict.alike(best, list(members.values()), said)
    found = [line for line in printed.splitlines() if line.startswith("alike")]
    assert found == ([f"alike     {sentence}"] if sentence else [])


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
