"""MLflow that is slow, silent or gone in the middle of a stage: nothing waits, nothing is lost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

from scalenet.config import params as config
from scalenet.pipeline.remember import post as posts
from scalenet.pipeline.remember import stores
from scalenet.pipeline.remember.post import Post, check_store
from scalenet.pipeline.remember.reports import deliver, waiting
from scalenet.pipeline.runs.single import Watchers, compute
from scalenet.pipeline.watch.progress import Progress
from scalenet.records import files
from scalenet.records.documents import Candidate, Found
from scalenet.records.journal import Journal
from scalenet.records.paths import Paths


class Road:
    """A proxy between MLflow's client and its server, which may be slow or lead nowhere."""

    def __init__(self, port: int):
        self.there, self.slow, self.closed = port, 0.0, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            if self.closed:
                client.close()
            else:
                server = socket.create_connection(("127.0.0.1", self.there))
                for one, other in ((client, server), (server, client)):
                    Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one, other):
        try:
            while content := one.recv(65536):
                if self.closed:
                    break
                time.sleep(self.slow)
                other.sendall(content)
        except OSError:
            pass
        for side in (one, other):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)  # the other thread may wait for its content
            side.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Return the port of MLflow's own server."""
    folder = tmp_path_factory.mktemp("server")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/m.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)
        yield port
        process.terminate()


@pytest.fixture
def road(server, monkeypatch):
    road = Road(server)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{road.port}")
    monkeypatch.setattr(posts, "AGAIN", 0.5)
    return road


