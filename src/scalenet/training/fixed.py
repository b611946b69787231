"""Training one fixed network: a member, a fine-tuned candidate or a baseline; and asking it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scalenet.config.recipe import Recipe
from scalenet.data.augmentation import class_weights
from scalenet.data.images import Images, resize
from scalenet.nets import group
from scalenet.nets.blocks import drop_path
from scalenet.nets.classifier import Classifier
from scalenet.records.emit import Emit
from scalenet.records.predictions import Predictions
from scalenet.training import loop, views


def train(
    net: Classifier,
    images: Images,
    recipe: Recipe,
    seed: int,
    state: Path | None = None,
    emit: Emit = loop.ignore,
) -> loop.History:
    """Train a network in place; its norms are not calibrated yet.

    The seed draws the order and the views of the images. ``state`` and ``emit`` are loop.train's.
    """
    batches = views.batches(images, recipe, seed)
    batch = batches.order.batch
    share = group.share(batch)
    weights = class_weights(images.labels, recipe.balance)

    def backward(step: int) -> Tensor:
        generator, seen = loop.step_generator(seed, step), batches.at(step)
        view, targets = views.of_step(*seen, batch, net.resolution, recipe.augment, generator)
        with loop.autocast(recipe, images.device):
            logits = net(view, drop_path(recipe.drop_path, generator, batch))
        loss = targets.loss(logits, recipe.label_smoothing, weights) * share
        loss.backward()
        return loss.detach()

    with batches:
        return loop.train(net.train().weights, recipe, backward, state, emit)


def calibrate(net: Classifier, images: Images, count: int, seed: int) -> None:
    """Measure the norms' statistics on ``count`` images drawn by a seed: ready for evaluation.

    Of several processes all then have the first's network, to the last bit.
    """
    first = torch.from_numpy(np.random.default_rng(seed).permutation(len(images))[:count])
    net.calibrate(resize(images.floats(i), net.resolution) for i in first.split(count))
    group.from_first(list(net.weights.values()))
    net.eval()


@torch.no_grad()
def predict(net: Classifier, images: Images, batch: int) -> Predictions:
    """Return what a calibrated network says of images, ``batch`` of them at a time.

    Several processes answer a part each, and all return the whole, as one process would.
    ``ValueError`` if it says nothing of some: its outputs there are not finite, and no class.
    """
    labels, mine = images.labels, group.dealt(len(images), batch)
    # predicted class, its probability, the true class's; sums with zeros change none of them
    said = torch.zeros(3, len(images), device=images.device)
    start = mine.start
    for x in images.resized(net.resolution, batch, len(mine), start):
        shares, end = net(x).softmax(1), start + len(x)
        probability, predicted = shares.max(1)
        true = shares.gather(1, labels[start:end, None])[:, 0]
        said[:, start:end] = torch.stack([predicted, probability, true])
        start = end
    predicted, probability, true = group.total(said).cpu()
    if lost := int((~probability.isfinite()).sum()):
        raise ValueError(
            f"training diverged: of {lost:,} of {len(images):,} images the network's outputs are "
            "not finite; lower recipe.lr or recipe.clip"
        )
    answers = labels.int().cpu(), predicted.int(), probability.float(), true.float()
    return Predictions(*(column.numpy() for column in answers))
