"""What a unit costs as its number grows: candidates remembered and delivered, pixels computed."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bench.speed.common import options, write
from bench.speed.step import CLASSES, stepper
from pipeline import delivery, tracking
from stages import params as stage_params
from stages import space
from stages.artifacts import DataInfo, Journal
from stages.nets import child
from stages.params import Params
from stages.search.ledger import Ledger
from stages.search.scoring import Measurement
from stages.space import Scaling


def remembered(params: Params, count: int, journal: Journal) -> float:
    """Return the milliseconds that the ledger and the journal spend on a candidate that costs nothing to measure."""
    info = DataInfo(
        name="growth", source="none", channels=1, size=8, classes=[str(i) for i in range(CLASSES)], counts={},
        mean=[0.5], std=[0.5], digest="0",
    )  # fmt: skip
    generator, every = np.random.default_rng(0), space.strategies(params.scaling, 3)
    ledger = Ledger(
        params,
        info,
        lambda _: Measurement(0.5, 0.5, 0.0),
        lambda row, _: journal.append(row.model_dump() | {"seconds": 0}),
    )
    start = time.perf_counter()
    while len(ledger.candidates) < count:
        ledger.score(3, space.sample_base(params.space, generator), every[int(generator.integers(len(every)))])
    return 1000 * (time.perf_counter() - start) / count


def delivered(params: Params, count: int, root: Path, journal: Path) -> float:
    """Return the milliseconds of a candidate's run in MLflow's own SQLite store."""
    client = tracking.connect(root)
    runs = delivery.Runs(client, tracking.experiment_id(client, root, f"growth {count}"), str(count), "bench")
    records = delivery.read_journal(journal, "growth") or []
    start = time.perf_counter()
    for record in records[:count]:
        runs.deliver(record)
    return 1000 * (time.perf_counter() - start) / count


def computed(params: Params, px: int, repeats: int) -> float:
    """Return the nanoseconds of a training step per image and pixel."""
    base = space.uniform_base(params.space, max, lambda depth: depth)
    network = space.scale(params.space, base, Scaling(1.0, 1.0, px))
    net = child.build(network, 1, CLASSES, torch.Generator().manual_seed(0)).train()
    images = torch.randn(32, 1, px, px)
    step = stepper(params, net, net, images)
    step()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return 1e9 * (time.perf_counter() - start) / repeats / images.numel()


def main() -> None:
    """Grow one thing at a time."""
    chosen = options(__doc__, repeats=5, candidates=1000)
    torch.set_num_threads(1)
    params = stage_params.load(Path("params.yaml"))
    found: dict[str, dict[int, float]] = {"remembered ms": {}, "delivered ms": {}, "step ns/px": {}}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        counts = [count for count in (100, 1000, 10000) if count <= chosen.candidates]
        for count in counts:
            journal = Journal(root / f"{count}.jsonl", "growth")
            found["remembered ms"][count] = remembered(params, count, journal)
            journal.close()
            found["delivered ms"][count] = delivered(params, count, root, root / f"{count}.jsonl")
    for px in (8, 16, 32, 64):
        found["step ns/px"][px] = computed(params, px, chosen.repeats)
    for what, values in found.items():
        print(f"{what:16}", "  ".join(f"{number}: {value:.3g}" for number, value in values.items()))
    write("growth", "cpu", **found, repeats=chosen.repeats)


if __name__ == "__main__":
    main()
