"""Where tensors are computed: the device, its threads, and arithmetic that repeats itself."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

import torch

from scalenet.config.params import Compute
from scalenet.data.cores import cores
from scalenet.nets import group

M_TRIM_THRESHOLD, M_MMAP_MAX, MOST = -1, -4, 2**31 - 1  # of glibc's malloc.h


def prepare(compute: Compute) -> torch.device:
    """Return the device asked for, set up so that the same inputs give the same bytes.

    On CUDA float32 is float32: PyTorch's default has convolutions round their inputs to 10 bits
    (TF32), but matrix products not, which 1x1 convolutions are here.
    """
    name = resolved(compute)
    if name.startswith("cuda"):
        count = torch.cuda.device_count()
        index = int(name.partition(":")[2] or 0)
        if index >= count:
            raise ValueError(
                f"compute.device is {compute.device!r}, but {count} CUDA devices are here; "
                "use auto or cpu"
            )
        if group.size() > 1:
            _take_one(name, count)
        elif ":" in name:
            torch.cuda.set_device(index)  # also for what asks PyTorch which device is current
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    else:
        _keep_memory()
    torch.set_num_threads(compute.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # nothing here reads memory that it has not written
    torch.utils.deterministic.fill_uninitialized_memory = False
    return torch.device(name)


def _take_one(name: str, count: int) -> None:
    """Have this process, of several that train together, compute on a CUDA device of its own."""
    if name != "cuda":
        raise ValueError(
            f"compute.device is {name}, which {group.size()} processes cannot share; "
            "use auto, for a device each, or compute.processes: 1"
        )
    if group.place() >= count:
        raise ValueError(
            f"each of the processes that train together takes a CUDA device, and {count} are here; "
            f"begin {count} or fewer (compute.processes, or torchrun's --nproc-per-node)"
        )
    torch.cuda.set_device(group.place())


def resolved(compute: Compute) -> str:
    """Return the name of the device asked for, where ``auto`` is what is here."""
    if compute.device != "auto":
        return compute.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def room(compute: Compute, each: int = 1) -> int:
    """Return how many things that take so many processes each can be computed side by side here:
    by CUDA devices, a process each, or by cores for their threads."""
    if resolved(compute).startswith("cuda"):
        return max(1, len(shares(compute, each)))
    return max(1, cores() // (compute.threads * each))


def shares(compute: Compute, each: int) -> list[str]:
    """Return the CUDA devices of those side by side, as CUDA_VISIBLE_DEVICES has them; none where
    ``compute.device`` leaves no choice."""
    if resolved(compute) != "cuda":
        return []
    known = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()  # which may be fewer than are named
    names = known.split(",")[:count] if known else [str(i) for i in range(count)]
    return [",".join(names[i : i + each]) for i in range(0, len(names) - each + 1, each)]


def _keep_memory() -> None:
    """Let glibc keep what tensors free for those that come.

    Handed back, an activation is a page fault for each of its pages.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, MOST)


def processor() -> str:
    """Name the processor and the vector instructions that are used of it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = [*names, platform.processor() or platform.machine()][0]
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"
