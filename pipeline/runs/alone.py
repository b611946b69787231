"""A stage is computed by one process at a time, which is known by name: once in a folder, and once
for equal work in all copies of a project."""

from __future__ import annotations

import errno
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from scalenet.config.params import Params
from scalenet.pipeline import STATE, home, made_state
from scalenet.records import files
from scalenet.records.paths import Paths
from scalenet.stages import STAGES, declared, state_key

ASKED = 1  # seconds: another process may hold the lock only to ask who has it
POLL = 0.5  # seconds between two looks at a lock that is waited for
Say = Callable[[str], None]


def place(root: Path) -> str:
    """Name a project among all that may share a server: a hash of host and path of its home."""
    return files.digest(platform.node(), str(home(root)))


def key_of(root: Path, params: Params, work: str) -> str:
    """Return the key of a stage's (or a member's) work: equal keys give equal results. That of a
    stage that does not resume is of this folder alone.

    ``ValueError`` if a document that the work depends on is not there.
    """
    stage, member = ("retrain", work) if work in params.family else (work, None)
    if not STAGES[stage].resumes:
        return files.digest(str(root.resolve()), work)
    return state_key(declared(params, stage, member), Paths(root), stage, member or "")


@contextmanager
def alone(
    root: Path, work: str, key: str, say: Say, ended: Callable[[], bool] | None = None
) -> Iterator[None]:
    """Hold a stage (or a member) in this folder, and its key in all copies of the project.

    ``ValueError`` names who computes it in this folder. For who computes equal work in another
    copy it waits, and says so, until ``ended`` tells that nobody wants it any more.
    """
    made_state(root)
    folder = Paths(root).state(work)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        if home(root) == root.resolve():  # in a copy made for one run there is nobody else
            held.enter_context(_refusing(folder / "lock", work))
        held.enter_context(_waiting(folder / f"{key}.lock", work, say, ended))
        yield


@contextmanager
def _refusing(file: Path, work: str) -> Iterator[None]:
    try:
        with FileLock(file, timeout=ASKED), _known(file):
            yield
    except Timeout as error:
        raise ValueError(
            f"{work}: {_named(file)} computes it; wait for that one, or end it"
        ) from error


@contextmanager
def _waiting(file: Path, work: str, say: Say, ended: Callable[[], bool] | None) -> Iterator[None]:
    lock = FileLock(file)
    try:
        lock.acquire(timeout=ASKED)
    except Timeout:
        say(f"{work}: {_named(file)} computes the same; this run waits, and takes what it makes")
        try:
            lock.acquire(poll_interval=POLL, cancel_check=ended)
        except Timeout as error:
            raise ValueError(f"{work}: the run ended while it waited") from error
    try:
        with _known(file):
            yield
    finally:
        file.unlink(missing_ok=True)  # who waits for it sees that, and makes it anew
        lock.release()


def is_held(root: Path, work: str, key: str | None = None) -> bool:
    """Tell whether some process computes a stage (or a member) now: here, or that key anywhere."""
    file = Paths(root).state(work) / (f"{key}.lock" if key else "lock")
    return file.exists() and is_locked(file)


def is_locked(file: Path) -> bool:
    """Tell whether some process holds a lock; its file is made if need be. Nobody works on a disk
    that is mounted read-only."""
    try:
        with FileLock(file, timeout=0):
            return False
    except Timeout:
        return True
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return False


def refuse_while_computed(root: Path) -> None:
    """Refuse to change params.yaml while a process computes a stage in this folder: what that makes
    would not be committed, and its run's later stages would be of other params."""
    for file in sorted((root / STATE).glob("*/lock")):
        work = file.parent.name
        if (work in STAGES or re.fullmatch(r"S\d+", work)) and is_held(root, work):
            raise ValueError(
                f"{work}: {_named(file)} computes it, and params.yaml stays as it is "
                "while it does; wait for that one, or end it"
            )


@contextmanager
def _known(file: Path) -> Iterator[None]:
    """Say beside a lock who has it."""
    holder = file.with_suffix(".json")
    files.write_json(holder, _me())
    try:
        yield
    finally:
        holder.unlink(missing_ok=True)


def _me() -> dict[str, str | int]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": platform.node(), "since": since, "command": command}


def _named(file: Path) -> str:
    try:
        holder = files.read_json(file.with_suffix(".json"))
    except ValueError:  # it has the lock and has not written yet who it is, or is just done
        return "another process"
    return "process {pid} on {host} ({command}, since {since})".format(**holder)
