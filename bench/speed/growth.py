"""What a unit costs as its number grows: candidates remembered and delivered, members planned, pixels computed.

Candidates are remembered in a preset's space: that of the digits has too few networks for ten thousand of them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import torch

from bench.speed.common import CLASSES, invented, options, params_of, write
from bench.speed.step import stepper
from scalenet.config import params as stage_params
from scalenet.config.params import Params
from scalenet.laws import plan
from scalenet.laws.intervals import wilson
from scalenet.nets import child
from scalenet.pipeline import delivery, tracking
from scalenet.records.documents import Found, Member, Trained
from scalenet.records.journal import Journal
from scalenet.search.ledger import Ledger
from scalenet.search.scoring import Measurement
from scalenet.space import sampling, scale, scaling
from scalenet.space.scaling import Scaling
from scalenet.stages import publish

CANDIDATES, MEMBERS, PIXELS = (100, 1000, 10000), (4, 8, 16, 32), (8, 16, 32, 64)
BEYOND = (16, 64)  # the members' budgets: their least and largest multiple, both beyond the digits' search
TOLERANCE = 0.1  # the digits' few channels jump over some of these budgets by more than params.yaml allows
FOUND = Found(  # as a search of the digits found it
    base="k3-5.5-5.5", strategies=["d1-w1-r8", "d1-w1.3-r8", "d1-w1.5-r9", "d1.6-w1.3-r11"], score=0, chain=[],
    measured=0,
)  # fmt: skip


def remember(params: Params, count: int, journal: Journal) -> None:
    """Put candidates that cost nothing to measure into a ledger and the journal."""
    generator, last = np.random.default_rng(0), len(params.scaling.stages) - 1
    every = scaling.strategies(params.scaling, last)
    ledger = Ledger(
        params,
        invented(params),
        lambda _: Measurement(0.5, 0.5, 0.0),
        lambda row, _: journal.append(row.model_dump() | {"seconds": 0}),
    )
    while len(ledger.candidates) < count:
        ledger.score(last, sampling.sample_base(params.space, generator), every[int(generator.integers(len(every)))])


def remembered(params: Params, count: int, path: Path) -> tuple[float, float]:
    """Return a remembered candidate's milliseconds, and its kilobytes of Python objects at the peak.

    The time is taken first: counting allocations slows everything.
    """
    journal = Journal(path, "growth")
    start = time.perf_counter()
    remember(params, count, journal)
    milliseconds = 1000 * (time.perf_counter() - start) / count
    journal.close()
    again = Journal(path.with_suffix(".again"), "growth")
    tracemalloc.start()
    remember(params, count, again)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    again.close()
    return milliseconds, peak / 1024 / count


def delivered(params: Params, count: int, root: Path, journal: Path) -> float:
    """Return the milliseconds of a candidate's run in MLflow's own SQLite store."""
    client = tracking.connect(root)
    runs = delivery.Runs(client, tracking.experiment_id(client, root, f"growth {count}"), str(count), "bench")
    records = delivery.read_journal(journal, "growth") or []
    start = time.perf_counter()
    for record in records[:count]:
        runs.deliver(record)
    return 1000 * (time.perf_counter() - start) / count


def planned(params: Params, count: int, repeats: int) -> tuple[float, float]:
    """Return the milliseconds a member of planning a family of so many, and of publishing it once tested."""
    multiples = np.geomspace(*BEYOND, count).tolist()
    family = {f"S{i}": stage_params.Member(multiple=multiple, seed=0) for i, multiple in enumerate(multiples)}
    section = params.extrapolate.model_copy(update={"tolerance": TOLERANCE})
    params, info = params.model_copy(update={"family": family, "extrapolate": section}), invented(params)
    fitted = plan.fit_laws(params, [Scaling.parse(text) for text in FOUND.strategies])
    times: list[tuple[float, float]] = []
    for _ in range(repeats):
        start = time.perf_counter()
        members = plan.plan(params, info, FOUND, fitted)
        middle = time.perf_counter()
        tested = [invented_test(member) for member in members]
        before = time.perf_counter()
        publish.run(params, info, tested)
        times.append((middle - start, time.perf_counter() - before))
    planning, publishing = (1000 * statistics.median(seconds) / count for seconds in zip(*times, strict=True))
    return planning, publishing


def invented_test(member: Member) -> Trained:
    """Return a member as if it had been tested on a thousand images: the larger, the better."""
    correct, tested, confidence = round(1000 - 300 * member.multiple**-0.5), 1000, 0.95
    low, high = wilson(correct, tested, confidence)
    return Trained(
        member=member, correct=correct, tested=tested, accuracy=correct / tested, low=low, high=high,
        confidence=confidence, data="0", weights="0",
    )  # fmt: skip


def computed(params: Params, px: int, repeats: int) -> float:
    """Return the nanoseconds of a training step per image and pixel."""
    base = scale.uniform_base(params.space, max, lambda depth: depth)
    network = scale.scale(params.space, base, Scaling(1.0, 1.0, px))
    net = child.build(network, 1, CLASSES, torch.Generator().manual_seed(0)).train()
    images = torch.randn(32, 1, px, px)
    step = stepper(params, net, net, images)
    step()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return 1e9 * (time.perf_counter() - start) / repeats / images.numel()


def main() -> None:
    """Grow one thing at a time, to ``--most`` of it; MLflow's runs to ``--candidates`` (10,000 take minutes)."""
    chosen = options(__doc__, repeats=5, most=CANDIDATES[-1], candidates=1000, preset="imagenet")
    torch.set_num_threads(1)
    params, larger = params_of(""), params_of(chosen.preset)
    rows = ("remembered ms", "remembered KiB", "delivered ms", "planned ms", "published ms", "step ns/px")
    found: dict[str, dict[int, float]] = {row: {} for row in rows}
    with tempfile.TemporaryDirectory() as name:
        for count in (count for count in CANDIDATES if count <= chosen.most):
            journal = Path(name) / f"{count}.jsonl"
            found["remembered ms"][count], found["remembered KiB"][count] = remembered(larger, count, journal)
            if count <= chosen.candidates:
                found["delivered ms"][count] = delivered(larger, count, Path(name), journal)
    for count in (count for count in MEMBERS if count <= chosen.most):
        found["planned ms"][count], found["published ms"][count] = planned(params, count, chosen.repeats)
    for px in PIXELS:
        found["step ns/px"][px] = computed(params, px, chosen.repeats)
    for what, values in found.items():
        print(f"{what:16}", "  ".join(f"{number}: {value:.3g}" for number, value in values.items()))
    write("growth", "cpu", **found, repeats=chosen.repeats)


if __name__ == "__main__":
    main()
