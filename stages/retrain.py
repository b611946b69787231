"""Room 5: train one family member from scratch, then test it once."""

from __future__ import annotations

import torch
from torch import Tensor

from stages import artifacts, device, tensorfile
from stages.artifacts import DataInfo, Member, Paths, Trained
from stages.laws import wilson
from stages.nets import child, elastic
from stages.nets.child import Child
from stages.params import Params
from stages.space import Network
from stages.training import fixed, loop
from stages.training.data import Images, chunks, join, on_device


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


def main(params: Params, paths: Paths, name: str) -> None:
    """Read a member's plan and all splits; write its weights, its loss curve and its test."""
    on = device.prepare(params.compute)
    info = DataInfo.read(paths.data / "info.json")
    member = Member.read(paths.plan / f"{name}.json")
    splits = {split: artifacts.read_split(paths.data / f"{split}.npz") for split in artifacts.SPLITS}
    images = {key: on_device(split, info.mean, info.std, on) for key, split in splits.items()}
    train_on = join(images["train"], images["select"]) if params.retrain.use_select else images["train"]
    net = initial(params, member, info, inherit(params, member, paths)).to(on)
    inputs = [] if params.retrain.init == "scratch" else [paths.supernet / "weights.pt"]
    key = artifacts.digest(params.retrain, params.family[name], member, info, str(on), artifacts.code(), *inputs)
    history = train(params, net, train_on, params.family[name].seed, paths.state(name) / "checkpoint.pt", key)
    correct = count_correct(net, images["test"], params.retrain.batch)
    out = paths.member(name)
    weights = {key: tensor.cpu() for key, tensor in net.state_dict().items()}
    tensorfile.write(out / "weights.pt", weights, {"kind": "child", "network": member.network})
    artifacts.write_table(out / "training.csv", ("step", "loss", "learning_rate"), history)
    trained = tested(params, member, info, correct, artifacts.digest(out / "weights.pt"))
    trained.write(out / "trained.json")
    numbers = {key: getattr(trained, key) for key in ("accuracy", "low", "high")} | {"loss": history[-1][1]}
    artifacts.write_json(out / "metrics.json", numbers | {"flops": member.flops, "params": member.params})


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
