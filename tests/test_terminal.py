"""A run as its user sees it: in a terminal, in a pipe, and on Prefect's pages."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from contextlib import closing
from pathlib import Path

import psutil
import pyte
import pytest
import yaml
from tiny import Project

LONG = ("--set", "retrain.recipe.steps=200000", "--target", "retrain@S0")


class Screen:
    """A command in a terminal, and what the terminal shows."""

    def __init__(self, command, folder, environment, size=(100, 30)):
        self.columns, self.rows = size
        self.screen = pyte.HistoryScreen(*size, history=1000)
        self.stream, self.raw = pyte.ByteStream(self.screen), b""
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.umask(0o022)  # others may read what is made, unless it sees to that itself
            os.execvpe(command[0], command, environment | {"TERM": "xterm-256color"})
        self.resize(size)

    def resize(self, size):
        columns, rows = size
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def until(self, condition=lambda lines: False, seconds=300):
        """Go on until a screen meets a condition or the command ends; return that screen."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.terminal], [], [], 0.2)[0]:
                try:
                    content = os.read(self.terminal, 65536)
                except OSError:  # the command has ended
                    return self.lines()
                self.raw += content
                self.stream.feed(content)
            if condition(self.lines()):
                return self.lines()
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError("\n".join(self.lines()))

    def lines(self):
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def everything(self):
        """Return all lines that were ever scrolled out, and those that are there."""
        above = ["".join(row[i].data for i in range(self.columns)).rstrip()
                 for row in self.screen.history.top]  # fmt: skip
        return [*above, *self.lines()]

    def code(self):
        self.until()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return an empty folder and an environment with homes of its own."""
    folder = tmp_path_factory.mktemp("terminal")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    kept |= {"HOME": str(folder), "PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1"}
    (folder / "project").mkdir()
    return folder / "project", kept


def scalenet(*arguments):
    return [sys.executable, "-m", "scalenet.pipeline", *arguments]


def showing(*begins):
    """Return the condition that one screen has a line that begins in each of these ways: a stage
    that is over between two redrawings is never seen to run, so which one runs is not asked."""
    return lambda lines: all(any(line.startswith(begin) for line in lines) for begin in begins)


@pytest.fixture(scope="module")
def first(place):
    """Build the tiny family in a terminal, its members side by side; return the terminal and
    screens of the way."""
    command = scalenet("run", "--preset", "tiny", "--set", "compute.workers=3")
    screen, seen = Screen(command, *place), []
    seen.append(screen.until(showing("✓ prepare", "▸", "· publish")))
    screen.resize((72, 30))
    seen.append(screen.until(showing("✓ search", "▸")))
    assert screen.code() == 0, screen.lines()
    return screen, seen


@pytest.fixture(autouse=True)
def same_params(first, place):
    """Each test leaves the numbers of the first run behind."""
    file = place[0] / "params.yaml"
    before = file.read_bytes()
    yield
    file.write_bytes(before)


def test_a_run_is_seen_as_it_goes_on(first):
    _, (training, later) = first
    assert any("of 9 stages" in line for line in training)
    assert showing("✓ prepare", "▸", "· publish")(training)
    assert any(line.startswith("✓ search") and "best of size 2" in line for line in later)
    assert any(line.startswith("▸") for line in later)
    assert all(len(line) <= 72 for line in later)


def test_what_stays_in_the_terminal_is_the_last_state_and_a_summary(first):
    screen, _ = first
    last = screen.lines()
    assert last[-1].startswith("9 stages: 9 computed, 0 up to date; ")
    stages = [line for line in last if line.startswith("✓")]
    assert len(stages) == 9 and not [line for line in last if line.startswith(("▸", "·"))]
    assert not screen.screen.cursor.hidden
    chatter = ("git ", "flow run", "Task run", "Initialized", "WARNING", "http://")
    assert not [line for line in screen.everything() if any(word in line for word in chatter)]


def locked(project):
    """Return what DVC has locked of each stage, but for the code that it depends on: a clone has
    it as folders, another folder as their digests."""
    code = ("src/", "stages/", ".scalenet/")
    stages = yaml.safe_load(project.read("dvc.lock"))["stages"]
    stages.pop("code", None)  # which checks those digests
    for entry in stages.values():
        entry["deps"] = [dep for dep in entry["deps"] if not dep["path"].startswith(code)]
    return stages


def test_both_doors_give_the_same_bytes_and_lock_the_same(place, whole):
    """`dvc repro` has built the family of a clone, one stage after the other."""
    ours, theirs = Project(place[0].parent), Project(whole)
    assert ours.artifacts() == theirs.artifacts()
    assert locked(ours) == locked(theirs)
    assert not list((ours.folder / ".state").glob("*/*/")), "nothing is left to resume"


def test_nobody_else_may_read_what_our_own_server_keeps(place):
    databases = list(Path(place[1]["PREFECT_HOME"]).glob("prefect.db*"))
    assert databases and not any(file.stat().st_mode & 0o007 for file in databases)


def test_a_pipe_gets_plain_lines(place):
    folder, environment = place
    options = {"cwd": folder, "env": environment, "text": True, "timeout": 300}
    done = subprocess.run(
        scalenet("run", "--set", "publish.draws=60"), stdout=-1, stderr=-1, check=True, **options
    )
    assert "\x1b" not in done.stdout + done.stderr
    said = done.stderr.splitlines()
    assert "search: up to date" in said and said[-2].startswith("publish: done in ")
    assert said[-1].startswith("mlflow: generation ")
    assert done.stdout.splitlines()[-1].startswith("9 stages: 1 computed, 8 up to date; ")


@pytest.mark.parametrize(
    "changed", [{"TERM": "dumb"}, pytest.param({"NO_COLOR": "1"}, marks=pytest.mark.long)]
)
def test_a_terminal_without_colours_or_control_gets_none(place, changed):
    folder, environment = place
    command = [
        "env",
        *(f"{k}={v}" for k, v in changed.items()),
        *scalenet("run", "--target", "prepare"),
    ]
    screen = Screen(command, folder, environment, (40, 20))
    assert screen.code() == 0
    assert b"\x1b[3" not in screen.raw, "no colour"
    assert (b"\x1b" in screen.raw) == ("NO_COLOR" in changed)
    assert [line for line in screen.everything() if line.startswith("1 stage: 0 computed, 1 up")]


def test_ctrl_c_leaves_the_terminal_as_it_was_and_says_what_is_not_done(place):
    screen = Screen(scalenet("run", *LONG), *place)
    screen.until(lambda lines: any("▸ retrain@S0" in line and "step" in line for line in lines))
    os.write(screen.terminal, b"\x03")
    assert screen.code() == 130
    assert not screen.screen.cursor.hidden and "Traceback" not in "".join(screen.everything())
    assert "1 stopped" in screen.lines()[-1]


PAGES = """
import json
from prefect.client.orchestration import get_client
from scalenet.pipeline.doors import servers
with servers.prefect(), get_client(sync_client=True) as client:
    made = sorted(client.read_artifacts(), key=lambda artifact: artifact.created)
    bars = {a.key: a.data for a in made if a.type == "progress"}  # of the latest run
    runs = sorted(client.read_flow_runs(), key=lambda run: run.created)
    tasks = [t.state_name for t in client.read_task_runs() if t.flow_run_id == runs[-2].id]
