"""What delivering every candidate to MLflow adds to the search stage, in a built project."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from bench.speed.common import interleaved, options, ratio, show, spread, write
from scalenet.config import params as stage_params
from scalenet.pipeline import delivery, tracking
from scalenet.records.paths import Paths
from scalenet.search.run import journal_key
from scalenet.stages import run_room


@contextmanager
def copied(root: Path) -> Iterator[Paths]:
    """Yield a copy of what a search reads, with a database of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("data", "supernet"):
            shutil.copytree(root / "artifacts" / name, Path(folder) / "artifacts" / name)
        tracking.connect(Path(folder))  # the database is made once a project, not once a search
        yield Paths(Path(folder))


def search(paths: Paths, tracked: bool) -> None:
    """Run the search from its beginning."""
    shutil.rmtree(paths.state("search"), ignore_errors=True)
    params = stage_params.load(Path("params.yaml"))
    journal, key = paths.state("search") / "candidates.jsonl", journal_key(params, paths)
    target = (paths.root, params, journal, key, "bench")
    with delivery.delivering(*target) if tracked else nullcontext():
        run_room(params, paths, "search")
    if tracked:  # the next round delivers all of them again
        client = tracking.connect(paths.root)
        experiment = client.get_experiment_by_name(tracking.candidate_experiment(params))
        client.rename_experiment(experiment.experiment_id, f"{experiment.name} {experiment.experiment_id} {key}")
        client.delete_experiment(experiment.experiment_id)


def main() -> None:
    """Search with and without tracking, in turns."""
    chosen = options(__doc__, repeats=5)
    with copied(Path.cwd()) as tracked, copied(Path.cwd()) as plain:
        variants = {"tracked": lambda: search(tracked, True), "untracked": lambda: search(plain, False)}
        times = interleaved(variants, chosen.repeats)
    overhead = ratio(times, "tracked", "untracked")
    show("tracked / untracked", overhead)
    seconds = {name: spread(values) for name, values in times.items()}
    write("tracking", "cpu", ratio=overhead, seconds=seconds, repeats=chosen.repeats)


if __name__ == "__main__":
    main()
