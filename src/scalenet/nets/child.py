"""One fixed network standing alone: it trains, and it is what gets deployed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from scalenet.nets import blocks, norm, weights
from scalenet.records import files, tensors
from scalenet.space.network import Network, Task


class Child(nn.Module):
    """A network with tensors of its own.

    In training it normalises by each batch; for evaluation ``calibrate`` must have measured its
    statistics.
    """

    def __init__(self, network: Network, task: Task):
        super().__init__()
        self.network = network
        shapes = blocks.shapes(network, task)
        self.weights = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(shape)) for name, shape in shapes.items()}
        )
        for name, width in blocks.norms(shapes).items():
            self.register_buffer(f"{name}/mean", torch.zeros(width))
            self.register_buffer(f"{name}/variance", torch.ones(width))

    def forward(self, images: Tensor, drop: blocks.Drop | None = None) -> Tensor:
        """Map images (N, C, R, R) to logits (N, classes)."""
        if self.training:
            normalise = norm.on_batch(self.weights)
            return blocks.forward(self.network, self.weights, images, normalise, drop)
        normalise = norm.on_statistics(self.weights, self.statistics())
        return blocks.forward(self.network, self.weights, images, normalise, None)

    @torch.no_grad()
    def calibrate(self, batches: list[Tensor]) -> None:
        """Measure the norms' statistics on batches (N, C, R, R) of equal size."""

        def apply(images: Tensor, normalise: blocks.Norm) -> Tensor:
            return blocks.forward(self.network, self.weights, images, normalise, None)

        for name, measured in norm.calibrate(apply, self.weights, batches).items():
            for buffer, value in zip(self._statistics(name), measured, strict=True):
                buffer.copy_(value)

    def statistics(self) -> norm.Statistics:
        """Return the mean and variance of every norm."""
        names = [name.removesuffix("/mean") for name in self._buffers if name.endswith("/mean")]
        return {name: self._statistics(name) for name in names}

    def _statistics(self, name: str) -> tuple[Tensor, Tensor]:
        return self.get_buffer(f"{name}/mean"), self.get_buffer(f"{name}/variance")


def build(network: Network, task: Task, generator: torch.Generator) -> Child:
    """Return a freshly initialised child."""
    child = Child(network, task)
    weights.initialise(child.weights, generator)
    return child


def write(path: Path, child: Child) -> str:
    """Write a trained child; return the hash of its file."""
    content = {name: tensor.cpu() for name, tensor in child.state_dict().items()}
    tensors.write(path, content, {"kind": "child", "network": str(child.network)})
    return files.digest(path)


def read(path: Path, network: Network, task: Task) -> Child:
    """Read a trained child, ready for evaluation; ``ValueError`` for a file of another network."""
    content, meta = tensors.read(path)
    if meta.get("network") != str(network):
        raise ValueError(f"{path}: holds {meta.get('network')}, not {network}; run `dvc repro`")
    child = Child(network, task)
    child.load_state_dict(content)
    return child.eval()
