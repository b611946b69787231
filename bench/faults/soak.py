"""Tiny families without a pause, in one project: what a run uses stays what it was.

    python -m bench.faults.soak [--minutes 60] [--work FOLDER]

Each family has a seed of its own, so that all of it is computed. Its outcome is a row of
docs/reliability.md; what the first and the last third of the families used stands beside it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.faults import kills, projects, report
from bench.faults.kills import Outcome

POLL = 0.5  # seconds between two looks at a run
FEWEST = 6  # families that tell anything
FLAT = 1.1  # times what the first families used: the most that the last may use


class Used(NamedTuple):
    """What a family used at most, what it left, and how long the processor worked for it."""

    seconds: float  # of processor time
    memory: float  # MB of all its processes
    handles: float
    processes: float
    files: float  # that the project has more
    temporary: float  # files left where temporary ones go
    left: float  # processes that go on


def main() -> None:
    """Build families until the time is up, note how flat they were, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--work", type=Path, help="a folder for the project")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    parser.add_argument("--page", type=Path, default=report.PAGE)
    given = parser.parse_args()
    folder = (given.work or Path(tempfile.mkdtemp(prefix="soak-"))) / "soak"
    begin = time.perf_counter()
    used = []
    for family in families(folder, given.minutes):
        print(len(used), *(f"{name} {value:.0f}" for name, value in family._asdict().items()))
        used.append(family)
    about = {"trial": f"soak:{given.minutes:.0f}", "commit": report.commit()}
    about |= {"seconds": round(time.perf_counter() - begin), "used": thirds(used)}
    report.note([about | outcome(used)._asdict()], given.results)
    report.write(report.read(given.results), given.page)


def families(folder: Path, minutes: float) -> Iterator[Used]:
    """Build one family after the other in a folder's project; yield what each used."""
    end = time.monotonic() + 60 * minutes
    if failed := projects.finish(folder, *kills.PARAMS):
        raise ValueError(failed)
    seed = 0
    while time.monotonic() < end:
        seed += 1
        yield _family(folder, ("scalenet", "run", "--set", f"supernet.seed={seed}"))


def _family(folder: Path, command: tuple[str, ...]) -> Used:
    before, tree, most = _files(folder / "project"), {}, [0.0, 0.0, 0.0]
    began = kills.processor_time()
    process = projects.start(folder, *command)
    first = psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.Error):
            tree |= {one.pid: one for one in (first, *first.children(recursive=True))}
        most = [max(pair) for pair in zip(most, _looked_at(tree.values()), strict=True)]
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL)
    if process.returncode:
        said = (folder / "said.txt").read_text().splitlines()[-3:]
        raise ValueError(f"{' '.join(command)} ended with {process.returncode}: {' | '.join(said)}")
    _, left = psutil.wait_procs(tree.values(), kills.LEAVE)
    made = _files(folder / "project") - before
    return Used(
        kills.processor_time() - began, *most, made, _files(folder / "temporary"), len(left)
    )


def _looked_at(processes: Iterator[psutil.Process]) -> list[float]:
    """Return the megabytes, the handles and the number of a run's processes now."""
    found = []
    for process in processes:
        with suppress(psutil.Error), process.oneshot():
            found.append((process.memory_info().rss / 1e6, process.num_fds()))
    return [sum(mb for mb, _ in found), sum(fds for _, fds in found), len(found)]


def _files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def thirds(used: list[Used]) -> dict[str, tuple[float, float]]:
    """Return the means of the first and of the last third of the families; nothing of none.

    Not medians: that of counts such as 5 and 6 leaps where as many of either change places.
    """
    third = max(1, len(used) // 3)
    if not used:
        return {}
    return {
        name: (
            round(statistics.fmean(getattr(one, name) for one in used[:third]), 1),
            round(statistics.fmean(getattr(one, name) for one in used[-third:]), 1),
        )
        for name in Used._fields
    }


def outcome(used: list[Used]) -> Outcome:
    """Say what grew from the first families to the last."""
    if len(used) < FEWEST:
        return Outcome("flat", 0, [f"{len(used)} families tell nothing; give more --minutes"])
    grown = [
        f"{name}: {first:g}, then {last:g}"
        for name, (first, last) in thirds(used).items()
        if last > FLAT * first
    ]
    return Outcome("flat", len(used), grown)


if __name__ == "__main__":
    main()
