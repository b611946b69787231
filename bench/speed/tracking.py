"""What delivering every candidate to MLflow adds to the search stage: interleaved runs with and without.

Run in a built project: ``python bench/tracking.py [--repeats 3]``. Prints the ratio of the medians, and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import mlflow
import torch

from pipeline import delivery, tracking
from stages import params as stage_params
from stages import run_room
from stages.artifacts import Paths
from stages.search.room import journal_key


def seconds(root: Path, tracked: bool) -> tuple[float, int]:
    """Run the search in a copy of the built project; return its seconds and number of candidates."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("data", "supernet"):
            shutil.copytree(root / "artifacts" / name, copy / "artifacts" / name)
        params, paths = stage_params.load(root / "params.yaml"), Paths(copy)
        tracking.connect(copy)  # the database is made once a project, not once a search
        journal, key = paths.state("search") / "candidates.jsonl", journal_key(params, paths)
        start = time.perf_counter()
        with delivery.delivering(copy, params, journal, key, "bench") if tracked else nullcontext():
            run_room(params, paths, "search")
        return time.perf_counter() - start, len(journal.read_bytes().splitlines()) - 1


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("bench/tracking.json"))
    arguments = parser.parse_args()
    root, times, candidates = Path.cwd(), {True: [], False: []}, 0
    seconds(root, tracked=True)  # from here on the libraries are warm, as they are in every stage
    for _ in range(arguments.repeats):
        for tracked in times:
            spent, candidates = seconds(root, tracked)
            times[tracked].append(spent)
    ratio = statistics.median(times[True]) / statistics.median(times[False])
    result = {
        "ratio": ratio,
        "with": times[True],
        "without": times[False],
        "candidates": candidates,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "mlflow": mlflow.__version__},
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"search of {candidates} candidates: tracked / untracked = {ratio:.3f}")
    for tracked, name in ((True, "tracked"), (False, "untracked")):
        low, middle, high = min(times[tracked]), statistics.median(times[tracked]), max(times[tracked])
        print(f"  {name:9} min {low:.1f}  median {middle:.1f}  max {high:.1f} s over {arguments.repeats} runs")


if __name__ == "__main__":
    main()
