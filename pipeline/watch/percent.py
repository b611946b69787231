"""A stage on Prefect's pages: a bar that is an artifact of its task, and the lines of the log."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from threading import Event, Thread
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from scalenet.pipeline.runs.flowruns import AWAY, GONE
from scalenet.pipeline.watch import lines
from scalenet.pipeline.watch.progress import Progress, Work

PERIOD = 5.0  # seconds between two updates
PATIENCE = 2.0  # seconds that the last update may take


@contextmanager
def shown(progress: Progress, name: str) -> Iterator[None]:
    """Show a stage's share that is done while the body computes it, in the task that runs here.

    A server that is away is no matter to the body.
    """
    over = Event()
    told = Thread(target=copy_context().run, args=(_show, progress, name, over), daemon=True)
    told.start()
    try:
        yield
    finally:
        over.set()
        told.join(PATIENCE)


@contextmanager
def logged(progress: Progress, name: str | None = None) -> Iterator[None]:
    """Have Prefect's log of what runs here say what is said of a stage, in its task, or else of
    none, in the flow: that MLflow is away, or that another run computes the same."""
    said, here = lines.Lines(get_run_logger().info), copy_context()

    def listener(work: Work, record: Mapping[str, Any]) -> None:
        about = work.name if work.name in progress.works else None
        if about == name:
            here.copy().run(said, work, record)  # a thread that notes has no server of its own

    with progress.listening(listener):
        yield


def _show(progress: Progress, name: str, over: Event) -> None:
    key = re.sub("[^a-z0-9]+", "-", f"progress-{name.lower()}")
    try:
        last = _state(progress.works[name])
        artifact = create_progress_artifact(last["progress"], key, last["description"])
        while not over.wait(PERIOD):
            if (now := _state(progress.works[name])) != last:
                update_progress_artifact(artifact, **now)
                last = now
        update_progress_artifact(artifact, **_state(progress.works[name]))
    except AWAY:
        progress.note("prefect", GONE)
    except RuntimeError:
        if not over.is_set():
            raise  # else the flow has ended meanwhile, and its client was closed


def _state(work: Work) -> dict[str, Any]:
    share = work.fraction() or 0.0
    said = ", ".join([work.name, *lines.figures(work)])
    return {"progress": round(100 * share, 1), "description": said}
