"""The Prefect flows: ``family``, a task per stage, and a stage as a flow of its own.

DVC decides whether a stage runs; Prefect shows when, where and how it ran. Prefect caches nothing
here. Stages that need nothing of each other run side by side.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from prefect import Flow, State, Task, flow, get_run_logger
from prefect.futures import as_completed
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from scalenet.config import params as config
from scalenet.config.params import Params
from scalenet.pipeline import Unavailable, project, published, servers, settings, single
from scalenet.pipeline.alone import alone, key_of
from scalenet.pipeline.exports import Exports
from scalenet.pipeline.repro import Graph
from scalenet.pipeline.workers import Killed, Workers, count

LIBRARIES = ("scalenet.pipeline.tracking", "torch")
RETRIES, DELAY = 2, 5  # of a stage whose failure may pass, and seconds between them


def run_family(preset: str | None, overrides: dict[str, Any], target: str | None) -> int:
    """Run the family flow in this process, with a Prefect server at hand; return its exit code."""
    import_libraries()  # while the server starts
    return _exit_code(family(preset=preset, overrides=overrides, target=target, return_state=True))


def import_libraries() -> None:
    """Import what takes seconds, before any thread wants it.

    It lives as long as this process, so Python need not search it for garbage when that ends,
    which takes seconds too, and a cancelled run's state waits for it.
    """
    for name in LIBRARIES:
        import_module(name)
    gc.freeze()


def run_stage(stage: str, member: str | None) -> int:
    """Run one stage as a flow of the configured server; return its exit code."""
    with servers.prefect():
        name = " ".join(filter(None, (stage, member)))
        state = Flow(_stage, name=stage, flow_run_name=name)(stage, member, return_state=True)
    return _exit_code(state, f"{stage}: ")


def _exit_code(state: State, prefix: str = "") -> int:
    """Say why a flow did not complete, if it did not, and return what its process ends with."""
    if state.is_completed():
        return 0
    print(f"{prefix}{state.message}", file=sys.stderr)
    return single.CODES.get(state.name, 1)


def failed(error: ValueError) -> State:
    """Return the state of what was refused, or of what an absent server or a kill stopped."""
    names = {Unavailable: "Unavailable", Killed: "Killed"}
    return Failed(name=names.get(type(error), "Refused"), message=str(error))


def _stage(stage: str, member: str | None = None) -> State:
    """Run a stage: params and documents in; documents, tracked runs and registered models out."""
    tags = {"prefect_flow_run": str(flow_run.id or "")}
    try:
        seconds = single.compute_alone(Path.cwd(), stage, member, tags, get_run_logger().info)
    except ValueError as error:
        return failed(error)
    return Completed(message=f"computed for {seconds:.1f} s")


@flow(name="family")
def family(
    preset: str | None = None, overrides: dict[str, Any] | None = None, target: str | None = None
) -> State:
    """Build the family: every stage of dvc.yaml as a task, as soon as those that it needs are done.

    preset: a preset, such as ``tiny``; overrides: params.yaml keys, such as
    ``{"search.population": 16}``; both are written to params.yaml and stay there. target: the last
    stage wanted, such as ``search`` or ``retrain@S2``.
    """
    root = Path.cwd()
    try:
        project.begin_if_empty(root)
        with settings.kept_if_refused(root):
            params = settings.apply(root, preset, overrides or {}, get_run_logger().info)
            stages, needs = graph(root, target)
        published.name_run(params, published.revision(root))
        return built(root, params, stages, needs)
    except ValueError as error:
        return failed(error)


def graph(root: Path, target: str | None) -> tuple[Graph, dict[str, set[str]]]:
    """Return the stages of a project and, for a target, those that it needs."""
    project.refresh(root)
    stages = Graph(root)
    return stages, project.settled(root, stages, stages.needs(target))


def built(root: Path, params: Params, stages: Graph, needs: dict[str, set[str]]) -> State:
    """Have every stage done that must be; return how the run ended."""
    with Workers() as workers, Exports(root) as exports:
        tools = Tools(stages, workers, exports)
        tasks = {name: _task(tools, name) for name in _largest_first(needs, params)}
        ended = _side_by_side(tasks, needs, count(params.compute))
    wrong = {name: state for name, state in ended.items() if not state.is_completed()}
    if wrong:
        message = "\n".join(f"{name}: {state.message}" for name, state in wrong.items())
        return Failed(name=next(iter(wrong.values())).name, message=message)
    if "publish" in ended:
        published.show(root, params)
    return Completed(message=f"{len(ended)} stages are up to date")


def _largest_first(needs: dict[str, set[str]], params: Params) -> list[str]:
    """Return the stages in order, but the largest members first: they take longest."""
    multiples = {f"retrain@{name}": entry.multiple for name, entry in params.family.items()}
    return sorted(needs, key=lambda name: -multiples.get(name, 0))


def _side_by_side(
    tasks: dict[str, Task], needs: dict[str, set[str]], most: int
) -> dict[str, State]:
    """Run tasks, at most so many at once, each when those that it needs are done; return their
    states.

    After a failure those that run are let finish, and no other is begun.
    """
    waiting, running, ended = list(tasks), {}, {}
    while True:
        stopped = any(not state.is_completed() for state in ended.values())
        ready = [name for name in waiting if needs[name] <= ended.keys() and not stopped]
        for name in ready[: most - len(running)]:
            waiting.remove(name)
            running[tasks[name].submit()] = name
        if not running:
            return ended
        future = next(as_completed(list(running)))
        future.wait()  # only then its state is the last one
        ended[running.pop(future)] = future.state


def _again(_task: Any, _run: Any, state: State) -> bool:
    """Retry what may pass the next time: a server that was away."""
    return state.name == "Unavailable"


class Tools(NamedTuple):
    """What a stage's task works with."""

    stages: Graph
    workers: Workers
    exports: Exports


def _computed(tools: Tools, name: str) -> State:
    """Have a stage computed, or taken from another copy of the project that made the same before,
    and committed."""
    stages, workers, exports = tools
    stage, _, member = name.partition("@")
    work, say = member or stage, get_run_logger().info
    key = key_of(exports.root, config.load(exports.root / "params.yaml"), work)
    tags = {"prefect_flow_run": str(flow_run.id or ""), "key": key}
    with alone(exports.root, work, key, say, lambda: workers.ended):
        with stages.committing(name):
            if stage != "publish" and stages.restored(name):  # publish fills the registry, too
                ended = Completed(name="Cached", message="made before from the same inputs")
            else:
                work_of = (exports.root, stage, member or None)
                seconds = single.compute(*work_of, tags, say, workers.run_stage)
                ended = Completed(message=f"computed for {seconds:.1f} s")
        single.forget(exports.root, work, key)
    return ended


def _task(tools: Tools, name: str) -> Task:
    """Return the task that runs one stage if DVC finds it changed, and has DVC commit it; else
    "Cached"."""
    stage, _, member = name.partition("@")
    stages, workers, exports = tools

    def build() -> State:
        try:
            if not stages.changed(name):
                return Completed(name="Cached", message="DVC found it unchanged")
            workers.warm()
            if stage == "publish":
                exports.finish()
            ended = _computed(tools, name)
        except ValueError as error:
            return failed(error)
        if stage == "retrain":
            exports.submit(member)
        return ended

    return Task(
        build,
        name=name,
        task_run_name=name,
        retries=RETRIES,
        retry_delay_seconds=DELAY,
        retry_condition_fn=_again,
    )
