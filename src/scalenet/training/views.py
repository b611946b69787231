"""What a process sees of a step: its part of the batch, as it would be without other processes."""

from __future__ import annotations

import torch
from torch import Tensor

from scalenet.config.recipe import Augment
from scalenet.data.augmentation import Targets, augment
from scalenet.data.images import Images
from scalenet.nets import group


def of_step(
    images: Images, index: Tensor, resolution: int, params: Augment, generator: torch.Generator
) -> tuple[Tensor, Targets]:
    """Return this process's part of a step's view (n, C, resolution, resolution) and its targets.

    ``index`` is the whole batch's, and all of it is augmented: an image's partner may be in another
    process's part.
    """
    view, targets = augment(images, index, resolution, params, generator)
    mine = group.part(len(index))
    partners = None if targets.partners is None else targets.partners[mine]
    return view[mine], Targets(targets.labels[mine], partners, targets.share)
