"""Processes that train one network together, one a device, begun by torchrun; or one alone.

A step's batch is cut into parts, one for each process in the order of their ranks; images that a
network is evaluated on are dealt in whole batches. What depends on all of either is exchanged here,
and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

OWN_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"  # 1: processes started again get a new store


class GroupSum(torch.autograd.Function):
    """A sum over all processes; each process's loss depends on it, so gradients sum too."""

    @staticmethod
    def forward(_ctx, x: Tensor) -> Tensor:
        whole = x.clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(_ctx, gradient: Tensor) -> Tensor:
        whole = gradient.clone()
        dist.all_reduce(whole)
        return whole


def is_begun() -> bool:
    """Tell whether torchrun, or a stage, began this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def joined() -> Iterator[None]:
    """Belong to torchrun's group, if it began this process.

    A process that fails leaves it by its end alone: the others fail as soon as it has left, and are
    the end of all, so it tells first why.
    ``ValueError`` if processes started again could meet the addresses of those before them: PyTorch
    keeps both in one store.
    """
    if not is_begun():
        yield
        return
    if os.environ["TORCHELASTIC_MAX_RESTARTS"] != "0" and os.environ.get(OWN_STORE) != "1":
        raise ValueError(
            f"torchrun may start processes again, but {OWN_STORE} is not 1, without which they may "
            f"not find each other; begin it with {OWN_STORE}=1, or without --max-restarts"
        )
    dist.init_process_group(backend())
    yield
    dist.destroy_process_group()


def backend() -> str:
    """Return what sums: gloo on CPUs, NCCL on GPUs. Unnamed, it would be NCCL alone where a GPU is,
    and nothing that is computed on the CPU there could be summed."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def size() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def place() -> int:
    """Return the number of this process among those of this machine: 0, or torchrun's."""
    return int(os.environ["LOCAL_RANK"]) if size() > 1 else 0


def is_first() -> bool:
    """Say whether this process is the one that writes and tells: rank 0, or alone."""
    return not dist.is_initialized() or dist.get_rank() == 0


def part(count: int) -> slice:
    """Return which of a batch's ``count`` images are this process's; ``ValueError`` if none are.

    Parts differ by one image at most.
    """
    if count < size():
        raise ValueError(
            f"a batch of {count} images cannot be shared by {size()} processes; "
            "raise recipe.batch, or begin fewer"
        )
    return slice(*_cut(count))


def share(count: int) -> float:
    """Return this process's part of a batch of ``count`` images, in 0…1."""
    mine = part(count)
    return (mine.stop - mine.start) / count


def dealt(count: int, batch: int) -> range:
    """Return which of ``count`` images this process evaluates, ``batch`` at a time; perhaps none.

    Cuts lie between the batches that one process would make, so each image has the same
    neighbours in its batch as there, and results are rounded alike.
    """
    first, end = _cut(-(-count // batch))
    return range(min(first * batch, count), min(end * batch, count))


def _cut(count: int) -> tuple[int, int]:
    """Return the first of this process's part of so many things, and the first of the next's."""
    processes, rank = size(), 0 if is_first() else dist.get_rank()
    return count * rank // processes, count * (rank + 1) // processes


def total(x: Tensor) -> Tensor:
    """Return the sum over all processes; gradients pass through it."""
    return GroupSum.apply(x) if size() > 1 else x


def total_of(number: float, device: torch.device) -> float:
    """Return the sum of a number over all processes, which exchange on a device."""
    return number if size() == 1 else total(torch.tensor([number], device=device)).item()


def add_up(tensors: list[Tensor]) -> None:
    """Sum tensors of one type over all processes, in place, in one exchange."""
    _exchange(tensors, dist.all_reduce)


def from_first(tensors: list[Tensor]) -> None:
    """Give all processes the first's tensors, of one type, in place, in one exchange."""
    _exchange(tensors, lambda flat: dist.broadcast(flat, 0))


@torch.no_grad()
def _exchange(tensors: list[Tensor], how: Callable[[Tensor], object]) -> None:
    if size() == 1:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    how(flat)
    for tensor, whole in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(whole.view_as(tensor))


def meet(device: torch.device) -> None:
    """Wait until all processes are here, which exchange on a device."""
    total_of(0.0, device)


def agree(number: int, device: torch.device) -> None:
    """Refuse to begin at different steps: the folder of checkpoints must be one for all."""
    if size() == 1:
        return
    highest = torch.tensor([number, -number], device=device)
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    if int(highest.sum()):
        raise ValueError(
            f"one process would begin at step {-int(highest[1])}, another at {int(highest[0])}; "
            "all must see the same project folder, with its .state"
        )
