"""Room 5: train one family member from scratch, then test it once."""

from __future__ import annotations

from scalenet.config.params import Params
from scalenet.data.images import join, on_device
from scalenet.records import files
from scalenet.records import tensors as tensorfile
from scalenet.records.documents import DataInfo, Member
from scalenet.records.paths import Paths
from scalenet.training import device
from scalenet.training.member import count_correct, inherit, initial, tested, train


def main(params: Params, paths: Paths, name: str) -> None:
    """Read a member's plan and all splits; write its weights, its loss curve and its test."""
    on = device.prepare(params.compute)
    info = DataInfo.read(paths.data / "info.json")
    member = Member.read(paths.plan / f"{name}.json")
    splits = {split: files.read_split(paths.data / f"{split}.npz") for split in files.SPLITS}
    images = {key: on_device(split, info.mean, info.std, on) for key, split in splits.items()}
    train_on = join(images["train"], images["select"]) if params.retrain.use_select else images["train"]
    net = initial(params, member, info, inherit(params, member, paths)).to(on)
    inputs = [] if params.retrain.init == "scratch" else [paths.supernet / "weights.pt"]
    key = files.digest(params.retrain, params.family[name], member, info, str(on), files.code(), *inputs)
    history = train(params, net, train_on, params.family[name].seed, paths.state(name) / "checkpoint.pt", key)
    correct = count_correct(net, images["test"], params.retrain.batch)
    out = paths.member(name)
    weights = {key: tensor.cpu() for key, tensor in net.state_dict().items()}
    tensorfile.write(out / "weights.pt", weights, {"kind": "child", "network": member.network})
    files.write_table(out / "training.csv", ("step", "loss", "learning_rate"), history)
    trained = tested(params, member, info, correct, files.digest(out / "weights.pt"))
    trained.write(out / "trained.json")
    numbers = {key: getattr(trained, key) for key in ("accuracy", "low", "high")} | {"loss": history[-1][1]}
    files.write_json(out / "metrics.json", numbers | {"flops": member.flops, "params": member.params})
