"""Candidates scored by Dask's workers: what a second worker adds, over what a second process does.

Workers and processes have one thread each. Twice: candidates of a second and more, many at once,
and a generation of the params as they are. Images and weights are noise.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from bench.speed.common import interleaved, invented, options, show, spread, write
from scalenet.config import params as stage_params
from scalenet.config.params import Params
from scalenet.data import store
from scalenet.nets import elastic
from scalenet.records.paths import Paths
from scalenet.search import cluster
from scalenet.search.cluster import LOCAL, NamedCall
from scalenet.space import sampling
from scalenet.space.network import Network
from scalenet.stages import LOADED, declared, state_key
from scalenet.training.loop import ignore

FEW = 360  # images of select: as many as the digits have


def project(folder: Path, params: Params, images: int) -> NamedCall:
    """Lay what a search reads, with so many images of select; return how others read it."""
    paths, about = Paths(folder), invented(params)
    folder.mkdir()
    shutil.copy2("params.yaml", folder)
    counts = {"train": params.search.calibration, "select": images}
    paths.data.mkdir(parents=True)
    about.model_copy(update={"counts": counts}).write(paths.data / "info.json")
    rng, form = np.random.default_rng(0), (about.channels, params.data.size, params.data.size)
    for name, count in counts.items():
        pixels = rng.integers(0, 256, (count, *form), dtype=np.uint8)
        store.write(paths.data / f"{name}.npz", pixels, np.arange(count) % len(about.classes))
    generator = torch.Generator().manual_seed(0)
    net = elastic.build(params.space, params.scaling, about.task, "left", generator)
    paths.supernet.mkdir()
    elastic.write(paths.supernet / "weights.pt", net, "left")
    key = state_key(declared(params, "search"), paths, "search")
    return NamedCall("scalenet.stages.search", "read_there", (str(folder), LOADED["search"], key))


def networks(params: Params, count: int) -> list[Network]:
    """Return networks of all sizes in turn."""
    sizes, drawn = len(params.scaling.stages), []
    for place in range(count):
        weights = tuple(float(i == place % sizes) for i in range(sizes))
        sampler = sampling.Sampler(params.space, params.scaling, weights, uniform=False)
        drawn.append(sampler.draw(np.random.default_rng([7, place])).network)
    return drawn


@cache
def _read(there: NamedCall) -> cluster.Measures:
    return there.made()


def score(there: NamedCall, scored: Sequence[Network]) -> float:
    """Score networks in this process, one after the other; return the seconds that it took."""
    measures, start = _read(there), time.perf_counter()
    list(measures.shared(scored))
    return time.perf_counter() - start


def measure(there: NamedCall, scored: list[Network], repeats: int) -> dict[str, dict[str, float]]:
    """Return the efficiency of two workers, of two processes and its share, over the rounds."""
    half, spawn = scored[: len(scored) // 2], get_context("spawn")
    with (
        cluster.connected(LOCAL, [None]) as one,
        cluster.connected(LOCAL, [None] * 2) as two,
        ProcessPoolExecutor(2, spawn) as pool,
    ):
        by_one, by_two = (
            cluster.measures(client, LOCAL, there, False, ignore).shared for client in (one, two)
        )

        def processes(count: int) -> None:
            for future in [pool.submit(score, there, half) for _ in range(count)]:
                future.result()

        variants = {
            "two processes": lambda: processes(2),
            "one process": lambda: processes(1),
            "two workers": lambda: list(by_two(scored)),
            "one worker": lambda: list(by_one(scored)),
        }
        times = SimpleNamespace(**{
            name.replace(" ", "_"): np.array(seconds)
            for name, seconds in interleaved(variants, repeats).items()
        })  # fmt: skip
    workers = times.one_worker / (2 * times.two_workers)
    alone = times.one_process / times.two_processes  # each scores a half
    return {
        "share": spread((workers / alone).tolist()),
        "workers": spread(workers.tolist()),
        "processes": spread(alone.tolist()),
        "overhead": spread((times.one_worker / (2 * times.one_process)).tolist()),
        "seconds": spread((2 * times.one_process / len(scored)).tolist()),
    }


def main() -> None:
    """Measure both; the first with as many images of select as make a candidate long enough."""
    chosen = options(__doc__, repeats=3, candidates=40, seconds=1.1)
    params, load = stage_params.load(Path("params.yaml")), os.getloadavg()[0]
    many = networks(params, chosen.candidates)
    generation = networks(params, params.search.population * len(params.scaling.stages))
    found = {}
    with tempfile.TemporaryDirectory() as name:
        as_is = project(Path(name) / "few", params, FEW)
        score(as_is, many[:1])
        each = score(as_is, many) / len(many)
        images = int(FEW * max(1.0, chosen.seconds / each))
        heavy = project(Path(name) / "many", params, images)
        for label, there, scored in (
            (f"{len(many)} candidates", heavy, many),
            (f"a generation of {len(generation)}", as_is, generation),
        ):
            found[label] = measure(there, scored, chosen.repeats)
            show(f"{label}: seconds a candidate, in one process", found[label]["seconds"])
            show("  two workers' efficiency / two processes'", found[label]["share"])
            show("  two workers' efficiency: rate / twice that with one", found[label]["workers"])
            show("  two processes' efficiency", found[label]["processes"])
            show("  one worker's time / one process's", found[label]["overhead"])
    write("cluster", "cpu", load=load, repeats=chosen.repeats, **found)


if __name__ == "__main__":
    main()
