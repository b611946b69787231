"""The Prefect flows: ``family``, a task per stage in DVC's order, and a stage as a flow of its own.

DVC decides whether a stage runs; Prefect shows when, where and how it ran. Prefect caches nothing
here.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from prefect import Flow, State, Task, flow, get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from scalenet.pipeline import Unavailable, project, servers, settings, single
from scalenet.pipeline.exports import Exports
from scalenet.pipeline.repro import Graph

LIBRARIES = ("scalenet.pipeline.tracking", "scalenet.stages.search", "scalenet.stages.retrain")
RETRIES, DELAY = 2, 5  # of a stage whose failure may pass, and seconds between them


def run_family(preset: str | None, overrides: dict[str, Any], target: str | None) -> int:
    """Run the family flow in this process, with a Prefect server at hand; return its exit code."""
    for name in LIBRARIES:  # while the server starts
        import_module(name)
    return _exit_code(family(preset=preset, overrides=overrides, target=target, return_state=True))


def run_stage(stage: str, member: str | None) -> int:
    """Run one stage as a flow of the configured server; return its exit code."""
    with servers.prefect():
        name = " ".join(filter(None, (stage, member)))
        state = Flow(_stage, name=stage, flow_run_name=name)(stage, member, return_state=True)
    if state.is_completed():
        single.forget(Path.cwd(), stage, member)
    return _exit_code(state, f"{stage}: ")


def _exit_code(state: State, prefix: str = "") -> int:
    """Say why a flow did not complete, if it did not, and return what its process ends with."""
    if state.is_completed():
        return 0
    print(f"{prefix}{state.message}", file=sys.stderr)
    return single.CODES.get(state.name, 1)


def _failed(error: ValueError) -> State:
    """Return the state of what was refused, or of what an absent server stopped."""
    return Failed(
        name="Unavailable" if isinstance(error, Unavailable) else "Refused", message=str(error)
    )


def _stage(stage: str, member: str | None = None) -> State:
    """Run a stage: params and documents in; documents, tracked runs and registered models out."""
    tags = {"prefect_flow_run": str(flow_run.id or "")}
    try:
        seconds = single.compute(Path.cwd(), stage, member, tags, get_run_logger().info)
    except ValueError as error:
        return _failed(error)
    return Completed(message=f"computed for {seconds:.1f} s")


@flow(name="family")
def family(
    preset: str | None = None, overrides: dict[str, Any] | None = None, target: str | None = None
) -> State:
    """Build the family: every stage of dvc.yaml in order, each as a task.

    preset: a preset, such as ``tiny``; overrides: params.yaml keys, such as
    ``{"search.population": 16}``; both are written to params.yaml and stay there. target: the last
    stage wanted, such as ``search`` or ``retrain@S2``.
    """
    root = Path.cwd()
    try:
        project.begin_if_empty(root)
        with settings.kept_if_refused(root):
            settings.apply(root, preset, overrides or {})
            project.refresh(root)
            stages = Graph(root)
            names = project.settled(root, stages, stages.order(target))
        with Exports(root) as exports:
            for name in names:
                state = _task(stages, exports, name)(return_state=True)
                if not state.is_completed():
                    return Failed(name=state.name, message=f"{name}: {state.message}")
    except ValueError as error:
        return _failed(error)
    return Completed(message=f"{len(names)} stages are up to date")


def _again(_task: Any, _run: Any, state: State) -> bool:
    """Retry what may pass the next time: a server that was away."""
    return state.name == "Unavailable"


def _task(stages: Graph, exports: Exports, name: str) -> Task:
    """Return the task that runs one stage if DVC finds it changed, and has DVC commit it; else
    "Cached"."""
    stage, _, member = name.partition("@")

    def build() -> State:
        try:
            if not stages.changed(name):
                return Completed(name="Cached", message="DVC found it unchanged")
            tags, say = {"prefect_flow_run": str(flow_run.id or "")}, get_run_logger().info
            if stage == "publish":
                exports.finish()
            with stages.committing(name):
                seconds = single.compute(exports.root, stage, member or None, tags, say)
        except ValueError as error:
            return _failed(error)
        single.forget(exports.root, stage, member or None)
        if stage == "retrain":
            exports.submit(member)
        return Completed(message=f"computed for {seconds:.1f} s")

    return Task(
        build,
        name=name,
        task_run_name=name,
        retries=RETRIES,
        retry_delay_seconds=DELAY,
        retry_condition_fn=_again,
    )
