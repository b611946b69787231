"""Candidates scored by Dask's workers: as by one process, though a worker is killed meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread, Timer
from types import SimpleNamespace

import distributed
import psutil
import pytest
import torch
from distributed import Client, LocalCluster

from scalenet.config import params as config
from scalenet.config.away import Unavailable
from scalenet.pipeline import settings
from scalenet.pipeline.runs import flows
from scalenet.pipeline.runs.workers import Workers
from scalenet.records.journal import Journal
from scalenet.search import cluster, measuring
from scalenet.search.cluster import NamedCall
from scalenet.space.network import Network
from scalenet.stages import LOADED, run_stage
from scalenet.stages import __main__ as door
from scalenet.training.loop import ignore

ROOT = Path(__file__).parent.parent
MADE = ("candidates.csv", "found.json", "metrics.json")
NETWORK = Network.parse("r8-stem_k3_s1_c4-ir_k3_s1_e1_c4-head_c16-se0.25e-hard_swish")
CHANGES = {"search.population": 12, "search.surrogate": 1}  # and finalists


@pytest.fixture(scope="module")
def workers():
    """Two processes of one thread."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project whose search has been run by one process."""
    root = tmp_path_factory.mktemp("project") / "one"
    shutil.copytree(ROOT / "data", root / "data")
    shutil.copy2(ROOT / "params.yaml", root / "params.yaml")
    settings.apply(root, "tiny", CHANGES)
    for stage in ("prepare", "supernet", "search"):
        run_stage(root, stage, None, ignore)
    return root


@pytest.fixture
def root(built, tmp_path):
    """The same project before its search."""
    root = shutil.copytree(built, tmp_path / "other")
    shutil.rmtree(root / "artifacts/search")
    shutil.rmtree(root / ".state/search")
    return root


def scored_by(root, place):
    settings.apply(root, None, {"compute.scoring": place})


def records(root):
    """Return the journal's records, but for the seconds that each took."""
    [file] = root.glob(".state/search/*/candidates.jsonl")
    journal = Journal(file, file.parent.name)
    journal.close()
    return [{k: v for k, v in record.items() if k != "seconds"} for record in journal.records]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_search_is_the_same_though_a_worker_is_killed_in_the_middle(built, root, workers):
    told, killed = [], []

    def emit(record):
        told.append(record)
        if record["event"] == "candidate" and not killed:
            busy = {worker: keys for worker, keys in workers.processing().items() if keys}
            if len(busy) == 2:  # it scores one candidate, and others are given to it
                killed.append(next(iter(busy)))
                pids = workers.run(os.getpid)
                os.kill(pids[killed[0]], signal.SIGKILL)

    scored_by(root, workers.scheduler.address)
    run_stage(root, "search", None, emit)
    assert killed and killed[0] not in workers.nthreads(), "a worker was killed while it scored"
    said = [record["text"] for record in told if record["event"] == "notice"]
    assert said == [f"candidates are scored by 2 workers of {workers.scheduler.address}"]
    for name in MADE:
        ours, theirs = (folder / "artifacts/search" / name for folder in (root, built))
        assert ours.read_bytes() == theirs.read_bytes(), name
    assert records(root) == records(built)
    assert {"finetuned", "bases"} <= {record["phase"] for record in records(root)}
    workers.wait_for_workers(2, timeout=60)  # its nanny began another