print(json.dumps([bars, [run.state_name for run in runs], tasks]))
"""


def until_its_bar_is_begun(database):
    """Wait until Prefect's server has kept a share of S0's training that is not all of it."""
    asked = "SELECT data FROM artifact WHERE key = 'progress-retrain-s0'"
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            if any(float(share) < 100 for (share,) in connection.execute(asked)):
                return
        time.sleep(0.2)
    raise AssertionError("no bar within 100 s")


def test_prefect_shows_a_bar_and_a_killed_run_is_marked_at_the_next_start(place):
    folder, environment = place
    command = scalenet("run", *LONG)
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=-1, text=True) as run:
        for line in run.stderr:
            if line.startswith("retrain@S0: begins"):
                break
        until_its_bar_is_begun(Path(environment["PREFECT_HOME"]) / "prefect.db")
        children = psutil.Process(run.pid).children()
        run.kill()
        psutil.wait_procs(children, timeout=20)
    quiet = subprocess.run(
        scalenet("run", "--target", "prepare", "--quiet"), cwd=folder, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert quiet.stderr == "" and quiet.stdout.count("\n") == 1, "the last line alone"
    done = subprocess.run(
        [sys.executable, "-c", PAGES], cwd=folder, env=environment, stdout=-1, check=True
    )
    bars, runs, tasks = json.loads(done.stdout.splitlines()[-1])
    assert bars["progress-search"] == 100 and 0 <= bars["progress-retrain-s0"] < 100
    assert runs[-1] == "Completed" and runs[-2] == "Crashed" and runs[0] == "Completed"
    assert "Running" not in tasks and "Crashed" in tasks


def test_computing_goes_on_without_prefects_server(place):
    folder, environment = place
    change = ("--set", "search.seed=1", "--set", "retrain.recipe.steps=60")
    command = scalenet("run", *change, "--target", "retrain@S0")
    said = []
    with subprocess.Popen(
        command, cwd=folder, env=environment, stderr=-1, stdout=-1, text=True
    ) as run:
        for line in run.stderr:
            said.append(line)
            if line.startswith("search: begins"):
                break
        for child in psutil.Process(run.pid).children():
            if any(c.status == psutil.CONN_LISTEN for c in child.net_connections("tcp")):
                child.kill()
        start, (out, err) = time.monotonic(), run.communicate(timeout=300)
    said += err.splitlines()
    assert run.returncode == 0 and out.splitlines()[-1].startswith("5 stages: ")
    assert [line for line in said if line.startswith("retrain@S0: done in ")]
    assert len([line for line in said if line.startswith("prefect: ")]) == 1
    assert not [line for line in said if "Traceback" in line or "EventsWorker" in line]
    assert time.monotonic() - start < 200, "it does not wait for that server again and again"
    status = subprocess.run(scalenet("status"), cwd=folder, env=environment, stdout=-1, text=True)
    fresh = [line.split()[0] for line in status.stdout.splitlines() if "up to date" in line]
    assert {"search", "extrapolate", "retrain@S0"} <= set(fresh), "everything is committed"
