"""The image is built from the Dockerfile, without a container engine, and runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "bench/image.sh"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
# begins a command as process 1 of a namespace, as a container engine does
CONTAINED = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def test_the_image_has_the_extras_of_all_that_it_is_for():
    [code] = re.findall(r"python -c '(import tomllib.*?)' >", DOCKERFILE, re.S)
    code = code.replace("\\\n", "")  # as the shell reads it
    wanted = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    for package in ("torch", "pyarrow", "prefect", "onnxruntime", "psycopg2-binary", "distributed"):
        assert re.search(rf"^{package}\b", wanted.stdout, re.M), package


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*CONTAINED, "true"]).returncode != 0,
    reason="needs the right to have a namespace of processes",
)
def test_a_container_that_is_stopped_interrupts_the_main_job(tmp_path):
    said = DOCKERFILE.replace("\\\n", "")
    command = json.loads(re.search(r"^CMD (.*)$", said, re.M)[1])
    stop = re.search(r"^STOPSIGNAL (\w+)$", said, re.M)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = clean | {"PATH": path, "PREFECT_HOME": str(tmp_path / "prefect")}
    (tmp_path / "project").mkdir()
    place = {"cwd": tmp_path / "project", "env": environment, "text": True}
    long = ["--preset", "tiny", "--set", "supernet.recipe.steps=200000"]
    subprocess.run(["scalenet", "params", *long], **place, check=True, capture_output=True)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([*CONTAINED, *command], **place, **pipes) as outside:
        while "supernet: begins" not in (line := outside.stdout.readline()):
            assert line, "it ended before it trained"
        [first] = psutil.Process(outside.pid).children()
        first.send_signal(signal.Signals[stop[1] if stop else "SIGTERM"])
        try:
            rest, _ = outside.communicate(timeout=60)
        finally:
            outside.kill()
    assert outside.returncode == 130 and "Traceback" not in rest, rest


@pytest.mark.long
@pytest.mark.skipif(
    os.getuid() != 0 or not all(map(shutil.which, ("buildah", "debootstrap"))),
    reason="needs root, buildah and debootstrap",
)
def test_the_image_runs_the_main_job_and_a_worker(tmp_path):
    done = subprocess.run([SCRIPT, tmp_path], capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "runs as scalenet, without a compiler: none" in done.stdout
    assert done.stdout.endswith("the main job and a worker ran in the image\n")
    assert not any(tmp_path.glob("store/*"))
