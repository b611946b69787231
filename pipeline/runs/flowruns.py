"""Prefect's runs of this folder: each ends in its page too, whatever happened to server or process.

A run that begins leaves its number in ``.state/prefect``, beside a lock that ends with its process.
If the server was away when it ended, or its process was killed, the next run sets its last state.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from pathlib import Path
from uuid import UUID

from filelock import FileLock, Timeout
from httpx import HTTPError
from prefect import State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import StateType
from prefect.exceptions import FailedRun, ObjectNotFound, PrefectException
from prefect.runtime import flow_run
from prefect.states import Cancelled, Crashed

from scalenet.config.away import Unavailable
from scalenet.pipeline import STATE
from scalenet.pipeline.doors import servers
from scalenet.records import files

AWAY = (HTTPError, PrefectException, OSError)  # what an absent server raises
ENDED: ContextVar[State | None] = ContextVar("ended", default=None)  # how a flow ended
LOCKS: dict[Path, FileLock] = {}  # of this process's runs, held until it ends, however it does
GONE = "its server does not answer; computing goes on without it"


def remember(root: Path, run: str, state: State | None = None) -> None:
    """Leave word of a flow run that this process runs, and then of how it ended.

    A lock tells whether it is run now, since a number of a process says nothing in another
    container.
    """
    file = (root / STATE / "prefect" / f"{run}.json").resolve()
    if file not in LOCKS:
        file.parent.mkdir(parents=True, exist_ok=True)
        LOCKS[file] = FileLock(file.with_suffix(".lock"), thread_local=False)
        LOCKS[file].acquire()
    known = state and {"type": state.type.value, "name": state.name, "message": state.message}
    files.write_json(file, {"state": known, "file": str(file)})


def ended(root: Path, state: State) -> State:
    """Keep how the flow that runs here ended, for the case that its server does not hear of it."""
    remember(root, flow_run.id, state)
    ENDED.set(state)
    if not servers.answers():
        servers.stop_waiting()
    return state


def without_traceback() -> None:
    """Have the log of a run that failed end with its state, which says why, and not with the
    exception by which Prefect ends the process of a worker's run."""
    logging.getLogger("prefect.flow_runs").addFilter(_is_no_end)


def _is_no_end(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], FailedRun))


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
    """Set the last state of runs whose processes are gone, unless Prefect has it. A worker says
    *Crashed* of one that ended while the server was away.

    Not of those whose words came here in a copy of the project: they are the first one's.
    """
    folder = (root / STATE / "prefect").resolve()
    if not any(folder.glob("*.json")):
        return
    with FileLock(folder / "lock"), ExitStack() as held:  # another command may settle them now
        left = [file for file in sorted(folder.glob("*.json")) if _is_left(file, held)]
        client = held.enter_context(get_client(sync_client=True)) if left else None
        for file in left:
            kept = files.read_json(file)
            there = Path(kept.get("file", file))
            if there == file or not there.exists():  # it may be of before the project was moved
                _settle(client, UUID(file.stem), kept["state"])
            file.unlink()
            file.with_suffix(".lock").unlink(missing_ok=True)


def _is_left(file: Path, held: ExitStack) -> bool:
    """Tell whether no process runs a flow run any more; then hold its lock, lest one begins."""
    try:
        held.enter_context(FileLock(file.with_suffix(".lock"), timeout=0))
    except Timeout:
        return False
    return True


def _settle(client: SyncPrefectClient, run: UUID, ended: dict[str, str] | None) -> None:
    try:
        known = client.read_flow_run(run)
    except ObjectNotFound:  # of another server, or deleted
        return
    now, crashed = known.state, Crashed(message="its process was ended")
    if now is not None and (now.is_scheduled() or now.is_pending() or now.is_paused()):
        return  # it is to be run again, at once or when it is resumed
    unheard = ended is not None and now is not None and now.is_crashed()  # as its worker has it
    if now is None or not now.is_final() or unheard:
        last = Cancelled() if now is not None and now.is_cancelling() else crashed
        state = State(**ended | {"type": StateType(ended["type"])}) if ended else last
        client.set_flow_run_state(run, state, force=True)
    own = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    for task in client.read_task_runs(flow_run_filter=own):
        if task.state is None or not task.state.is_final():
            client.set_task_run_state(task.id, crashed, force=True)
