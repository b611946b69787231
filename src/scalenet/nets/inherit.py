"""Weights that start from a super-supernet's: a member's, or those of another super-supernet.

A member that is larger grows as its function stays (Chen et al. 2016, Net2Net; with zeros for what
is new): new channels have fresh weights, and nothing reads them yet; new layers are residual
branches that add nothing yet (nets/weights.py). Both learn from the first step on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import le
from pathlib import Path

import torch
from torch import Tensor

from scalenet.config.params import WeightsFile
from scalenet.nets import elastic as elastics
from scalenet.nets.elastic import Elastic
from scalenet.nets.weights import crop
from scalenet.records import files
from scalenet.space.network import Block, Network


def member(elastic: Elastic, network: Network, fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a network's first weights: its slice of the super-supernet, grown if it is larger.

    ``fresh`` are the network's own, as initialised. At the same resolution the network then
    computes what its slice computes. ``ValueError`` says which of its parts no growth reaches.
    """
    inside = held(elastic, network)
    gained = skips(network) ^ skips(inside)
    if gained:
        raise ValueError(
            f"layer 0 of block {min(gained)} has a skip in one of the member and its slice alone, "
            "because the widths around it are rounded to the same"
        )
    return grown(fresh, elastic.slices(inside))


def held(elastic: Elastic, network: Network) -> Network:
    """Return the largest network inside a given one that a super-supernet holds.

    It has the same resolution. ``ValueError`` for a kernel or an expansion that is not there.
    """
    blocks = [_held(elastic.weights, i, block) for i, block in enumerate(network.blocks)]
    return replace(
        network,
        stem_width=min(network.stem_width, len(elastic.weights["stem/norm/bias"])),
        head_width=min(network.head_width, len(elastic.weights["head/norm/bias"])),
        blocks=tuple(blocks),
    )


def _held(weights: Mapping[str, Tensor], number: int, block: Block) -> Block:
    name = f"stages/{number}"
    layers = [j for j in range(len(block.kernels)) if f"{name}/{j}/project/weight" in weights]
    for layer in layers:
        kernel = f"{name}/{layer}/depth/weight/"
        if f"{kernel}{block.kernels[layer]}" not in weights:
            there = sorted(key.removeprefix(kernel) for key in weights if key.startswith(kernel))
            raise ValueError(
                f"layer {layer} of block {number} has a kernel of {block.kernels[layer]}, the "
                f"super-supernet has {', '.join(there)} there"
            )
    expand = _expansion(weights, f"{name}/0")
    if block.expand > expand:
        raise ValueError(
            f"block {number} expands by {block.expand}, the super-supernet's by {expand} at most"
        )
    width = min(block.width, len(weights[f"{name}/0/project/norm/bias"]))
    return replace(block, kernels=block.kernels[: len(layers)], width=width)


def _expansion(weights: Mapping[str, Tensor], layer: str) -> int:
    """Return the widest expansion that is kept for a layer; 1 if it has none."""
    kernel = weights.get(f"{layer}/expand/weight")
    return 1 if kernel is None else len(kernel) // kernel.shape[1]


def skips(network: Network) -> set[int]:
    """Return the blocks whose first layer has a skip: that of stride 1 which keeps its width."""
    widths = [network.stem_width, *(block.width for block in network.blocks)]
    return {i for i, b in enumerate(network.blocks) if b.stride == 1 and widths[i] == widths[i + 1]}


def grown(fresh: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors shaped as ``fresh`` that compute what ``source``, of a part of it, computes.

    What ``source`` has comes first along every axis. Its outputs read nothing of the new inputs;
    new outputs, and tensors of new layers, are fresh.
    """
    return {
        name: _grown(tensor, source[name]) if name in source else tensor.detach().clone()
        for name, tensor in fresh.items()
    }


@torch.no_grad()
def _grown(fresh: Tensor, source: Tensor) -> Tensor:
    tensor = fresh.detach().clone()
    tensor[: len(source)] = 0
    tensor[tuple(slice(size) for size in source.shape)] = source
    return tensor


# --- a super-supernet from another ----------------------------------------------------------------


def read(init: WeightsFile | None, root: Path) -> Elastic | None:
    """Read the super-supernet to start from, if one is asked for; paths are relative to ``root``.

    ``ValueError`` if the file is not the one that params.yaml means.
    """
    if init is None:
        return None
    path = root / init.file
    there = files.sha256(path)
    if there != init.sha256:
        raise ValueError(
            f"supernet.init.sha256 is {init.sha256}, but {path} has {there}; give that, or the "
            "file that was meant"
        )
    return elastics.read(path)


@torch.no_grad()
def supernet(net: Elastic, source: Elastic) -> None:
    """Start a super-supernet from another that holds it, in place.

    That is of the same space, with as many channels and layers or more, of which it takes the
    first. (With bilateral coupling as many: its slices end at the last channel as well.) What
    depends on the task stays fresh where the tasks differ: the stem's kernel for images of other
    channels, the classifier for another number of classes (for as many it is taken over, whatever
    they are called). ``ValueError`` if the source does not hold it.
    """
    fresh = {"stem/weight"} if net.task.channels != source.task.channels else set()
    if net.task.classes != source.task.classes:
        fresh |= {"classifier/weight", "classifier/bias"}
    ours, theirs = (
        {name: tuple(tensor.shape) for name, tensor in one.weights.items() if name not in fresh}
        for one in (net, source)
    )
    wrong = [name for name in ours if not _inside(ours[name], theirs.get(name), net.sides)]
    wrong += [name for name in theirs if _block(name) not in set(map(_block, ours))]
    if wrong:
        name = min(wrong)
        raise ValueError(
            f"supernet.init.file holds a super-supernet of another space: {name} is "
            f"{theirs.get(name, 'not there')}, here {ours.get(name, 'not there')}; give one of "
            "the same space, whose largest strategies are no smaller, or set supernet.init: null"
        )
    for name, shape in ours.items():
        net.weights[name].copy_(crop(source.weights[name], shape, "left"))


def _inside(shape: tuple[int, ...], of: tuple[int, ...] | None, sides: tuple[str, ...]) -> bool:
    """Tell whether a tensor is the first part of another; a kernel has the same side."""
    if of is None or shape[2:] != of[2:] or len(shape) != len(of):
        return False
    return shape == of or ("right" not in sides and all(map(le, shape, of)))


def _block(name: str) -> str:
    """Return which block a tensor is of: ``stages/2``, or the name's first part."""
    return "/".join(name.split("/")[: 2 if name.startswith("stages/") else 1])
