"""One fixed network standing alone: it trains, and it is what gets deployed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from scalenet.nets import blocks, weights
from scalenet.nets.classifier import Classifier
from scalenet.records import files, tensors
from scalenet.space.network import Network, Task


class Child(Classifier):
    """A network of the space with tensors of its own."""

    def __init__(self, network: Network, task: Task):
        super().__init__(blocks.shapes(network, task), network.resolution)
        self.network = network

    def compute(self, images: Tensor, normalise: blocks.Norm, drop: blocks.Drop | None) -> Tensor:
        """Map images (N, C, R, R) to logits (N, classes), normalising in a given way."""
        return blocks.forward(self.network, self.weights, images, normalise, drop)


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
