"""The Prefect flows: one per stage, and ``family``, which walks DVC's graph.

DVC decides whether a stage runs; Prefect shows when, where and how it ran. Prefect caches nothing here.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow, State, flow, get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentTaskRunId
from prefect.client.schemas.sorting import FlowRunSort
from prefect.flow_engine import run_flow
from prefect.runtime import flow_run, task_run
from prefect.states import Completed, Failed, Pending

from scalenet.config import params as stage_params
from scalenet.config.params import Params
from scalenet.pipeline import REFUSED, UNAVAILABLE, Unavailable, delivery, home, server, settings, tracking
from scalenet.records.paths import Paths
from scalenet.stages import ROOMS, run_room

PARENT = "SCALENET_PARENT_TASK_RUN"  # the family flow's task run, handed to the stage through DVC
CODES = {"Refused": REFUSED, "Unavailable": UNAVAILABLE}  # exit code by the name of a flow's state


# --- one stage ------------------------------------------------------------------------------------


def run_stage(root: Path, stage: str, member: str | None) -> int:
    """Run one stage as a Prefect flow in this process; return its exit code."""
    if stage not in ROOMS:
        raise ValueError(f"{stage!r} is no stage; there are {', '.join(ROOMS)}")
    stage_params.load(root / "params.yaml")  # refuse wrong params before anything starts
    with server.api(home(root)):
        stage_flow = Flow(_execute, name=stage, flow_run_name=" ".join(filter(None, (stage, member))))
        state = asyncio.run(run_flow(stage_flow, **_parent(stage_flow, member), return_type="state"))
    return _exit_code(state, f"{stage}: ")


def _exit_code(state: State, prefix: str = "") -> int:
    """Say why a flow did not complete, if it did not, and return what its process ends with."""
    if state.is_completed():
        return 0
    print(f"{prefix}{state.message}", file=sys.stderr)
    return CODES.get(state.name, 1)


def _parent(stage_flow: Flow, member: str | None) -> dict[str, Any]:
    """Return what makes the stage's flow run appear under the family flow's task, if there is one."""
    parameters = {"stage": stage_flow.name, "member": member}
    if PARENT not in os.environ:
        return {"parameters": parameters}
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(
            stage_flow, parameters=parameters, state=Pending(), parent_task_run_id=UUID(os.environ[PARENT])
        )
    return {"flow_run": run, "parameters": parameters}


async def _execute(stage: str, member: str | None = None) -> State:
    """Run a stage: params and documents in; documents, tracked runs and registered models out.

    It awaits nothing. It is a coroutine because Prefect ends the others by waiting a second for their heartbeat.
    """
    root = Path.cwd()
    try:
        seconds = _track(stage_params.load(root / "params.yaml"), Paths(root), stage, member)
    except ValueError as error:
        return Failed(name="Unavailable" if isinstance(error, Unavailable) else "Refused", message=str(error))
    return Completed(message=f"computed for {seconds:.1f} s")


def _track(params: Params, paths: Paths, stage: str, member: str | None) -> float:
    """Run a stage under MLflow's eyes; return the seconds that its room took."""
    root, tags = paths.root, {"prefect_flow_run": flow_run.id or ""}
    with tracking.stage_run(root, params, stage, member, tags) as run_id:
        with _delivery(params, paths, run_id) if stage == "search" else nullcontext():
            start = time.perf_counter()
            run_room(params, paths, stage, member)
            seconds = time.perf_counter() - start
        if stage == "publish":
            _publish(params, paths)
    shutil.rmtree(paths.state(member or stage), ignore_errors=True)
    return seconds


def _publish(params: Params, paths: Paths) -> None:
    """Draw the family's figure and register its members."""
    from scalenet.pipeline import registry
    from scalenet.report import figure

    figure.draw(paths)
    registry.register(paths.root, params)


def _delivery(params: Params, paths: Paths, run_id: str) -> AbstractContextManager:
    """Return the context that turns the search's journal into MLflow runs while it is written."""
    from scalenet.search.run import journal_key

    journal = paths.state("search") / "candidates.jsonl"
    return delivery.delivering(paths.root, params, journal, journal_key(params, paths), run_id)


# --- the family -----------------------------------------------------------------------------------


