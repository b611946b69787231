"""A family whose run is killed again and again, at random instants, and finished in the end.

A trial is one family: ``scalenet run`` or ``dvc repro`` is begun, one of its processes is killed
(SIGKILL, or Ctrl-C to the first), and it is begun again, until it ends or was killed ``MOST``
times; then it runs to its end. Which door, which process, when and how are drawn from the trial's
seed. The instants are of a clock, so that a replay meets the same draws, not the same instruction.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.faults import projects
from scalenet.records import files

MOST = 10  # kills of one family
SOON = 0.3  # of an uninterrupted run's time: the latest instant of a kill
LEAVE = 30  # seconds in which what belongs to a killed process ends
RUN, REPRO = ("scalenet", "run"), ("dvc", "repro")
PARAMS = ("scalenet", "params", "--preset", "tiny")


class Reference(NamedTuple):
    """What an uninterrupted run makes, and its seconds on this machine, as busy as it is."""

    content: dict[str, str]
    seconds: float


class Outcome(NamedTuple):
    """What a trial says of one promise: how often it was tried, and what was lost."""

    promise: str
    tried: int
    lost: list[str]


def reference(folder: Path) -> Reference:
    """Build a family that nobody interrupts, unless that was done here before."""
    known = folder.with_suffix(".json")
    if known.exists():
        return Reference(**files.read_json(known))
    shutil.rmtree(folder, ignore_errors=True)
    begin = time.perf_counter()
    for command in (PARAMS, RUN):
        if failed := projects.finish(folder, *command):
            raise ValueError(failed)
    whole = Reference(projects.content(folder), time.perf_counter() - begin)
    files.write_json(known, whole._asdict())
    return whole


def trial(folder: Path, seed: int, whole: Reference) -> list[Outcome]:
    """Kill a family's runs, finish it, and compare; the folder is kept if anything was lost."""
    draws = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    door = REPRO if draws.random() < 0.25 else RUN
    if failed := projects.finish(folder, *PARAMS):
        return [Outcome("finishes", 1, [failed])]
    kills, left = 0, []
    while kills < MOST:
        killed, remain = _killed(projects.start(folder, *door), draws, whole.seconds)
        kills, left = kills + killed, left + remain
        if not killed:
            break
    stuck = projects.finish(folder, *door)
    outcomes = [
        Outcome("finishes", kills, [stuck] if stuck else []),
        Outcome("alone", kills, left),
    ]
    if not stuck:
        outcomes += [
            Outcome("bytes", kills, projects.differences(folder, whole.content)),
            Outcome("remembered", kills, projects.misremembered(folder)),
            Outcome("torn", kills, _torn(folder)),
        ]
    if not any(outcome.lost for outcome in outcomes):
        shutil.rmtree(folder)
    return outcomes


def _killed(
    process: subprocess.Popen, draws: random.Random, seconds: float
) -> tuple[int, list[str]]:
    """Kill one process of a run at a random instant; return 1, or 0 if it had ended before, and
    name what goes on after the run itself is gone."""
    instant, place, gently = SOON * draws.random() * seconds, draws.random(), draws.random() < 0.2
    with suppress(subprocess.TimeoutExpired):
        process.wait(instant)
        return 0, []
    first = psutil.Process(process.pid)
    tree = [first, *first.children(recursive=True)]
    victim = first if gently else tree[int(place * len(tree))]
    with suppress(psutil.NoSuchProcess):
        victim.send_signal(signal.SIGINT if gently else signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(LEAVE if victim == first else 20 * seconds)
    return 1, _left(process, tree)


def _left(process: subprocess.Popen, tree: list[psutil.Process]) -> list[str]:
    """End what goes on after its run was killed, and name it."""
    _, alive = psutil.wait_procs(tree, LEAVE)
    named = []
    for one in alive:
        with suppress(psutil.NoSuchProcess):
            if one.status() != psutil.STATUS_ZOMBIE:
                named.append(f"goes on: {' '.join(one.cmdline())[:120]}")
                one.kill()
    process.wait()
    return named


def _torn(folder: Path) -> list[str]:
    """Name what was half written and left in the artifacts."""
    return [str(path) for path in (folder / "project/artifacts").rglob("*.tmp")]
