"""Where tensors are computed: a device a process, memory that is not handed back between steps."""

import subprocess
import sys

import pytest
import torch
from conftest import ROOT

from scalenet import stages
from scalenet.config import params as config
from scalenet.config.params import Compute
from scalenet.data.images import _room
from scalenet.nets import group
from scalenet.records.shortage import ran_out
from scalenet.training import device
from scalenet.training.loop import ignore

STEPS = """
import resource, torch
from scalenet.config.params import Compute
from scalenet.training import device
device.prepare(Compute(device="cpu", threads=1, workers=1, processes=1, scoring=None))
def step():
    torch.empty(2**24).fill_(1.0).mul(2.0)
for _ in range(20):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="an option of glibc's malloc")
def test_memory_that_tensors_free_is_kept_for_the_next():
    """Pages handed back fault again, one by one: a third of a large network's step."""
    run = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 1000, "of 32,768 pages"


@pytest.fixture
def second_of_three(monkeypatch):
    """Be one of three processes that train together, on a machine with two CUDA devices; return
    those that it took."""
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(group, "size", lambda: 3)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which it would set for all tests
    return taken


def compute(name):
    return Compute(device=name, threads=1, workers="auto", processes=1, scoring=None)


@pytest.mark.parametrize(("name", "taken"), [("auto", [1]), ("cuda", [1]), ("cpu", [])])
def test_of_those_that_train_together_each_computes_on_a_device_of_its_own(
    second_of_three, name, taken
):
    assert device.prepare(compute(name)).type == ("cpu" if name == "cpu" else "cuda")
    assert second_of_three == taken


def test_more_of_them_than_devices_and_one_device_for_all_are_refused(monkeypatch, second_of_three):
    with pytest.raises(ValueError, match=r"compute\.device is cuda:0, which 3 processes cannot"):
        device.prepare(compute("cuda:0"))
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="takes a CUDA device, and 2 are here; begin 2 or fewer"):
        device.prepare(compute("auto"))
    device.prepare(compute("cpu"))  # where devices do not matter
    assert not second_of_three


def test_a_device_that_is_named_is_the_current_one(monkeypatch, second_of_three):
    """What asks for the current one, such as the thread that pins pages, would take the first."""
    monkeypatch.setattr(group, "size", lambda: 1)
    for name, taken in (("auto", []), ("cuda:1", [1]), ("cuda:0", [1, 0])):
        device.prepare(compute(name))
        assert second_of_three == taken


@pytest.mark.parametrize(("there", "named"), [(True, "cpu:gloo,cuda:nccl"), (False, "gloo")])
def test_what_is_computed_on_cpus_is_summed_there_though_a_gpu_is_seen(monkeypatch, there, named):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert group.backend() == named


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_memory_that_ran_out_is_known_by_its_words(words):
    assert ran_out(RuntimeError(words)) and not ran_out(ValueError(words))


@pytest.fixture
def emptied(monkeypatch):
    """Return what is done with a GPU's memory, in order."""
    told = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: told.append("emptied"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: told.append("asked") or (10, 20))
    return told


def test_what_pytorch_keeps_of_a_gpu_counts_as_free_for_images(emptied):
    assert 0 < _room(torch.device("cuda")) <= 10 and emptied == ["emptied", "asked"]


def test_a_stage_gives_the_gpus_memory_back_however_it_ends(emptied, monkeypatch, tmp_path):
    params = config.load(ROOT / "params.yaml")
    with pytest.raises(ValueError, match=r"info\.json"):
        stages.compute(ignore, tmp_path, "supernet", None, params)
    assert emptied == ["emptied"]


@pytest.fixture
def rounding():
    """Return what switches TF32, on as if by default, and as it was after the test."""
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = True
    yield flags
    for flag, was in zip(flags, before, strict=True):
        flag.allow_tf32 = was


def test_float32_is_float32_in_every_convolution_on_cuda(second_of_three, rounding):
    """Of them 1x1 convolutions are matrix products, which PyTorch switches apart."""
    device.prepare(compute("cpu"))
    assert all(flag.allow_tf32 for flag in rounding)
    device.prepare(compute("cuda"))
    assert not any(flag.allow_tf32 for flag in rounding)
