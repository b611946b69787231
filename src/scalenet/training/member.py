"""Training of a family member, and its one test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scalenet.config.params import Retrain
from scalenet.data.images import Images
from scalenet.laws import scores
from scalenet.nets import child, elastic, inherit
from scalenet.nets.child import Child
from scalenet.nets.classifier import Classifier
from scalenet.nets.elastic import Elastic
from scalenet.records.documents import DataInfo, Member, Trained
from scalenet.records.emit import Emit
from scalenet.records.predictions import Predictions
from scalenet.space.network import Task
from scalenet.training import fixed, watch
from scalenet.training.loop import History

WATCHED = ("select",)  # a member's accuracy while it trains


def initial(
    member: Member, task: Task, supernet: Elastic | None, generator: torch.Generator
) -> Child:
    """Return the child to train: fresh, or with the super-supernet's slice as its weights.

    A slice that is smaller than the member is grown (nets/inherit.py). ``ValueError`` if the
    member has what no super-supernet of its space has.
    """
    net = child.build(member.network, task, generator)
    if supernet is None:
        return net
    try:
        net.weights.load_state_dict(inherit.member(supernet, member.network, net.weights))
    except ValueError as error:
        raise ValueError(
            f"retrain.init is supernet, but {member.name} ({member.network}) cannot start from "
            f"it: {error}; use init: scratch"
        ) from error
    return net


def lengthened(params: Retrain, multiple: float) -> Retrain:
    """Return how a member is trained: by the recipe, its steps for its budget.

    ``multiple`` is the budget in units of S0's; each doubling makes steps and warm-up ``growth``
    times as many.
    """
    factor = params.growth ** math.log2(multiple)
    steps, warmup = (round(factor * count) for count in (params.recipe.steps, params.recipe.warmup))
    recipe = params.recipe.model_copy(update={"steps": max(1, steps), "warmup": warmup})
    return params.model_copy(update={"recipe": recipe})


def judge(params: Retrain, net: Child, train: Images, select: Images) -> watch.Judge | None:
    """Return what judges a member on select while it trains; None where it is trained on it."""
    count = 0 if params.use_select else params.watch
    return watch.judge_of([net.network], elastic.calibrated, train, select, count)


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
