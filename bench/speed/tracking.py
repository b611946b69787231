"""What delivering every candidate to MLflow adds to the search stage, in a built project.

``--slow 0.1`` makes each candidate take at least so many seconds, computing all the while, as one
of more images would: a candidate of the digits takes a few milliseconds.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from bench.speed.common import interleaved, options, ratio, show, spread, write
from scalenet.config import params as stage_params
from scalenet.config.params import Params
from scalenet.pipeline.remember import stores
from scalenet.pipeline.remember.post import Post
from scalenet.pipeline.watch.progress import Work
from scalenet.records.documents import Found
from scalenet.records.paths import Paths
from scalenet.search.finetuning import Finetuner
from scalenet.search.scoring import Measurement, Scorer
from scalenet.space.network import Network
from scalenet.stages import run_stage
from scalenet.training.loop import ignore


@contextmanager
def copied(root: Path) -> Iterator[Paths]:
    """Yield a copy of what a search reads, with a database of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("data", "supernet"):
            shutil.copytree(root / "artifacts" / name, Path(folder) / "artifacts" / name)
        shutil.copy2(root / "params.yaml", folder)
        stores.connect(Path(folder))  # the database is made once a project, not once a search
        yield Paths(Path(folder))


@contextmanager
def slowed(seconds: float) -> Iterator[None]:
    """Make every candidate take at least so long, scored or fine-tuned."""
    kinds = (Scorer, Finetuner) if seconds else ()
    with ExitStack() as patches:
        for kind in kinds:
            patches.enter_context(patch.object(kind, "measure", repeated(kind.measure, seconds)))
        yield


def repeated(plain: Callable[..., Measurement], seconds: float) -> Callable[..., Measurement]:
    """Return a measure that measures a network again and again.

    As often as it took to fill the seconds when it was first measured: what tracking competes with
    is work, and work that made room for it would hide what it takes.
    """
    times: dict[Network, int] = {}

    def measure(own: Scorer | Finetuner, network: Network) -> Measurement:
        if network in times:
            return [plain(own, network) for _ in range(times[network])][-1]
        start, results = time.perf_counter(), []
        while not results or time.perf_counter() - start < seconds:
            results.append(plain(own, network))
        times[network] = len(results)
        return results[-1]

    return measure


def search(paths: Paths) -> None:
    """Run the search from its beginning, and deliver nothing."""
    shutil.rmtree(paths.state("search"), ignore_errors=True)
    run_stage(paths.root, "search", None, ignore)


def tracked_search(paths: Paths, params: Params) -> None:
    """Run the search from its beginning and deliver its candidates, all of them anew.

    As ``scalenet stage search`` does, but to an experiment of this search's own.
    """
    shutil.rmtree(paths.state("search"), ignore_errors=True)
    section = params.data.model_copy(update={"name": f"search-{time.time_ns()}"})
    params, work = params.model_copy(update={"data": section}), Work("search")
    with Post(paths.root, print) as post:
        with post.stage(params, "search", None, {}) as report:
            run_stage(paths.root, "search", None, lambda record: report(work, record))
        post.send(report)
        post.finish()


def main() -> None:
    """Search with and without tracking, in turns."""
    chosen = options(__doc__, repeats=5, slow=0.0)
    params = stage_params.load(Path("params.yaml"))
    with copied(Path.cwd()) as tracked, copied(Path.cwd()) as plain, slowed(chosen.slow):
        variants = {  # the first one settles how often a slow candidate is measured
            "untracked": lambda: search(plain),
            "tracked": lambda: tracked_search(tracked, params),
        }
        times = interleaved(variants, chosen.repeats)
        candidates = Found.read(plain.search / "found.json").measured
    overhead = ratio(times, "tracked", "untracked")
    show("tracked / untracked", overhead)
    seconds = {name: spread(values) for name, values in times.items()}
    each = {name: values["median"] / candidates for name, values in seconds.items()}
    for name, value in each.items():
        print(f"{name}: {1000 * value:.1f} ms a candidate, of {candidates}")
    name = f"tracking-{chosen.slow:g}s" if chosen.slow else "tracking"
    write(
        name, "cpu", ratio=overhead, seconds=seconds, seconds_a_candidate=each,
        candidates=candidates, slow=chosen.slow, repeats=chosen.repeats,
    )  # fmt: skip


if __name__ == "__main__":
    main()