def test_a_search_that_one_process_began_goes_on_on_workers(built, root, workers):
    def emit(record):
        if record["event"] == "candidate" and record["number"] == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(root, "search", None, emit)
    told = []
    scored_by(root, workers.scheduler.address)
    run_stage(root, "search", None, told.append)
    said = [record["text"] for record in told if record["event"] == "notice"]
    assert "goes on: 10 candidates were measured before" in said
    for name in MADE:
        ours, theirs = (folder / "artifacts/search" / name for folder in (root, built))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_processes_of_this_machine_score_and_end_with_the_search(built, root):
    scored_by(root, "local")
    command = [sys.executable, "-m", "scalenet.stages", "search"]
    process = subprocess.Popen(command, cwd=root, text=True, stderr=subprocess.PIPE)
    begun = psutil.Process(process.pid)
    assert "candidates are scored by " in process.stderr.readline()
    wait_for(lambda: list(root.glob(".state/search/*/candidates.jsonl")))
    theirs = begun.children(recursive=True)
    assert theirs
    process.kill()
    process.communicate()
    _, left = psutil.wait_procs(theirs, timeout=30)
    assert not left, "no process outlives the search that began it"
    assert subprocess.run(command, cwd=root).returncode == 0
    for name in MADE:
        ours, theirs = (folder / "artifacts/search" / name for folder in (root, built))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_each_process_of_this_machine_scores_on_a_device_of_its_own(monkeypatch, params):
    """On a machine that would have two CUDA devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    compute = params.compute.model_copy(update={"device": "auto", "scoring": "local"})
    params, told = params.model_copy(update={"compute": compute}), []
    paths = SimpleNamespace(info=lambda: SimpleNamespace(counts={"select": 1}))
    monkeypatch.setattr(cluster, "measures", lambda client, *_: client)
    with measuring.measuring(params, paths, None, told.append) as client:
        seen = client.run(lambda: os.environ.get("CUDA_VISIBLE_DEVICES"))
    assert sorted(seen.values()) == ["0", "1"]
    assert [record["text"] for record in told] == ["candidates are scored by 2 processes"]


def test_a_search_whose_only_worker_is_lost_says_so_and_goes_on_with_the_next(
    built, root, monkeypatch
):
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    told = []
    with LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0",
        processes=False, protocol="tcp://",
    ) as cluster_of_one:  # fmt: skip

        def emit(record):
            told.append(record.get("text"))
            if record.get("number") == 2:
                cluster_of_one.scale(0)
                late.start()
            elif said() and not cluster_of_one.plan:
                cluster_of_one.scale(1)

        def said():
            return [text for text in told if text and "has no workers; the search waits" in text]

        late = Timer(60, cluster_of_one.scale, [1])  # if nothing is said, the search ends, too
        scored_by(root, cluster_of_one.scheduler_address)
        run_stage(root, "search", None, emit)
        late.cancel()
    assert len(said()) == 1, "it is told once"
    assert records(root) == records(built)


OTHER = """
import sys
from distributed import LocalCluster
with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", processes=False,
                  protocol="tcp://", dashboard_address="127.0.0.1:0") as cluster:
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""


