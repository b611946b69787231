"""Where tensors are computed: the device, its threads, and arithmetic that repeats itself."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

from scalenet.config.params import Compute

M_TRIM_THRESHOLD, M_MMAP_MAX, MOST = -1, -4, 2**31 - 1  # of glibc's malloc.h


def prepare(compute: Compute) -> torch.device:
    """Return the device asked for, set up so that the same inputs give the same bytes."""
    name = resolved(compute)
    if name.startswith("cuda"):
        count = torch.cuda.device_count()
        index = int(name.partition(":")[2] or 0)
        if index >= count:
            raise ValueError(
                f"compute.device is {compute.device!r}, but {count} CUDA devices are here; "
                "use auto or cpu"
            )
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    else:
        _keep_memory()
    torch.set_num_threads(compute.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # nothing here reads memory that it has not written
    torch.utils.deterministic.fill_uninitialized_memory = False
    return torch.device(name)


def resolved(compute: Compute) -> str:
    """Return the name of the device asked for, where ``auto`` is what is here."""
    if compute.device != "auto":
        return compute.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def room(compute: Compute) -> int:
    """Return how many processes can compute side by side here: one on CUDA, else as many as this
    process has cores for their threads."""
    if resolved(compute).startswith("cuda"):
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores // compute.threads)


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
