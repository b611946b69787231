"""A training step asks a GPU for nothing that it would have to wait for: followed on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from scalenet.data.images import Arrays, Images
from scalenet.nets import child, elastic, group
from scalenet.space.budget import Budget
from scalenet.space.scale import scale
from scalenet.training import fixed, loop, supernet

ANSWERS = {"item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "nonzero"}
ANSWERS |= {"new_tensor"}  # which sends what it is given, and waits
INDEXED = {"__getitem__", "__setitem__"}
STAGED = 2**16  # bytes that CUDA's driver takes from memory that is not pinned without a wait
BATCH = 512  # images of a step that is to send no more than that
VIEW = {"rotate": 10, "shift": 0.1, "scale": [0.9, 1.1], "flip": True}
HEAVY = {
    "rotate": 10, "shift": 0, "scale": [1, 1], "flip": True, "crop": [0.3, 1],
    "aspect": 1.3, "erase": 0.5, "mixup": 0.2, "cutmix": 1.0,
    "randaugment": {"ops": 14, "magnitude": 9},
}  # fmt: skip


class Followed(TorchFunctionMode):
    """Follow the tensors that would be on a GPU, and note each call that waits for it or that mixes
    them with others.

    Those are there from the beginning, what is sent to a device or made on one, and all that is
    computed of them.
    """

    def __init__(self, *there: Tensor, most: int = STAGED):
        super().__init__()
        self.there, self.noted, self.most = WeakIdKeyDictionary(), [], most
        self._mark(there)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = [tensor in self.there for tensor in tensors]
        sent = name == "to" and self._names_a_device(args[1:], kwargs)
        made = not tensors and kwargs.get("device") is not None
        if any(there):
            alien = [t for t, known in zip(tensors, there, strict=True) if not known and t.ndim]
            by = [t for t in tree_leaves(args[1:2]) if isinstance(t, Tensor)]
            masks = name in INDEXED and any(t.dtype == torch.bool for t in by)
            if name in ANSWERS or masks or (alien and not sent):
                self.noted.append(name)
        elif (sent and not kwargs.get("non_blocking")) or (
            made and name in ("tensor", "as_tensor")
        ):
            self.noted.append(f"{name} that waits")
        elif sent and sum(t.numel() * t.element_size() for t in tensors) > self.most:
            self.noted.append(f"{name} of much")
        found = func(*args, **kwargs)
        if any(there) or sent or made:
            self._mark(tree_leaves(found))
        return found

    def _names_a_device(self, given: tuple[Any, ...], named: dict[str, Any]) -> bool:
        places = [*given, *named.values()]
        return any(isinstance(p, torch.device | Tensor) for p in places)

    def _mark(self, found) -> None:
        for tensor in found:
            if isinstance(tensor, Tensor):
                self.there[tensor] = True


def test_what_waits_for_a_device_is_noted():
    there, here = torch.ones(3), torch.ones(3)
    calls: dict[str, Callable[[], Any]] = {
        "item": lambda: there.sum().item(),
        "__bool__": lambda: bool((there > 0).all()),
        "add": lambda: there + here,
        "to that waits": lambda: here.to(torch.device("cpu")),
        "tensor that waits": lambda: torch.tensor([1.0], device=torch.device("cpu")),
        "__getitem__": lambda: there[there > 0],
        "__setitem__": lambda: there.__setitem__(torch.tensor([0]), 1.0),
        "new_tensor": lambda: there.new_tensor([1.0]),
        "to of much": lambda: torch.ones(2**15).to(torch.device("cpu"), non_blocking=True),
    }
    for name, call in calls.items():
        with Followed(there) as followed:
            call()
        assert followed.noted and name.strip("_") in followed.noted[0], name
    with Followed(there) as followed:
        there + here.to(there.device, non_blocking=True)
        there * torch.arange(3, device=there.device) + torch.tensor(2.0)
    assert not followed.noted


def steps_of(monkeypatch, images: Images, train: Callable[..., Any], *arguments: Any) -> Followed:
    """Take a few steps of a training; return what was noted."""

    def few(tensors, recipe, backward, *_):
        most = STAGED * recipe.batch // BATCH
        given = (*tensors.values(), images.array, images.labels, images.mean, images.std)
        with Followed(*given, most=most) as f:
            training = loop.Training(tensors, recipe)
            for step in range(3):
                training.step(backward, step)
        noted.append(f)
        return []

    noted: list[Followed] = []
    monkeypatch.setattr(loop, "train", few)
    train(*arguments)
    return noted[0]


def as_ever(monkeypatch):
    """Images are held on the device, and this process trains alone."""


def read_ahead(monkeypatch):
    """Images are in a file, and read ahead."""
    monkeypatch.setattr(Arrays, "far", lambda *_: True)
    monkeypatch.setattr(Arrays, "coming", lambda s, indices: (s.pixels(i) for i in indices))


def of_several(monkeypatch):
    """This process is the first of two, whose exchanges wait for nothing."""
    monkeypatch.setattr(group, "size", lambda: 2)
    monkeypatch.setattr(group, "total", lambda x: x)
    monkeypatch.setattr(group, "add_up", lambda _: None)


@pytest.mark.parametrize("view", [VIEW, HEAVY], ids=["plain", "heavy"])
@pytest.mark.parametrize("way", [as_ever, read_ahead, of_several])
def test_a_members_step_waits_for_nothing(monkeypatch, make_params, toy, info, view, way):
    way(monkeypatch)
    recipe = {"augment": view, "drop_path": 0.2, "balance": 0.0, "batch": 64}
    params, images = make_params({"retrain": {"recipe": recipe}}), toy(96)
    budget = Budget(params.space, params.scaling, info.task)
    base, [by, *_] = budget.draw_of(np.random.default_rng(0), 0)
    network = scale(params.space, base, by)
    net = child.build(network, info.task, torch.Generator().manual_seed(0))
    followed = steps_of(monkeypatch, images, fixed.train, net, images, params.retrain.recipe, 0)
    assert len(followed.there) and followed.noted == []


@pytest.mark.parametrize(
    "changes",
    [{}, {"sandwich": True, "distill": True}, {"coupling": "bilateral", "sampled": 2}],
    ids=["plain", "distilled", "bilateral"],
)
def test_a_super_supernets_step_waits_for_nothing(monkeypatch, make_params, toy, info, changes):
    params = make_params({"supernet": {"recipe": {"augment": HEAVY}} | changes})
    images, generator = toy(96), torch.Generator().manual_seed(0)
    coupling = params.supernet.coupling
    net = elastic.build(params.space, params.scaling, info.task, coupling, generator)
    given = params, net, images, None, loop.ignore
    followed = steps_of(monkeypatch, images, supernet.train, *given)
    assert len(followed.there) and followed.noted == []