@flow(name="family", log_prints=True)
def family(preset: str | None = None, overrides: dict[str, Any] | None = None, target: str | None = None) -> State:
    """Build the family: reproduce every stage of dvc.yaml in order, each as a task.

    preset: a file of presets/, such as ``tiny``; overrides: params.yaml keys, such as
    ``{"search.population": 16}``; both are written to params.yaml and stay there. target: the last stage
    wanted, such as ``search`` or ``retrain@S2``.
    """
    root = Path.cwd()
    try:
        with settings.kept_if_refused(root):
            settings.apply(root, preset, overrides or {})
            stages = graph(root, target)
    except ValueError as error:
        return Failed(name="Refused", message=str(error))
    for stage in stages:
        state = reproduce.with_options(name=stage, task_run_name=stage)(stage, return_state=True)
        if not state.is_completed():
            return Failed(name=state.name, message=f"{stage}: {state.message}")
    return Completed(message=f"{len(stages)} stages are up to date")


def graph(root: Path, target: str | None) -> list[str]:
    """Return the names of the stages that a target needs (all by default), each after those it depends on."""
    from dvc.repo import Repo
    from networkx import descendants, lexicographical_topological_sort

    with Repo(str(root)) as repo:
        stages = {stage.addressing: stage for stage in repo.index.stages}
        if target is not None and target not in stages:
            raise ValueError(f"target {target!r} is no stage of dvc.yaml; it has {', '.join(stages)}")
        needs = repo.index.graph  # edges point from a stage to what it needs
        wanted = set(needs) if target is None else {stages[target], *descendants(needs, stages[target])}
        order = {name: i for i, name in enumerate(stages)}
        dependencies_first = needs.subgraph(wanted).reverse()
        ranked = lexicographical_topological_sort(dependencies_first, key=lambda stage: order[stage.addressing])
        return [stage.addressing for stage in ranked]


def _again(_task: Any, _run: Any, state: State) -> bool:
    """Retry what may pass the next time; not a refused input."""
    return state.name != "Refused"


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=_again)
def reproduce(stage: str) -> State:
    """Let DVC reproduce one stage; "Cached" if DVC found nothing to run."""
    with get_client(sync_client=True) as client:
        environment = os.environ | {
            PARENT: str(task_run.id),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        }
        before = _runs_under(client, task_run.id)
        command = [sys.executable, "-m", "dvc", "repro", "--single-item", stage]
        tail, code = _run(command, environment)
        ran = _runs_under(client, task_run.id) - before
    if code:
        refused = re.search(rf"exited with {REFUSED}$", tail, re.MULTILINE)
        return Failed(name="Refused" if refused else "Failed", message=_reason(tail))
    return Completed(message="ran") if ran else Completed(name="Cached", message="DVC found it unchanged")


def _run(command: list[str], environment: dict[str, str]) -> tuple[str, int]:
    """Run a command in a process group of its own, logging its lines; return its last lines and exit code."""
    logger, lines = get_run_logger(), []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            for line in process.stdout:
                logger.info(line.rstrip())
                lines.append(line.rstrip())
        except BaseException:
            os.killpg(process.pid, 15)
            raise
    return "\n".join(lines[-40:]), process.returncode


def _reason(tail: str) -> str:
    """Return what a failed stage said last, without DVC's own summary."""
    lines = [line for line in tail.splitlines() if line.strip() and not line.startswith(("Running stage", "> "))]
    said = [line for line in lines if "failed to run" not in line and "failed to reproduce" not in line]
    return "\n".join((said or lines)[-6:])


def _runs_under(client: Any, task_run_id: str) -> set[UUID]:
    """Return the flow runs that a task run has started: none if DVC ran no command."""
    parent = FlowRunFilterParentTaskRunId(any_=[UUID(str(task_run_id))])
    return {
        run.id
        for run in client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_task_run_id=parent), sort=FlowRunSort.START_TIME_DESC, limit=200
        )
    }


def run_family(root: Path, preset: str | None, overrides: dict[str, Any], target: str | None) -> int:
    """Run the family flow in this process; return its exit code."""
    with server.api(home(root)):
        state = family(preset=preset, overrides=overrides, target=target, return_state=True)
    return _exit_code(state)
