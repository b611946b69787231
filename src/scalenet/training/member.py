"""Training of a family member, and its one test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scalenet.config.params import Retrain
from scalenet.data.images import Images
from scalenet.laws import scores
from scalenet.nets import child
from scalenet.nets.child import Child
from scalenet.nets.classifier import Classifier
from scalenet.nets.elastic import Elastic
from scalenet.records.documents import DataInfo, Member, Trained
from scalenet.records.predictions import Predictions
from scalenet.space.network import Task
from scalenet.training import fixed
from scalenet.training.loop import Emit, History


def initial(
    member: Member, task: Task, supernet: Elastic | None, generator: torch.Generator
) -> Child:
    """Return the child to train: fresh, or with the super-supernet's slice as its weights.

    ``ValueError`` if the member is larger than the super-supernet.
    """
    net = child.build(member.network, task, generator)
    if supernet is None:
        return net
    try:
        net.weights.load_state_dict(supernet.slices(member.network))
    except (KeyError, RuntimeError) as error:
        raise ValueError(
            f"retrain.init is supernet, but {member.name} ({member.network}) is larger than the "
            "super-supernet; use init: scratch"
        ) from error
    return net


def train(
    params: Retrain, net: Classifier, images: Images, seed: int, state: Path | None, emit: Emit
) -> History:
    """Train a network in place and calibrate its norms on the images it was trained on."""
    history = fixed.train(net, images, params.recipe, seed, state, emit)
    fixed.calibrate(net, images, params.calibration, seed)
    return history


def tested(
    params: Retrain, member: Member, info: DataInfo, said: Mapping[str, Predictions], weights: str
) -> Trained:
    """Describe a member after its one test: how good it is, and what was tested.

    ``said`` are its answers to select and test; on select it is judged only if it was not trained
    on it. ``weights`` is the hash of the file of the weights.
    """
    select = None if params.use_select else said["select"]
    result = scores.tested(said["test"], select, params.confidence)
    return Trained(member=member, data=info.digest, weights=weights, **result)


def metrics(trained: Trained, history: History) -> dict[str, Any]:
    """Return a member's numbers."""
    numbers = {key: getattr(trained, key) for key in ("accuracy", "low", "high", "balanced")}
    if trained.select:
        numbers["select"] = trained.select.accuracy
    size = {"flops": trained.member.flops, "params": trained.member.params}
    return numbers | {"loss": history[-1][1]} | size
