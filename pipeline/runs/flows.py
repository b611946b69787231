"""The Prefect flows: ``family``, a task per stage, and a stage as a flow of its own. DVC decides
whether a stage runs; Prefect shows when, where and how it ran, and caches nothing, whatever its
settings. Stages that need nothing of each other run side by side."""

from __future__ import annotations

import gc
import sys
from contextvars import ContextVar
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from prefect import Flow, State, Task, flow, get_run_logger
from prefect.futures import as_completed
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from scalenet.config import params as config
from scalenet.config.away import Unavailable
from scalenet.config.params import Params
from scalenet.pipeline import Killed, Stopped, project, settings
from scalenet.pipeline import status as standing
from scalenet.pipeline.doors import servers
from scalenet.pipeline.remember.post import Post, check_store
from scalenet.pipeline.remember.reports import Report
from scalenet.pipeline.repro import Graph
from scalenet.pipeline.runs import flowruns, published, single
from scalenet.pipeline.runs.alone import alone, key_of, refuse_while_computed
from scalenet.pipeline.runs.exports import Exports
from scalenet.pipeline.runs.single import Watchers
from scalenet.pipeline.runs.workers import Workers, count, for_machine
from scalenet.pipeline.watch import percent
from scalenet.pipeline.watch.progress import CACHED, DONE, Progress
from scalenet.records import files

LIBRARIES = ("scalenet.pipeline.remember.tracking", "torch")
PROGRESS: ContextVar[Progress | None] = ContextVar("progress", default=None)  # of the run here


def run_family(
    progress: Progress, preset: str | None, overrides: dict[str, Any], target: str | None
) -> int:
    """Run the family flow in this process, with a Prefect server at hand; return its exit code."""
    import_libraries()  # while the server starts
    PROGRESS.set(progress)
    arguments = {"preset": preset, "overrides": overrides, "target": target}
    run = partial(family, **arguments, return_state=True)
    return _exit_code(flowruns.last_state(run, lambda: progress.note("prefect", flowruns.GONE)))


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
        made = Flow(_stage, name=stage, flow_run_name=name)
        run = partial(made, stage, member, return_state=True)
        state = flowruns.last_state(run, lambda: single.print_line(f"prefect: {flowruns.GONE}"))
    return _exit_code(state, f"{stage}: ")


def _exit_code(state: State, prefix: str = "") -> int:
    """Say why a flow did not complete, if it did not, and return what its process ends with."""
    if state.is_completed():
        return 0
    print(f"{prefix}{state.message}", file=sys.stderr)
    return single.CODES.get(state.name, 1)


def failed(error: ValueError | OSError) -> State:
    """Return the state of what was refused, or what an absent server, a kill or a disk stopped."""
    names = {Unavailable: "Unavailable", Killed: "Killed", Stopped: "Killed"}
    return Failed(name=names.get(type(error), "Refused"), message=files.told(error, Path.cwd()))


def _stage(stage: str, member: str | None = None) -> State:
    """Run a stage: params and documents in; documents, tracked runs and registered models out."""
    tags, root = {"prefect_flow_run": str(flow_run.id or "")}, Path.cwd()
    logged = get_run_logger().info

    def say(line: str) -> None:
        logged(line)
        single.print_line(line)

    flowruns.remember(root, flow_run.id)
    try:
        seconds = single.compute_and_tell(root, stage, member, tags, say)
    except ValueError as error:
        return flowruns.ended(root, failed(error))
    return flowruns.ended(root, Completed(message=f"computed for {seconds:.1f} s"))


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
        flowruns.remember(root, flow_run.id)
    except (ValueError, OSError) as error:
        return failed(error)
    return flowruns.ended(root, _run(root, preset, overrides or {}, target))


def _run(root: Path, preset: str | None, overrides: dict[str, Any], target: str | None) -> State:
    """Build the family; return how that ended."""
    try:
        with settings.kept_if_refused(root):
            if preset or overrides:
                refuse_while_computed(root)
            params = settings.apply(root, preset, overrides, _said)
            stages, needs = graph(root, target)
        published.name_run(params, published.revision(root))
        return built(root, params, stages, needs)
    except (ValueError, OSError) as error:
        return failed(error)


def graph(root: Path, target: str | None) -> tuple[Graph, dict[str, set[str]]]:
    """Return the stages of a project and, for a target, those that it needs."""
    project.refresh(root)
    stages = Graph(root)
    for line in stages.mend():
        _said(line, "dvc")
    return stages, project.settled(root, stages, stages.needs(target))


