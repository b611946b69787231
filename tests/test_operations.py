"""docs/operations.md is walked through literally: its commands, a real server, a real worker."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

DOCUMENT = Path(__file__).parent.parent / "docs/operations.md"
GOING = ("Pending", "Submitting", "Running", "Late")
RUNS = """
import json
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    runs = sorted(client.read_flow_runs(), key=lambda run: run.created)
    print(json.dumps([[run.name, run.state_name, run.state.message, run.parameters] for run in runs
                      if run.state_name != "Scheduled"]))
"""
SCHEDULED = """
import json
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print(json.dumps([run.name for run in client.read_flow_runs() if run.auto_scheduled]))
"""
STAGES = """
import json, mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
runs = mlflow.search_runs(experiment_names=["digits"], output_format="list")
print(json.dumps([run.info.status for run in runs if run.data.tags["stage"] == "supernet"]))
"""


def sections() -> dict[str, list[str]]:
    """Return the document's commands by the heading above them."""
    parts = re.split(r"^## (.+)$", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]
    return {
        title: re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


class Terminal:
    """A shell that runs what the document says, a section at a time."""

    def __init__(self, folder: Path, port: int):
        self.port, self.folder = port, folder
        away = ("PREFECT_", "MLFLOW_", "DVC_", "GIT_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(away)}
        environment |= {
            "HOME": str(folder),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PREFECT_HOME": str(folder / "prefect"),
        }
        for who in ("AUTHOR", "COMMITTER"):
            environment |= {f"GIT_{who}_NAME": "t", f"GIT_{who}_EMAIL": "t@localhost"}
        self.shell = subprocess.Popen(
            ["bash", "-e"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, *blocks: str) -> str:
        """Run commands, which must succeed; return what they printed."""
        text = "".join(blocks).replace("4200", str(self.port))
        self.shell.stdin.write(f"{text}\necho the commands are done\n")
        self.shell.stdin.flush()
        lines: list[str] = []
        while not lines or lines[-1] != "the commands are done\n":
            line = self.shell.stdout.readline()
            assert line, "".join(lines)
            lines.append(line)
        return "".join(lines[:-1])

    def ask(self, code: str) -> list:
        return json.loads(self.type(f"python - <<'END'\n{code}END\n").splitlines()[-1])

    def end(self) -> None:
        """End whatever the document began and did not end."""
        children = psutil.Process(self.shell.pid).children(recursive=True)
        children += [p for p in psutil.process_iter() if self._mine(p)]
        for process in children:
            if process.is_running():
                process.kill()
        self.shell.kill()
        self.shell.communicate()

    def _mine(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("HOME") == str(self.folder)
        except psutil.Error:
            return False


def test_every_section_has_commands():
    assert len(sections()) == 12 and all(sections().values())  # the last is test_servers.py's


@pytest.fixture
def terminal(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    terminal = Terminal(tmp_path, port)
    yield terminal
    terminal.end()


@pytest.mark.long
def test_the_document_is_walked_through(terminal):
    steps = sections()
    for title in list(steps)[:3]:
        terminal.type(*steps[title])
    before = terminal.type("git status --short; cat params.yaml; ls artifacts || true")
    terminal.type(steps["A run, and one with changed numbers"][0])
    first, second = terminal.ask(RUNS)
    assert first[1] == second[1] == "Completed" and re.match(r"digits \w{7}$", first[0])
    assert "dvc exp apply" in first[2]
    assert terminal.type("git status --short; cat params.yaml; ls artifacts || true") == before
    terminal.type(steps["A run, and one with changed numbers"][1])
    terminal.type(*steps["Two at once"], *steps["A schedule"])
    while any(run[1] in GOING for run in terminal.ask(RUNS)):
        time.sleep(2)
    assert [run[1] for run in terminal.ask(RUNS)[2:]] == ["Completed", "Completed"]
    deadline = time.monotonic() + 150  # Prefect's scheduler looks about once a minute
    while not terminal.ask(SCHEDULED):  # the runs of the next Mondays
        assert time.monotonic() < deadline
        time.sleep(2)
    terminal.type(*steps["A cancellation"])
    assert terminal.ask(RUNS)[-1][1] == "Cancelled" and terminal.ask(STAGES)[0] == "KILLED"
    assert "goes on from step" in terminal.type(*steps["A crash"])
    terminal.type(*steps["A run that is refused"])
    *_, crashed, refused = terminal.ask(RUNS)
    assert crashed[1] == "Crashed"
    assert refused[1] == "Refused" and "search.populaton: unknown key" in refused[2]
    assert terminal.type("git status --short") == "", "`git add .` adds nothing of all that"
    assert "kept after a run that did not end well" in terminal.type(*steps["The end"])
    assert terminal.type("jobs -r") == "", "the worker and the server have ended"


@pytest.mark.long
def test_a_family_comes_from_a_worker_on_another_machine(terminal, tmp_path):
    steps = sections()
    project, server, pool = list(steps)[:3]
    shared, cloned, made, fetched = steps["A worker on another machine"]
    terminal.type(*steps[project], *steps[server])
    terminal.type(re.sub(r"PREFECT_WORKER_\w+=.*", "", steps[pool][0], flags=re.DOTALL))
    terminal.type("prefect deployment run family/family --param overrides=search.seed=5")
    terminal.type(shared, cloned)
    terminal.type(steps[pool][0].splitlines()[1])  # a second deployment changes nothing
    while not (runs := terminal.ask(RUNS)) or runs[0][1] in GOING:
        time.sleep(2)
    assert [run[1] for run in runs] == ["Completed"]
    assert not (tmp_path / "family/artifacts").exists()
    terminal.type(made, fetched)
    assert yaml.safe_load((tmp_path / "family/params.yaml").read_text())["search"]["seed"] == 5
    assert terminal.type("git status --short") == ""
    assert "9 up to date" in terminal.type("scalenet run")
