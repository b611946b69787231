"""What `python -m bench.gpu` does: units of work, each written down before the next one begins.

All results are one JSON file, replaced whole after each unit. Inside a unit, checkpoints, the
search's journal and each trained network survive a call that was cut off (bench/method/lab.py).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import torch

from bench.method import family, rank, scripts
from bench.method import lab as labs
from bench.method.lab import Lab
from bench.speed.common import about
from bench.speed.gpu import step_of
from scalenet.config import params
from scalenet.config.params import Params
from scalenet.data import store
from scalenet.data.images import on_device
from scalenet.nets import child, elastic
from scalenet.pipeline import settings
from scalenet.records import files
from scalenet.space import cost
from scalenet.space.network import Network
from scalenet.training import device, fixed, loop, supernet

SEEDS = 3
RANKED = (1, 3)  # sizes whose networks are ranked
NETWORKS = 12  # of each of them: 24 in all
SHARES = {"supernet": 0.25, "trained": 0.5}  # of all seconds; the rest is search, scores and speed
TRAININGS = 11 * SEEDS + len(RANKED) * NETWORKS  # two arms of S0…S5 share S0
STEPS = (300, 40_000)  # fewest and most of a training
PROBED = 20  # steps timed
SIDE_BY_SIDE = (1, 2, 4, 8)  # processes on one device
PROBE = 60.0  # seconds after which no more processes are tried
Results = dict[str, Any]
BENCHMARKS: list[subprocess.Popen] = []  # begun by this process


def go_on(chosen: argparse.Namespace) -> int:
    """Run what is not done until the time is up; 2 without a GPU, and if what is done is of other
    params: one half would be compared with the other."""
    file = chosen.work / "gpu.json"
    results = files.read_json(file) if file.exists() else {}
    if chosen.status:
        return status(results)
    if not (chosen.toy or torch.cuda.is_available()):
        print("no CUDA device is here; run this on a GPU, or rehearse it with --toy")
        return 2
    base = base_params(chosen.toy)
    key = files.digest(base)
    if others := [name for name, made in results.items() if made.get("params", key) != key]:
        print(
            f"{file} is of other params than those of now ({', '.join(others)}); give another "
            "folder by --work, or put presets/cifar10.yaml and bench/gpu.yaml back as they were"
        )
        return 2
    with ended_at(chosen.until, file):
        for name, unit in units(chosen).items():
            if name in results:
                continue
            start = time.perf_counter()
            content = unit(opened(base, chosen.work, results))
            seconds = round(time.perf_counter() - start, 2)
            results[name] = content | {"unit_seconds": seconds, "params": key}
            files.write_json(file, results)
            print(f"done: {name} ({results[name]['unit_seconds']} s)", flush=True)
    return status(results)


@contextmanager
def ended_at(until: float, file: Path) -> Iterator[None]:
    """End this process at a time of the monotonic clock, unless the body is done by then."""
    timer = Timer(until - time.monotonic(), stop, [file])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def stop(file: Path) -> None:
    """End this call, and with it what it started: trainings each end with their parent."""
    for process in BENCHMARKS:
        process.kill()
    status(files.read_json(file) if file.exists() else {})
    print("the time of this call is up: the same call again goes on", flush=True)
    os._exit(0)


def status(results: Results) -> int:
    """Say which units are done."""
    for name in units(None):
        print(f"{name:12} {'done' if name in results else 'to do'}", flush=True)
    return 0


def base_params(toy: bool) -> Params:
    """Return what is searched and trained, its steps not chosen yet."""
    if toy:
        return scripts.params_of("bench-smoke")
    content = params.read_yaml("params.yaml")
    for name in ("presets/cifar10.yaml", "bench/gpu.yaml"):
        settings.merge(content, params.read_yaml(Path(name)))
    return params.parse(content)


def opened(base: Params, work: Path, results: Results) -> Lab:
    """Return the lab whose steps and processes the probe has chosen; before it, the preset's."""
    found = results.get("probe", {"steps": {}, "workers": 1})
    parsed = base
    for section, steps in found["steps"].items():
        parsed = lengthened(parsed, section, steps)
    return Lab(parsed, work / "lab", found["workers"]).prepared()


