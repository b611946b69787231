"""The image is built from the Dockerfile, without a container engine, and runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "bench/image.sh"


def test_the_image_has_the_extras_of_all_that_it_is_for():
    [code] = re.findall(
        r"python -c '(import tomllib.*?)' >", (ROOT / "Dockerfile").read_text(), re.S
    )
    code = code.replace("\\\n", "")  # as the shell reads it
    wanted = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    for package in ("torch", "pyarrow", "prefect", "onnxruntime", "psycopg2-binary", "distributed"):
        assert re.search(rf"^{package}\b", wanted.stdout, re.M), package


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
