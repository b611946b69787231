"""Run every benchmark on toy sizes, in a folder of its own.

That none rots, not what any of them measures.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from bench.invented import FAMILIES, NETWORKS, invented_families, invented_networks, lay

FILES = (
    "bench",
    "src",
    "stages",
    "data/digits",
    "pipeline",
    "presets",
    "params.yaml",
    "dvc.yaml",
    ".dvc",
    ".dvcignore",
    ".gitignore",
)
TOY = "--preset bench-smoke --seeds 2 --workers 1 --work work --results results"
METHOD = [  # each finds what it shares with those before it
    f"bench.method.plan {TOY} --networks 2 --trainings 2 --ranked 3",
    f"bench.method.pilot {TOY} --networks 2",
    f"bench.method.family {TOY} --others S1,S5",
    f"bench.method.rank {TOY} --networks 3 --variants default,uniform,distilled",
    f"bench.method.cost {TOY}",
    f"bench.method.efficiency {TOY} --evaluations 12",
    f"bench.method.extrapolation {TOY} --also d1-w1.2-r12",
    "bench.method.surface --preset bench-smoke --results results",
    f"bench.method.tuning {TOY} --steps 0,2 --bases 2",
    f"bench.method.sampling {TOY}",
    "bench.method.tables --tables tables --seeds 2 --evaluations 20 --results results",
    "bench.method.report --results results --out results.md",
    "bench.gpu --toy --work gpu",
    "bench.gpu --status --work gpu",
    "bench.speed.family --preset tiny",
    # here so that both lists take as long
    "bench.speed.growth --repeats 1 --candidates 100 --most 100",
]
SPEED = [
    "bench.speed.costs --repeats 1",
    "bench.speed.depthwise --repeats 1",
    "bench.speed.step --repeats 1",
    "bench.speed.timm_child --repeats 1",
    "bench.speed.memory --repeats 1",
    "bench.speed.loader --repeats 1 --images 64",
    "bench.speed.shrunk --repeats 1 --preset tiny",
    "bench.speed.imagenet --images 60 --preset tiny --batch 8",
    "bench.speed.evaluation --repeats 1 --images 1024",
    "bench.speed.store --repeats 1 --most 20000 --photographs 40",
    "bench.speed.latency --seconds 0 --presets tiny",
    "bench.speed.gpu --repeats 1 --device cpu --preset tiny --steps 1",
    "scalenet.pipeline params --preset tiny",  # the last ones measure a built project
    "scalenet.stages prepare",
    "scalenet.stages supernet",
    "bench.speed.scoring --repeats 1",
    "bench.speed.cluster --repeats 1 --candidates 4 --seconds 0.05",
    "bench.speed.tracking --repeats 1",
    "bench.speed.tracking --repeats 1 --slow 0.05",
]


def project(folder: Path) -> None:
    """Copy what the scripts read, so that no figure of the project is overwritten."""
    hidden = shutil.ignore_patterns("work", "__pycache__", "tmp", "cache")
    for name in FILES:
        source, target = Path(name), folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target, ignore=hidden) if source.is_dir() else shutil.copy2(
            source, target
        )


def tables(folder: Path) -> None:
    """Lay invented tables of trained networks."""
    folder.mkdir()
    lay(folder, "families", invented_families("ABCDE"), FAMILIES)
    lay(folder, "networks", invented_networks(), NETWORKS)


def run(folder: Path, commands: list[str]) -> list[str]:
    """Run commands one after the other; return what went wrong."""
    failures = []
    for command in commands:
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", *command.split()], cwd=folder, capture_output=True, text=True
        )
        print(f"{time.perf_counter() - start:5.1f} s  {command}", flush=True)
        if done.returncode:
            failures.append(f"python -m {command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return failures


def main() -> int:
    """Run the method's and the speed benchmarks side by side; 1 if one of them fails."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor() as pool:
        lanes = {Path(name) / "method": METHOD, Path(name) / "speed": SPEED}
        for folder in lanes:
            project(folder)
        tables(Path(name) / "method" / "tables")
        failures = list(chain(*pool.map(run, lanes.keys(), lanes.values())))
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
