"""Training under torchrun: as one process would, and on from a checkpoint if one is killed."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist
from tiny import youngest
from torch import nn

from scalenet.nets import group
from scalenet.pipeline import settings
from scalenet.records import tensors
from scalenet.records.documents import Member
from scalenet.records.paths import Paths
from scalenet.space import cost
from scalenet.space.network import Network, Task
from scalenet.stages import run_stage
from scalenet.training import launch, loop
from scalenet.training.watch import Watch

ROOT = Path(__file__).parent.parent
NETWORK = Network.parse(
    "r8-stem_k3_s1_c4-ir_k3_s1_e1_c4-ir_k3_s2_e3_c8-head_c16-se0.25e-hard_swish"
)
HARD = {  # all that looks at the whole batch; 33 images are no two equal parts
    f"{section}.recipe.{name}": value
    for section in ("supernet", "retrain")
    for name, value in {
        "batch": 33, "drop_path": 0.2, "augment.mixup": 0.2, "augment.cutmix": 1.0, "balance": 0.5,
        "log": 1,
    }.items()
}  # fmt: skip


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "project"
    shutil.copytree(ROOT / "data", root / "data")
    shutil.copy2(ROOT / "params.yaml", root / "params.yaml")
    settings.apply(root, "tiny", HARD)
    run_stage(root, "prepare", None, loop.ignore)
    task = Task(1, 10)
    Member(
        name="S0", multiple=1, budget=2e4, origin="searched", base="k3e1-3e3", scaling="d1-w1-r8",
        network=NETWORK, flops=cost.flops(NETWORK, task), params=cost.parameters(NETWORK, task),
    ).write(Paths(root).plan / "S0.json")  # fmt: skip
    return root


def torchrun(root, *arguments, restarts=0, own_store=True):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    options = ["--nproc-per-node", "2", "--max-restarts", str(restarts), "-m", "scalenet.stages"]
    return subprocess.Popen(
        [*command, *options, *arguments], cwd=root, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, group.OWN_STORE: str(int(own_store))},
    )  # fmt: skip


def curve(folder):
    with (folder / "training.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "work",  # of the supernet, the next test is a short version
    [pytest.param(("supernet",), marks=pytest.mark.long), ("retrain", "S0")],
    ids=["supernet", "retrain"],
)
def test_two_processes_train_as_one_does(root, work):
    other = shutil.copytree(root, root.parent / "other")
    process = torchrun(other, *work)
    run_stage(root, work[0], work[1] if len(work) > 1 else None, loop.ignore)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    assert said.count("step 20 of 20") == 1, "one of them tells"
    one, two = (Paths(r).member("S0") if "S0" in work else Paths(r).supernet for r in (root, other))
    assert curve(two) == pytest.approx(curve(one), rel=1e-4)
    weights, same = (tensors.read(folder / "weights.pt")[0] for folder in (one, two))
    for name, tensor in weights.items():
        torch.testing.assert_close(same[name], tensor, rtol=1e-3, atol=1e-4)


def test_params_say_how_many_train_together(root, capfd):
    """The same by the parameter alone, and told of here."""
    other, told = shutil.copytree(root, root.parent / "other"), []
    run_stage(root, "supernet", None, loop.ignore)
    settings.apply(other, None, {"compute.processes": 2})
    run_stage(other, "supernet", None, told.append)
    steps = [record["step"] for record in told if record["event"] == "step"]
    assert steps == list(range(1, 21)), "one of them tells, each step once"
    one, two = (Paths(folder).supernet for folder in (root, other))
    assert curve(two) == pytest.approx(curve(one), rel=1e-4)
    keys = [[path.name for path in folder.glob(".state/supernet/*")] for folder in (root, other)]
    assert keys[0] == keys[1], "either goes on from the other's checkpoint"
    settings.apply(other, None, {"supernet.recipe.batch": 2, "compute.processes": 3})
    with pytest.raises(ValueError, match="batch of 2 images cannot be shared by 3 processes"):
        run_stage(other, "supernet", None, loop.ignore)
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(["unshare", "-u", "true"]).returncode != 0,
    reason="needs the right to name the host in a namespace",
)
def test_a_host_whose_name_does_not_resolve_trains_by_several(root):
    settings.apply(root, None, {"compute.processes": 2})
    train = f"hostname nowhere.invalid && exec {sys.executable} -m scalenet.stages supernet"
    done = subprocess.run(
        ["unshare", "-u", "sh", "-c", train], cwd=root, timeout=120, capture_output=True, text=True
    )
    assert done.returncode == 0 and "step 20 of 20" in done.stderr, done.stderr


def test_a_damaged_checkpoint_is_set_aside_once_and_all_begin_anew(params, tmp_path):
    """Also when the others have seen it before the first has set it aside."""
    (tmp_path / loop.CHECKPOINT).write_bytes(b"cut off")
    told, recipe = [], params.supernet.recipe
    launch.together(2, train_a_line, (recipe, tmp_path), told.append)
    [notice] = [record["text"] for record in told if record["event"] == "notice"]
    assert "it is now checkpoint.pt.damaged, and training begins anew" in notice
    [begun] = [record for record in told if record["event"] == "training"]
    assert begun["step"] == 0
    assert (tmp_path / "checkpoint.pt.damaged").read_bytes() == b"cut off"
    assert tensors.read(tmp_path / loop.CHECKPOINT)[0]["step"] > 0, "and it saved another"


def train_a_line(emit, recipe, folder):
    """Train a number in one of several processes, which all read the checkpoint at first."""
    read = tensors.read

    def together(path):
        try:
            return read(path)
        finally:
            dist.barrier()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "read", together)
        fit(Watch((), None, None, emit), recipe, folder)


def fit(emit, recipe, folder):
    weights = nn.ParameterDict({"a/weight": nn.Parameter(torch.ones(1))})

    def backward(step):
        loss = weights["a/weight"].square().sum() / 2
        loss.backward()
        return loss.detach()

    loop.train(weights, recipe, backward, folder, emit)


def test_what_the_first_sets_aside_no_other_goes_on_from(params, tmp_path):
    """Also when the others come to the checkpoint before it."""
    fit(loop.ignore, params.supernet.recipe, tmp_path)
    assert tensors.read(tmp_path / loop.CHECKPOINT)[0]["step"] > 0
    (tmp_path / "watched.json").write_text("cut o")
    told = []
    launch.together(2, train_watched, (params.supernet.recipe, tmp_path), told.append)
    [notice] = [record["text"] for record in told if record["event"] == "notice"]
    assert "watched.json is damaged and was set aside; training begins anew" in notice
    assert [record["step"] for record in told if record["event"] == "training"] == [0]


def train_watched(emit, recipe, folder):
    """Train a number in one of several processes, of which the first is late."""
    if group.is_first():
        time.sleep(2)
    fit(Watch((), None, folder, emit), recipe, folder)


def test_what_one_alone_refuses_is_told_though_the_others_fail_before_it_has_ended():
    with pytest.raises(ValueError, match=r"^the disk is full$"):
        launch.together(2, refuse_alone, (), loop.ignore)


def refuse_alone(emit):
    """Refuse something in the second process, which takes long to leave the group; the first fails
    as soon as it finds the other gone."""
    if group.is_first():
        with pytest.raises(RuntimeError):
            group.meet(torch.device("cpu"))
        os._exit(1)
    leave = dist.destroy_process_group

    def slowly():
        leave()
        time.sleep(20)

    pytest.MonkeyPatch().setattr(dist, "destroy_process_group", slowly)
    raise ValueError("the disk is full")


def test_a_killed_one_of_those_that_params_asked_for_is_named(root):
    settings.apply(root, None, {"compute.processes": 2, "supernet.recipe.steps": 200_000})
    killed = []

    def emit(record):
        if list(root.glob(".state/supernet/*/checkpoint.pt")) and not killed:
            killed.append(youngest())
            killed[0].kill()

    with pytest.raises(ValueError, match=r"process \d of 2 was killed \(SIGKILL\); run it again"):
        run_stage(root, "supernet", None, emit)
    assert list(root.glob(".state/supernet/*/checkpoint.pt")), "its checkpoint is kept"


def test_those_that_train_together_end_with_the_one_that_began_them(root):
    settings.apply(root, None, {"compute.processes": 2, "supernet.recipe.steps": 200_000})
    command = [sys.executable, "-m", "scalenet.stages", "supernet"]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) as process:
        assert "step " in process.stderr.readline()
        theirs = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert len(theirs) >= 2
    _, left = psutil.wait_procs(theirs, timeout=30)
    assert not left


QUIET = """
import time
from scalenet.training import launch

