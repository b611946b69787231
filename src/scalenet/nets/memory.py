"""Less memory for a training step: layers whose activations are computed again, not kept.

Of such a layer only its input waits for the backward pass, which computes the layer a second time
(Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost). Losses and gradients are the
same: a layer draws nothing, and its norms see the whole batch both times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils.checkpoint import checkpoint

_mode = {"frugal": False}  # of this process: what is compiled cannot read a context variable


@contextmanager
def frugal() -> Iterator[None]:
    """Compute layers again in the backward passes of what the body computes."""
    before, _mode["frugal"] = _mode["frugal"], True
    try:
        yield
    finally:
        _mode["frugal"] = before


def layer(compute: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """Apply a layer, which must draw nothing at random, and keep its activations if they may be."""
    if not _mode["frugal"]:
        return compute(*arguments)
    return checkpoint(compute, *arguments, use_reentrant=False, preserve_rng_state=False)
