"""Runs and candidates in a real MLflow on SQLite: nothing lost, nothing twice, whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.artifacts import load_dict

from scalenet.pipeline import delivery, tracking
from scalenet.records import files
from scalenet.records.documents import Candidate, Member, Trained
from scalenet.records.journal import Journal
from scalenet.records.paths import Paths

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return a project folder whose name needs quoting; every test takes a data set's name of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield tmp_path_factory.mktemp("a project")


@pytest.fixture
def named(make_params, request):
    name = request.node.name.removeprefix("test_")[:40]
    return make_params({"data": {"name": "".join(c if c.isalnum() else "-" for c in name).strip("-")}})


def record(number, stage=1, flops=100_000, accuracy=0.5):
    candidate = Candidate(
        number=number, network=f"r8-network{number}", base="k3-3.5", scaling="d1.2-w1-r9", stage=stage, depth=1.2,
        width=1.0, resolution=9, flops=flops, params=9, accuracy=accuracy, probability=0.4, score=0.4, predicted=None,
        phase="bases", iteration=1, generation=2,
    )  # fmt: skip
    return candidate.model_dump() | {"seconds": 0.05}


def write(path, key, records):
    journal = Journal(path, key)
    for entry in records:
        journal.append(entry)
    journal.close()


def runs_of(root, params, name=tracking.candidate_experiment):
    client = tracking.connect(root)
    return list(client.search_runs([tracking.experiment_id(client, root, name(params))], max_results=1000))


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def target(root, params, journal, key, run):
    return [str(root), tracking.candidate_experiment(params), str(journal), key, run]


# ---- candidates


def test_best_candidates_below_a_budget_are_one_query(root, named, tmp_path):
    journal = tmp_path / "candidates.jsonl"
    write(journal, "older", [record(99, stage=2)])  # another search's records, replaced when ours starts
    budgets = [(2, 1e6, 0.7), (2, 2e6, 0.9), (1, 1e6, 0.99), (2, 5e6, 0.95), (2, 2.9e6, 0.8)]
    with delivery.delivering(root, named, journal, "abc", "search1"):
        write(journal, "abc", [record(i, s, int(f), a) for i, (s, f, a) in enumerate(budgets)])
    client = tracking.connect(root)
    best = client.search_runs(
        [client.get_experiment_by_name(f"{named.data.name}/candidates").experiment_id],
        filter_string="metrics.stage = 2 and metrics.flops < 3000000",
        order_by=["metrics.accuracy DESC"],
    )
    assert [run.data.metrics["accuracy"] for run in best] == [0.9, 0.8, 0.7]
    assert best[0].info.run_name == "s2 d1.2-w1-r9 k3-3.5" and best[0].info.status == "FINISHED"
    numbers = {name: float(value) for name, value in record(1, 2, 2_000_000, 0.9).items() if name in delivery.METRICS
               and value is not None}  # fmt: skip
    assert best[0].data.metrics == numbers
    texts = {"network": "r8-network1", "base": "k3-3.5", "scaling": "d1.2-w1-r9", "phase": "bases"}
    assert best[0].data.params == texts
    assert best[0].data.tags["search_run"] == "search1" and "mlflow.parentRunId" not in best[0].data.tags
    assert len(runs_of(root, named)) == len(budgets)


def test_a_fine_tuned_candidate_is_a_run_beside_its_networks_other_one(root, named, tmp_path):
    journal, one = tmp_path / "candidates.jsonl", record(1, accuracy=0.4)
    with delivery.delivering(root, named, journal, "abc", "search1"):
        write(journal, "abc", [one, one | {"number": 2, "phase": "finetuned", "accuracy": 0.5}])
    runs = {run.data.params["phase"]: run for run in runs_of(root, named)}
    assert {phase: run.data.metrics["accuracy"] for phase, run in runs.items()} == {"bases": 0.4, "finetuned": 0.5}
    assert runs["finetuned"].info.run_name == runs["bases"].info.run_name + " finetuned"


def test_killed_follower_restarts_without_loss_or_repetition(root, named, tmp_path):
    journal = tmp_path / "candidates.jsonl"
    write(journal, "k1", [record(i) for i in range(24)])
    follower = delivery.Follower(target(root, named, journal, "k1", "first"))
    wait_for(lambda: len(runs_of(root, named)) > 3)
    follower.process.kill()
    follower.process.wait()
    assert len(runs_of(root, named)) < 24
    client = tracking.connect(root)
    half = client.create_run(
        tracking.experiment_id(client, root, tracking.candidate_experiment(named)),
        tags={"candidate": "k1 r8-network24", "search_run": "first"},
    ).info.run_id
    with delivery.delivering(root, named, journal, "k1", "second"):
        resumed = Journal(journal, "k1")
        resumed.append(record(24))
        resumed.close()
    found = runs_of(root, named)
    assert sorted(run.data.params["network"] for run in found) == sorted(f"r8-network{i}" for i in range(25))
    assert {run.info.status for run in found} == {"FINISHED"} and half in {run.info.run_id for run in found}
    assert {run.data.tags["search_run"] for run in found} == {"second"}
    assert {len(run.data.metrics) for run in found} == {len(delivery.METRICS) - 1}


def test_failed_search_delivers_what_it_left_even_if_its_follower_was_killed(root, named, tmp_path, monkeypatch):
    journal, started = tmp_path / "candidates.jsonl", []

    class Noted(delivery.Follower):
        def __init__(self, at):
            super().__init__(at)
            started.append(self)

    monkeypatch.setattr(delivery, "Follower", Noted)
    with pytest.raises(RuntimeError, match="no memory"), delivery.delivering(root, named, journal, "k2", "run"):
        write(journal, "k2", [record(i) for i in range(5)])
        with journal.open("ab") as file:
            file.write(b'{"number": 5, "netw')  # torn: the journal drops it, and so does the delivery
        started[0].process.kill()
        raise RuntimeError("no memory")
    assert len(started) == 2 and len(runs_of(root, named)) == 5


@pytest.mark.parametrize(
    "delivered, message", [(0, "2 candidates.*0 of them"), (1, "2 candidates.*1 of them"), (None, "no space left")]
)
def test_an_undelivered_candidate_is_an_error(named, tmp_path, monkeypatch, delivered, message):
    class Said:
        said = "no space left"

        def __init__(self, at):
            assert at[3] == "k4"

        def finish(self):
            return delivered

    monkeypatch.setattr(delivery, "Follower", Said)
    journal = tmp_path / "candidates.jsonl"
    with pytest.raises(ValueError, match=message), delivery.delivering(tmp_path, named, journal, "k4", "run"):
        write(journal, "k4", [record(0), record(1)])
    journal.unlink()
    monkeypatch.setattr(Said, "finish", lambda self: 0)
    with pytest.raises(ValueError, match="of the search k4"), delivery.delivering(tmp_path, named, journal, "k4", "r"):
        write(journal, "other", [record(0)])


def test_follower_dies_with_its_search(root, named, tmp_path):
    at = target(root, named, tmp_path / "candidates.jsonl", "k5", "run")
    code = f"import time; from pipeline import delivery; f = delivery.Follower({at!r})\n"
    code += "print(f.process.pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as search:
        follower = int(search.stdout.readline())
        search.send_signal(signal.SIGKILL)
    wait_for(lambda: gone(follower))


def gone(pid):
    """Tell whether a process has ended, be it that nobody has asked for its exit code yet."""
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


# ---- stages


def test_finished_stage_leaves_params_metrics_curve_and_files(root, named):
    paths = Paths(root)
    member = Member(
        name="S1", multiple=2, budget=5e4, origin="searched", base="k3-3.5", scaling="d1-w1-r9", network="r9-x",
        flops=50_000, params=99,
    )  # fmt: skip
    with tracking.stage_run(root, named, "retrain", "S1", tags={"note": "mine"}) as run_id:
        Trained(
            member=member, correct=8, tested=10, accuracy=0.8, low=0.5, high=0.9, confidence=0.95, data="d", weights="w"
        ).write(paths.member("S1") / "trained.json")
        files.write_json(paths.member("S1") / "metrics.json", {"accuracy": 0.8, "flops": 50_000, "note": "none"})
        rows = [(step, 2 / step, 0.1) for step in range(1, 1201)]
        files.write_table(paths.member("S1") / "training.csv", ("step", "loss", "learning_rate"), rows)
    client = tracking.connect(root)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "retrain S1"
    assert run.data.params["retrain.recipe.steps"] == str(named.retrain.recipe.steps)
    assert (
        run.data.params["retrain.recipe.augment.scale"] == "[0.9, 1.1]"
        and run.data.params["family.S1.multiple"] == "2.0"
    )
    assert not any(name.startswith(("family.S0", "search.", "compute.")) for name in run.data.params)
    assert run.data.metrics["accuracy"] == 0.8 and run.data.metrics["flops"] == 50_000
    assert [m.step for m in client.get_metric_history(run_id, "training.loss")] == list(range(1, 1201))
    assert {"stage": "retrain", "member": "S1", "note": "mine", "weights": "w"}.items() <= run.data.tags.items()
    assert {file.path for file in client.list_artifacts(run_id)} == {"metrics.json", "trained.json", "training.csv"}
    assert run.info.artifact_uri.startswith((root / "mlruns").as_uri())


def test_search_shows_its_candidates_as_a_table(root, named):
    paths = Paths(root)
    with tracking.stage_run(root, named, "search", None, {}) as run_id:
        write(paths.state("search") / "candidates.jsonl", "k6", [record(i) for i in range(3)])
        files.write_json(paths.search / "metrics.json", {"score": 0.5, "measured": 3})
    run = tracking.connect(root).get_run(run_id)
    assert run.info.run_name == "search" and run.data.metrics == {"score": 0.5, "measured": 3}
    assert run.data.params["search.stage_weights"] == "[1.0, 1.0, 1.0]"
    assert run.data.params["space.stages.1.kernels"] == "[3, 5]"
    table = load_dict(f"{run.info.artifact_uri}/candidates.json")
    assert len(table["data"]) == 3 and "seconds" in table["columns"]
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"])[0]["type"] == "table"  # how the page finds it


def test_failed_stage_ends_as_failed_and_its_error_goes_on(root, named):
    with pytest.raises(KeyError, match="lost"), tracking.stage_run(root, named, "prepare", None, {}):
        raise KeyError("lost")
    [run] = runs_of(root, named, tracking.stage_experiment)
    assert run.info.status == "FAILED" and run.data.params["data.size"] == "8"


def test_revision_is_that_of_the_work_tree(tmp_path):
    assert tracking.revision(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    assert len(tracking.revision(tmp_path)) == 40


def test_unreachable_server_is_named_within_seconds(tmp_path, monkeypatch, named):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    start, before = time.monotonic(), dict(os.environ)
    with pytest.raises(ValueError, match=rf"{address}.*MLFLOW_TRACKING_URI"):
        tracking.connect(tmp_path)
    assert time.monotonic() - start < 6 and before.items() <= os.environ.items()
    assert os.environ["MLFLOW_TRACKING_URI"] == address and "MLFLOW_REGISTRY_URI" not in os.environ
    assert list(tmp_path.iterdir()) == []
