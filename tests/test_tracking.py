"""Runs and candidates in a real MLflow on SQLite: nothing lost, nothing twice, whatever is
killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.artifacts import load_dict

from scalenet.config.away import Unavailable
from scalenet.pipeline.remember import stores, tracking
from scalenet.pipeline.remember.candidates import METRICS, Candidates, Runs
from scalenet.pipeline.remember.post import Post
from scalenet.pipeline.remember.reports import waiting
from scalenet.records import files
from scalenet.records.documents import Candidate, Found, Member, Reading, Trained
from scalenet.records.journal import Journal
from scalenet.records.paths import Paths

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return a project folder whose name needs quoting; every test takes a data set's name of
    its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield tmp_path_factory.mktemp("a project")


@pytest.fixture
def named(make_params, request):
    name = request.node.name.removeprefix("test_")[:40]
    return make_params(
        {"data": {"name": "".join(c if c.isalnum() else "-" for c in name).strip("-")}}
    )


def network(number):
    return f"r8-stem_k3_s1_c4-ir_k5_s1_e2_c{4 + number}-head_c8-se0.25e-hard_swish"


def record(number, stage=1, flops=100_000, accuracy=0.5):
    candidate = Candidate(
        number=number, network=network(number), base="k3e1-3.5e2", scaling="d1.2-w1-r9", size=stage,
        depth=1.2, width=1.0, resolution=9, flops=flops, params=9, accuracy=accuracy,
        probability=0.4, score=0.4, predicted=None, phase="bases", iteration=1, generation=2,
    )  # fmt: skip
    return candidate.plain() | {"seconds": 0.05}


def write(path, key, records):
    journal = Journal(path, key)
    for entry in records:
        journal.append(entry)
    journal.close()


def runs_of(root, params, name=stores.candidate_experiment):
    client = stores.connect(root)
    return list(
        client.search_runs([stores.experiment_id(client, root, name(params))], max_results=1000)
    )


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---- candidates


def deliver(root, params, journal, key, run, records=()):
    """Deliver a journal of earlier candidates, then more as they come, as a search does."""
    candidates, client = Candidates(root, params), stores.connect(root)
    opened = Journal(journal, key)
    candidates({"event": "journal", "path": journal, "key": key})
    for entry in records:
        opened.append(entry)
        candidates({"event": "candidate", **entry})
        candidates.deliver(client, run, 0.0)  # no time: the journal's come first
    opened.close()
    candidates.deliver(client, run)
    candidates.check()


@contextmanager
def reported(root, params, stage, member=None, tags=None):
    """Report a stage; yield its report, whose run is known when MLflow has everything."""
    with Post(root, print) as post:
        with post.stage(params, stage, member, tags or {}) as report:
            yield report
        post.send(report)
        post.finish()
    assert not waiting(root)


def test_best_candidates_below_a_budget_are_one_query(root, named, tmp_path):
    journal = tmp_path / "candidates.jsonl"
    write(journal, "older", [record(99, stage=2)])  # another search's, replaced when ours starts
    budgets = [(2, 1e6, 0.7), (2, 2e6, 0.9), (1, 1e6, 0.99), (2, 5e6, 0.95), (2, 2.9e6, 0.8)]
    found = [record(i, s, int(f), a) for i, (s, f, a) in enumerate(budgets)]
    deliver(root, named, journal, "abc", "search1", found)
    client = stores.connect(root)
    best = client.search_runs(
        [client.get_experiment_by_name(f"{named.data.name}/candidates").experiment_id],
        filter_string="metrics.stage = 2 and metrics.flops < 3000000",
        order_by=["metrics.accuracy DESC"],
    )
    assert [run.data.metrics["accuracy"] for run in best] == [0.9, 0.8, 0.7]
    assert best[0].info.run_name == "s2 d1.2-w1-r9 k3e1-3.5e2" and best[0].info.status == "FINISHED"
    measured = {k: v for k, v in record(1, 2, 2_000_000, 0.9).items() if v is not None}
    assert best[0].data.metrics == {k: float(measured[k]) for k in METRICS if k in measured}
    texts = {"network": network(1), "base": "k3e1-3.5e2", "scaling": "d1.2-w1-r9", "phase": "bases"}
    assert best[0].data.params == texts
    assert best[0].data.tags["search_run"] == "search1"
    assert "mlflow.parentRunId" not in best[0].data.tags
    assert len(runs_of(root, named)) == len(budgets)


def test_a_fine_tuned_candidate_is_a_run_beside_its_networks_other_one(root, named, tmp_path):
    one = record(1, accuracy=0.4)
    two = one | {"number": 2, "phase": "finetuned", "accuracy": 0.5}
    deliver(root, named, tmp_path / "candidates.jsonl", "abc", "search1", [one, two])
    runs = {run.data.params["phase"]: run for run in runs_of(root, named)}
    accuracies = {phase: run.data.metrics["accuracy"] for phase, run in runs.items()}
    assert accuracies == {"bases": 0.4, "finetuned": 0.5}
    assert runs["finetuned"].info.run_name == runs["bases"].info.run_name + " finetuned"


def test_a_search_killed_while_it_delivers_neither_loses_nor_repeats_a_candidate(
    root, named, tmp_path
):
    journal = tmp_path / "candidates.jsonl"
    write(journal, "k1", [record(i) for i in range(40)])
    code = f"""