@pytest.fixture
def project(tmp_path, make_params, request):
    """Return a folder with params; its data set has the test's name."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:40]
    params = make_params({"data": {"name": name}})
    (tmp_path / "params.yaml").write_text(json.dumps(params.model_dump(mode="json")))
    return tmp_path, params


def training(root: Path, steps: int, meanwhile=lambda step: None, first: int = 0):
    """Return what stands for a training: it tells of steps, and writes its curve."""

    def run(root, stage, member, emit, params):
        emit({"event": "training", "step": first, "steps": steps})
        for step in range(first + 1, steps + 1):
            emit({"event": "step", "step": step, "steps": steps, "loss": 1 / step,
                  "learning_rate": 0.1})  # fmt: skip
            meanwhile(step)
        out = Paths(root).supernet
        rows = [(step, 1 / step, 0.1) for step in range(1, steps + 1)]
        files.write_table(out / "training.csv", ("step", "loss", "learning_rate"), rows)
        files.write_json(out / "metrics.json", {"loss": 1 / steps, "parameters": 9})

    return run


def reported(root, run, stage="supernet", said=None, ended=lambda: None):
    """Run a stage as a flow does; return its report and the seconds until it was computed."""
    post = Post(root, (said if said is not None else []).append)
    params = config.load(root / "params.yaml")
    start = time.monotonic()
    with post:
        report = compute(Watchers(Progress(), post), params, stage, {}, run)
        seconds = time.monotonic() - start
        ended()
        post.send(report)
        post.finish()
    return report, seconds


def runs_of(params, name=stores.stage_experiment) -> list:
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name(name(params))
    return [] if experiment is None else client.search_runs([experiment.experiment_id])


def points(run, name: str = "training/loss") -> list[int]:
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    return [point.step for point in client.get_metric_history(run.info.run_id, name)]


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_figures_are_there_while_a_stage_runs_and_once_when_it_is_over(road, project):
    root, params = project

    def meanwhile(step):
        if step == 3:  # another client sees the first steps before the training goes on
            wait_for(lambda: [run for run in runs_of(params) if points(run)[:2] == [1, 2]])
            assert runs_of(params)[0].info.status == "RUNNING"

    reported(root, training(root, 6, meanwhile))
    [run] = runs_of(params)
    assert run.info.status == "FINISHED" and points(run) == [1, 2, 3, 4, 5, 6]
    assert points(run, "training/learning_rate") == [1, 2, 3, 4, 5, 6]


def test_a_resumed_training_has_its_whole_curve_once(road, project):
    root, params = project
    reported(root, training(root, 8, lambda step: time.sleep(0.6), first=4))
    [run] = runs_of(params)
    assert sorted(points(run)) == list(range(1, 9))


def test_what_runs_niced_tells_mlflow_too():
    code = "import os; from scalenet.pipeline.remember import reports; print(os.nice(15))\n"
    code += "reports.step_back(); print(os.getpriority(os.PRIO_PROCESS, 0))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, said.stdout.split())
    assert before == after >= 15  # only root may go back to 10: the thread would end


def test_a_slow_server_does_not_slow_a_training(road, project):
    root, params = project
    check_store(root, params)
    road.slow = 0.5  # a second a call, there and back
    run = training(root, 40, lambda step: time.sleep(0.01))
    _, seconds = reported(root, run, ended=lambda: setattr(road, "slow", 0))
    assert seconds < 3
    [run] = runs_of(params)
    assert sorted(points(run)) == list(range(1, 41))


def test_a_server_that_goes_away_stops_nothing_and_is_told_later_once(road, project):
    root, params = project
    said = []

    def leave(step):
        if step == 2:
            wait_for(lambda: [run for run in runs_of(params) if points(run)])
            road.closed = True

    reported(root, training(root, 5, leave), said=said)
    assert len(waiting(root)) == 1 and not [line for line in said if "Traceback" in line]
    assert len([line for line in said if "cannot be told" in line]) == 1
    assert "scalenet register" in said[-1]
    check_store(root, params)  # the next stage goes on, though the server is away
    later = []
    reported(root, training(root, 3), said=later)
    assert len(waiting(root)) == 2
    road.closed = False
    for folder in waiting(root):
        deliver(root, folder)
        deliver(root, folder)  # by another process, at the same time
    assert not waiting(root)
    second, first = runs_of(params)  # the newest first
    assert sorted(points(first)) == [1, 2, 3, 4, 5] and sorted(points(second)) == [1, 2, 3]
    assert {first.info.status, second.info.status} == {"FINISHED"}
    assert first.info.start_time < first.info.end_time <= second.info.start_time


def test_a_report_of_another_version_stays_and_the_others_are_delivered(road, project):
    root, params = project
    road.closed = True
    for steps in (5, 3):
        reported(root, training(root, steps))
    older, newer = waiting(root)
    content = json.loads((older / "report.json").read_text())
    content["params"]["of a later version"] = 1
    (older / "report.json").write_text(json.dumps(content))
    road.closed, said = False, []
    reported(root, training(root, 2), said=said)
    assert waiting(root) == [older] and len(runs_of(params)) == 2 and newer not in waiting(root)
    assert [line for line in said if f"{older.name} is not delivered" in line]
    assert f"`rm -r {older}` gives it up" in "".join(said)


def test_an_interrupted_delivery_doubles_nothing(road, project, monkeypatch):
    root, params = project
    road.closed = True
    reported(root, training(root, 5))
    road.closed = False
    [folder] = waiting(root)

    def killed(*_):
        raise InterruptedError

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(MlflowClient, "set_terminated", killed)
        deliver(root, folder)
    assert [run.info.status for run in runs_of(params)] == ["RUNNING"]
    deliver(root, folder)
    [run] = runs_of(params)
    assert run.info.status == "FINISHED" and sorted(points(run)) == [1, 2, 3, 4, 5]
    assert points(run, "parameters") == [0], "once"


def test_candidates_of_a_search_wait_too(road, project, tmp_path):
    root, params = project
    journal, said = Journal(tmp_path / "candidates.jsonl", "key"), []

    def told(number):
        """Candidates are in MLflow at once, until it is found to be away."""
        if number < 2:
            return len(runs_of(params, stores.candidate_experiment)) > number
        return any("cannot be told" in line for line in said)

    def search(root, stage, member, emit, params):
        emit({"event": "journal", "path": journal.path, "key": "key"})
        emit({"event": "planned", "candidates": 4, "known": 0})
        for number in range(4):
            road.closed = number >= 2
            candidate = Candidate(
                number=number, network=f"r8-stem_k3_s1_c4-ir_k5_s1_e2_c{4 + number}-head_c8-"
                "se0.25e-hard_swish", base="k3e1-3.5e2", scaling="d1-w1-r8", size=0, depth=1,
                width=1, resolution=8, flops=9, params=9, accuracy=0.5 + number / 10,
                probability=0.4, score=0.4, predicted=None, phase="bases", iteration=1,
                generation=0,
            )  # fmt: skip
            record = candidate.plain() | {"seconds": 0.1}
            journal.append(record)
            emit({"event": "candidate", **record})
            wait_for(lambda number=number: told(number))
        rows = [list(record.values()) for record in journal.records]
        files.write_table(Paths(root).search / "candidates.csv", journal.records[0], rows)
        found = {"base": "k3e1-3.5e2", "strategies": ["d1-w1-r8"], "score": 0.4}
        Found(**found, chain=[], measured=4).write(Paths(root).search / "found.json")

    reported(root, search, "search", said)
    journal.close()
    journal.path.unlink()  # as when DVC has what the search made
    road.closed = False
    [folder] = waiting(root)
    deliver(root, folder)
    found = runs_of(params, stores.candidate_experiment)
    assert sorted(run.data.metrics["number"] for run in found) == [0, 1, 2, 3]
    [run] = runs_of(params)
    assert {candidate.data.tags["search_run"] for candidate in found} == {run.info.run_id}
    assert points(run, "search/best_stage0") == [0, 1, 2, 3]


def test_a_server_that_never_answered_is_refused_before_anything_is_computed(road, project):
    root, params = project
    road.closed = True
    with pytest.raises(ValueError, match="MLflow cannot be reached"):
        check_store(root, params)


@pytest.mark.parametrize("answers", [True, False])
def test_a_server_that_keeps_no_files_is_named_even_if_its_answer_is_lost(answers, tmp_path):
    class Full(BaseHTTPRequestHandler):
        def do_PUT(self):
            if answers:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_error(500)
            else:  # closed with what was not read, which resets the connection
                self.rfile.read(1)
            self.close_connection = True

        def log_message(self, *what):
            return None

    (tmp_path / "contact.png").write_bytes(bytes(99_999))
    with HTTPServer(("127.0.0.1", 0), Full) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        kept = MlflowArtifactsRepository(
            "mlflow-artifacts:/1", tracking_uri=f"http://127.0.0.1:{server.server_port}"
        )
        with pytest.raises(MlflowException) as refused:
            kept.log_artifact(str(tmp_path / "contact.png"))
        server.shutdown()
    assert "cannot keep files" in stores.why(refused.value)
