"""Super-supernet training steps on a GPU, against compiled children of the very same networks.

In images a second, and in multiply-accumulates a second, which ``bench.speed.imagenet --rate``
takes. Both are their trainings' own steps, with the super-supernet's recipe (batch, precision,
augmentation) and images that live on the device. Both compute as stages do, by algorithms that
repeat themselves: in that mode the compiler does not tune. The wall time of the whole family is
``python -m bench.speed.family --preset cifar10``. ``--device cpu`` checks on a toy size that this
script runs, and writes nothing.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch

from bench.speed.common import (
    CLASSES,
    PASSES,
    interleaved,
    invented,
    options,
    params_of,
    ratio,
    show,
    spread,
    write,
)
from scalenet.config.params import Params
from scalenet.data.images import Images, on_device
from scalenet.nets import child, elastic
from scalenet.records.documents import DataInfo
from scalenet.space import cost
from scalenet.space.network import Network, Task
from scalenet.training import device, fixed, loop, supernet

TOY = {"batch": 8, "steps": 1}  # on a CPU
COMPILERS = {"cpu": ("g++",), "cuda": ("gcc", "clang", "cc")}  # that torch.compile calls, one of


def compiler(name: str) -> str:
    """Return torch.compile's backend for a device; refuse a GPU that is not here."""
    if name != "cpu" and not torch.cuda.is_available():
        print(
            f"no CUDA device for --device {name}: run this on a GPU, or check it with --device cpu",
            file=sys.stderr,
        )
        raise SystemExit(2)
    if not any(map(shutil.which, COMPILERS["cpu" if name == "cpu" else "cuda"])):
        print("no C compiler is here: what is called compiled below is only traced")
        return "eager"
    return "inductor"


def pictures(params: Params, info: DataInfo, place: torch.device) -> Images:
    """Return a few batches of noise on the device."""
    generator, count = np.random.default_rng(0), 8 * params.supernet.recipe.batch
    pixels = generator.integers(
        256, size=(count, info.channels, info.size, info.size), dtype=np.uint8
    )
    return on_device((pixels, generator.integers(CLASSES, size=count)), info.mean, info.std, place)


def step_of(train: Callable[..., Any], *arguments: Any) -> Callable[[int], torch.Tensor]:
    """Return a training's step, taken from where it hands it to the training loop."""
    taken: list[tuple[loop.Training, loop.Backward]] = []

    def take(tensors, recipe, backward, *_) -> loop.History:
        taken.append((loop.Training(tensors, recipe), backward))
        return []

    with mock.patch.object(loop, "train", take):
        train(*arguments)
    training, backward = taken[0]
    return lambda step: training.step(backward, step)


def child_step(
    params: Params, network: Network, images: Images, backend: str
) -> Callable[[int], torch.Tensor]:
    """Return a network's own training step, compiled for its shapes if a backend is named."""
    task = Task(params.data.channels, CLASSES)
    net = child.build(network, task, torch.Generator().manual_seed(0)).to(images.device)
    step = step_of(fixed.train, net, images, params.retrain.recipe, 0)
    if backend:
        net.compile(backend=backend, dynamic=False, fullgraph=True)
    return step


def measure(
    params: Params, images: Images, shared: Callable[[int], Any], number: int, chosen: Any
) -> dict[str, Any]:
    """Return the rates of a step's networks, and the ratios to compiled and to plain ones.

    ``rate`` is the super-supernet's in multiply-accumulates a second.
    """
    torch.compiler.reset()
    task = Task(params.data.channels, CLASSES)
    draw = supernet.sampler(params, task, params.supernet.sampling)
    networks = [network for network, _ in supernet.draws(params, draw, number)]
    variants: dict[str, Callable[[], Any]] = {"super-supernet": lambda: shared(number)}
    for name, backend in (("compiled", chosen.backend), ("plain", "")):
        steps = [child_step(params, network, images, backend) for network in networks]
        variants[name] = lambda steps=steps: [step(number) for step in steps]
    times = interleaved(variants, chosen.repeats, chosen.device)
    count = params.supernet.recipe.batch * len(networks)
    rates = {
        name: spread([count / seconds for seconds in values]) for name, values in times.items()
    }
    flops = [cost.flops(network, task) for network in networks]
    shares = {f"of {name}": ratio(times, name, "super-supernet") for name in ("compiled", "plain")}
    # an image is counted once for each network of its step
    rate = rates["super-supernet"]["median"] * PASSES * statistics.mean(flops)
    return {"flops": flops, "images_per_second": rates, "share": shares, "rate": rate}


def waits(step: Callable[[], Any]) -> int:
    """Count how often a step makes the host wait for a GPU: PyTorch warns of each time."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(one.message) for one in told)


def sized(params: Params, chosen: Any) -> Params:
    """Give both the super-supernet's recipe, as long as is measured; a toy's batch on a CPU."""
    recipe = params.supernet.recipe.model_copy(update={"steps": chosen.steps})
    if chosen.device == "cpu":
        recipe = recipe.model_copy(update=TOY)
    return params.model_copy(
        update={
            "compute": params.compute.model_copy(update={"device": chosen.device}),
            "supernet": params.supernet.model_copy(update={"recipe": recipe}),
            "retrain": params.retrain.model_copy(update={"recipe": recipe}),
        }
    )


def main() -> None:
    """Measure a few steps, each with its own networks."""
    chosen = options(__doc__, repeats=20, device="cuda", preset="cifar10", steps=4)
    chosen.backend = compiler(chosen.device)
    params = sized(params_of(chosen.preset), chosen)
    info, place = invented(params), device.prepare(params.compute)
    images, coupling = pictures(params, info, place), params.supernet.coupling
    generator = torch.Generator().manual_seed(0)
    net = elastic.build(params.space, params.scaling, info.task, coupling, generator).to(place)
    shared, found = step_of(supernet.train, params, net, images, None, loop.ignore), {}
    for step in range(params.supernet.recipe.steps):
        found[step] = measure(params, images, shared, step, chosen)
        for name, share in found[step]["share"].items():
            show(f"step {step}: images/s of the super-supernet {name}", share)
    overall = spread([values["share"]["of compiled"]["median"] for values in found.values()])
    show("images/s of the super-supernet, of the compiled children's", overall)
    rate = spread([values["rate"] for values in found.values()])
    show("multiply-accumulates/s (bench.speed.imagenet --rate)", rate)
    if chosen.device != "cpu":
        about = {
            "preset": chosen.preset,
            "waits": waits(lambda: shared(0)),
            "batch": params.supernet.recipe.batch,
            "repeats": chosen.repeats,
        }
        write("gpu", chosen.device, share=overall, rate=rate, steps=found, **about)


if __name__ == "__main__":
    main()
