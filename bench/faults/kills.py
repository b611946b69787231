"""A family whose run is killed again and again, at random instants, and finished in the end.

A trial is one family: ``scalenet run`` or ``dvc repro`` is begun, one of its processes is killed
(SIGKILL, or Ctrl-C to all of its group, as a terminal does), and it is begun again, until it ends
or was killed ``MOST`` times; then it runs to its end. Which door, which process, when and how are
drawn from the trial's seed. The instants are of the processor time that the run has used since it
began its first stage, or, of one kill in four, since it was started: a third of a tiny family's
time goes by before anything is computed, and each run spends it again. A replay meets the same
draws, not the same instruction.
"""

from __future__ import annotations

import math
import os
import random
import resource
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.faults import projects
from scalenet.records import files

MOST = 15  # kills of one family
SOON = 0.15  # of an uninterrupted run's processor time: the latest instant of a kill
EARLY = 0.25  # share of the kills whose time is counted from the start of the command
POLL = 0.1  # seconds between two looks at the time that a run has used
PATIENCE = 900  # seconds in which a run ends, or uses that time
LEAVE = 30  # seconds in which what belongs to a killed process ends
RUN, REPRO = ("scalenet", "run"), ("dvc", "repro")
TRACKER = "tracker"
PARAMS = ("scalenet", "params", "--preset", "tiny")


class Reference(NamedTuple):
    """What an uninterrupted run makes, and the processor's seconds that it uses."""

    content: dict[str, str]
    seconds: float


class Outcome(NamedTuple):
    """What a trial says of one promise: how often it was tried, and what was lost."""

    promise: str
    tried: int
    lost: list[str]
    met: Sequence[str] = ()  # by the kills: the process and the stages under way
    why: str = ""  # it was lost, and what helps


def reference(folder: Path) -> Reference:
    """Build a family that nobody interrupts, unless that was done here before."""
    known = folder.with_suffix(".json")
    if known.exists():
        return Reference(**files.read_json(known))
    shutil.rmtree(folder, ignore_errors=True)
    for command in (PARAMS, RUN):
        begin = processor_time()
        if failed := projects.finish(folder, *command):
            raise ValueError(failed)
    whole = Reference(projects.content(folder), processor_time() - begin)
    files.write_json(known, whole._asdict())
    return whole


def processor_time() -> float:
    """Return the processor's seconds of all that this process started and saw end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def trial(folder: Path, seed: int, whole: Reference) -> list[Outcome]:
    """Kill a family's runs, finish it, and compare; the folder is kept if anything was lost."""
    draws = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    door = REPRO if draws.random() < 0.25 else RUN
    if failed := projects.finish(folder, *PARAMS):
        return [Outcome("finishes", 1, [failed])]
    met: list[str] = []
    left: list[str] = []
    while len(met) < MOST:
        if not (victim := _killed(folder, door, draws, whole.seconds)):
            break
        met.append(victim.met)
        left += victim.left
    kills = len(met)
    stuck = projects.finish(folder, *door)
    helped = bool(stuck) and not projects.finish(folder, *RUN)  # as docs/reliability.md advises
    why = "`scalenet run` then finished it" if helped else ""
    outcomes = [
        Outcome("finishes", kills, [stuck] if stuck else [], why=why),
        Outcome("alone", kills, left, met),
    ]
    if helped or not stuck:
        outcomes += [
            Outcome("bytes", kills, projects.differences(folder, whole.content)),
            Outcome("remembered", kills, projects.misremembered(folder)),
            Outcome("torn", kills, _torn(folder)),
        ]
    if not any(outcome.lost for outcome in outcomes):
        shutil.rmtree(folder)
    return outcomes


class Victim(NamedTuple):
    """What was killed while which stages were under way, and what of its run went on afterwards."""

    met: str
    left: list[str]


def _killed(
    folder: Path, door: tuple[str, ...], draws: random.Random, seconds: float
) -> Victim | None:
    """Begin a run, and kill one process of it at a random instant; None if it ended before."""
    process = projects.start(folder, *door)
    instant, place, gently = SOON * draws.random() * seconds, draws.random(), draws.random() < 0.2
    first = psutil.Process(process.pid)
    begun = 0.0 if draws.random() < EARLY else math.inf  # when the instant is counted from
    while (used := _used(first)) < begun + instant:
        if begun == math.inf and projects.under_way(folder):
            begun = used
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL)
            return None
    tree = [first, *first.children(recursive=True)]
    among = [one for one in tree if _named(one) != TRACKER]  # without it a run ends as ever
    victim = first if gently else among[int(place * len(among))]
    stages = " and ".join(projects.under_way(folder)) or "no stage"
    how = "Ctrl-C" if gently else _named(victim)
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        if gently:
            os.killpg(process.pid, signal.SIGINT)
        else:
            victim.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(LEAVE if victim == first else PATIENCE)
    return Victim(f"{how}, {stages}", _left(process, tree))


def _used(first: psutil.Process) -> float:
    """Return the processor's seconds that a run has used, with those of its processes that it saw
    end."""
    seconds = 0.0
    for process in (first, *first.children(recursive=True)):
        with suppress(psutil.Error):  # just ended
            seconds += sum(process.cpu_times()[:4])
    return seconds


def _named(process: psutil.Process) -> str:
    """Say what a process of a run is."""
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return "a process that just ended"
    if " stage " in words:
        return "scalenet stage"
    known = {"spawn_main": "worker", "resource_tracker": TRACKER, "dvc repro": "dvc repro"}
    return next((name for word, name in known.items() if word in words), "scalenet run")


def _left(process: subprocess.Popen, tree: list[psutil.Process]) -> list[str]:
    """End what goes on after its run was killed, and name it."""
    _, alive = psutil.wait_procs(tree, LEAVE)
    named = []
    for one in alive:
        with suppress(psutil.NoSuchProcess):
            if one.status() != psutil.STATUS_ZOMBIE:
                words = " ".join(Path(word).name for word in one.cmdline())
                named.append(f"goes on: {words[:120]}")
                one.kill()
    process.wait()
    return named


def _torn(folder: Path) -> list[str]:
    """Name what was half written and left in the artifacts."""
    return [str(path) for path in (folder / "project/artifacts").rglob("*.tmp")]
