"""Images in a file are read ahead of who needs them, by processes beside this one.

Their order is that of the indices, and few wait at a time; what goes wrong there is raised here.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from scalenet.data.cores import cores
from scalenet.data.store import FilePixels

MOST = 16  # processes
WAITING = 2  # indices a process has read, or reads
ENDED = ("DataLoader worker", "Pin memory thread")  # how PyTorch's word of a dead process begins


class Fetcher:
    """Reads a file's images in another process; an error is handed back."""

    def __init__(self, stored: FilePixels):
        self.stored = stored

    def __getitems__(self, index: np.ndarray) -> Tensor | ValueError:
        try:
            return _shared(torch.from_numpy(self.stored[index]))
        except ValueError as error:
            return error

    def __len__(self) -> int:
        return len(self.stored)


def _shared(pixels: Tensor) -> Tensor:
    """Put pixels in shared memory: the queue, which does it otherwise, drops what does not fit and
    leaves who reads here waiting."""
    try:
        return pixels.share_memory_()
    except RuntimeError as error:
        raise ValueError(
            f"{pixels.nbytes:,} bytes of images do not fit in shared memory ({error}); give it "
            "more room, a container by `docker run --shm-size 4g`, or take a smaller batch"
        ) from error


def read(stored: FilePixels, indices: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Yield the pixels uint8 (n, C, H, W), on a device, of one index int64 (n) after the other."""
    loader = DataLoader(
        Fetcher(stored),
        batch_sampler=(index.numpy() for index in indices),
        num_workers=processes(),
        prefetch_factor=WAITING,
        collate_fn=_same,
        worker_init_fn=_end_at_once,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # else the DataLoader draws from the global one
        multiprocessing_context="spawn",
    )
    try:
        for pixels in _begun(loader):
            if isinstance(pixels, ValueError):
                raise pixels
            yield pixels.to(device, non_blocking=True)
    except (ConnectionError, EOFError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith(ENDED):
            raise
        raise ValueError(
            "a process that reads images was ended from outside: if memory ran out, let fewer "
            "cores read (`taskset -c 0,1 scalenet run`); run it again, and it goes on from its "
            "last checkpoint"
        ) from error


def _begun(loader: DataLoader) -> Iterator[Tensor | ValueError]:
    """Begin to read. PyTorch would raise the end of a process in the midst of whatever the main
    thread computes then; without that, it is seen where its images are waited for."""
    heard, coming = signal.getsignal(signal.SIGCHLD), iter(loader)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, heard or signal.SIG_DFL)
    return coming


def processes() -> int:
    """Return how many read: half of the cores that this process may use, or its share of them
    beside the others of this machine that train with it (torchrun says how many)."""
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return max(1, min(MOST, cores() // 2 // beside))


def _end_at_once(worker: int) -> None:
    """Let a reader exit by ``os._exit``: Python's own end aborts while a thread still hands pixels
    over, and the abort would be taken for a crash here."""
    atexit.register(os._exit, 0)


def _same(content: Tensor | ValueError) -> Tensor | ValueError:
    return content
