"""How fast this machine is: a few steps of real training and scoring, on images of the source.

On one CPU thread what is timed is CPU time, and how much longer the whole took because of other
work is measured apart: a moment's load then does not make one network look slow.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls

from scalenet.baselines.residual import ResidualNet
from scalenet.config.params import Params
from scalenet.config.recipe import Recipe
from scalenet.data import shrunk
from scalenet.data.images import Images, on_device
from scalenet.data.intake import sums
from scalenet.data.splits import moments
from scalenet.nets import child, elastic, weights
from scalenet.nets.elastic import Elastic
from scalenet.pipeline.init.estimate import Rates
from scalenet.pipeline.init.look import Seen
from scalenet.search.scoring import Scorer
from scalenet.space import cost
from scalenet.space.budget import Budget, Budgeted
from scalenet.space.network import Network, Task
from scalenet.space.scale import scale
from scalenet.training import device as devices
from scalenet.training import fixed, supernet

STEPS, WARM = 10, 3  # timed steps of a training, and those before them
JUDGED = 3  # times that a network is judged
SHARED = 24  # timed steps of the super-supernet, whose networks differ
DRAWS = 50
LEAST = 1e-6  # seconds: no rate is below


class Timed(NamedTuple):
    """A network's FLOPs and the seconds that something took with it."""

    flops: int
    seconds: float


def probe(params: Params, seen: Seen) -> Rates:
    """Time trainings of three networks and of the super-supernet, and the judging of the three.

    ``params`` are those of a draft: what matters are its space, its sizes, batches and views. It
    takes a few seconds on a CPU core.
    """
    device = devices.prepare(params.compute)
    alone = device.type == "cpu" and params.compute.threads == 1
    clock = time.process_time if alone else time.perf_counter
    start, began = clock(), time.perf_counter()
    task = Task(seen.channels, len(seen.classes))
    section = params.data
    splits = seen.splits(section.select_fraction, section.test_fraction, section.per_class)
    bench = Bench(params, task, _images(seen, params, device), splits["train"], clock)
    drawn = [bench.network(size) for size in _some(len(params.scaling.stages))]
    step, trained = _line(
        [bench.trained(network) for network in drawn], params.retrain.recipe.batch
    )
    image, judged = _line([bench.judged(network) for network in drawn], 1)
    return Rates(
        step=step,
        trained=trained,
        shared=bench.shared(step, trained),
        image=image,
        judged=judged,
        draw=bench.drawing(),
        decode=seen.decode,
        residual=tuple(map(bench.residual, params.baselines.residual.widths)),
        busy=max(1.0, (time.perf_counter() - began) / (clock() - start)),
    )


