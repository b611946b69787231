"""Prefect's runs of this folder: each ends in its page too, whatever happened to server or process.

A run that begins leaves its number and its process in ``.state/prefect``. If the server was away
when it ended, or its process was killed, the next run sets its last state.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from filelock import FileLock
from httpx import HTTPError
from prefect import State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.runtime import flow_run
from prefect.states import Crashed

from scalenet.config.away import Unavailable
from scalenet.pipeline import STATE
from scalenet.pipeline.doors import servers
from scalenet.records import files

AWAY = (HTTPError, PrefectException, OSError)  # what an absent server raises
ENDED: ContextVar[State | None] = ContextVar("ended", default=None)  # how a flow ended
GONE = "its server does not answer; computing goes on without it"


def remember(root: Path, run: str, state: State | None = None) -> None:
    """Leave word of a flow run that this process runs, and then of how it ended."""
    process = psutil.Process()
    content: dict[str, Any] = {"pid": process.pid, "began": process.create_time(), "state": None}
    if state is not None:
        content["state"] = {"type": state.type.value, "name": state.name, "message": state.message}
    files.write_json(root / STATE / "prefect" / f"{run}.json", content)


def ended(root: Path, state: State) -> State:
    """Keep how the flow that runs here ended, for the case that its server does not hear of it."""
    remember(root, flow_run.id, state)
    ENDED.set(state)
    if not servers.answers():
        servers.stop_waiting()
    return state


def last_state(run: Callable[[], State], gone: Callable[[], None]) -> State:
    """Run a flow and return how it ended, though its server be gone by then: tell ``gone``.

    ``Unavailable`` if the flow itself did not say how it ended.
    """
    logging.raiseExceptions = False  # no word in the terminal about log lines that have no server
    try:
        settle(Path.cwd())
        return run()
    except AWAY as error:
        if ENDED.get() is None:
            if not isinstance(error, HTTPError):
                raise
            servers.stop_waiting()
            raise Unavailable(
                f"Prefect's server ended before the run did ({error}); what is done stays done: "
                "run it again"
            ) from error
        gone()
        return ENDED.get()


def settle(root: Path) -> None:
    """Set the last state of runs whose processes are gone, unless Prefect has it."""
    folder = root / STATE / "prefect"
    if not any(folder.glob("*.json")):
        return
    with FileLock(folder / "lock"):  # another command may settle them now
        found = {file: files.read_json(file) for file in sorted(folder.glob("*.json"))}
        left = {file: content for file, content in found.items() if not _lives(content)}
        if left:
            with get_client(sync_client=True) as client:
                for file, content in left.items():
                    _settle(client, UUID(file.stem), content["state"])
                    file.unlink()


def _lives(content: dict[str, Any]) -> bool:
    try:
        return psutil.Process(content["pid"]).create_time() == content["began"]
    except psutil.NoSuchProcess:
        return False


def _settle(client: SyncPrefectClient, run: UUID, ended: dict[str, str] | None) -> None:
    try:
        known = client.read_flow_run(run)
    except ObjectNotFound:  # of another server, or deleted
        return
    crashed = Crashed(message="its process was ended")
    if known.state is None or not known.state.is_final():
        state = State(**ended | {"type": StateType(ended["type"])}) if ended else crashed
        client.set_flow_run_state(run, state, force=True)
    own = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    for task in client.read_task_runs(flow_run_filter=own):
        if task.state is None or not task.state.is_final():
            client.set_task_run_state(task.id, crashed, force=True)
