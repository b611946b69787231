"""What a unit costs as its number grows: candidates, members, pixels.

Candidates are remembered and delivered, members planned, pixels computed. Candidates are remembered
in a preset's space: that of the digits has too few networks for ten thousand of them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench.speed.common import CLASSES, invented, options, params_of, write
from bench.speed.step import stepper
from scalenet.config.params import FamilyEntry, Params
from scalenet.laws import plan, scores
from scalenet.nets import child
from scalenet.pipeline.remember import stores
from scalenet.pipeline.remember.candidates import Runs
from scalenet.records import journal as journals
from scalenet.records.documents import Baseline, Found, Member, Trained
from scalenet.records.journal import Journal
from scalenet.records.predictions import Answers, answers
from scalenet.search.ledger import Label, Ledger, Proposal
from scalenet.search.memory import Memory
from scalenet.search.scoring import Measurement
from scalenet.space.budget import Budget
from scalenet.space.network import Network, Task
from scalenet.space.sampling import sample_base
from scalenet.space.scale import scale, uniform_base
from scalenet.space.scaling import BaseModel, Scaling, strategies
from scalenet.stages import declared, publish
from scalenet.training.loop import ignore

CANDIDATES, MEMBERS, PIXELS = (100, 1000, 10000), (4, 8, 16, 32), (8, 16, 32, 64)
# the members' budgets: their least and largest multiple, both beyond the digits' search
BEYOND = 16, 64
# the digits' few channels jump over some of these budgets by more than params.yaml allows
TOLERANCE = 0.1
FOUND = Found(  # as a search of the digits found it
    base=BaseModel.parse("k3e1-5.5e3-5.5e3"), score=0, chain=[], measured=0,
    strategies=[*map(Scaling.parse, ("d1-w1-r8", "d1-w1.3-r8", "d1-w1.5-r9", "d1.6-w1.3-r11"))],
)  # fmt: skip


def remember(params: Params, count: int, journal: Journal) -> None:
    """Put candidates that cost nothing to measure into a ledger and the journal."""
    generator, last = np.random.default_rng(0), len(params.scaling.stages) - 1
    offered = strategies(params.scaling, last)
    budget = Budget(params.space, params.scaling, invented(params).task)
    memory = Memory(journal, ignore)
    ledger = Ledger(params.search, budget, free, memory.record)
    while len(ledger.candidates) < count:
        base = sample_base(params.space, generator)
        by = offered[int(generator.integers(len(offered)))]
        ledger.scores([Proposal(last, base, by)], Label("growth"))


def free(networks: Sequence[Network]) -> list[Measurement]:
    """Measure nothing."""
    return [Measurement(0.5, 0.5, 0.0)] * len(networks)


def remembered(params: Params, count: int, path: Path) -> tuple[float, float]:
    """Return a remembered candidate's milliseconds, and its KiB of Python objects at the peak.

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
    client = stores.connect(root)
    experiment = stores.experiment_id(client, root, f"growth {count}")
    runs, records = Runs(client, experiment, str(count), "bench"), journals.read(journal, "growth")
    start = time.perf_counter()
    for record in records[:count]:
        runs.deliver(record)
    return 1000 * (time.perf_counter() - start) / count


def planned(params: Params, count: int, repeats: int) -> tuple[float, float]:
    """Return the milliseconds a member of planning a family of so many, and of publishing it."""
    multiples = np.geomspace(*BEYOND, count).tolist()
    family = {f"S{i}": FamilyEntry(multiple=m, seed=0) for i, m in enumerate(multiples)}
    section = params.extrapolate.model_copy(update={"tolerance": TOLERANCE})
    params = params.model_copy(update={"family": family, "extrapolate": section})
    info, fitted = invented(params), plan.fit_laws(params, FOUND.strategies)
    times: list[tuple[float, float]] = []
    for _ in range(repeats):
        start = time.perf_counter()
        beyond = {
            name: plan.move(params, info.task, FOUND.base, fitted, entry.multiple)
            for name, entry in family.items()
        }
        members = plan.members(params, info.task, FOUND, beyond)
        middle = time.perf_counter()
        inputs = publish.PublishInputs(info, [], *invented_tests(members))
        before = time.perf_counter()
        publish.run(
            declared(params, "publish"), inputs,
            state=None, generator=np.random.default_rng(0), device=None, emit=ignore,
        )  # fmt: skip
        times.append((middle - start, time.perf_counter() - before))
    planning, publishing = (
        1000 * statistics.median(seconds) / count for seconds in zip(*times, strict=True)
    )
    return planning, publishing


def invented_tests(members: list[Member]) -> tuple[list[Trained], list[Baseline], Answers]:
    """Return members as if tested on a thousand images: the larger, the better; no baselines."""
    tests, said, labels = [], {}, np.arange(1000) % 2
    for member in members:
        wrong = np.arange(1000) >= round(1000 - 300 * member.multiple**-0.5)
        said[member.name] = {"test": answers(labels, labels ^ wrong)}
        result = scores.tested(said[member.name]["test"], None, 0.95)
        tests.append(Trained(member=member, data="0", weights="0", **result))
    return tests, [], said


def computed(params: Params, px: int, repeats: int) -> float:
    """Return the nanoseconds of a training step per image and pixel."""
    base = uniform_base(params.space, max, lambda depth: depth)
    network = scale(params.space, base, Scaling(1.0, 1.0, px))
    net = child.build(network, Task(1, CLASSES), torch.Generator().manual_seed(0)).train()
    images = torch.randn(32, 1, px, px)
    step = stepper(params, net, net, images)
    step()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return 1e9 * (time.perf_counter() - start) / repeats / images.numel()


def main() -> None:
    """Grow one thing at a time, to ``--most``; MLflow's runs (slow) to ``--candidates``."""
    chosen = options(__doc__, repeats=5, most=CANDIDATES[-1], candidates=1000, preset="imagenet")
    torch.set_num_threads(1)
    params, larger = params_of(""), params_of(chosen.preset)
    rows = (
        "remembered ms",
        "remembered KiB",
        "delivered ms",
        "planned ms",
        "published ms",
        "step ns/px",
    )
    found: dict[str, dict[int, float]] = {row: {} for row in rows}
    with tempfile.TemporaryDirectory() as name:
        for count in (count for count in CANDIDATES if count <= chosen.most):
            journal = Path(name) / f"{count}.jsonl"
            milliseconds, kilobytes = remembered(larger, count, journal)
            found["remembered ms"][count], found["remembered KiB"][count] = milliseconds, kilobytes
            if count <= chosen.candidates:
                found["delivered ms"][count] = delivered(larger, count, Path(name), journal)
    for count in (count for count in MEMBERS if count <= chosen.most):
        planning, publishing = planned(params, count, chosen.repeats)
        found["planned ms"][count], found["published ms"][count] = planning, publishing
    for px in PIXELS:
        found["step ns/px"][px] = computed(params, px, chosen.repeats)
    for what, values in found.items():
        print(f"{what:16}", "  ".join(f"{number}: {value:.3g}" for number, value in values.items()))
    write("growth", "cpu", **found, repeats=chosen.repeats)


if __name__ == "__main__":
    main()
