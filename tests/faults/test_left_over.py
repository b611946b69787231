"""What a killed process leaves: no stage that goes on alone, no run that seems to run for ever."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from unittest.mock import Mock
from uuid import UUID

import httpx
import psutil
import pytest
from dvc.repo import Repo
from dvc.utils.serialize import load_yaml
from filelock import FileLock
from prefect import State
from prefect.client.schemas.objects import StateType

from scalenet.config.away import Unavailable
from scalenet.pipeline.doors import servers
from scalenet.pipeline.remember import stores
from scalenet.pipeline.remember.post import Post
from scalenet.pipeline.repro import Busy, Graph
from scalenet.pipeline.runs import flowruns
from scalenet.pipeline.runs.alone import alone, is_held, place, refuse_while_computed
from scalenet.pipeline.runs.single import _forget_committed, committed_before, forget
from scalenet.records.paths import Paths
from scalenet.training.loop import ignore

STAGE = """
import os, sys, time
from pathlib import Path
Path("pid.tmp").write_text(str(os.getpid()))
Path("pid.tmp").rename("pid")
while not Path("go").exists():
    time.sleep(0.05)
from scalenet.pipeline.runs import children
children.belong_to_dvc(Path.cwd())
Path("bound").touch()
time.sleep(60)
"""


def _appears(file):
    deadline = time.monotonic() + 30
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return file.exists()


@pytest.fixture
def begun(tmp_path):
    """Begin ``dvc repro`` of a stage that looks for its DVC when told; yield both processes."""
    Repo.init(str(tmp_path), no_scm=True).close()
    (tmp_path / "stage.py").write_text(STAGE)
    command = f"'{sys.executable}' stage.py; true"  # so that a shell stays between
    stage = {"cmd": command, "outs": ["made"]}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": {"search": stage}}))
    dvc = subprocess.Popen([sys.executable, "-m", "dvc", "repro", "-q"], cwd=tmp_path)
    assert _appears(tmp_path / "pid")
    stage = psutil.Process(int((tmp_path / "pid").read_text()))
    yield dvc, stage
    for process in (dvc, stage):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    dvc.wait()


@pytest.mark.parametrize("early", [True, False], ids=["before it looks", "after it looked"])
@pytest.mark.parametrize("killed", ["DVC", "the shell between"])
def test_a_stage_ends_with_a_killed_dvc(tmp_path, begun, early, killed):
    """An orphan that goes on could write over what the next run makes."""
    dvc, stage = begun
    victim = dvc if killed == "DVC" else stage.parent()
    if not early:
        (tmp_path / "go").touch()
        assert _appears(tmp_path / "bound"), "a stage whose DVC lives goes on"
    victim.kill()
    victim.wait()
    (tmp_path / "go").touch()
    gone, _ = psutil.wait_procs([stage], 20)
    assert gone and (tmp_path / "bound").exists() != early


def test_who_computes_a_stage_is_named(tmp_path):
    with alone(tmp_path, "search", "key", ignore):
        assert is_held(tmp_path, "search") and not is_held(tmp_path, "S0")
        assert is_held(tmp_path, "search", "key") and not is_held(tmp_path, "search", "other")
        said = rf"search: process {os.getpid()} on .*computes it"
        with pytest.raises(ValueError, match=said), alone(tmp_path, "search", "other", ignore):
            pass
    assert not is_held(tmp_path, "search") and not is_held(tmp_path, "search", "key")


def test_who_has_a_lock_and_has_not_said_so_is_another_process(tmp_path):
    Paths(tmp_path).state("search").mkdir(parents=True)
    said = "search: another process computes it; wait for that one"
    with (
        FileLock(Paths(tmp_path).state("search") / "lock"),
        ThreadPoolExecutor() as pool,  # in a thread: this one has the lock
        pytest.raises(ValueError, match=said),
    ):
        pool.submit(alone(tmp_path, "search", "key", ignore).__enter__).result()


@pytest.fixture
def copy(tmp_path):
    """Return a copy of a project, which shares its state."""
    (tmp_path / "copy").mkdir()
    (tmp_path / ".state").mkdir()
    (tmp_path / "params.yaml").touch()
    (tmp_path / "copy/.state").symlink_to(tmp_path / ".state")
    return tmp_path / "copy"


def test_equal_work_in_a_copy_waits_and_other_work_does_not(tmp_path, copy):
    """Two runs of one key would write over each other's checkpoints."""
    said: list[str] = []
    order: list[str] = []

    def work(ended=None):
        with suppress(ValueError), alone(copy, "search", "key", said.append, ended):
            order.append("copy")

    waiting = threading.Thread(target=work)
    with alone(tmp_path, "search", "key", ignore):
        unwanted = threading.Thread(target=work, args=(lambda: True,))
        unwanted.start()
        unwanted.join(10)
        assert not order and not unwanted.is_alive(), "who waits stops when its run ends"
        waiting.start()
        with alone(copy, "search", "other", ignore):
            pass
        while len(said) < 2:
            time.sleep(0.05)
        order.append("project")
    waiting.join(10)
    assert order == ["project", "copy"]
    assert said[0].startswith(f"search: process {os.getpid()} ") and "waits" in said[0]


