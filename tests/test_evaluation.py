"""Evaluation by several processes: a part each, and together what one alone would say."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import youngest

from scalenet.config import params as config
from scalenet.data import store
from scalenet.data.images import on_device
from scalenet.nets import child, elastic, group
from scalenet.pipeline import settings
from scalenet.records import predictions
from scalenet.records.documents import Member, Trained
from scalenet.records.paths import Paths
from scalenet.space import cost
from scalenet.space.network import Network, Task
from scalenet.stages import run_stage
from scalenet.training import device, fixed, launch, loop, watch

ROOT = Path(__file__).parent.parent
NETWORK = Network.parse(
    "r9-stem_k3_s1_c4-ir_k3_s1_e1_c4-ir_k5_s2_e3_c8-head_c16-se0.25e-hard_swish"
)
TASK = Task(1, 10)
COUNTS, BATCHES = (1, 2, 5, 33, 70), (1, 4, 33, 100)  # with 3 processes, some have nothing to do


def images_of(count, seed=0):
    rng = np.random.default_rng([seed, count])
    pixels, labels = rng.integers(0, 256, (count, 1, 8, 8)), rng.integers(0, 10, count)
    split = pixels.astype(np.uint8), labels
    return on_device(split, [0.4], [0.3], torch.device("cpu"))


class Counting(child.Child):
    """A child that counts the images it answers."""

    seen = 0

    def forward(self, images, drop=None):
        self.seen += len(images)
        return super().forward(images, drop)


def evaluate(_emit, folder, rank=None):
    """Calibrate, answer and judge; write all of it, and how many images this process answered."""
    rank = int(os.environ["RANK"]) if rank is None else rank
    torch.set_num_threads(1)
    net = Counting(NETWORK, TASK)
    net.load_state_dict(child.build(NETWORK, TASK, torch.Generator().manual_seed(3)).state_dict())
    with torch.no_grad():  # as if another kind of processor had rounded otherwise
        net.weights["stem/weight"].add_(1e-4 * rank)
    fixed.calibrate(net, images_of(50, seed=1), 40, 7)
    made = {f"state/{name}": tensor.numpy() for name, tensor in net.state_dict().items()}
    for count in COUNTS:
        for batch in BATCHES:
            net.seen = 0
            said = fixed.predict(net, images_of(count), batch)
            name = f"{count}/{batch}"
            told = {field: array for field, array in said._asdict().items() if array is not None}
            made |= {f"said/{name}/{field}": array for field, array in told.items()}
            made[f"seen/{name}"] = np.array(net.seen)
        judge = watch.judge_of([NETWORK], elastic.calibrated, images_of(50), images_of(count), 64)
        made[f"judged/{count}"] = np.array(judge(dict(net.weights)))
    np.savez(folder / f"{rank}.npz", **made)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder, threads = tmp_path_factory.mktemp("alone"), torch.get_num_threads()
    evaluate(loop.ignore, folder, rank=0)
    torch.set_num_threads(threads)
    return dict(np.load(folder / "0.npz"))


@pytest.mark.parametrize("processes", [pytest.param(2, marks=pytest.mark.long), 3])
def test_all_processes_have_the_answers_of_one_to_the_last_bit(tmp_path, alone, processes):
    launch.together(processes, evaluate, (tmp_path,), loop.ignore)
    found = [dict(np.load(tmp_path / f"{rank}.npz")) for rank in range(processes)]
    for name, array in alone.items():
        if not name.startswith("seen/"):
            for one in found:
                assert one[name].dtype == array.dtype
                assert one[name].tobytes() == array.tobytes(), name
    for count in COUNTS:
        for batch in BATCHES:
            seen = [int(one[f"seen/{count}/{batch}"]) for one in found]
            assert sum(seen) == count, "each image is answered by one of them"
            assert max(seen) <= -(-count // (batch * processes)) * batch, "they share the work"


def refuse(_emit, _folder):
    net = child.build(NETWORK, TASK, torch.Generator().manual_seed(3))
    fixed.calibrate(net, images_of(50), 40, 7)
    images = images_of(70)
    if not group.is_first():

        def broken(*_):
            raise ValueError("test.npz: image 69 is damaged; run `dvc repro`")

        object.__setattr__(images, "resized", broken)
    fixed.predict(net, images, 10)


def test_what_one_process_cannot_read_ends_all_in_one_line(tmp_path, capfd):
    with pytest.raises(ValueError, match=r"^test\.npz: image 69 is damaged"):
        launch.together(2, refuse, (tmp_path,), loop.ignore)
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err


# --- a member, as the stage trains and tests it ---------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("evaluation") / "project"
    shutil.copytree(ROOT / "data", root / "data")
    shutil.copy2(ROOT / "params.yaml", root / "params.yaml")
    settings.apply(root, "tiny", {"retrain.batch": 7, "retrain.watch": 150})
    run_stage(root, "prepare", None, loop.ignore)
    counts = Paths(root).info().counts
    assert all(count % 7 for count in counts.values()), "last batches are uneven"
    assert counts["select"] > watch.JUDGED, "several judge"
    Member(
        name="S0", multiple=1, budget=2e4, origin="searched", base="k3e1-3e3", scaling="d1-w1-r8",
        network=NETWORK, flops=cost.flops(NETWORK, TASK), params=cost.parameters(NETWORK, TASK),
    ).write(Paths(root).plan / "S0.json")  # fmt: skip
    return root


@pytest.fixture
def root(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "project")


def check_answers(root):
    """Hold what a stage wrote against one process that has the network it wrote."""
    paths, params = Paths(root), config.load(root / "params.yaml")
    info, out, where = paths.info(), paths.member("S0"), device.prepare(params.compute)
    images = {
        name: on_device(store.read(paths.data / f"{name}.npz"), info.mean, info.std, where)
        for name in ("train", "select", "test")
    }
    net = child.read(out / "weights.pt", NETWORK, info.task)
    written = predictions.read(out / "predictions.npz")["S0"]
    for split in ("select", "test"):
        said = fixed.predict(net, images[split], params.retrain.batch)
        assert len(said.labels) == info.counts[split]
        for ours, theirs in zip(said[:4], written[split][:4], strict=True):
            assert ours.tobytes() == theirs.tobytes(), split
        assert said.groups is None and written[split].groups is None
    trained = Trained.read(out / "trained.json")
    assert (trained.correct, trained.tested) == (said.right.sum(), len(said.right))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    fixed.calibrate(net, images["train"], params.retrain.calibration, params.family["S0"].seed)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    with (out / "training.csv").open() as file:
        [*_, last] = csv.DictReader(file)
    judge = watch.judge_of([NETWORK], elastic.calibrated, images["train"], images["select"], 150)
    assert [float(last["select"])] == judge(dict(net.weights))


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.long), 3])
def test_a_member_is_tested_by_all_processes_as_by_one(root, processes):
    settings.apply(root, None, {"compute.processes": processes})
    run_stage(root, "retrain", "S0", loop.ignore)
    check_answers(root)


KILLED_ONCE = """
import os, signal, sys
from pathlib import Path
from scalenet.nets.child import Child
from scalenet.stages.__main__ import main

