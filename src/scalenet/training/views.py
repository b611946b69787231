"""What a process sees of a step: its part of the batch, as it would be without other processes.

What is random is drawn for the whole batch. Read, decoded and augmented are the part's own images
and those they are mixed with, no others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scalenet.config.recipe import Augment, Recipe
from scalenet.data.augmentation import Draws, Targets, augment, draw
from scalenet.data.batches import Batches, Order
from scalenet.data.images import Images
from scalenet.data.shrunk import Shrunk
from scalenet.nets import group
from scalenet.training import loop


def batches(images: Images, recipe: Recipe, seed: int) -> Batches:
    """Return what this process reads at each step of a training."""
    order = Order(len(images), recipe.batch, seed)

    def rows(step: int) -> Tensor:
        generator = loop.step_generator(seed, step)
        return _draws(order.batch, images.channels, recipe.augment, generator).rows

    kept = images if isinstance(images, Shrunk) else Shrunk(images)
    return Batches(kept, order, recipe.steps, rows if group.size() > 1 else None)


def of_step(
    images: Images,
    index: Tensor,
    batch: int,
    resolution: int,
    params: Augment,
    generator: torch.Generator,
) -> tuple[Tensor, Targets]:
    """Return this process's part of a step's view (n, C, resolution, resolution) and its targets.

    ``index`` is of what this process reads at that step, ``batch`` counts the whole batch.
    """
    draws = _draws(batch, images.channels, params, generator)
    return augment(images, index, resolution, params, draws)


def _draws(batch: int, channels: int, params: Augment, generator: torch.Generator) -> Draws:
    return draw(batch, channels, params, generator).part(group.part(batch))
