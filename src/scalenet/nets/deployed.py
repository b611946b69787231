"""A network as it is deployed: preprocessing inside, norms folded into its convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scalenet.data.images import resize
from scalenet.nets import blocks, norm
from scalenet.nets.child import Child


class Deployed(nn.Module):
    """A calibrated child as it is deployed: images as they are stored, scaled to 0…1, in; logits out.

    Its norms are folded into its convolutions.
    """

    def __init__(self, child: Child, mean: list[float], std: list[float]):
        super().__init__()
        self.network = child.network
        with torch.no_grad():
            folded = norm.fold(dict(child.weights.items()), child.statistics())
        self.weights = nn.ParameterDict({name: nn.Parameter(tensor.detach()) for name, tensor in folded.items()})
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W), float32 in 0…1, to logits (N, classes)."""
        images = resize((images - self.mean) / self.std, self.network.resolution)
        return blocks.forward(self.network, self.weights, images, norm.identity, None)
