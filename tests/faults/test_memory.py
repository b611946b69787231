"""Too little memory: one line that says what to lower, and nothing is lost."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import merge

from scalenet import stages
from scalenet.config.params import read_yaml
from scalenet.stages import run_stage
from scalenet.training.loop import ignore

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 9 GiB"),
    ],
)
def test_memory_that_runs_out_is_a_line_that_says_what_to_lower(tmp_path, monkeypatch, error):
    def main(*arguments):
        raise error

    shutil.copy2(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.setattr("scalenet.stages.prepare.main", main)
    with pytest.raises(ValueError, match=r"^prepare: memory ran out; .* lower compute\.workers"):
        run_stage(tmp_path, "prepare", None, ignore)


def test_a_limit_on_memory_stops_a_stage_with_a_line(tmp_path):
    """Below what the libraries need it is refused; above that, at the allocation that fails."""

    def run(*command: str, limit: int) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
            capture_output=True,
            text=True,
        )

    content = merge(read_yaml(ROOT / "params.yaml"), {"supernet": {"recipe": {"batch": 1024}}})
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    shutil.copytree(ROOT / "data", tmp_path / "data")
    for command in (["scalenet.stages", "prepare"], ["scalenet.pipeline", "run"]):
        refused = run(*command, limit=400 * 2**20)
        [line] = refused.stderr.splitlines()
        assert refused.returncode == 2 and line.startswith("memory is limited to 400 MiB (`ulimit")
    assert not (tmp_path / "artifacts").exists() and not (tmp_path / "dvc.yaml").exists()
    run_stage(tmp_path, "prepare", None, ignore)
    stopped = run("scalenet.stages", "supernet", limit=stages.LEAST + 2**26)
    [*_, line] = stopped.stderr.splitlines()
    assert stopped.returncode == 2 and "Traceback" not in stopped.stderr
    assert line.startswith("supernet: memory ran out; raise the limit on it (`ulimit -v`)")


def test_another_fault_of_a_stage_keeps_its_traceback(tmp_path, monkeypatch):
    def main(*arguments):
        raise RuntimeError("a fault of ours")

    shutil.copy2(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.setattr("scalenet.stages.prepare.main", main)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        run_stage(tmp_path, "prepare", None, ignore)
