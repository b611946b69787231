"""A network as it is deployed: preprocessing inside, norms folded into its convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scalenet.data.images import resize
from scalenet.nets import blocks, child, norm
from scalenet.nets.child import Child
from scalenet.records import files
from scalenet.records.paths import Paths

BATCH = 256  # images that ``predict`` passes at a time: it bounds memory, and changes no result


class Deployed(nn.Module):
    """A calibrated child as it is deployed: stored images, scaled to 0…1, in; logits out.

    Its norms are folded into its convolutions. ``mean`` and ``std`` are those of the child's
    training images, one number a channel; ``classes`` are the names of its outputs, where known.
    """

    def __init__(
        self, child: Child, mean: list[float], std: list[float], classes: Sequence[str] = ()
    ):
        super().__init__()
        self.network, self.classes = child.network, list(classes)
        with torch.no_grad():
            folded = norm.fold(dict(child.weights.items()), child.statistics())
        self.weights = nn.ParameterDict(
            {name: nn.Parameter(tensor.detach()) for name, tensor in folded.items()}
        )
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W), float32 in 0…1, to logits (N, classes)."""
        images = resize((images - self.mean) / self.std, self.network.resolution)
        return blocks.forward(self.network, self.weights, images, norm.identity, None)


def load(folder: Path | str, member: str) -> Deployed:
    """Return a member of a built family, ready for images, on the CPU.

    ``folder`` holds ``artifacts/``; ``member`` is a size such as ``"S0"``. ``ValueError`` if the
    member was not built there, or its weights are not those that were tested.
    """
    paths = Paths(Path(folder))
    if not (paths.member(member) / "trained.json").exists():
        built = sorted(path.parent.name for path in paths.members.glob("*/trained.json"))
        there = f"there are {', '.join(built)}" if built else "none is built yet"
        raise ValueError(
            f"{member!r} is no member in {paths.members}; {there}: give one that is, or build it "
            "(`scalenet run`) or fetch it (`dvc pull`)"
        )
    trained, info = paths.trained(member), paths.info()
    weights = paths.member(member) / "weights.pt"
    if files.digest(weights) != trained.weights:
        raise ValueError(f"{weights}: not the weights that were tested; run `dvc repro`")
    paths.check_data(trained)
    net = child.read(weights, trained.member.network, info.task)
    return Deployed(net, info.mean, info.std, info.classes)


@torch.no_grad()
def predict(net: Deployed, images: np.ndarray | Tensor) -> np.ndarray:
    """Return the probability of each class, float32 (N, classes), for images (N, C, H, W).

    Images are uint8 in 0…255 or floating point in 0…1, of any size (they are resized to the
    network's resolution); one image's result does not depend on the others. ``ValueError`` says
    what is wrong with other arrays.
    """
    if isinstance(images, np.ndarray):
        # torch takes no array that runs backwards, as a flipped one does, and warns of one that is
        # read-only
        images = np.require(images, requirements="CW")
    pixels = _checked(torch.as_tensor(images), net.mean.shape[1])
    parts = [_scaled(part).to(net.mean.device) for part in pixels.split(BATCH)]
    return torch.cat([net(part).softmax(1) for part in parts]).cpu().numpy()


def _scaled(pixels: Tensor) -> Tensor:
    return pixels.float() if pixels.is_floating_point() else pixels.float() / 255


def _checked(pixels: Tensor, channels: int) -> Tensor:
    """Return images (N, C, H, W) that a network can be asked about; ``ValueError`` for others."""
    shape = tuple(pixels.shape)
    if pixels.ndim != 4 or not all(shape):
        raise ValueError(
            f"images of shape {shape} were given; give (N, C, H, W) with at least one of each: "
            "add an axis to a single image"
        )
    if shape[1] != channels:
        raise ValueError(
            f"images of {shape[1]} channels were given; this network takes {channels}: "
            "give (N, C, H, W), and convert colours to its channels"
        )
    if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
        raise ValueError(f"images of {pixels.dtype} were given; give uint8 (0…255) or float (0…1)")
    low, high = pixels.min().item(), pixels.max().item()
    if pixels.is_floating_point() and not (low >= 0 and high <= 1):
        raise ValueError(
            f"floats from {low:g} to {high:g} were given; give 0…1 (divide bytes by 255; do not "
            "normalise: the network does), or uint8"
        )
    return pixels
