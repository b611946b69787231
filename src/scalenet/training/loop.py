"""The training loop: one recipe for the super-supernet and for every family member."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from scalenet.config.recipe import Recipe
from scalenet.nets import group, memory
from scalenet.nets.weights import decayed
from scalenet.records import tensors as tensor_files
from scalenet.records.emit import Emit
from scalenet.records.files import Unread, set_aside
from scalenet.records.shortage import ran_out

CHECKPOINT = "checkpoint.pt"  # in the folder of a training's state
FRUGAL = (
    "memory ran out at step {step}: from here on the activations of layers are computed twice, not "
    "kept, with the same result, more slowly; a smaller recipe.batch would need less"
)
Backward = Callable[[int], Tensor]  # step -> loss (), leaving gradients in the parameters
History = list[tuple[int, float, float]]  # (step, mean loss since the last entry, learning rate)


def ignore(record: Mapping[str, Any]) -> None:
    """Tell nobody."""


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the rate of a step: linear warm-up, then cosine to 0."""
    if step < recipe.warmup:
        return recipe.lr * (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * progress))


def autocast(recipe: Recipe, device: torch.device):
    """Return the context that computes in the recipe's precision."""
    if recipe.precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


class Average:
    """Exponential moving average of the weights (EMA), faster while training is young."""

    def __init__(self, tensors: Mapping[str, Tensor], decay: float):
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def update(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Move towards the current weights."""
        keep = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
        current = [tensor.detach() for tensor in tensors.values()]
        torch._foreach_lerp_(list(self.tensors.values()), current, 1 - keep)


class Training:
    """What a checkpoint holds: weights, their average, the optimiser and the loss curve so far."""

    def __init__(self, tensors: nn.ParameterDict, recipe: Recipe):
        with_decay, without = decayed(tensors)
        groups = [
            {"params": with_decay, "weight_decay": recipe.weight_decay},
            {"params": without, "weight_decay": 0.0},
        ]
        self.tensors, self.recipe = tensors, recipe
        self.optimizer = torch.optim.SGD(
            groups, recipe.lr, recipe.momentum, nesterov=recipe.momentum > 0, fused=True
        )
        if recipe.momentum:  # of all at once: the fused step takes none that comes later
            for tensor in tensors.values():
                self.optimizer.state[tensor]["momentum_buffer"] = torch.zeros_like(tensor)
        self.average = Average(tensors, recipe.ema)
        self.history: History = []

    def step(self, backward: Backward, step: int) -> Tensor:
        """Take one optimiser step and return its loss (): this process's part of the whole.

        Nothing here waits for a GPU, which gets the next step while it computes this one.
        """
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = learning_rate(self.recipe, step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = backward(step)
        group.add_up([t.grad for t in self.tensors.values() if t.grad is not None])
        clip_grad_norm_(self.tensors.values(), self.recipe.clip)
        self.optimizer.step()
        self.average.update(self.tensors, step)
        return loss

    def note(self, step: int, losses: list[Tensor]) -> None:
        """Add the mean of the latest losses to the curve; ``ValueError`` if training diverged."""
        values = torch.stack(losses).tolist()
        mean = group.total_of(sum(values) / len(values), losses[0].device)
        if not math.isfinite(mean):
            raise ValueError(
                f"training diverged by step {step}: the loss is {mean}; "
                "lower recipe.lr or recipe.clip"
            )
        self.history.append((step, mean, learning_rate(self.recipe, step - 1)))

    def save(self, path: Path, step: int) -> None:
        """Write a checkpoint."""
        content = {
            "step": step,
            "weights": {name: t.detach() for name, t in self.tensors.items()},
            "average": self.average.tensors,
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }
        tensor_files.write(path, content, {"kind": "checkpoint"})

    def resume(self, path: Path, emit: Emit) -> int:
        """Restore a checkpoint and return its step; 0 if there is none, or a damaged one.

        A damaged one is set aside, and ``emit`` is told: of several processes by the first alone.
        To the others it may be gone already. One that this machine cannot read now stays:
        ``Unread``, or the error of memory that ran out.
        """
        if not path.exists():
            return 0
        try:
            content, _ = tensor_files.read(path)
        except Unread:
            raise
        except ValueError as error:
            if group.is_first() and path.exists():
                text = f"{error}; it is now {set_aside(path).name}, and training begins anew"
                emit({"event": "notice", "text": text})
            return 0
        self._copy(content["weights"])
        self.average.tensors = {
            name: t.to(self.tensors[name].device) for name, t in content["average"].items()
        }
        self.optimizer.load_state_dict(content["optimizer"])
        self.history = [tuple(entry) for entry in content["history"]]
        return content["step"]

    def finish(self) -> History:
        """Leave the moving average in the weights and return the loss curve."""
        self._copy(self.average.tensors)
        return self.history

    @torch.no_grad()
    def _copy(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])


def train(
    tensors: nn.ParameterDict,
    recipe: Recipe,
    backward: Backward,
    state: Path | None = None,
    emit: Emit = ignore,
) -> History:
    """Train tensors in place for ``recipe.steps``; leave their moving average, return the curve.

    ``backward`` computes a step's gradients: of several processes (nets/group.py) each those of its
    part of the loss, for the same tensors; they are summed. ``emit`` is told from which step it
    begins, of each entry of the loss curve, and of each checkpoint and the end: there with the
    averaged weights, which it may read.

    ``state`` is a folder for this work alone. With a checkpoint there, training continues exactly
    as if it had never stopped: what a step draws depends on its number alone.
    """
    training, checkpoint = Training(tensors, recipe), state and state / CHECKPOINT
    device = next(iter(tensors.values())).device
    group.meet(device)  # what the first set aside before, as `Watch` may, nobody goes on from
    first = training.resume(checkpoint, emit) if checkpoint else 0
    group.agree(first, device)
    if first:
        emit({"event": "notice", "text": f"goes on from step {first} of {recipe.steps}"})
    emit({"event": "training", "step": first, "steps": recipe.steps})
    backward, losses = _within_memory(training, backward, emit), []
    for step in range(first, recipe.steps):
        losses.append(training.step(backward, step))
        last, marked = step + 1 == recipe.steps, (step + 1) % recipe.checkpoint == 0
        place = {"step": step + 1, "steps": recipe.steps}
        if last or (step + 1) % recipe.log == 0:
            training.note(step + 1, losses)
            _, loss, rate = training.history[-1]
            emit({"event": "step", **place, "loss": loss, "learning_rate": rate})
            losses = []
        if last or marked:
            emit({"event": "checkpoint", **place, "weights": training.average.tensors})
        if checkpoint and marked and not last and group.is_first():
            training.save(checkpoint, step + 1)
    return training.finish()


def _within_memory(training: Training, backward: Backward, emit: Emit) -> Backward:
    """Return ``backward``, which from the first step that memory does not hold computes layers
    twice, and says so. Of several processes each would have to: they fail as they did."""
    frugal = False

    def attempt(step: int) -> Tensor | None:
        try:
            return backward(step)
        except (MemoryError, RuntimeError) as error:
            if group.size() > 1 or not ran_out(error):
                raise
            return None  # without the error, which holds all activations

    def within(step: int) -> Tensor:
        nonlocal frugal
        if not frugal:
            if (loss := attempt(step)) is not None:
                return loss
            frugal = True
            emit({"event": "notice", "text": FRUGAL.format(step=step)})
            training.optimizer.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
        with memory.frugal():
            return backward(step)

    return within


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return a step's CPU generator: the same in a resumed run as in an uninterrupted one."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)
