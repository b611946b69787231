"""Training one fixed network: a member, a fine-tuned candidate or a baseline; and asking it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from scalenet.config.recipe import Recipe
from scalenet.data.augmentation import class_weights
from scalenet.data.images import Batches, Images, Order, chunks, resize
from scalenet.nets import group
from scalenet.nets.blocks import drop_path
from scalenet.nets.classifier import Classifier
from scalenet.records.predictions import Predictions
from scalenet.training import loop, views


def train(
    net: Classifier,
    images: Images,
    recipe: Recipe,
    seed: int,
    state: Path | None = None,
    emit: loop.Emit = loop.ignore,
) -> loop.History:
    """Train a network in place; its norms are not calibrated yet.

    The seed draws the order and the views of the images. ``state`` and ``emit`` are loop.train's.
    """
    order = Order(len(images), recipe.batch, seed)
    batches, share = Batches(images, order, recipe.steps), group.share(order.batch)
    weights = class_weights(images.labels, recipe.balance)

    def backward(step: int) -> float:
        generator, resolution = loop.step_generator(seed, step), net.resolution
        view, targets = views.of_step(*batches.at(step), resolution, recipe.augment, generator)
        with loop.autocast(recipe, images.device):
            logits = net(view, drop_path(recipe.drop_path, generator, order.batch))
        loss = targets.loss(logits, recipe.label_smoothing, weights) * share
        loss.backward()
        return loss.item()

    with batches:
        return loop.train(net.train().weights, recipe, backward, state, emit)


def calibrate(net: Classifier, images: Images, count: int, seed: int) -> None:
    """Measure the norms' statistics on ``count`` images drawn by a seed: ready for evaluation."""
    first = torch.from_numpy(np.random.default_rng(seed).permutation(len(images))[:count])
    net.calibrate([resize(images.floats(first), net.resolution)])
    net.eval()


@torch.no_grad()
def predict(net: Classifier, images: Images, batch: int) -> Predictions:
    """Return what a calibrated network says of images, ``batch`` of them at a time."""
    parts = []
    for x, y in chunks(images.resized(net.resolution, batch), images.labels):
        shares = net(x).softmax(1)
        probability, predicted = shares.max(1)
        parts.append((y.int(), predicted.int(), probability, shares.gather(1, y[:, None])[:, 0]))
    return Predictions(*(torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)))