def test_runs_of_killed_processes_are_ended_at_the_next_start(make_params, tmp_path):
    params = make_params({"data": {"name": "left"}})
    client = stores.connect(tmp_path)
    experiment = stores.experiment_id(client, tmp_path, "left")

    def begun(**tags):
        return client.create_run(experiment, tags=tags).info.run_id

    here = place(tmp_path)
    own = begun(stage="search", place=here, key="a")
    dead = begun(stage="retrain", member="S0", place=here, key="b")
    alive = begun(stage="retrain", member="S1", place=here, key="c")
    elsewhere = begun(stage="search", place="another folder", key="a")

    def started(stage, key):
        with (
            Post(tmp_path, print) as post,
            pytest.raises(InterruptedError),
            post.stage(params, stage, None, {"key": key}),
        ):
            raise InterruptedError

    with alone(tmp_path, "S1", "c", ignore), alone(tmp_path, "search", "a", ignore):
        started("extrapolate", "d")
        states = {run: client.get_run(run).info.status for run in (own, dead, alive, elsewhere)}
    assert states == {own: "RUNNING", dead: "KILLED", alive: "RUNNING", elsewhere: "RUNNING"}
    started("search", "a")
    assert client.get_run(own).info.status == "KILLED"


def test_state_is_kept_until_dvc_has_what_was_made(params, tmp_path):
    """DVC starts a stage after it has committed those before: only then their state goes."""
    assert committed_before(params, "retrain") == []
    assert set(committed_before(params, "publish")) == {*params.family, "baselines"}
    state = Paths(tmp_path).state("search", "key")
    state.mkdir(parents=True)
    for work in committed_before(params, "search"):
        forget(tmp_path, work, "key")
    assert state.exists(), "a search that is run again goes on"
    for work in committed_before(params, "extrapolate"):
        forget(tmp_path, work, "key")
    assert not state.exists()


def test_a_stage_needs_nothing_of_the_works_whose_states_it_frees(params, tmp_path):
    kept = Paths(tmp_path).state("S0", "key")
    kept.mkdir(parents=True)
    _forget_committed(tmp_path, params, "publish")  # where nothing is that S0 was made from
    assert kept.exists()


def test_a_server_that_ends_before_its_run_is_told_in_a_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given_up = []
    monkeypatch.setattr(servers, "stop_waiting", lambda: given_up.append(True))

    def run():
        raise httpx.ConnectError("refused")

    with pytest.raises(Unavailable, match=r"server ended .*refused.*run it again"):
        flowruns.last_state(run, lambda: pytest.fail("the run had not ended"))
    assert given_up, "nothing waits for it any more"


def test_two_commands_settle_a_run_once(tmp_path, monkeypatch):
    folder = tmp_path / ".state/prefect"
    folder.mkdir(parents=True)
    gone = {"state": None}
    run = "6f2d4a57-6a0e-4f3f-9d0c-0f6d5f6a0a01"
    (folder / f"{run}.json").write_text(json.dumps(gone))
    settled = []

    def settle(client, run, state):
        time.sleep(0.3)
        settled.append(str(run))

    monkeypatch.setattr(flowruns, "get_client", lambda **_: nullcontext())
    monkeypatch.setattr(flowruns, "_settle", settle)
    with ThreadPoolExecutor() as pool:
        list(pool.map(flowruns.settle, [tmp_path, tmp_path]))
    assert settled == [run] and not list(folder.glob("*.json"))


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("RUNNING", "CRASHED"),
        ("CANCELLING", "CANCELLED"),  # its worker died before it said so
        ("COMPLETED", None),
        ("SCHEDULED", None),  # somebody wants it to be run again
        ("PENDING", None),
        ("PAUSED", None),  # suspended: somebody may resume it
    ],
)
def test_a_run_whose_process_is_gone_is_settled_unless_it_is_run_again(now, then):
    client, run = Mock(), UUID("6f2d4a57-6a0e-4f3f-9d0c-0f6d5f6a0a01")
    client.read_flow_run.return_value.state = State(type=StateType(now))
    client.read_task_runs.return_value = []
    flowruns._settle(client, run, None)
    told = [call.args[1].type.value for call in client.set_flow_run_state.call_args_list]
    assert told == ([then] if then else [])


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("RUNNING", ["COMPLETED"]),
        ("CRASHED", ["COMPLETED"]),  # as its worker says, which heard of no end
        ("CANCELLED", []),
        ("FAILED", []),
    ],
)
def test_a_run_that_ended_while_its_server_was_away_has_the_state_that_it_kept(now, then):
    client, run = Mock(), UUID("6f2d4a57-6a0e-4f3f-9d0c-0f6d5f6a0a01")
    client.read_flow_run.return_value.state = State(type=StateType(now))
    client.read_task_runs.return_value = []
    kept = {"type": "COMPLETED", "name": "Completed", "message": "stages up to date: 9"}
    flowruns._settle(client, run, kept)
    told = [call.args[1] for call in client.set_flow_run_state.call_args_list]
    assert [state.type.value for state in told] == then
    assert all(state.message == "stages up to date: 9" for state in told)


