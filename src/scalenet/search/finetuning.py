"""Score networks after training each slice alone for a while: dearer, and nearer the truth.

Shared weights serve every network at once, which hides what a strategy is worth: channels that few
networks use learn late, and what one resolution needs is blurred by the others. A short training of
the slice alone brings that back (docs/findings.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from scalenet.config.params import Params
from scalenet.config.recipe import Recipe
from scalenet.data.images import Images
from scalenet.nets.child import Child
from scalenet.nets.elastic import Elastic
from scalenet.search.scoring import Measurement, judged
from scalenet.space.network import Network
from scalenet.training import fixed


def recipe(params: Params) -> Recipe:
    """Return the super-supernet's recipe with fine-tuning's steps and rate.

    A tenth of the steps is warm-up; there is no average of weights.
    """
    steps = params.search.finetune.steps
    changes = {"steps": steps, "lr": params.search.finetune.lr, "warmup": steps // 10, "ema": 0.0}
    return params.supernet.recipe.model_copy(update=changes | {"log": steps, "checkpoint": steps})


@dataclass(frozen=True)
class Finetuner:
    """Measures fine-tuned networks here, one after the other (docs/method.md §5).

    A result depends on its network alone. A slice starts at the left, also in a super-supernet of
    bilateral coupling. ``ValueError`` if training diverges.
    """

    elastic: Elastic
    train: Images
    select: Images
    params: Params

    def __call__(self, networks: Sequence[Network]) -> Iterator[Measurement]:
        return map(self.measure, networks)

    def measure(self, network: Network) -> Measurement:
        """Train one network's slice on train, recalibrate it and judge it on select."""
        start, search = time.perf_counter(), self.params.search
        net = Child(network, self.elastic.task).to(self.train.device)
        net.weights.load_state_dict(self.elastic.slices(network))
        try:
            fixed.train(net, self.train, recipe(self.params), search.seed)
        except ValueError as error:
            raise ValueError(
                f"search.finetune.lr is {search.finetune.lr}; lower it: {network}: {error}"
            ) from error
        fixed.calibrate(net, self.train, search.calibration, search.seed)
        with torch.no_grad():
            reached = judged(net, self.select, network.resolution, search.batch)
        return Measurement(*reached, time.perf_counter() - start)