from pathlib import Path
from scalenet.config.params import parse
from scalenet.pipeline.remember import stores
from scalenet.pipeline.remember.candidates import Candidates
root = Path({str(root)!r})
candidates = Candidates(root, parse({named.model_dump(mode="json")!r}))
candidates({{"event": "journal", "path": Path({str(journal)!r}), "key": "k1"}})
candidates.deliver(stores.connect(root), "first")
"""
    with subprocess.Popen([sys.executable, "-c", code]) as search:
        wait_for(lambda: len(runs_of(root, named)) > 3)
        search.send_signal(signal.SIGKILL)
    assert 3 < len(runs_of(root, named)) < 40
    client = stores.connect(root)
    half = client.create_run(
        stores.experiment_id(client, root, stores.candidate_experiment(named)),
        tags={"candidate": f"k1 {network(40)}", "search_run": "first"},
    ).info.run_id
    deliver(root, named, journal, "k1", "second", [record(40)])
    found = runs_of(root, named)
    assert sorted(r.data.params["network"] for r in found) == sorted(map(network, range(41)))
    assert {r.info.status for r in found} == {"FINISHED"}
    assert half in {r.info.run_id for r in found}
    assert {r.data.tags["search_run"] for r in found} == {"second"}
    assert {len(r.data.metrics) for r in found} == {len(METRICS) - 1}


def test_a_run_that_was_made_twice_is_deleted(root, named, tmp_path):
    journal = tmp_path / "candidates.jsonl"
    deliver(root, named, journal, "k2", "first", [record(0)])
    client = stores.connect(root)
    experiment = stores.experiment_id(client, root, stores.candidate_experiment(named))
    client.create_run(experiment, tags={"candidate": f"k2 {network(0)}", "search_run": "first"})
    deliver(root, named, journal, "k2", "second", [record(1)])
    assert len(runs_of(root, named)) == 2


def searching(root, params, folder, place):
    """Begin a search in a clone of that place; return its candidates, and its run."""
    client, folder = stores.connect(root), folder / place
    folder.mkdir(exist_ok=True)
    experiment = stores.experiment_id(client, root, stores.stage_experiment(params))
    run = client.create_run(experiment, tags={"stage": "search", "place": place}).info.run_id
    candidates = Candidates(root, params)
    candidates({"event": "journal", "path": folder / "candidates.jsonl", "key": "k5"})
    return candidates, run


def test_clones_that_search_the_same_at_once_have_each_candidate_once(root, named, tmp_path):
    client = stores.connect(root)
    one, two = (searching(root, named, tmp_path, place) for place in ("one", "two"))
    for number in range(6):
        for candidates, run in (one, two):
            candidates({"event": "candidate", **record(number)})
            candidates.deliver(client, run)
    assert len(runs_of(root, named)) > 6, "each made some that the other did not know of"
    for candidates, _ in (one, two):
        candidates.check()
    found = runs_of(root, named)
    assert sorted(r.data.params["network"] for r in found) == sorted(map(network, range(6)))
    assert {r.info.status for r in found} == {"FINISHED"}
    assert {r.data.tags["search_run"] for r in found} <= {one[1], two[1]}
    for _, run in (one, two):  # as their reports, which are delivered once more
        before = [(r.info.run_id, r.data.tags) for r in found]
        again = Candidates(root, named)
        write(tmp_path / "again.jsonl", "k5", [record(number) for number in range(6)])
        again({"event": "journal", "path": tmp_path / "again.jsonl", "key": "k5"})
        again.deliver(client, run)
        again.check()
        assert [(r.info.run_id, r.data.tags) for r in runs_of(root, named)] == before


def test_what_another_clone_is_just_writing_stays_until_that_one_goes_on(root, named, tmp_path):
    client = stores.connect(root)
    (one, ours), (_, theirs) = (searching(root, named, tmp_path, place) for place in "ab")
    experiment = stores.experiment_id(client, root, stores.candidate_experiment(named))
    one({"event": "candidate", **record(0)})
    one.deliver(client, ours)
    half = {"candidate": f"k5 {network(0)}", "search_run": theirs}
    half = client.create_run(experiment, tags=half).info.run_id
    one.check()
    assert half in {run.info.run_id for run in runs_of(root, named)}
    client.set_terminated(theirs, "KILLED")
    two, again = searching(root, named, tmp_path, "b")
    two({"event": "candidate", **record(0)})
    two.deliver(client, again)
    two.check()
    [run] = runs_of(root, named)
    assert run.info.run_id != half and run.data.tags["search_run"] == ours


def test_an_undelivered_candidate_is_an_error(root, named, tmp_path, monkeypatch):
    monkeypatch.setattr(Runs, "count", lambda self: 1)
    with pytest.raises(Unavailable, match="MLflow has 1 of the search's 2 candidates"):
        deliver(root, named, tmp_path / "j.jsonl", "k3", "run", [record(0), record(1)])


def test_a_store_that_goes_away_is_named_and_the_journal_keeps_everything(
    root, named, tmp_path, monkeypatch
):
    def gone(self, record):
        raise OSError("no space left")

    monkeypatch.setattr(Runs, "deliver", gone)
    journal = tmp_path / "candidates.jsonl"
    with pytest.raises(OSError, match="no space left"):
        deliver(root, named, journal, "k4", "run", [record(0), record(1)])
    monkeypatch.undo()
    deliver(root, named, journal, "k4", "again")
    assert len(runs_of(root, named)) == 2


# ---- the project's own database


def test_a_project_that_was_moved_finds_its_artifacts(named, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    old, new = tmp_path / "old place", tmp_path / "new #1"
    old.mkdir()
    client = stores.connect(old)
    run = client.create_run(stores.experiment_id(client, old, "x")).info.run_id
    client.log_text(run, "hello", "note.txt")
    shutil.copytree(old, new)
    shutil.rmtree(old)
    code = f"""