forward, answered = Child.forward, []

def dying(self, images, drop=None):
    if not self.training:
        answered.append(len(images))
    if len(answered) == 3 and os.environ["RANK"] == "1" and not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return forward(self, images, drop)

Child.forward = dying
sys.exit(main(["retrain", "S0"]))
"""


def test_a_process_killed_in_the_evaluation_is_started_again_and_all_go_on(root, tmp_path):
    script = tmp_path / "killed_once.py"
    script.write_text(KILLED_ONCE)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*command, "--nproc-per-node", "2", "--max-restarts", "1", str(script)], cwd=root,
        env=os.environ | {group.OWN_STORE: "1"}, text=True, timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0 and (root / "killed").exists(), done.stdout
    assert "goes on from step 10 of 20" in done.stdout, "the last checkpoint before the end"
    check_answers(root)


@pytest.mark.long  # the one before is a short version
def test_one_killed_in_the_evaluation_is_named_and_the_next_run_goes_on(root, tmp_path):
    settings.apply(root, None, {"compute.processes": 2, "retrain.batch": 1})
    killed, told = [], []

    def emit(record):
        if record["event"] == "judged" and record["step"] == record["steps"] and not killed:
            killed.append(youngest())
            killed[0].kill()

    with pytest.raises(ValueError, match=r"process \d of 2 was killed \(SIGKILL\); run it again"):
        run_stage(root, "retrain", "S0", emit)
    assert not (Paths(root).member("S0") / "predictions.npz").exists()
    run_stage(root, "retrain", "S0", told.append)
    assert any("goes on from step 10" in record.get("text", "") for record in told)
    check_answers(root)
