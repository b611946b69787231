"""What a network that stands alone is to training, calibration and tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from scalenet.nets import blocks, norm


class Classifier(nn.Module, ABC):
    """Named tensors of its own, and the measured statistics of its batch norms.

    In training it normalises by each batch; for evaluation ``calibrate`` must have measured its
    statistics. ``resolution`` is the side of its images in px.
    """

    def __init__(self, shapes: Mapping[str, blocks.Shape], resolution: int):
        super().__init__()
        self.resolution = resolution
        self.weights = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(shape)) for name, shape in shapes.items()}
        )
        for name, width in blocks.norms(shapes).items():
            self.register_buffer(f"{name}/mean", torch.zeros(width))
            self.register_buffer(f"{name}/variance", torch.ones(width))

    @abstractmethod
    def compute(self, images: Tensor, normalise: blocks.Norm, drop: blocks.Drop | None) -> Tensor:
        """Map images (N, C, R, R) to logits (N, classes), normalising in a given way."""

    def forward(self, images: Tensor, drop: blocks.Drop | None = None) -> Tensor:
        """Map images (N, C, R, R) to logits (N, classes)."""
        if self.training:
            return self.compute(images, norm.on_batch(self.weights), drop)
        return self.compute(images, norm.on_statistics(self.weights, self.statistics()), None)

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Measure the norms' statistics on batches (N, C, R, R) of equal size."""

        def apply(images: Tensor, normalise: blocks.Norm) -> Tensor:
            return self.compute(images, normalise, None)

        for name, measured in norm.calibrate(apply, self.weights, batches).items():
            for buffer, value in zip(self._statistics(name), measured, strict=True):
                buffer.copy_(value)

    def statistics(self) -> norm.Statistics:
        """Return the mean and variance of every norm."""
        names = [name.removesuffix("/mean") for name in self._buffers if name.endswith("/mean")]
        return {name: self._statistics(name) for name in names}

    def _statistics(self, name: str) -> tuple[Tensor, Tensor]:
        return self.get_buffer(f"{name}/mean"), self.get_buffer(f"{name}/variance")