import sys
from pathlib import Path
from scalenet.pipeline.remember import stores
client = stores.connect(Path(sys.argv[1]))
client.log_text({run!r}, "more", "more.txt")
print(sorted(file.path for file in client.list_artifacts({run!r})))
"""
    command = [sys.executable, "-c", code, str(new)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found == "['more.txt', 'note.txt']\n" and not old.exists()
    assert len(list((new / "mlruns").rglob("*.txt"))) == 2


def test_a_project_below_a_folder_that_is_called_as_mlflows_keeps_its_paths(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    old, new = tmp_path / "mlruns/old", tmp_path / "mlruns/new"
    old.mkdir(parents=True)
    names = ("x", "mlruns", "mlruns/candidates")

    def places(client, root):
        ids = [stores.experiment_id(client, root, name) for name in names]
        return [client.get_experiment(id_).artifact_location for id_ in ids]

    for _ in range(2):
        made = places(stores.connect(old), old)
        assert made == [f"file://{old}/mlruns/{name}" for name in names]
    old.rename(new)
    (tmp_path / "mlruns/old2").mkdir()
    made = places(stores.connect(new), new)
    assert made == [f"file://{new}/mlruns/{name}" for name in names]


def test_a_database_that_was_half_made_is_made_again(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db.tmp").write_bytes(b"SQLite format 3\0 and no more")
    assert stores.connect(tmp_path).search_experiments() and (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "mlflow.db.tmp").exists()


def test_the_database_lies_in_a_folder_whose_name_looks_like_an_address(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "what?#%25").mkdir()
    assert stores.connect(tmp_path / "what?#%25").search_experiments()
    assert [path.name for path in tmp_path.iterdir()] == ["what?#%25"]
    assert (tmp_path / "what?#%25/mlflow.db").exists()


# ---- stages


def test_finished_stage_leaves_params_metrics_curve_and_files(root, named):
    paths = Paths(root)
    member = Member(
        name="S1", multiple=2, budget=5e4, origin="searched", base="k3e1-3.5e2", scaling="d1-w1-r9",
        network=network(0), flops=50_000, params=99,
    )  # fmt: skip
    with reported(root, named, "retrain", "S1", {"note": "mine"}) as report:
        Trained(
            member=member,
            correct=8,
            tested=10,
            accuracy=0.8,
            low=0.5,
            high=0.9,
            confidence=0.95,
            balanced=0.7,
            select=None,
            data="d",
            weights="w",
        ).write(paths.member("S1") / "trained.json")
        files.write_json(
            paths.member("S1") / "metrics.json", {"accuracy": 0.8, "flops": 50_000, "note": "none"}
        )
        rows = [(s, 2 / s, 0.1, None if s % 400 else s / 1200) for s in range(1, 1201)]
        files.write_table(
            paths.member("S1") / "training.csv", ("step", "loss", "learning_rate", "select"), rows
        )
    client, run_id = stores.connect(root), report.run
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == f"{named.data.name} · retrain S1"
    assert run.data.params["retrain.recipe.steps"] == str(named.retrain.recipe.steps)
    assert (
        run.data.params["retrain.recipe.augment.scale"] == "[0.9, 1.1]"
        and run.data.params["family.S1.multiple"] == "2.0"
    )
    assert not any(
        name.startswith(("family.S0", "search.", "compute.")) for name in run.data.params
    )
    assert run.data.metrics["accuracy"] == 0.8 and run.data.metrics["flops"] == 50_000
    assert [m.step for m in client.get_metric_history(run_id, "training/loss")] == list(
        range(1, 1201)
    )
    judged = client.get_metric_history(run_id, "training/select_accuracy")
    assert [(m.step, m.value) for m in judged] == [(400, 1 / 3), (800, 2 / 3), (1200, 1)]
    assert {
        "stage": "retrain",
        "member": "S1",
        "note": "mine",
        "weights": "w",
    }.items() <= run.data.tags.items()
    assert {file.path for file in client.list_artifacts(run_id)} == {
        "metrics.json",
        "trained.json",
        "training.csv",
    }
    assert run.info.artifact_uri.startswith((root / "mlruns").as_uri())


def test_search_shows_its_candidates_as_a_table(root, named):
    paths = Paths(root)
    with reported(root, named, "search") as report:
        rows = [list(record(i).values())[:-1] for i in range(3)]
        files.write_table(paths.search / "candidates.csv", list(record(0))[:-1], rows)
        files.write_json(paths.search / "metrics.json", {"score": 0.5, "measured": 3})
        found = {"base": "k3e1-3.5e2", "strategies": ["d1.2-w1-r9"], "score": 0.5}
        Found(**found, chain=[], measured=3).write(paths.search / "found.json")
    run = stores.connect(root).get_run(report.run)
    assert run.info.run_name == f"{named.data.name} · search"
    assert run.data.metrics == {"score": 0.5, "measured": 3}
    assert run.data.params["search.stage_weights"] == "[1.0, 1.0, 1.0]"
    assert run.data.params["space.stages.1.kernels"] == "[3, 5]"
    table = load_dict(f"{run.info.artifact_uri}/candidates.json")
    assert len(table["data"]) == 3 and table["columns"] == list(record(0))[:-1]
    assert table["data"][2][0] == 2 and table["data"][2][1] == network(2)
    assert (
        json.loads(run.data.tags["mlflow.loggedArtifacts"])[0]["type"] == "table"
    )  # how the page finds it


def test_failed_stage_ends_as_failed_and_its_error_goes_on(root, named):
    with (
        pytest.raises(KeyError, match="lost"),
        reported(root, named, "prepare"),
    ):
        raise KeyError("lost")
    [run] = runs_of(root, named, stores.stage_experiment)
    assert run.info.status == "FAILED" and run.data.params["data.size"] == "8"


def test_the_contact_sheet_is_beside_the_run_of_prepare(root, named):
    data = Paths(root).data
    data.mkdir(parents=True, exist_ok=True)
    (data / "contact.png").write_bytes(b"any" * 10**6)
    (data / "train.npz").write_bytes(b"any")
    counted = dict.fromkeys(("unused", "dropped", "groups", "torn", "brightest"), 0)
    kinds = {key: {} for key in ("skipped", "ignored", "duplicates", "repeated")}
    kinds |= {"taken": {"train": {"a": 2}}, "first": [], "conflicting": []}
    read = Reading(name="x", source="x", **counted, **kinds)
    read.write(data / "read.json")
    with reported(root, named, "prepare") as report:
        pass
    logged = {file.path for file in stores.connect(root).list_artifacts(report.run)}
    assert "contact.png" in logged and "train.npz" not in logged


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
        stores.connect(tmp_path)
    assert time.monotonic() - start < 6 and before.items() <= os.environ.items()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        assert os.environ.get(name) == before.get(name)
    assert list(tmp_path.iterdir()) == []
