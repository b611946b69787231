"""One stage under MLflow's eyes: what every door into the pipeline runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scalenet.config import params as config
from scalenet.pipeline import REFUSED, UNAVAILABLE, Unavailable, children, project, share_state
from scalenet.pipeline.alone import Say, alone, is_held, key_of
from scalenet.records.paths import Paths
from scalenet.stages import Emit, check, run_stage

PATIENCE = 10  # seconds between two lines about a training
CODES = {"Refused": REFUSED, "Unavailable": UNAVAILABLE}  # exit code by the name of a flow's state
Run = Callable[[Path, str, str | None, Emit], None]  # computes a stage, here or elsewhere


def run(root: Path, stage: str, member: str | None) -> int:
    """Run one stage; return its exit code. With a Prefect server configured it is a flow there."""
    if stage == project.CHECK:
        project.check_code(root)
        return 0
    params = config.load(root / "params.yaml")
    check(params, stage, member)
    project.check_code(root)
    children.belong_to_dvc()
    share_state(root)
    for work in committed_before(params, stage):
        key = key_of(root, params, work)
        if not is_held(root, work, key):
            forget(root, work, key)
    if project.prefect_is_configured():
        from scalenet.pipeline import flows

        return flows.run_stage(stage, member)
    compute_alone(root, stage, member, {}, lambda line: print(line, file=sys.stderr))
    return 0


def committed_before(params: config.Params, stage: str) -> list[str]:
    """Name the stages (and members) that DVC has committed when it starts a stage.

    Until then their state is kept: who is killed before DVC commits goes on from there.
    """
    return {
        "search": ["supernet"],
        "extrapolate": ["supernet", "search"],
        "publish": [*params.family, "baselines"],
    }.get(stage, [])


def compute_alone(
    root: Path, stage: str, member: str | None, tags: Mapping[str, str], say: Say
) -> float:
    """Compute a stage under its lock; return the seconds that it took."""
    work = member or stage
    key = key_of(root, config.load(root / "params.yaml"), work)
    with alone(root, work, key, say):
        return compute(root, stage, member, {"key": key, **tags}, say)


def compute(
    root: Path,
    stage: str,
    member: str | None,
    tags: Mapping[str, str],
    say: Say,
    run: Run = run_stage,
) -> float:
    """Run a stage, whose lock is held, and remember it in MLflow; return the seconds that
    computing took.

    ``tags`` are those of its MLflow run; ``key`` among them is that of its lock.
    """
    from scalenet.pipeline import tracking  # seconds of imports, after what is cheap to refuse

    params = config.load(root / "params.yaml")
    with tracking.stage_run(root, params, stage, member, tags) as run_id:
        with _told(root, params, stage, run_id, say) as emit:
            start = time.perf_counter()
            run(root, stage, member, emit)
            seconds = time.perf_counter() - start
        if stage == "publish":
            from scalenet.pipeline import deployment

            say(deployment.enter(root, params))
    return seconds


@contextmanager
def _told(
    root: Path, params: config.Params, stage: str, run_id: str, say: Say
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield the ``emit`` of a stage: lines about its progress, and the candidates of a search."""
    progress = _progress(say)
    if stage != "search":
        yield progress
        return
    from scalenet.pipeline.candidates import Delivery

    delivery = Delivery(root, params, run_id)
    try:
        yield lambda record: (progress(record), delivery(record))
    except BaseException as error:
        try:
            delivery.finish()
        except Unavailable as second:
            error.add_note(str(second))
        raise
    delivery.finish()


def _progress(say: Say) -> Callable[[Mapping[str, Any]], None]:
    """Return what says, now and then, how far a stage is."""
    last, candidates = time.monotonic(), 0

    def emit(record: Mapping[str, Any]) -> None:
        nonlocal last, candidates
        candidates += record["event"] == "candidate"
        if record["event"] == "read":
            say(record["summary"])
        elif record["event"] == "notice":
            say(record["text"])
        elif record["event"] == "judged":
            say(judged(record))
        if time.monotonic() - last < PATIENCE:
            return
        last = time.monotonic()
        if record["event"] == "step":
            say("step {step} of {steps}, loss {loss:.4f}".format(**record))
        elif record["event"] == "candidate":
            say(f"{candidates} candidates")

    return emit


def judged(record: Mapping[str, Any]) -> str:
    """Return a line about a training's accuracies at a checkpoint."""
    reached = (f"{name} {record[name]:.1%}" for name in record if name.startswith("select"))
    return "step {step} of {steps}, accuracy on ".format(**record) + ", ".join(reached)


def forget(root: Path, work: str, key: str) -> None:
    """Remove what a stage (or a member) would have resumed from: DVC has what it made."""
    import shutil

    shutil.rmtree(Paths(root).state(work, key), ignore_errors=True)
