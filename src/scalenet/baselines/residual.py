"""A plain residual network (He et al. 2016), trained as the members are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from scalenet.baselines.measured import Measured
from scalenet.config.baselines import Baselines, ResidualSteps
from scalenet.config.params import Retrain
from scalenet.data.images import Images
from scalenet.nets import blocks, memory, weights
from scalenet.nets.classifier import Classifier
from scalenet.records.emit import Emit
from scalenet.space.cost import Layer, output_side
from scalenet.space.network import Task
from scalenet.training import fixed, member
from scalenet.training.loop import History

GROUPS, BLOCKS = 3, 2  # groups of blocks, each twice as wide and half as large; blocks of a group


class Part(NamedTuple):
    """A residual block: two 3x3 convolutions, and a 1x1 beside them where the shape changes."""

    name: str
    w_in: int
    w_out: int
    stride: int

    @property
    def changes(self) -> bool:
        return self.stride > 1 or self.w_in != self.w_out


def parts(width: int) -> Iterator[Part]:
    """Yield the residual blocks of a network whose stem has ``width`` channels."""
    w_in = width
    for group in range(GROUPS):
        for block in range(BLOCKS):
            stride = 2 if group and not block else 1
            yield Part(f"groups/{group}/{block}", w_in, width * 2**group, stride)
            w_in = width * 2**group


def shapes(width: int, task: Task) -> dict[str, blocks.Shape]:
    """Name and shape every trained tensor."""
    out = blocks.conv_shapes("stem", task.channels, width, 3)
    for part in parts(width):
        out |= blocks.conv_shapes(f"{part.name}/spatial", part.w_in, part.w_out, 3)
        out |= blocks.conv_shapes(f"{part.name}/project", part.w_out, part.w_out, 3)
        if part.changes:
            out |= blocks.conv_shapes(f"{part.name}/shortcut", part.w_in, part.w_out, 1)
    last = width * 2 ** (GROUPS - 1)
    return out | {"classifier/weight": (task.classes, last), "classifier/bias": (task.classes,)}


def layers(width: int, stride: int, px: int, task: Task) -> Iterator[Layer]:
    """Yield every convolution for images of ``px`` a side; ``stride`` is the stem's."""
    px = output_side(px, stride)
    yield Layer(task.channels, width, 3, 1, px, bias=False, norm=True)
    for part in parts(width):
        px = output_side(px, part.stride)
        yield Layer(part.w_in, part.w_out, 3, 1, px, bias=False, norm=True)
        yield Layer(part.w_out, part.w_out, 3, 1, px, bias=False, norm=True)
        if part.changes:
            yield Layer(part.w_in, part.w_out, 1, 1, px, bias=False, norm=True)
    yield Layer(width * 2 ** (GROUPS - 1), task.classes, 1, 1, 1, bias=True, norm=False)


class ResidualNet(Classifier):
    """Stem, three groups of two residual blocks, mean over places, classifier."""

    def __init__(self, width: int, stride: int, resolution: int, task: Task):
        super().__init__(shapes(width, task), resolution)
        self.width, self.stride = width, stride

    def compute(self, images: Tensor, normalise: blocks.Norm, drop: blocks.Drop | None) -> Tensor:
        """Map images (N, C, R, R) to logits (N, classes), normalising in a given way."""
        named = self.weights
        x = F.relu(blocks.conv(named, "stem", images, normalise, self.stride))
        x = x.contiguous(memory_format=torch.channels_last)
        for done, part in enumerate(parts(self.width), start=1):
            y = memory.layer(self._branch, part, x, normalise)
            y = drop(y, done / (GROUPS * BLOCKS)) if drop else y
            x = F.relu(y + self._shortcut(part, x, normalise))
        return F.linear(x.mean((2, 3)), named["classifier/weight"], named["classifier/bias"])

    def _branch(self, part: Part, x: Tensor, normalise: blocks.Norm) -> Tensor:
        named = self.weights
        x = F.relu(blocks.conv(named, f"{part.name}/spatial", x, normalise, part.stride))
        return blocks.conv(named, f"{part.name}/project", x, normalise)

    def _shortcut(self, part: Part, x: Tensor, normalise: blocks.Norm) -> Tensor:
        if not part.changes:
            return x
        x = x[:, :, :: part.stride, :: part.stride]
        return blocks.conv(self.weights, f"{part.name}/shortcut", x, normalise)