def lengthened(base: Params, section: str, steps: int) -> Params:
    """Return params with so many steps of a section's recipe; all else of it in proportion."""
    old = getattr(base, section)
    log = max(1, steps // 20)
    times = {"steps": steps, "warmup": steps // 20, "log": log, "checkpoint": 2 * log}
    new = old.model_copy(update={"recipe": old.recipe.model_copy(update=times)})
    return base.model_copy(update={section: new})


def units(chosen: argparse.Namespace | None) -> dict[str, Callable[[Lab], Results]]:
    """Return the units in their order: what tells most comes first."""
    seeds = {f"seed {seed}": partial(arms, seed=seed) for seed in range(SEEDS)}
    return {
        "probe": partial(probe, chosen=chosen),
        "supernet": partial(staged, names=("supernet",)),
        "search": partial(staged, names=("search", "extrapolate")),
        **seeds,
        "tau": partial(ranking, count=3 if chosen and chosen.toy else NETWORKS),
        "speed": partial(speed, toy=bool(chosen and chosen.toy)),
    }


# --- the probe ------------------------------------------------------------------------------------


def probe(lab: Lab, chosen: argparse.Namespace) -> Results:
    """Time steps of the super-supernet and of networks side by side; choose steps that fit."""
    start, rates = time.perf_counter(), {}
    step = supernet_seconds(lab)
    networks = [network for _, network in rank.networks(lab, 1)]
    ends = [networks[0], networks[-1]]
    for count in SIDE_BY_SIDE:
        if count <= (os.cpu_count() or 1) and time.perf_counter() - start < PROBE:
            rates[count] = together(lab, ends, count)
    workers = max(rates, key=rates.get)
    steps = chosen_steps(60 * chosen.minutes, step, rates[workers])
    if chosen.toy:
        steps = {name: getattr(lab.params, name).recipe.steps for name in steps}
    on = str(device.prepare(lab.params.compute))
    return about(on) | {
        "supernet_step_seconds": step,
        "steps_per_second": rates,
        "workers": workers,
        "steps": steps,
    }


def chosen_steps(seconds: float, step: float, rate: float) -> dict[str, int]:
    """Return steps of a super-supernet (seconds a step) and of each training (steps a second)."""
    wanted = {
        "supernet": SHARES["supernet"] * seconds / step,
        "retrain": SHARES["trained"] * seconds * rate / TRAININGS,
    }
    return {name: int(np.clip(steps, *STEPS)) for name, steps in wanted.items()}


def supernet_seconds(lab: Lab) -> float:
    """Return the seconds of a step, over the networks that training draws."""
    on = device.prepare(lab.params.compute)
    generator, section = torch.Generator().manual_seed(0), lab.params
    coupling = section.supernet.coupling
    net = elastic.build(section.space, section.scaling, lab.task, coupling, generator).to(on)
    split = store.read(lab.paths.data / "train.npz")
    images = on_device(split, lab.info.mean, lab.info.std, on)
    return seconds_of(step_of(supernet.train, section, net, images, None, loop.ignore))


def seconds_of(step: Callable[[int], torch.Tensor]) -> float:
    """Return the seconds of a training's step: a device has done those before once a loss is read,
    while the host is ahead of it."""
    for _ in range(2):  # in the first round kernels are chosen and loaded
        start = time.perf_counter()
        losses = [step(number) for number in range(PROBED)]
        losses[-1].item()
    return (time.perf_counter() - start) / PROBED


def together(lab: Lab, networks: list[Network], count: int) -> float:
    """Return how many steps a second so many processes train together on the device, each all of
    the networks in turn."""
    with ProcessPoolExecutor(count, get_context("spawn"), labs.end_with_parent) as pool:
        list(pool.map(partial(some_steps, lab), [networks] * count))
        start = time.perf_counter()
        list(pool.map(partial(some_steps, lab), [networks] * count))
        return count * len(networks) * PROBED / (time.perf_counter() - start)


def some_steps(lab: Lab, networks: list[Network]) -> None:
    """Train each network for a few steps."""
    on = device.prepare(lab.params.compute)
    images, _ = labs.images(lab, on)
    for network in networks:
        net = child.build(network, lab.task, torch.Generator().manual_seed(0)).to(on)
        fixed.train(net, images, lengthened(lab.params, "retrain", PROBED).retrain.recipe, 0)


# --- the method -----------------------------------------------------------------------------------


def staged(lab: Lab, names: tuple[str, ...]) -> Results:
    """Run stages; return their seconds over all calls, and the plan once there is one."""
    lab.staged(*names)
    plans = [m.plain() for m in family.members(lab)] if "extrapolate" in names else []
    return {"seconds": lab.seconds(), "members": plans}


def arms(lab: Lab, seed: int) -> Results:
    """Train both arms of the family with one seed."""
    plan = family.members(lab)
    chosen = {
        arm: {member.name: family.ARMS[arm](lab, member, seed) for member in plan}
        for arm in family.PRINCIPAL
    }
    outcome = lab.trained((net, seed) for sizes in chosen.values() for net in sizes.values())
    return {
        arm: {
            size: {
                "network": str(network),
                "flops": cost.flops(network, lab.task),
                "accuracy": outcome[network, seed]["accuracy"],
                "seconds": outcome[network, seed]["seconds"],
            }
            for size, network in sizes.items()
        }
        for arm, sizes in chosen.items()
    }


def ranking(lab: Lab, count: int) -> Results:
    """Train random networks of two sizes, score them with shared weights, compare the orders."""
    drawn = [pair for pair in rank.networks(lab, count) if pair[0] in RANKED]
    outcome = lab.trained((network, 0) for _, network in drawn)
    accuracies = [outcome[network, 0]["accuracy"] for _, network in drawn]
    measured = rank.scores(lab, drawn)
    sizes = [{"size": size, "trained": a} for (size, _), a in zip(drawn, accuracies, strict=True)]
    rows = [one | score for one, score in zip(sizes, measured, strict=True)]
    return {"networks": rows, "tau": rank.taus(lab, drawn, accuracies, measured)}


def speed(lab: Lab, toy: bool) -> Results:
    """Measure the super-supernet's rate against compiled children's."""
    preset = "tiny" if toy else "cifar10"
    options = ["--device", "cpu", "--repeats", "1", "--steps", "1"] if toy else ["--repeats", "10"]
    command = [sys.executable, "-m", "bench.speed.gpu", "--preset", preset, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    BENCHMARKS.append(process)
    printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"bench.speed.gpu failed:\n{printed}")
    written = Path("bench/speed/results/gpu-cuda.json")
    figures = {} if toy else files.read_json(written)
    return {"printed": printed.splitlines(), "figures": figures}