def built(root: Path, params: Params, stages: Graph, needs: dict[str, set[str]]) -> State:
    """Have every stage done that must be; return how the run ended."""
    check_store(root, params)
    check_scorers(params, stages, needs)
    progress, ordered = PROGRESS.get() or Progress(), _largest_first(needs, params)
    workers_at_once = count(params.compute)
    progress.plan(needs, standing.expected(root, params, needs), workers_at_once)
    post = Post(root, partial(progress.note, "mlflow"))
    with (
        percent.logged(progress),
        post,
        for_machine(params.compute) as workers,
        Exports(root) as exports,
    ):
        tools = Tools(stages, workers, exports, Watchers(progress, post))
        tasks = {name: _task(tools, name) for name in ordered}
        ended = _side_by_side(tasks, needs, workers_at_once)
        progress.closing = "MLflow is told the rest, and members are registered"
        post.finish()
        progress.closing = ""
    wrong = {name: state for name, state in ended.items() if not state.is_completed()}
    if wrong:
        message = "\n".join(f"{name}: {state.message}" for name, state in wrong.items())
        return Failed(name=next(iter(wrong.values())).name, message=message)
    if "publish" in ended and servers.answers() and post.client():
        published.show(root, params)
    progress.away = post.away or bool(post.lacks())
    said = [f"stages up to date: {len(ended)}", post.lacks()]
    return Completed(message="; ".join(filter(None, said)))


def check_scorers(params: Params, stages: Graph, needs: dict[str, set[str]]) -> None:
    """Refuse a scheduler that does not answer before what a search needs is trained for hours, if
    there is a search to come."""
    if params.compute.scoring is None or "search" not in needs:
        return
    before, found = {"search"}, set()
    while before:
        found |= before
        before = set().union(*(needs[name] for name in before)) - found
    if any(stages.changed(name) for name in found):
        cluster = import_module("scalenet.search.cluster")  # and Dask, which others do without
        cluster.check(params.compute.scoring)


def _said(line: str, about: str = "params") -> None:
    """Say something about the params, or DVC, here and in Prefect's log."""
    get_run_logger().info(line)
    if progress := PROGRESS.get():
        progress.note(about, line)


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


class Tools(NamedTuple):
    """What a stage's task works with."""

    stages: Graph
    workers: Workers
    exports: Exports
    watchers: Watchers


def _task(tools: Tools, name: str) -> Task:
    """Return the task that runs one stage, if DVC finds it changed, and has it committed."""

    def build() -> State:
        try:
            return _built(tools, name)
        except (ValueError, OSError) as error:
            return failed(error)

    # kept, the first stage's result would answer for all: to Prefect's cache they are one task
    return Task(build, name=name, task_run_name=name, persist_result=False)


def _built(tools: Tools, name: str) -> State:
    progress = tools.watchers.progress
    with progress.failing(name):
        changed = tools.stages.changed(name)
    if not changed:
        progress.tell(name, {"event": "ended", "state": CACHED})
        return Completed(name="Cached", message="DVC found it unchanged")
    tools.workers.warm()
    with (
        percent.shown(progress, name),
        percent.logged(progress, name),
        progress.failing(name),
    ):
        return _computed(tools, name)


def _computed(tools: Tools, name: str) -> State:
    """Have a stage computed, or taken from another copy of the project that made the same before,
    and committed; then reported."""
    stage, _, member = name.partition("@")
    (progress, post), exports, work = tools.watchers, tools.exports, member or stage
    params = config.load(post.root / "params.yaml")
    key = key_of(post.root, params, work)
    say = partial(progress.note, "lock")
    with alone(post.root, work, key, say, lambda: tools.workers.ended):
        report = _committed(tools, params, name, key)
        single.forget(post.root, work, key)
    if report is None:
        progress.tell(name, {"event": "ended", "state": CACHED})
        return Completed(name="Cached", message="made before from the same inputs")
    progress.tell(name, {"event": "ended", "state": DONE})
    if stage == "publish":
        post.submit(exports.finish)
    then = partial(exports.submit, member) if stage == "retrain" else (lambda: None)
    post.send(report, then)
    return Completed(message=f"computed for {report.seconds:.1f} s")


def _committed(tools: Tools, params: Params, name: str, key: str) -> Report | None:
    """Have DVC commit what a stage makes; return its report, None if it was made before."""
    tags, report = {"prefect_flow_run": str(flow_run.id or ""), "key": key}, None
    try:
        with tools.stages.committing(name):
            # publish fills the registry, too
            if name == "publish" or not tools.stages.restored(name):
                report = single.compute(tools.watchers, params, name, tags, tools.workers.run_stage)
    except ValueError:
        if report is not None:  # it was computed, and DVC did not commit it
            report.keep("FAILED")
            tools.watchers.post.send(report)
        raise
    return report
