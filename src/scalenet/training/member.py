"""Training of a family member, and its one test."""

from __future__ import annotations

import torch
from torch import Tensor

from scalenet.config.params import Params
from scalenet.data.images import Images, chunks
from scalenet.laws.intervals import wilson
from scalenet.nets import child, elastic
from scalenet.nets.child import Child
from scalenet.records import tensors as tensorfile
from scalenet.records.documents import DataInfo, Member, Trained
from scalenet.records.paths import Paths
from scalenet.space.network import Network
from scalenet.training import fixed, loop


def train(params: Params, net: Child, images: Images, seed: int, checkpoint=None, key: str = "") -> loop.History:
    """Train a child in place and calibrate its norms on the images it was trained on."""
    history = fixed.train(net, images, params.retrain.recipe, seed, checkpoint, key)
    fixed.calibrate(net, images, params.retrain.calibration, seed)
    return history


@torch.no_grad()
def count_correct(net: Child, images: Images, batch: int) -> int:
    """Return how many images a calibrated child labels correctly (top-1)."""
    views = images.resized(net.network.resolution, batch)
    return sum(int((net(view).argmax(1) == labels).sum()) for view, labels in chunks(views, images.labels))


def initial(params: Params, member: Member, info: DataInfo, inherited: dict[str, Tensor] | None) -> Child:
    """Return the child to train: fresh, or with the super-supernet's slice as its weights."""
    seed = params.family[member.name].seed
    generator = torch.Generator().manual_seed(seed)
    net = child.build(Network.parse(member.network), info.channels, len(info.classes), generator)
    if inherited is not None:
        net.weights.load_state_dict(inherited)
    return net


def tested(params: Params, member: Member, info: DataInfo, correct: int, weights: str) -> Trained:
    """Describe a member after its test: its top-1 with the Wilson interval, its data's and its weights' hashes."""
    count, confidence = info.counts["test"], params.retrain.confidence
    low, high = wilson(correct, count, confidence)
    return Trained(
        member=member,
        correct=correct,
        tested=count,
        accuracy=correct / count,
        low=low,
        high=high,
        confidence=confidence,
        data=info.digest,
        weights=weights,
    )


def inherit(params: Params, member: Member, paths: Paths) -> dict[str, Tensor] | None:
    """Return the member's slice of the super-supernet if asked for (``retrain.init: supernet``)."""
    if params.retrain.init == "scratch":
        return None
    net = elastic.read(paths.supernet / "weights.pt", torch.device("cpu"))
    try:
        own = net.slices(Network.parse(member.network))
    except (KeyError, RuntimeError) as error:
        raise ValueError(
            f"retrain.init is supernet, but {member.name} ({member.network}) is larger than the super-supernet; "
            "use init: scratch"
        ) from error
    return {name: tensor.detach().clone() for name, tensor in own.items()}


def load(path, member: Member, info: DataInfo) -> Child:
    """Read a trained child; ``ValueError`` if the file holds another network."""
    content, meta = tensorfile.read(path)
    if meta.get("network") != member.network:
        raise ValueError(f"{path}: holds {meta.get('network')}, not {member.network}; run `dvc repro`")
    net = Child(Network.parse(member.network), info.channels, len(info.classes))
    net.load_state_dict(content)
    return net.eval()
