"""One stage under MLflow's eyes: what every door into the pipeline runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scalenet.config import params as config
from scalenet.pipeline import REFUSED, UNAVAILABLE, project, share_state
from scalenet.pipeline.runs import children
from scalenet.pipeline.runs.alone import Say, alone, is_held, key_of
from scalenet.pipeline.watch.lines import Lines
from scalenet.pipeline.watch.progress import DONE, Progress
from scalenet.records.emit import Emit
from scalenet.records.paths import Paths
from scalenet.stages import check, run_stage, unchanged

if TYPE_CHECKING:
    from scalenet.pipeline.remember.post import Post  # seconds of imports
    from scalenet.pipeline.remember.reports import Report

CODES = {"Refused": REFUSED, "Unavailable": UNAVAILABLE}  # exit code by the name of a flow's state
# computes a stage, here or elsewhere
Run = Callable[[Path, str, str | None, Emit, config.Params], None]


class Watchers(NamedTuple):
    """Who is told of a run: how far it is, and what MLflow is to have."""

    progress: Progress
    post: Post


def run(root: Path, stage: str, member: str | None) -> int:
    """Run one stage; return its exit code. With a Prefect server configured it is a flow there."""
    if stage == project.CHECK:
        project.check_code(root)
        return 0
    params = config.load(root / "params.yaml")
    check(params, stage, member)
    project.check_code(root)
    children.belong_to_dvc(root)
    share_state(root)
    _forget_committed(root, params, stage)
    if project.prefect_is_configured():
        from scalenet.pipeline.runs import flows

        return flows.run_stage(stage, member)
    compute_and_tell(root, stage, member, {}, print_line)
    return 0


def _forget_committed(root: Path, params: config.Params, stage: str) -> None:
    """Free the states of what DVC has committed when it starts a stage."""
    for work in committed_before(params, stage):
        try:
            key = key_of(root, params, work)
        except ValueError:
            continue  # what that work depends on is not here, and this stage may not need it
        if not is_held(root, work, key):
            forget(root, work, key)


def print_line(line: str) -> None:
    """Print a line about a run where errors go: what a command was asked for goes elsewhere."""
    print(line, file=sys.stderr, flush=True)


def committed_before(params: config.Params, stage: str) -> list[str]:
    """Name the stages (and members) that DVC has committed when it starts a stage.

    Until then their state is kept: who is killed before DVC commits goes on from there.
    """
    return {
        "search": ["supernet"],
        "extrapolate": ["supernet", "search"],
        "publish": [*params.family, "baselines"],
    }.get(stage, [])


def compute_and_tell(
    root: Path, stage: str, member: str | None, tags: Mapping[str, str], say: Say
) -> float:
    """Run a stage under its lock, have MLflow told of it, and return the seconds that computing
    took."""
    from scalenet.pipeline.remember.post import (  # seconds, after what is cheap to refuse
        Post,
        check_store,
    )

    params, work = config.load(root / "params.yaml"), member or stage
    check_store(root, params)
    progress, name = Progress([Lines(say)]), "@".join(filter(None, (stage, member)))
    key = key_of(root, params, work)
    with unchanged(root, params, stage, member):  # until DVC, which waits for the end, looks
        with Post(root, say) as post:
            with alone(root, work, key, say), progress.failing(name):
                report = compute(Watchers(progress, post), params, name, {"key": key, **tags})
            progress.tell(name, {"event": "ended", "state": DONE})
            post.send(report)
            post.finish()
        project.check_code(root)
    return report.seconds


def compute(
    watchers: Watchers,
    params: config.Params,
    name: str,
    tags: Mapping[str, str],
    run: Run = run_stage,
) -> Report:
    """Run a stage, such as ``search`` or ``retrain@S2``, whose lock is held; tell the watchers of
    all but its end.

    Its report is kept on disk when this returns; if it raises, it was sent. ``params`` are read
    once for all that is done of a stage. ``tags`` are those of its MLflow run; ``key`` among them
    is that of its lock.
    """
    (progress, post), (stage, _, member) = watchers, name.partition("@")
    with post.stage(params, stage, member or None, tags) as report:
        progress.tell(name, {"event": "began"})

        def emit(record: Mapping[str, Any]) -> None:
            progress.tell(name, record)
            report(progress.works[name], record)

        start = time.perf_counter()
        run(post.root, stage, member or None, emit, params)
        report.seconds = time.perf_counter() - start
    return report


def forget(root: Path, work: str, key: str) -> None:
    """Remove what a stage (or a member) would have resumed from: DVC has what it made."""
    import shutil

    shutil.rmtree(Paths(root).state(work, key), ignore_errors=True)