@pytest.mark.parametrize(("move", "settled"), [(shutil.copytree, 0), (shutil.move, 1)])
def test_a_run_of_a_project_that_was_copied_is_not_settled_by_the_copy(
    tmp_path, monkeypatch, move, settled
):
    """Its lock tells in the first whether it goes on; in the copy nobody has that."""
    run, told = "6f2d4a57-6a0e-4f3f-9d0c-0f6d5f6a0a01", Mock()
    monkeypatch.setattr(flowruns, "_settle", told)
    monkeypatch.setattr(flowruns, "get_client", lambda **_: nullcontext())
    monkeypatch.setattr(flowruns, "LOCKS", {})
    flowruns.remember(tmp_path / "first", run)
    move(tmp_path / "first", tmp_path / "second")
    if settled:  # who moves it ends it first
        [lock] = flowruns.LOCKS.values()
        lock.release()
    flowruns.settle(tmp_path / "second")
    assert told.call_count == settled
    assert not list((tmp_path / "second/.state/prefect").glob("*.json"))


SERVING = """
import sys
from pathlib import Path
from scalenet.pipeline.doors import pages
sleeper = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
raise SystemExit(pages._run([sleeper], Path.cwd(), {}))
"""


def test_pages_end_with_their_terminal(tmp_path):
    """A terminal that closes sends SIGHUP; the servers are in sessions of their own."""
    command = [sys.executable, "-c", SERVING]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout.readline() == "up\n"
        [server] = psutil.Process(serving.pid).children()
        serving.send_signal(signal.SIGHUP)
        assert serving.wait(20) == 0 and not server.is_running()


@pytest.mark.parametrize(
    ("held", "refused"), [("search", True), ("S3", True), ("mlflow", False), ("prefect", False)]
)
def test_params_stay_while_a_stage_is_computed_not_while_somebody_is_told(tmp_path, held, refused):
    (tmp_path / ".state" / held).mkdir(parents=True)
    said = pytest.raises(ValueError, match=held) if refused else nullcontext()
    with FileLock(tmp_path / ".state" / held / "lock"), said:
        refuse_while_computed(tmp_path)
    refuse_while_computed(tmp_path)


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """Return a project of DVC's with a stage that was run."""
    monkeypatch.chdir(tmp_path)  # DVC looks for a stage there
    Repo.init(str(tmp_path), no_scm=True).close()
    stage = {"cmd": "cp given made", "deps": ["given"], "outs": ["made"]}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": {"search": stage}}))
    for name in ("given", "made"):
        (tmp_path / name).write_text("a")
    graph = Graph(tmp_path)
    graph.commit("search")
    assert not graph.mend() and not graph.changed("search"), "what is whole stays"
    return tmp_path


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_what_a_killed_dvc_left_half_written_is_set_aside(locked, share):
    """DVC writes both files in place, and refuses them for ever when they are cut."""
    lock, whole = locked / "dvc.lock", (locked / "dvc.lock").read_text()
    cut = whole[: int(share * len(whole))]
    lock.write_text(cut)
    (locked / ".dvc/tmp/rwlock").write_text('{"write": {"/a' if share else "[]")
    said = Graph(locked).mend()
    assert len(said) == 2 or share
    assert "list of locks" in said[0]
    if len(said) == 2:  # else it was cut where the rest can be read
        assert (locked / "dvc.lock.damaged").read_text() == cut and not lock.exists()
    graph = Graph(locked)
    assert graph.changed("search") and (graph.restored("search") or share)
    graph.commit("search")
    assert lock.read_text() == whole and not graph.changed("search")


