"""Transfer learning: a linear classifier on the features of a network that you have weights of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from scalenet.baselines.measured import Measured
from scalenet.baselines.simple import chosen
from scalenet.config.baselines import Checkpoint
from scalenet.data.images import resize
from scalenet.records.files import Split
from scalenet.records.predictions import answers

COSTS = (0.001, 0.01, 0.1, 1.0)  # C of the logistic regression: cross-validation chooses
BATCH = 64  # images of a forward pass: it bounds memory alone
WRAPPED = ("state_dict_ema", "state_dict", "model")  # where training scripts keep the weights


def transfer(
    train: Split, held: Mapping[str, Split], checkpoint: Checkpoint, root: Path, seed: int
) -> Measured:
    """Fit a linear classifier to the frozen features of a pretrained network of timm.

    Images are resized to the network's own side and normalised as it was trained. A relative file
    is one of ``root``. ``ValueError`` if timm is not there, does not know the network, or the
    file's weights are not its.
    """
    net = features(checkpoint, root / checkpoint.file)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    data = (embedded(net, train[0]), train[1])
    fitted, cost = chosen(model, "logisticregression__C", COSTS, data, seed)
    said = {k: answers(y, fitted.predict(embedded(net, x))) for k, (x, y) in held.items()}
    about = f"transfer from {checkpoint.model}, linear (C = {cost:g})"
    params = sum(tensor.numel() for tensor in net.parameters())
    return Measured("pretrained", about, len(train[1]), said, params=params)


def features(checkpoint: Checkpoint, file: Path) -> nn.Module:
    """Return the network without its classifier, with the file's weights, for evaluation."""
    create = _timm()
    try:
        net = create(checkpoint.model, pretrained=False, num_classes=0)
    except RuntimeError as error:
        raise ValueError(
            f"baselines.pretrained.model: timm knows no {checkpoint.model!r} ({error}); "
            "timm.list_models() has the names"
        ) from error
    head = net.default_cfg.get("classifier") or ()
    heads = tuple(f"{name}." for name in ([head] if isinstance(head, str) else head))
    weights = {k: v for k, v in read(file).items() if not k.startswith(heads)}
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"baselines.pretrained.file: {file} does not hold the weights of {checkpoint.model} "
            f"({str(error)[:400]}); give the file and the model that belong together"
        ) from error
    return net.eval()


def _timm() -> Any:
    try:
        from timm import create_model
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
        raise ValueError(
            f"baselines.pretrained needs timm, which cannot be imported here ({error}); "
            "`pip install timm`, or set baselines.pretrained: null"
        ) from error
    return create_model


def read(file: Path) -> dict[str, Tensor]:
    """Read named tensors from a file of torch.save or of safetensors; nothing in it is executed."""
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # both libraries raise many kinds; all mean the same to a user
        raise ValueError(
            f"baselines.pretrained.file: {file} cannot be read as weights ({error}); give a file "
            "of torch.save (.pth, .bin) or of safetensors (.safetensors)"
        ) from error
    inner = content
    if isinstance(content, Mapping):
        inner = next((content[name] for name in WRAPPED if name in content), content)
    if not isinstance(inner, Mapping):
        raise ValueError(
            f"baselines.pretrained.file: {file} holds a {type(inner).__name__}, no weights by "
            "name; give a state dict, as torch.save or safetensors writes it"
        )
    return {name.removeprefix("module."): tensor for name, tensor in inner.items()}


@torch.no_grad()
def embedded(net: Any, pixels: Any) -> np.ndarray:
    """Return a network's features (N, F) of images uint8 (N, C, H, H), an array or what is indexed
    as one; grey becomes three equal channels."""
    config = net.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    rows = []
    for start in range(0, len(pixels), BATCH):
        part = torch.from_numpy(pixels[start : start + BATCH])
        images = part.expand(-1, mean.shape[1], -1, -1).float() / 255
        rows.append(net((resize(images, config["input_size"][-1]) - mean) / std))
    return torch.cat(rows).numpy()