def _some(sizes: int) -> list[int]:
    """Return the first size, the last, and one between."""
    return sorted({0, sizes // 2, sizes - 1})


def _images(seen: Seen, params: Params, device: torch.device) -> Images:
    """Return the sample again and again, a few batches of it."""
    wanted = 4 * max(params.retrain.recipe.batch, params.supernet.recipe.batch)
    index = np.resize(np.arange(len(seen.sample)), wanted)
    pixels = torch.from_numpy(seen.sample[index])
    constants = moments(sums(seen.sample), seen.sample[0, 0].size)
    size = params.data.size
    if size != pixels.shape[-1]:
        pixels = torch.nn.functional.interpolate(pixels.float(), (size, size)).byte()
    return on_device((pixels.numpy(), seen.labels[index]), *constants, device)


def _short(recipe: Recipe, steps: int) -> Recipe:
    """Return a recipe of a few steps that tells of every one and diverges in none."""
    changes = {"steps": steps, "warmup": steps, "lr": 1e-3, "log": 1, "checkpoint": steps}
    return recipe.model_copy(update=changes)


@dataclass(frozen=True)
class Bench:
    """Times what the stages do with the networks of a draft, by a clock that gives seconds.

    ``images`` are a sample of the ``train`` images.
    """

    params: Params
    task: Task
    images: Images
    train: int
    clock: Callable[[], float]

    @cached_property
    def budget(self) -> Budget:
        return Budget(self.params.space, self.params.scaling, self.task)

    @cached_property
    def net(self) -> Elastic:
        """A fresh super-supernet."""
        space, scaling, coupling = self.params.space, self.params.scaling, "left"
        net = elastic.build(space, scaling, self.task, coupling, torch.Generator())
        return net.to(self.images.device)

    def batch(self, recipe: Recipe) -> Images:
        """Return a batch, again and again, of which copies are kept if those of train would be."""
        batch = self.images.held(recipe.batch)
        return shrunk.Shrunk(batch, most=shrunk.MOST * len(batch) // self.train)

    def network(self, size: int) -> Network:
        """Return a typical network of a size: the middle one of its strategies for a base model."""
        base, offered = self.budget.draw_of(np.random.default_rng(0), size)
        return scale(self.params.space, base, offered[len(offered) // 2])

    def trained(self, network: Network) -> Timed:
        """Return the median seconds of a step of a member's training."""
        net = child.build(network, self.task, torch.Generator()).to(self.images.device)
        recipe = _short(self.params.retrain.recipe, WARM + STEPS)
        took = self._steps(lambda emit: fixed.train(net, self.batch(recipe), recipe, 0, None, emit))
        return Timed(cost.flops(network, self.task), float(np.median(took)))

    def residual(self, width: int) -> float:
        """Return the median seconds of a step of a residual network's training."""
        stride, size = self.params.space.stem.stride, self.params.data.size
        net = ResidualNet(width, stride, size, self.task).to(self.images.device)
        weights.initialise(net.weights, torch.Generator())
        recipe = _short(self.params.retrain.recipe, WARM + STEPS)
        took = self._steps(lambda emit: fixed.train(net, self.batch(recipe), recipe, 0, None, emit))
        return float(np.median(took))

    def judged(self, network: Network) -> Timed:
        """Return the seconds of judging an image with a candidate, its share of all else in it."""
        count, took = len(self.images), []
        search = self.params.search.model_copy(update={"calibration": count})
        scorer = Scorer(self.net, self.images, self.images, search)
        for _ in range(JUDGED):
            start = self.clock()
            scorer.measure(network)
            took.append(self.clock() - start)
        return Timed(cost.flops(network, self.task), min(took) / (2 * count))

    def shared(self, step: float, trained: float) -> float:
        """Return what a step of the super-supernet takes beyond its networks' own training."""
        recipe = _short(self.params.supernet.recipe, WARM + SHARED)
        section = self.params.supernet.model_copy(update={"recipe": recipe})
        short = self.params.model_copy(update={"supernet": section})
        images = self.batch(recipe)
        took = self._steps(lambda emit: supernet.train(short, self.net, images, None, emit))
        draw = supernet.sampler(short, self.task, section.sampling)
        drawn = [supernet.draws(short, draw, i) for i in range(WARM, WARM + SHARED)]
        flops = [
            sum(cost.flops(network, self.task) for network, _ in networks) for networks in drawn
        ]
        own = [len(drawn[0]) * step + recipe.batch * count / trained for count in flops]
        return max(0.0, float(np.median(np.subtract(took, own))))

    def drawing(self) -> float:
        """Return the seconds of drawing a network that meets its budget."""
        weights = self.params.supernet.stage_weights
        draw, generator = Budgeted(self.budget, weights).draw, np.random.default_rng(0)
        start = self.clock()
        for _ in range(DRAWS):
            draw(generator)
        return (self.clock() - start) / DRAWS

    def _steps(self, train: Callable[[Callable], object]) -> np.ndarray:
        """Return the seconds of each step, but for the first few, of one that tells of all."""
        times: list[float] = []
        train(lambda record: times.append(self.clock()) if record["event"] == "step" else None)
        return np.diff(times)[WARM - 1 :]


def _line(timed: list[Timed], batch: int) -> tuple[float, float]:
    """Fit seconds = a + batch·FLOPs / b by relative errors; return a and b, both above 0."""
    flops, took = np.array(timed, dtype=float).T
    (constant, slope), _ = nnls(np.stack([1 / took, batch * flops / took], 1), np.ones(len(took)))
    return float(max(constant, LEAST)), float(1 / max(slope, LEAST**2))