def test_a_scheduler_that_hangs_is_told_and_waited_for(built, root, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    told = []
    with subprocess.Popen(
        [sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        place = other.stdout.readline().strip()

        def emit(record):
            told.append(record.get("text"))
            if record.get("number") == 2:
                time.sleep(2)  # those in flight are scored, and wait to be fetched
                other.send_signal(signal.SIGSTOP)
                late.start()
            elif said():
                other.send_signal(signal.SIGCONT)

        def said():
            return [text for text in told if text and "does not answer; the search waits" in text]

        late = Timer(60, other.send_signal, [signal.SIGCONT])  # if nothing is said, it ends, too
        scored_by(root, place)
        run_stage(root, "search", None, emit)
        late.cancel()
        other.stdin.close()
    assert len(said()) == 1 and place in said()[0], "it is told once"
    assert records(root) == records(built)


# --- what is refused ------------------------------------------------------------------------------


def test_no_scheduler_is_one_line_and_exit_3(root, monkeypatch, capsys):
    """Some other server at the address is no scheduler."""
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1s")  # of the pool's process
    monkeypatch.chdir(root)
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        place = f"tcp://127.0.0.1:{other.server_port}"
        scored_by(root, place)
        assert door.main(["search"]) == 3
        said = [line for line in capsys.readouterr().err.splitlines() if "code 400" not in line]
        [line] = [line for line in said if not line.startswith("127.0.0.1 - - ")]  # the server's
        assert line.startswith(f"compute.scoring: no Dask scheduler answers at {place}; start it")
        other.shutdown()
    with Workers() as pool, pytest.raises(Unavailable, match="no Dask scheduler answers"):
        pool.run_stage(root, "search", None, ignore)


NEEDS = {"prepare": set(), "supernet": {"prepare"}, "search": {"supernet"}, "S0": {"search"}}


class Stages:
    """A project of which these stages must run."""

    def __init__(self, *changed):
        self.changed = changed.__contains__


def test_a_run_refuses_an_absent_scheduler_before_it_trains(root, monkeypatch):
    """Only if there is a search to come: a run without one needs nobody who scores."""
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        scored_by(root, place)
        params = config.load(root / "params.yaml")
        for changed in (["prepare", "supernet", "search"], ["prepare"], ["search"]):
            with pytest.raises(Unavailable, match=f"no Dask scheduler answers at {place}"):
                flows.check_scorers(params, Stages(*changed), NEEDS)
        flows.check_scorers(params, Stages("S0"), NEEDS)
        only = {name: NEEDS[name] for name in ("prepare", "supernet")}
        flows.check_scorers(params, Stages("supernet"), only)


@pytest.mark.long
def test_a_run_says_at_once_that_no_scheduler_answers(tmp_path):
    begun = [sys.executable, "-m", "scalenet.pipeline", "params", "--preset", "tiny"]
    subprocess.run(begun, cwd=tmp_path, check=True, capture_output=True)
    run = [sys.executable, "-m", "scalenet.pipeline", "run", "--set"]
    done = subprocess.run(
        [*run, "compute.scoring=tcp://127.0.0.1:9"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 3
    said = [line for line in done.stderr.splitlines() if "compute.scoring" in line]
    assert said == [line for line in said if "no Dask scheduler answers" in line] and said
    assert not (tmp_path / "artifacts/data").exists()


def test_without_dask_what_to_install_is_said(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    scored_by(root, "local")
    with pytest.raises(ValueError, match=r"needs Dask: pip install 'scalenet-pipeline\[dask\]'"):
        run_stage(root, "search", None, ignore)


def test_an_address_that_needs_keys_says_so(root):
    scored_by(root, "tls://127.0.0.1:8786")
    with pytest.raises(ValueError, match=r"^compute\.scoring is 'tls\S+, but .* names no keys$"):
        run_stage(root, "search", None, ignore)


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.6\r\n", bytes(8), b"220 mail ESMTP\r\n"])
def test_a_server_that_speaks_first_is_no_scheduler(greeting):
    """Dask reads its words as the lengths of what is to come: 2.82 EiB of an SSH banner."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            connection, _ = server.accept()
            with connection:
                connection.sendall(greeting)
                connection.recv(1)

        Thread(target=greet, daemon=True).start()
        place = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Unavailable, match=f"no Dask scheduler answers at {place}; start it"):
            cluster.check(place)


def test_a_scheduler_that_went_away_between_two_generations_is_the_same_line(workers):
    there = NamedCall("scalenet.stages.search", "read_there", ("", "", ""))
    with Client(workers.scheduler.address, set_as_default=False) as client:
        asked = cluster.measures(client, "tcp://there", there, False, ignore)
    with pytest.raises(Unavailable, match="the scheduler at tcp://there is gone"):
        list(asked.shared([NETWORK]))


def test_a_scheduler_that_goes_away_is_one_line_and_what_was_measured_is_kept(built, root):
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as gone,
        pytest.raises(Unavailable, match=r"the scheduler at tcp://\S+ is gone; run it again when"),
    ):  # fmt: skip
        scored_by(root, gone.scheduler_address)
        run_stage(
            root, "search", None, lambda record: record["event"] == "candidate" and gone.close()
        )
    kept = records(root)
    assert kept and kept == records(built)[: len(kept)]
    scored_by(root, None)
    run_stage(root, "search", None, ignore)
    assert records(root) == records(built)


def test_a_scheduler_that_is_killed_with_results_that_wait_is_the_same_line(root):
    with subprocess.Popen(
        [sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        scored_by(root, other.stdout.readline().strip())

        def emit(record):
            if record.get("number") == 2:
                time.sleep(2)  # those in flight are scored, and wait to be fetched
                other.kill()

        with pytest.raises(Unavailable, match=r"the scheduler at tcp://\S+ is gone; run it again"):
            run_stage(root, "search", None, emit)


@pytest.mark.parametrize(
    ("code", "key", "said"),
    [
        ("other", "", "runs another scalenet than the search"),
        (None, "0" * 16, "finds other params, documents or code"),
    ],
)
def test_a_worker_that_would_score_otherwise_is_named(root, workers, code, key, said):
    arguments = (str(root), code or LOADED["search"], key)
    there = NamedCall("scalenet.stages.search", "read_there", arguments)
    asked = cluster.measures(workers, "tcp://there", there, False, ignore)
    with pytest.raises(ValueError, match=rf"^worker tcp://127\.0\.0\.1:\d+: it {said}"):
        list(asked.shared([NETWORK]))


def test_a_worker_with_another_pytorch_is_named(root, workers, monkeypatch):
    monkeypatch.setattr(cluster, "version", lambda name: "0.1")
    there = NamedCall("scalenet.stages.search", "read_there", (str(root), "", ""))
    asked = cluster.measures(workers, "tcp://there", there, False, ignore)
    with pytest.raises(ValueError, match=r"^worker tcp:\S+ has torch \d\S+, the search 0\.1; use"):
        list(asked.shared([NETWORK]))


def test_a_worker_without_the_package_says_so(root, tmp_path):
    libraries = str(Path(distributed.__file__).parents[1])
    with (
        LocalCluster(
            n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as empty,
        subprocess.Popen(
            [
                sys.executable, "-S", "-m", "distributed.cli.dask_worker", empty.scheduler_address,
                "--no-nanny", "--nthreads", "1", "--no-dashboard",
            ],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": libraries}, stderr=subprocess.DEVNULL,
        ) as bare,
    ):  # fmt: skip
        told = []
        scored_by(root, empty.scheduler_address)
        try:
            with pytest.raises(ValueError, match=r"cannot score \(No module named 'scalenet'\)"):
                run_stage(root, "search", None, told.append)
        finally:
            bare.terminate()
    assert not any(record["event"] == "candidate" for record in told)