def part(emit):
    emit({"event": "begun"})
    time.sleep(60)

if __name__ == "__main__":
    launch.together(2, part, (), lambda record: print(record["event"], flush=True))
"""


def test_they_end_with_it_at_once_even_begun_by_a_script(tmp_path):
    """A shell has what a script begins with ``&`` ignore SIGINT, and what that begins, too."""
    (tmp_path / "quiet.py").write_text(QUIET)
    command = ["sh", "-c", f"trap '' INT; exec {sys.executable} quiet.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        theirs = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    _, left = psutil.wait_procs(theirs, timeout=20)
    for one in left:
        one.kill()
    assert len(theirs) >= 2 and not left


def test_a_killed_process_is_started_again_and_all_go_on_from_the_checkpoint(root):
    settings.apply(root, "tiny", {**HARD, "supernet.recipe.steps": 200_000})
    process = torchrun(root, "supernet", restarts=1)
    try:
        end = time.monotonic() + 90
        while not list(root.glob(".state/supernet/*/checkpoint.pt")):
            assert time.monotonic() < end and process.poll() is None, "no checkpoint came"
            time.sleep(0.05)
        youngest(process.pid).kill()
        said = []
        while "goes on from step" not in (line := process.stdout.readline()):
            said.append(line)
            assert line, "it ended and did not go on:\n" + "".join(said[-60:])
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_what_is_one_process_s_is_refused_to_several(root):
    said = torchrun(root, "search").communicate(timeout=120)[0]
    assert "stage search is one process's; several train supernet or retrain" in said


def test_restarts_that_could_meet_old_addresses_are_refused(root):
    process = torchrun(root, "supernet", restarts=1, own_store=False)
    assert (
        "begin it with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in process.communicate(timeout=120)[0]
    )
