"""Score a network after training its slice of the super-supernet on alone for a while: dearer, and nearer the truth.

Shared weights serve every network at once, which hides what a strategy is worth: channels that few networks use learn
late, and what one resolution needs is blurred by the others. A short training of a slice's own brings that back
(docs/findings.md).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from scalenet.config.params import Params, Recipe
from scalenet.data.images import Images
from scalenet.nets.child import Child
from scalenet.nets.elastic import Elastic
from scalenet.search.scoring import Measurement, judged
from scalenet.space.network import Network
from scalenet.training import fixed


def recipe(params: Params) -> Recipe:
    """Return the super-supernet's recipe with fine-tuning's steps and rate, a tenth of it warm-up, and no average."""
    steps = params.search.finetune.steps
    changes = {"steps": steps, "lr": params.search.finetune.lr, "warmup": steps // 10, "ema": 0.0}
    return params.supernet.recipe.model_copy(update=changes | {"log": steps, "checkpoint": steps})


@dataclass(frozen=True)
class Finetuner:
    """Measures networks; what it returns depends on the network alone, not on what was measured before.

    A slice starts at the left, also in a super-supernet of bilateral coupling. ``ValueError`` if training diverges.
    """

    elastic: Elastic
    train: Images
    select: Images
    params: Params

    def __call__(self, network: Network) -> Measurement:
        start, search = time.perf_counter(), self.params.search
        net = Child(network, self.elastic.channels, self.elastic.classes).to(self.train.pixels.device)
        net.weights.load_state_dict(self.elastic.slices(network))
        try:
            fixed.train(net, self.train, recipe(self.params), search.seed)
        except ValueError as error:
            raise ValueError(f"search.finetune.lr is {search.finetune.lr}; lower it: {network}: {error}") from error
        fixed.calibrate(net, self.train, search.calibration, search.seed)
        with torch.no_grad():
            accuracy, probability = judged(net, self.select, network.resolution, search.batch)
        return Measurement(accuracy, probability, time.perf_counter() - start)
