"""One fixed network standing alone: it trains, and it is what gets deployed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.nets import blocks, norm, weights
from stages.space import Network


class Child(nn.Module):
    """A network with tensors of its own.

    In training it normalises by each batch; for evaluation ``calibrate`` must have measured its statistics.
    """

    def __init__(self, network: Network, channels: int, classes: int):
        super().__init__()
        self.network = network
        shapes = blocks.shapes(network, channels, classes)
        self.weights = nn.ParameterDict({name: nn.Parameter(torch.empty(shape)) for name, shape in shapes.items()})
        for name, width in blocks.norms(shapes).items():
            self.register_buffer(f"{name}/mean", torch.zeros(width))
            self.register_buffer(f"{name}/variance", torch.ones(width))

    def forward(self, images: Tensor, drop: blocks.Drop | None = None) -> Tensor:
        """Map images (N, C, R, R) to logits (N, classes)."""
        if self.training:
            return blocks.forward(self.network, self.weights, images, norm.on_batch(self.weights), drop)
        statistics = {name: self._statistics(name) for name in self._norms()}
        return blocks.forward(self.network, self.weights, images, norm.on_statistics(self.weights, statistics), None)

    @torch.no_grad()
    def calibrate(self, batches: list[Tensor]) -> None:
        """Measure the norms' statistics on batches (N, C, R, R) of equal size."""

        def apply(images: Tensor, by: blocks.Norm) -> Tensor:
            return blocks.forward(self.network, self.weights, images, by, None)

        for name, measured in norm.calibrate(apply, self.weights, batches).items():
            for buffer, value in zip(self._statistics(name), measured, strict=True):
                buffer.copy_(value)

    def _norms(self) -> list[str]:
        return [name.removesuffix("/mean") for name in self._buffers if name.endswith("/mean")]

    def _statistics(self, name: str) -> tuple[Tensor, Tensor]:
        return self.get_buffer(f"{name}/mean"), self.get_buffer(f"{name}/variance")


def build(network: Network, channels: int, classes: int, generator: torch.Generator) -> Child:
    """Return a freshly initialised child."""
    child = Child(network, channels, classes)
    weights.initialise(child.weights, generator)
    return child


class Deployed(nn.Module):
    """A calibrated child with its preprocessing: images as they are stored, scaled to 0…1, in; logits out."""

    def __init__(self, child: Child, mean: list[float], std: list[float]):
        super().__init__()
        self.child = child
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W), float32 in 0…1, to logits (N, classes)."""
        return self.child(resize((images - self.mean) / self.std, self.child.network.resolution))


def resize(images: Tensor, resolution: int) -> Tensor:
    """Resize images (N, C, H, W) to a square, bilinearly, with antialiasing where they shrink."""
    if images.shape[-2:] == (resolution, resolution):
        return images
    shrinks = images.shape[-1] > resolution
    return F.interpolate(images, (resolution, resolution), mode="bilinear", antialias=shrinks)
