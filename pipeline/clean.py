"""What a project could do without, found kind by kind, with its size and how it is freed.

Nothing in use is found: no version that is pointed at or that the last promotion replaced, no state
that a stage goes on from or that is computed with now. What is whole in DVC's cache is left to
``dvc gc``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
from filelock import FileLock, Timeout

from scalenet.config import params as config
from scalenet.config.params import Params
from scalenet.pipeline import STATE, home, status
from scalenet.pipeline.models import retired
from scalenet.pipeline.repro import Busy
from scalenet.pipeline.runs import workspaces
from scalenet.pipeline.runs.alone import is_held, key_of
from scalenet.stages import STAGES

DAMAGED = ".damaged"  # what could not be used ends so: see `files.set_aside`


class Freeable(NamedTuple):
    """Something that a project could do without.

    ``free`` removes it and returns "", or why it was left; ``size`` is in bytes.
    """

    what: str
    size: int
    free: Callable[[], str]


# --- old generations ------------------------------------------------------------------------------


def old_generations(root: Path) -> Iterator[Freeable]:
    """Yield the generations that were replaced, but for the one replaced last."""
    params = config.load(root / "params.yaml")
    for old in retired.found(root, params):
        named = f"generation {old.generation}" if old.generation else "before generations"
        what = f"{named}: version {', '.join(old.versions)}, {len(old.programs)} programs"
        yield Freeable(
            what, sum(map(size, old.folders)), lambda old=old: retired.free(root, params, old)
        )


# --- what stages go on from -----------------------------------------------------------------------


def states(root: Path) -> Iterator[Freeable]:
    """Yield the states that no stage goes on from, here or in a workspace that is kept: it is up to
    date, or has other params, code or inputs now."""
    params = config.load(root / "params.yaml")
    try:
        standings = {stage.name.rpartition("@")[2]: stage for stage in status.standings(root)}
    except Busy:
        return  # DVC is at work in another process, and nothing is known of what stages need
    for state in sorted((home(root) / STATE).glob("*/*/")):
        work, key = state.parent.name, state.name
        if work not in STAGES and not re.fullmatch(r"S\d+", work):
            continue  # no stage's: another kind's
        why = _reason(root, params, standings.get(work), state)
        if why and not is_held(root, work, key) and key not in _elsewhere(root, work):
            what = f"{state.relative_to(home(root))}: {why}"
            yield Freeable(what, size(state), lambda state=state: _free_state(state))


def _reason(root: Path, params: Params, stage: status.Standing | None, state: Path) -> str:
    """Say why a state is of no use; "" if it is, or may be."""
    work = state.parent.name
    if stage is None:
        return f"{work} is no member of the family"
    if stage.busy:
        return ""
    if not stage.reasons:
        return f"{work} is up to date"
    try:
        wanted = key_of(root, params, work)
    except ValueError:
        return ""  # what it depends on is not there, and may come back as it was
    return f"{work} has other params, code or inputs now" if state.name != wanted else ""


def _elsewhere(root: Path, work: str) -> Iterator[str]:
    """Yield the keys that a stage (or a member) would go on from in workspaces that are kept."""
    for kept in workspaces.found(root):
        copy = workspaces.root_in(root, kept.name)
        try:
            params = config.load(copy / "params.yaml")
            if work in STAGES or work in params.family:
                yield key_of(copy, params, work)
        except ValueError:
            continue  # it has not come so far that it could have begun this stage


def _free_state(state: Path) -> str:
    lock = state.with_name(f"{state.name}.lock")
    try:
        with FileLock(lock, timeout=0):
            shutil.rmtree(state)
            lock.unlink(missing_ok=True)  # as `alone` leaves it
    except Timeout:
        return f"{state.parent.name} is computed now"
    return ""


# --- copies of scheduled runs ---------------------------------------------------------------------


def copies(root: Path) -> Iterator[Freeable]:
    """Yield the workspaces of runs that did not end well: their state and DVC's files are kept."""
    for one in workspaces.found(root):
        if not one.busy:
            what = f"{one.name}: {one.age / 3600:.1f} hours old"
            yield Freeable(
                what, one.size, lambda name=one.name: workspaces.remove(root, name) or ""
            )


# --- left over ------------------------------------------------------------------------------------


def left_over(root: Path) -> Iterator[Freeable]:
    """Yield what a write that was killed left, and what was set aside as damaged."""
    for path in left_files(root):
        what = os.path.relpath(path, root)
        yield Freeable(what, size(path), lambda path=path: _unlink(path))


def left_files(root: Path) -> Iterator[Path]:
    """Yield such files under artifacts/ and .state/, and what DVC could not use."""
    works = (path for path in (home(root) / STATE).glob("*") if path.name != workspaces.NAME)
    for folder in (root / "artifacts", *works):
        for path in below(folder):
            begun = re.fullmatch(r"\..*\.(\d+)\.tmp", path.name)  # by the process of that number
            if path.name.endswith(DAMAGED) or (begun and not psutil.pid_exists(int(begun[1]))):
                yield path
    for damaged in (f"dvc.lock*{DAMAGED}", f".dvc/cache/files/md5/??/*{DAMAGED}"):
        yield from sorted(root.glob(damaged))


def _unlink(path: Path) -> str:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return ""


def size(path: Path) -> int:
    """Return the bytes of a file, or of the files of a folder."""
    return sum(_bytes(file) for file in (below(path) if path.is_dir() else [path]))


def below(folder: Path) -> list[Path]:
    """Return all that lies below a folder, in order; not what a run that is under way removes
    meanwhile."""
    walked = os.walk(folder)
    return sorted(Path(here, n) for here, folders, names in walked for n in (*folders, *names))


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except FileNotFoundError:  # a run that is under way has replaced it
        return 0


KINDS = {  # what --only takes -> what yields its members; another kind is a line here
    "generations": old_generations,
    "states": states,
    "workspaces": copies,
    "leftovers": left_over,
}


def found(root: Path, only: str | None = None) -> Iterator[tuple[str, list[Freeable]]]:
    """Yield every kind's name, or that of one kind only, and what could be freed of it."""
    for name, look in KINDS.items():
        if only in (None, name):
            yield name, list(look(root))
