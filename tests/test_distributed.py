"""docs/distributed.md is walked through literally, with two processes where it has eight."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parent.parent / "docs/distributed.md"
BLOCKS = re.findall(r"^```bash\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)


def typed(folder: Path, text: str) -> str:
    """Run what a shell is told, which must succeed, and end what it left behind."""
    end = "trap 'kill $(jobs -p) 2> killed.txt || true; wait || true' EXIT\n"
    binaries = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    done = subprocess.run(
        ["bash", "-e", "-c", end + text], cwd=folder, text=True, timeout=300,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=environment | {"PATH": binaries, "PREFECT_HOME": str(folder / "prefect")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    typed(folder, "scalenet params --preset tiny\nscalenet stage prepare\ndvc commit -f prepare\n")
    return folder


@pytest.mark.long  # tests/test_torchrun.py has a short version
def test_params_have_two_processes_train(folder):
    [block] = [block for block in BLOCKS if "compute.processes" in block]
    assert "supernet: done" in typed(folder, block)
    assert "'supernet' didn't change" in typed(folder, "dvc repro supernet")


def test_a_training_by_two_processes_is_what_dvc_locks(folder):
    [block] = [block for block in BLOCKS if "torchrun" in block]
    typed(folder, "scalenet params --set supernet.seed=1 --set compute.processes=1")
    assert "step 20 of 20" in typed(folder, block.replace("-node 8", "-node 2"))
    assert "'supernet' didn't change" in typed(folder, "dvc repro supernet")


@pytest.mark.long  # tests/test_cluster.py has a short version
def test_candidates_are_scored_by_a_cluster_begun_by_hand(folder):
    [block] = [block for block in BLOCKS if "dask scheduler" in block]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    told = typed(folder, block.replace("8786", port))
    assert re.search(rf"search: \S.* tcp://127\.0\.0\.1:{port}", told), told
    said = typed(folder, "scalenet params --set compute.scoring=null\nscalenet status")
    assert re.search("^search +up to date", said, re.MULTILINE), "one process would score the same"