# --- training -------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """What all trainings of the residual networks share.

    ``trial`` are the images of the trials, ``train`` those of the two trainings that count (train,
    or train and select), ``held`` select and test, all of ``px`` a side; ``stride`` is the stem's.
    """

    retrain: Retrain
    baselines: Baselines
    task: Task
    stride: int
    px: int
    trial: Images
    train: Images
    held: Mapping[str, Images]


def measure(setting: Setting, state: Path | None, emit: Emit) -> list[Measured]:
    """Try every width, then train the one that select finds best: for a member, and for a run."""
    section, select = setting.baselines.residual, setting.held["select"]
    curves: dict[str, History] = {}
    right: list[int] = []
    told = parts_of(section)
    for width, steps in zip(section.widths, section.trial, strict=True):
        name = f"trial-{width}"
        emit({"event": "part", "name": name, **next(told)})
        net, curves[name] = trained(setting, width, steps, setting.trial, _below(state, name), emit)
        right.append(int(fixed.predict(net, select, setting.retrain.batch).right.sum()))
    best = right.index(max(right))
    made = []
    for name, counts in (("member", section.member), ("run", section.run)):
        width, steps = section.widths[best], counts[best]
        emit({"event": "part", "name": name, **next(told)})
        net, curve = trained(setting, width, steps, setting.train, _below(state, name), emit)
        curves[name] = curve
        made.append(_measured(setting, net, name, steps, curves))
        curves = {}
    return made


def parts_of(section: ResidualSteps) -> Iterator[dict[str, float]]:
    """Yield each training's ``share`` of all of them, and of what is ``done`` before it (0…1).

    In order: the trials, the one for a member's time, the one for a run's. The steps of all widths
    are meant to take equally long.
    """
    middle = len(section.widths) // 2
    longer = (counts[middle] / section.trial[middle] for counts in (section.member, section.run))
    times, done = [*(1.0 for _ in section.widths), *longer], 0.0
    for time in times:
        yield {"done": done / sum(times), "share": time / sum(times)}
        done += time


def trained(
    setting: Setting, width: int, steps: int, images: Images, state: Path | None, emit: Emit
) -> tuple[ResidualNet, History]:
    """Train a fresh network by the members' recipe, its warm-up the same share of the steps."""
    net = ResidualNet(width, setting.stride, setting.px, setting.task)
    seed, recipe = setting.baselines.seed, setting.retrain.recipe
    weights.initialise(net.weights, torch.Generator().manual_seed(seed))
    warmup = recipe.warmup * steps // recipe.steps
    recipe = recipe.model_copy(update={"steps": steps, "warmup": warmup})
    section = setting.retrain.model_copy(update={"recipe": recipe})
    net.to(images.device)
    return net, member.train(section, net, images, seed, state, emit)


def _below(state: Path | None, name: str) -> Path | None:
    return state and state / name


def _measured(
    setting: Setting, net: ResidualNet, name: str, steps: int, curves: Mapping[str, History]
) -> Measured:
    batch = setting.retrain.batch
    said = {split: fixed.predict(net, held, batch) for split, held in setting.held.items()}
    counted = list(layers(net.width, net.stride, net.resolution, setting.task))
    what = {"member": "largest member's time", "run": "whole run's time"}[name]
    return Measured(
        name=f"residual-{name}",
        about=f"residual network, {net.width} channels, {what}",
        images=len(setting.train),
        answers=said,
        steps=steps,
        flops=sum(layer.flops for layer in counted),
        params=sum(layer.parameters for layer in counted),
        curves=curves,
    )
