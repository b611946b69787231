"""Training one fixed network: a family member, or a candidate that is fine-tuned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from scalenet.config.params import Recipe
from scalenet.data.augmentation import augment
from scalenet.data.images import Images, Order
from scalenet.nets.blocks import drop_path
from scalenet.nets.child import Child
from scalenet.training import loop


def train(
    net: Child, images: Images, recipe: Recipe, seed: int, checkpoint: Path | None = None, key: str = ""
) -> loop.History:
    """Train a child in place; its norms are not calibrated yet. The seed draws the order and the views of images."""
    order, on = Order(len(images), recipe.batch, seed), images.pixels.device

    def backward(step: int) -> float:
        generator = loop.step_generator(seed, step)
        view, targets = augment(images, order.at(step), net.network.resolution, recipe.augment, generator)
        with loop.autocast(recipe, on):
            logits = net(view, drop_path(recipe.drop_path, generator))
        loss = targets.loss(logits, recipe.label_smoothing)
        loss.backward()
        return loss.item()

    return loop.train(net.train().weights, recipe, backward, checkpoint, key)


def calibrate(net: Child, images: Images, count: int, seed: int) -> None:
    """Measure the norms' statistics on ``count`` images drawn by a seed; the child is ready for evaluation."""
    first = torch.from_numpy(np.random.default_rng(seed).permutation(len(images))[:count])
    net.calibrate([images.resize(images.floats(first), net.network.resolution)])
    net.eval()
