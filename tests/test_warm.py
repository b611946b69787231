"""The warm process: what a command run by it sees, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMANDS = """
import argparse, os, sys, time
def parser():
    top = argparse.ArgumentParser()
    top.add_argument("name")
    return top
def execute(arguments):
    if arguments.name == "tell":
        print(os.getppid(), os.environ.get("SCALENET_SHOWN"), os.getcwd(), sys.stdin.read())
        return 7
    if arguments.name == "fail":
        raise RuntimeError("on purpose")
    print(os.getpid(), flush=True)
    time.sleep(60)
"""
CLIENT = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from pipeline import warm
def start(folder, key, listener, root, serving):
    code = (
        "import sys, socket; from pathlib import Path; sys.path.insert(0, {root!r})\\n"
        "from pipeline import warm; warm.LIBRARIES, warm.IDLE_SECONDS = (), 0\\n"
        f"warm.main(Path({{str(folder)!r}}), {{key!r}}, socket.socket(fileno={{listener}}), False)"
    )
    with Path(f"{{key}}.log").open("w") as log:
        warm.subprocess.Popen([sys.executable, "-c", code], cwd=root, pass_fds=[listener], stdout=log, stderr=log,
                              stdin=warm.subprocess.DEVNULL, start_new_session=True)
warm._start = start
raise SystemExit(warm.run(Path.cwd(), sys.argv[1:], False))
"""


@pytest.fixture
def folder(tmp_path):
    """Return a project whose commands are those above, in a path too long for a socket."""
    project = tmp_path / ("long" * 30)
    (project / "pipeline").mkdir(parents=True)
    (project / "pipeline/__init__.py").touch()
    (project / "pipeline/__main__.py").write_text(COMMANDS)
    return project


def start(folder: Path, name: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT.format(root=str(ROOT)), name],
        cwd=folder, env=os.environ | environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def tell(folder: Path, **environment: str) -> list[str]:
    """Run the command ``tell``; return what it saw: the warm process, a variable, its folder, its input."""
    printed, said = (process := start(folder, "tell", **environment)).communicate("hello")
    assert process.returncode == 7, said
    return printed.split()


def gone(pid: int, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_a_command_has_its_own_streams_environment_folder_and_exit_code(folder):
    assert tell(folder, SCALENET_SHOWN="yes")[1:] == ["yes", str(folder), "hello"]


def test_one_warm_process_serves_an_environment_and_ends_when_idle(folder):
    sleeping = start(folder, "sleep")
    sleeping.stdout.readline()  # a busy child keeps the warm process
    warm = int(tell(folder)[0])
    assert int(tell(folder, SCALENET_SHOWN="1", PWD="/elsewhere")[0]) == warm
    assert int(tell(folder, MLFLOW_SOMETHING="1")[0]) != warm
    assert not gone(warm, 0)
    sleeping.kill()
    assert gone(warm)
    assert [path.name for path in (folder / ".state/warm").iterdir() if path.is_socket()] == []
    assert int(tell(folder)[0]) != warm


def test_edited_code_counts(folder):
    sleeping = start(folder, "sleep")
    sleeping.stdout.readline()
    warm = tell(folder)[0]
    (folder / "pipeline/__main__.py").write_text(COMMANDS.replace("sys.stdin.read()", "'edited'"))
    assert tell(folder)[::3] == [warm, "edited"]
    sleeping.kill()


def test_an_exception_is_told(folder):
    _, said = (process := start(folder, "fail")).communicate()
    assert process.returncode == 1 and "RuntimeError: on purpose" in said


def test_a_command_that_is_killed_ends_its_child(folder):
    process = start(folder, "sleep")
    child = int(process.stdout.readline())
    process.kill()
    assert gone(child)


def test_a_child_that_is_killed_fails_its_command(folder):
    process = start(folder, "sleep")
    os.kill(int(process.stdout.readline()), signal.SIGKILL)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1 and "killed" in said


def test_an_interrupt_reaches_the_child(folder):
    process = start(folder, "sleep")
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130 and gone(child)


def test_a_stale_address_is_replaced(folder):
    warm = int(tell(folder)[0])
    os.kill(warm, signal.SIGKILL)
    assert gone(warm)
    assert tell(folder)[3] == "hello"


def test_the_libraries_leave_cuda_alone():
    """CUDA that is initialised before a fork is unusable in the child, so every stage on a GPU would fail."""
    code = "from importlib import import_module; from pipeline import warm; import torch\n"
    code += "[import_module(name) for name in warm.LIBRARIES]; print(torch.cuda.is_initialized())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
