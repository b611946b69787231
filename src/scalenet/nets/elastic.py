"""The super-supernet: one set of weights that holds every network of every size (method §3).

A network uses the first layers of each block and a slice of every tensor; a block's hidden channels
are a slice of those of its largest expansion ratio. Slices start at channel 0 (``left``) or end at
the last one (``right``); training both sides in turn trains every channel equally (``coupling:
bilateral``, BCNet). Depthwise kernels of different size share nothing; all else is shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from scalenet.config.space import Scalings, Space
from scalenet.nets import blocks, norm, weights
from scalenet.nets.leaves import Leaves
from scalenet.records import tensors as tensorfile
from scalenet.space.network import Network, Task
from scalenet.space.scale import largest

# the sides that a coupling trains and evaluates
SIDES = {"left": ("left",), "bilateral": ("left", "right")}


class Elastic(nn.Module):
    """The shared weights, by name; a depthwise kernel of size k is kept as its name and ``/k``."""

    def __init__(self, tensors: Mapping[str, Tensor], coupling: str):
        super().__init__()
        self.sides = SIDES[coupling]
        self.weights = nn.ParameterDict(
            {name: nn.Parameter(tensor) for name, tensor in tensors.items()}
        )
        self.task = Task(tensors["stem/weight"].shape[1], len(tensors["classifier/bias"]))
        self.leaves = Leaves(dict(self.weights.items()))

    def _apply(self, fn, recurse=True):
        """Move to a device or type; slices of where the weights were are of no use there."""
        super()._apply(fn, recurse)
        self.leaves = Leaves(dict(self.weights.items()))
        return self

    def slices(self, network: Network, side: str = "left") -> dict[str, Tensor]:
        """Return views of the shared weights, shaped and named as the network's own tensors."""
        return {
            name: weights.crop(self.weights[_stored(name, shape)], shape, side)
            for name, shape in blocks.shapes(network, self.task).items()
        }

    def forward(
        self, images: Tensor, network: Network, side: str = "left", drop: blocks.Drop | None = None
    ) -> Tensor:
        """Map images (N, C, R, R) to a network's logits (N, classes), normalising by the batch.

        Gradients reach the shared weights, as those of a network's own reach them.
        """
        if not torch.is_grad_enabled():
            tensors = self.slices(network, side)
            return blocks.forward(network, tensors, images, norm.on_batch(tensors), drop)
        shapes = blocks.shapes(network, self.task)
        pieces = [(_stored(name, shape), shape, side) for name, shape in shapes.items()]
        tensors = dict(zip(shapes, self.leaves.cut(pieces), strict=True))
        logits = blocks.forward(network, tensors, images, norm.on_batch(tensors), drop)
        logits.register_hook(lambda _: self.leaves.join(pieces))  # a backward pass begins there
        return logits

    @torch.no_grad()
    def evaluator(self, network: Network, calibration: list[Tensor]) -> Callable[[Tensor], Tensor]:
        """Recalibrate a network on batches (N, C, R, R); return its function images -> logits.

        Logits are the mean over the sides.
        """
        passes = [
            calibrated(network, self.slices(network, side), calibration) for side in self.sides
        ]
        return lambda images: torch.stack([apply(images) for apply in passes]).mean(0)


def calibrated(
    network: Network, tensors: Mapping[str, Tensor], calibration: list[Tensor]
) -> Callable[[Tensor], Tensor]:
    """Return the function images -> logits of a network with given tensors.

    Its norms' statistics are measured on the calibration batches.
    """

    def apply(images: Tensor, normalise: blocks.Norm) -> Tensor:
        return blocks.forward(network, tensors, images, normalise, None)

    folded = norm.fold(tensors, norm.calibrate(apply, tensors, calibration))
    return lambda images: blocks.forward(network, folded, images, norm.identity, None)


def _stored(name: str, shape: tuple[int, ...]) -> str:
    """Return where a network's tensor is kept: depthwise kernels have one entry per kernel size."""
    return f"{name}/{shape[-1]}" if name.endswith("/depth/weight") else name


def build(
    space: Space, scalings: Scalings, task: Task, coupling: str, generator: torch.Generator
) -> Elastic:
    """Return a fresh super-supernet for a space, its strategies and a task."""
    tensors: dict[str, Tensor] = {}
    for name, shape in blocks.shapes(largest(space, scalings), task).items():
        if name.endswith("/depth/weight"):
            kernels = space.stages[int(name.split("/")[1])].kernels
            tensors |= {f"{name}/{k}": torch.empty(shape[0], 1, k, k) for k in kernels}
        else:
            tensors[name] = torch.empty(shape)
    weights.initialise(tensors, generator)
    return Elastic(tensors, coupling)


def write(path: Path, elastic: Elastic, coupling: str) -> None:
    """Write the weights and how they are coupled."""
    tensors = {name: tensor.detach().cpu() for name, tensor in elastic.weights.items()}
    tensorfile.write(path, tensors, {"kind": "supernet", "coupling": coupling})


def read(path: Path, device: torch.device | str = "cpu") -> Elastic:
    """Read trained weights; ``ValueError`` if the file holds something else."""
    content, meta = tensorfile.read(path)
    if meta.get("kind") != "supernet":
        raise ValueError(
            f"{path}: holds a {meta.get('kind')}, not a super-supernet; run `dvc repro supernet`"
        )
    return Elastic(content, meta["coupling"]).to(device).eval()
