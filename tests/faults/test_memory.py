"""Too little memory: one line that says what to lower, and nothing is lost."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from conftest import merge

from scalenet import stages
from scalenet.baselines import residual
from scalenet.config.params import read_yaml
from scalenet.nets import child, elastic, weights
from scalenet.space.network import Task
from scalenet.space.scale import smallest
from scalenet.stages import run_stage
from scalenet.training import fixed, supernet
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


# --- activations that do not fit ------------------------------------------------------------------


@pytest.fixture
def trained(make_params, toy):
    """Return what trains a child, or the super-supernet: its weights then, and what it said."""
    params = make_params(
        {"retrain": {"recipe": {"steps": 6}}, "supernet": {"recipe": {"steps": 6}}}
    )

    def train(kind: str) -> tuple[dict[str, torch.Tensor], list[str]]:
        said, generator, task = [], torch.Generator().manual_seed(0), Task(1, 3)

        def emit(record):
            if record["event"] == "notice":
                said.append(record["text"])

        if kind == "supernet":
            net = elastic.build(params.space, params.scaling, task, "bilateral", generator)
            supernet.train(params, net, toy(64), None, emit)
        else:
            net = child.build(smallest(params.space, params.scaling), task, generator)
            if kind == "residual":
                net = residual.ResidualNet(4, 1, 8, task)
                weights.initialise(net.weights, generator)
            fixed.train(net, toy(64), params.retrain.recipe, 0, None, emit)
        return {name: tensor.detach() for name, tensor in net.weights.items()}, said

    return train


@pytest.mark.parametrize("kind", ["member", "residual", "supernet"])
def test_a_step_that_memory_does_not_hold_is_taken_with_less_and_to_the_same_bits(
    trained, monkeypatch, kind
):
    wanted, said = trained(kind)
    assert not said
    forward, calls = F.linear, []

    def fails_once(*arguments):
        calls.append(arguments)
        if len(calls) == 10:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return forward(*arguments)

    monkeypatch.setattr(F, "linear", fails_once)
    got, said = trained(kind)
    assert len(said) == 1 and "recipe.batch" in said[0]
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)


LEAN = """
import resource, sys
import torch
from scalenet.config.params import load
from scalenet.data.images import on_device
from scalenet.nets import child
from scalenet.space.network import Network, Task
from scalenet.training import fixed

section = load("params.yaml").retrain.recipe
recipe = section.model_copy(update={"steps": 1, "warmup": 0, "batch": 256, "log": 1})
pixels = torch.randint(0, 255, (256, 1, 64, 64), dtype=torch.uint8).numpy()
images = on_device((pixels, (torch.arange(256) % 3).numpy()), [0.5], [0.3], torch.device("cpu"))
layers = "ir_k3.3.3.3.3.3_s1_e6_c16"
network = Network.parse(f"r64-stem_k3_s2_c16-{layers}-head_c64-se0.25e-hard_swish")
net = child.build(network, Task(1, 3), torch.Generator().manual_seed(0))
[line] = [line for line in open("/proc/self/status") if line.startswith("VmSize")]
limit = 1024 * int(line.split()[1]) + int(sys.argv[1]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
fixed.train(net, images, recipe, 0, None, lambda r: r["event"] == "notice" and print(r["text"]))
print("done")
"""


def test_a_training_that_does_not_fit_whole_fits_layer_by_layer():
    """A step of 256 images in 2 GiB; its activations alone take more than 2.6."""
    done = subprocess.run(
        [sys.executable, "-c", LEAN, "2000"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "done", done.stderr
    assert done.stdout.startswith("memory ran out at step 0")
