"""The program that is exported: stored images in, a probability for each class out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scalenet.data import store
from scalenet.data.decoding import preprocessing
from scalenet.nets import deployed
from scalenet.nets.deployed import Deployed
from scalenet.records import files
from scalenet.records.documents import DataInfo, Trained
from scalenet.records.paths import Paths

MOST_CHECKED = 2000  # test images that an exported file is compared on
CLOSE = 1e-4  # allowed difference of its probabilities


class Program(nn.Module):
    """A member that takes bytes: images uint8 (N, C, size, size) to probabilities (N, classes)."""

    def __init__(self, net: Deployed):
        super().__init__()
        self.net = net.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Scale bytes to 0…1; normalising and resizing are the network's own."""
        return self.net(images.float() / 255).softmax(1)


class Exported(NamedTuple):
    """A built member, what it was trained on and how it was tested."""

    program: Program
    info: DataInfo
    trained: Trained
    paths: Paths

    def split(self, name: str, most: int = MOST_CHECKED) -> files.Split:
        """Return the first images (shuffled when they were split) and labels of a split."""
        pixels, labels = store.read(self.paths.data / f"{name}.npz")
        return pixels[:most], labels[:most]

    def about(self) -> dict[str, str]:
        """Return what the file says of itself, as text."""
        member = self.trained.member
        return {
            "labels": json.dumps(self.info.classes, ensure_ascii=False),
            "input": f"uint8 (N, {self.info.channels}, {self.info.size}, {self.info.size})",
            "output": "float32 (N, classes): probabilities",
            "preprocessing": preprocessing(self.info.channels, self.info.size),
            "member": member.name,
            "network": str(member.network),
            "flops": str(member.flops),
            "parameters": str(member.params),
            "test_top1": f"{self.trained.accuracy:.6f}",
            "weights": self.trained.weights,
        }


def read(root: Path, name: str) -> Exported:
    """Return a built member of a project; ``ValueError`` if there is none of that name."""
    paths = Paths(root)
    net = deployed.load(root, name)
    return Exported(Program(net), paths.info(), paths.trained(name), paths)


@torch.no_grad()
def example(member: Exported) -> Tensor:
    """Return two images to trace the program with: with one the batch size would be fixed."""
    return torch.from_numpy(member.split("train", 2)[0])


@torch.no_grad()
def probabilities(program: Program, pixels: Tensor, batch: int = 256) -> Tensor:
    """Return what the original says of images (N, C, size, size)."""
    return torch.cat([program(part) for part in pixels.split(batch)])
