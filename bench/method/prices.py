"""What trainings cost: their multiply-accumulates, and core-hours measured here and now.

A training step counts three forward passes. Core-hours are CPU time of a few steps of the networks
themselves.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from bench.method import lab as labs
from bench.method.lab import Lab
from bench.method.markdown import table
from bench.speed.common import PASSES
from scalenet.nets import child
from scalenet.space import cost
from scalenet.space.network import Network
from scalenet.training import device, loop, member

STEPS = 6  # that measure a network's speed, after one that warms up


@dataclass(frozen=True)
class Price:
    """A command and what it computes; networks on file are not in it."""

    command: str
    what: str
    trainings: int
    macs: float
    seconds: float

    def row(self) -> list[str]:
        """Return the cells of the plan's table."""
        hours = f"{self.seconds / 3600:.2f}"
        return [self.command, self.what, str(self.trainings), f"{self.macs:.3g}", hours]


def per_training(lab: Lab, flops: float) -> float:
    """Return the multiply-accumulates of training a network of so many FLOPs."""
    recipe = lab.params.retrain.recipe
    return PASSES * recipe.steps * recipe.batch * flops


def speed(lab: Lab, networks: Iterable[Network], steps: int = STEPS) -> float:
    """Return the multiply-accumulates a core-second that training these networks does.

    CPU time, not the clock's: other programs beside it do not make it slower.
    """
    on = device.prepare(lab.params.compute)
    images, _ = labs.images(lab, on)
    retrain = lab.params.retrain
    recipe = retrain.recipe.model_copy(update={"log": 1, "checkpoint": 1, "warmup": 0})
    macs, seconds = 0.0, 0.0
    for network in networks:
        net = child.build(network, lab.task, torch.Generator().manual_seed(0)).to(on)
        for count in (1, steps):
            few = recipe.model_copy(update={"steps": count})
            short = retrain.model_copy(update={"recipe": few, "calibration": recipe.batch})
            start = time.process_time()
            member.train(short, net, images, 0, None, loop.ignore)
            spent = time.process_time() - start
        macs += PASSES * steps * recipe.batch * cost.flops(network, lab.task)
        seconds += spent
    return macs / seconds


def show(rows: list[Price]) -> None:
    """Print the plan and its sum."""
    sums = (sum(getattr(row, key) for row in rows) for key in ("trainings", "macs", "seconds"))
    head = ["command", "what", "trainings", "multiply-accumulates", "core-hours"]
    print(table(head, [row.row() for row in [*rows, Price("all", "", *sums)]]), flush=True)