def _listed(project, pid, *, ago):
    """Write what a process of that number left that was killed so many seconds ago."""
    file, info = project / ".dvc/tmp/rwlock", {"pid": pid, "cmd": "scalenet run"}
    locks = {"write": {str(project / "made"): info}, "read": {str(project / "given"): [info]}}
    file.write_text(json.dumps(locks))
    os.utime(file, (time.time() - ago,) * 2)
    return file


@pytest.fixture
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("now", ["another process", "no process", "a zombie"])
def test_a_killed_runs_locks_do_not_block_the_next_whoever_has_its_number_now(locked, sleeper, now):
    if now != "another process":
        sleeper.kill()
        os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    if now == "no process":
        sleeper.wait()
    _listed(locked, sleeper.pid, ago=60)
    graph = Graph(locked)
    [said] = graph.mend()
    assert "processes that are gone" in said and not graph.mend()
    with graph.committing("search"):
        pass


def test_the_locks_of_a_process_that_lives_stay(locked, sleeper):
    file = _listed(locked, sleeper.pid, ago=0)
    before, graph = file.read_text(), Graph(locked)
    assert not graph.mend() and file.read_text() == before
    with pytest.raises(ValueError, match=rf"PID {sleeper.pid}\)"), graph.committing("search"):
        pass


def test_who_holds_what_a_stage_writes_is_named_once(locked, sleeper):
    info = {"pid": sleeper.pid, "cmd": "dvc repro -f publish"}
    held = {str(locked / name): info for name in ("made", "made/first", "made/second")}
    (locked / ".dvc/tmp/rwlock").write_text(json.dumps({"write": held, "read": {}}))
    with pytest.raises(Busy) as refused, Graph(locked).committing("search"):
        pass
    who = f"{locked}/made is in use by dvc repro -f publish (PID {sleeper.pid}); wait until"
    assert str(refused.value).startswith(f"DVC: {who}")
    assert "\n" not in str(refused.value) and "manually remove" not in str(refused.value)


@pytest.mark.parametrize("ended", itertools.permutations(("S0", "S1", "S2")))
def test_dvc_lock_has_the_order_of_the_graph_whatever_a_kill_was_behind(
    tmp_path, monkeypatch, ended
):
    """Members that were done before a kill were done out of order: the next run does the rest."""
    monkeypatch.chdir(tmp_path)
    Repo.init(str(tmp_path), no_scm=True).close()
    stages = {name: {"cmd": f"make {name}", "outs": [name]} for name in ("S0", "S1", "S2")}
    last = {"cmd": "make all", "deps": [*stages], "outs": ["all"]}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": {"publish": last, **stages}}))
    for name in (*stages, "all"):
        (tmp_path / name).write_text(name)
    for name in (*ended, "publish"):
        Graph(tmp_path).commit(name)  # each in a process of its own
    locked = load_yaml(tmp_path / "dvc.lock")["stages"]
    assert [*locked] == ["S0", "S1", "S2", "publish"] and Graph(tmp_path).locked() == {*locked}
    assert not any(Graph(tmp_path).changed(name) for name in locked)


def test_a_lockfile_that_git_merges_stays(locked):
    (locked / "dvc.lock").write_text("<<<<<<< HEAD\nschema: '2.0'\n=======\n>>>>>>> other\n")
    assert not Graph(locked).mend() and "<<<<<<< HEAD" in (locked / "dvc.lock").read_text()
    with pytest.raises(ValueError, match=r"two versions in dvc\.lock.*checkout --ours"):
        Graph(locked).changed("search")


def test_a_member_that_left_the_family_leaves_with_a_plan_that_was_made_before(
    tmp_path, monkeypatch
):
    """Its folder would be locked with the others', and dvc.lock differ for the same params."""
    monkeypatch.chdir(tmp_path)
    Repo.init(str(tmp_path), no_scm=True).close()
    stage = {"cmd": "plan", "deps": ["given"], "outs": [{"artifacts/plan": {"persist": True}}]}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": {"extrapolate": stage}}))
    plans, members, graph = (
        tmp_path / "artifacts/plan",
        tmp_path / "artifacts/members",
        Graph(tmp_path),
    )
    plans.mkdir(parents=True)
    for name in ("S0", "S1"):
        (tmp_path / "given").write_text(f"up to {name}")
        (plans / f"{name}.json").write_text(name)
        (members / name).mkdir(parents=True)
        graph.commit("extrapolate")
    (tmp_path / "given").write_text("up to S0")
    assert graph.restored("extrapolate")
    for folder in (plans, members):
        assert [path.stem for path in folder.iterdir()] == ["S0"]
