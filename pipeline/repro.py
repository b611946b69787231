"""DVC in this process: which stages there are, which changed, and the commit of what they made.

It leaves what ``dvc repro`` leaves of a new family, byte for byte, in whatever order stages end and
however often a run was killed: dvc.lock has them in the order of the graph. While a stage runs it
holds the locks that ``dvc repro`` would hold, so that a concurrent one refuses. DVC is asked by one
thread at a time, and waits for another process that holds it, such as a ``dvc push``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from dvc.config import NotDvcRepoError
from dvc.dvcfile import LOCK_FILE, Lockfile
from dvc.exceptions import (
    ConfirmRemoveError,
    CyclicGraphError,
    DvcException,
    NoOutputOrStageError,
)
from dvc.lock import LockError
from dvc.repo import Repo, lock_repo
from dvc.scm import SCMError
from dvc.stage.cache import RunCacheNotFoundError
from dvc.stage.exceptions import StageNotFound
from dvc.utils.serialize import load_yaml, modify_yaml
from dvc_data.hashfile.build import IgnoreInCollectedDirError
from networkx import descendants, lexicographical_topological_sort

from scalenet.config.yamlfile import conflict
from scalenet.pipeline import cache, ignored, locks, reasons
from scalenet.records import files
from scalenet.records.paths import Paths

PLANNING = "extrapolate"  # the stage that says which members there are


class Busy(ValueError):
    """DVC is at work in another process, or a stage that was asked about is computed there."""


class Graph:
    """The stages of a project's dvc.yaml. DVC reads the files anew for each question."""

    def __init__(self, root: Path):
        self.root = root
        self.turn = Lock()  # DVC's Repo is not for threads
        self.running = 0
        self.read = ExitStack()  # locks on what the stages that run depend on

    def needs(self, target: str | None) -> dict[str, set[str]]:
        """Return the stages that a target needs (all by default), each after those that it needs
        itself, with their names."""
        with self._opened() as repo:
            cache.refuse_damaged_lists(repo)
            ignored.refuse(repo)
            needs, ordered = repo.index.graph, _ordered(repo)
        chosen = [
            stage
            for stage in ordered  # retrain: every member
            if target in (None, stage.addressing, stage.addressing.partition("@")[0])
        ]
        if not chosen:
            names = [stage.addressing for stage in ordered]
            known = ", ".join(dict.fromkeys([*(n.partition("@")[0] for n in names), *names]))
            raise ValueError(f"target {target!r} is no stage of dvc.yaml; it has {known}")
        wanted = {*chosen}.union(*(descendants(needs, stage) for stage in chosen))
        return {
            stage.addressing: {need.addressing for need in needs[stage]}
            for stage in ordered
            if stage in wanted
        }

    def locked(self) -> set[str]:
        """Return the stages that dvc.lock has."""
        lock = self.root / LOCK_FILE
        return {*load_yaml(lock).get("stages", {})} if lock.exists() else set()

    def mend(self) -> list[str]:
        """Set aside what a DVC that was killed left half written, and damaged lists of folders;
        remove the locks that killed processes left; return a line on each.

        It writes dvc.lock, and its list of locks, in place.
        """
        with self._opened() as repo, lock_repo(repo):
            lines = [locks.mended(repo), _mended_lockfile(repo, self.root / LOCK_FILE)]
            lines.append(cache.mended_lists(repo))
        return [line for line in lines if line]

    def changed(self, name: str) -> bool:
        """Tell whether a stage must run."""
        with self._opened() as repo:
            return bool(repo.status(targets=[name]))

    def reasons(self) -> dict[str, list[str] | None]:
        """Say what changed for each stage: params, files, its command; nothing if it is up to date,
        None if a process computes it now. The files are read once for all.

        ``Busy`` if DVC is at work in another process.
        """
        with self._opened(wait=False) as repo, lock_repo(repo):
            return {stage.addressing: reasons.of(stage) for stage in repo.index.stages}

    def commit(self, name: str) -> None:
        """Have DVC lock a stage as it is."""
        with self._opened() as repo:
            self._commit(repo, name)

    @contextmanager
    def committing(self, name: str) -> Iterator[None]:
        """Hold a stage's locks while the body computes it; then have DVC commit what it made.

        ``ValueError`` if what the stage depends on changed meanwhile: nothing is committed then.
        """
        with self._opened() as repo:
            stage = _stage(repo, name)
            missing = [str(dep) for dep in stage.deps if not dep.exists]
            if missing:
                raise ValueError(f"{', '.join(missing)} does not exist")
            before, written = _depended_on(stage), self._lock(repo, stage)
        try:
            yield
            with self._opened() as repo:
                now = _depended_on(_stage(repo, name))
                if changed := [dep for dep in before if before[dep] != now.get(dep)]:
                    raise ValueError(
                        f"{name}: {', '.join(changed)} changed while it ran, so its result is not "
                        "committed; run it again"
                    )
                self._commit(repo, name)
        finally:
            with self.turn:
                self._release(written)

    def restored(self, name: str) -> bool:
        """Bring what a stage makes from DVC's cache, if it was made before from equal params, code
        and inputs, in any copy of the project; tell whether that was so. What the cache has
        damaged is set aside, and not brought. With plans, members that have none are removed, as
        by the stage that makes them."""
        with self._opened() as repo, repo.lock, _remembered(_stage(repo, name)) as stage:
            try:
                repo.stage_cache.restore(stage)
            except (RunCacheNotFoundError, ConfirmRemoveError):
                return False  # a damaged output, which DVC would not replace: a stage does
            whole = all(cache.holds(repo, Path(out.fs_path)) for out in stage.outs)
        if not whole:
            cache.mend(cache.damaged(self.root))
        elif name == PLANNING:
            paths = Paths(self.root)
            paths.keep([plan.stem for plan in paths.plan.glob("*.json")])
        return whole

    def _commit(self, repo: Repo, name: str) -> None:
        """Commit a stage; one that is new to dvc.lock goes before those that follow it in order,
        as they may have been done before."""
        with lock_repo(repo):  # nobody reads dvc.lock half written
            names, known = [stage.addressing for stage in _ordered(repo)], self.locked()
            stage = repo.commit(name, force=True)[0]
            with _remembered(stage):
                repo.stage_cache.save(stage)
            following = [other for other in names[names.index(name) + 1 :] if other in known]
            if following and name not in known:
                with modify_yaml(self.root / LOCK_FILE) as data:
                    for other in following:
                        data["stages"][other] = data["stages"].pop(other)

    def _lock(self, repo: Repo, stage: Any) -> ExitStack:
        """Take the locks that ``dvc repro`` holds while it runs a stage; return those on its
        outputs.

        DVC knows one reader of a file in each process. So what stages read that run side by side
        stays locked until the last of them is done.
        """
        outs = [out.fs_path for out in stage.outs]
        with ExitStack() as written:
            written.enter_context(locks.take(repo, [], outs))
            self.read.enter_context(locks.take(repo, [dep.fs_path for dep in stage.deps], []))
            self.running += 1
            return written.pop_all()

    def _release(self, written: ExitStack) -> None:
        self.running -= 1
        for held in (written, *[self.read] * (not self.running)):
            with suppress(AssertionError):  # gone: another process took this one for a dead one
                held.close()

    @contextmanager
    def _opened(self, wait: bool = True) -> Iterator[Repo]:
        # not a line for each file that it writes
        logging.getLogger("dvc").setLevel(logging.WARNING)
        with (
            self.turn,
            _said(self.root / LOCK_FILE),
            Repo(str(self.root), _wait_for_lock=wait) as repo,
        ):
            yield repo


def _mended_lockfile(repo: Repo, file: Path) -> str:
    """Set a dvc.lock aside that DVC cannot read, unless git merges it."""
    try:
        Lockfile(repo, str(file)).load()
    except DvcException:
        if _is_merged(file):
            return ""
        aside = files.set_aside(file)
        return (
            f"{LOCK_FILE} is not whole, as after a kill while DVC wrote it; it is {aside.name} "
            "now, and what it locked is brought from DVC's cache or made again"
        )
    return ""


def _is_merged(file: Path) -> bool:
    """Tell whether git left two versions in a file."""
    return bool(conflict(file.read_text(encoding="utf-8", errors="replace")))


def _ordered(repo: Repo) -> list[Any]:
    """Return a project's stages, each after those that it needs, else as dvc.yaml has them."""
    place = {stage: i for i, stage in enumerate(repo.index.stages)}
    needs = repo.index.graph  # edges point from a stage to what it needs
    return list(lexicographical_topological_sort(needs.reverse(), key=place.__getitem__))


def _stage(repo: Repo, name: str) -> Any:
    [stage] = repo.stage.collect(name)
    return stage


@contextmanager
def _remembered(stage: Any) -> Iterator[Any]:
    """Have a stage in DVC's run cache, which knows no outputs that stay in place while it runs."""
    stays = [out for out in stage.outs if out.persist]
    for out in stays:
        out.persist = False
    try:
        yield stage
    finally:
        for out in stays:
            out.persist = True


def _depended_on(stage: Any) -> dict[str, Any]:
    """Return the content of what a stage depends on, as DVC sees it."""
    return {str(dep): dep.get_hash() for dep in stage.deps}


@contextmanager
def _said(lockfile: Path) -> Iterator[None]:
    """Turn what DVC refuses into a message."""
    try:
        yield
    except SCMError as error:
        raise ValueError(
            f"{error}; run `git init` there, or `dvc config core.no_scm true` to do without git"
        ) from error
    except NotDvcRepoError as error:
        raise ValueError("this folder holds no project; `scalenet params` begins one") from error
    except LockError as error:
        raise Busy(f"DVC: {locks.told(str(error))}") from error
    except CyclicGraphError as error:
        raise ValueError(
            f"DVC: {str(error).rstrip('.')}: data.source (params.yaml) may hold this project's own "
            "folder; give images that lie outside of it, or in a folder of their own in it"
        ) from error
    except (NoOutputOrStageError, StageNotFound) as error:  # it was there when the run began
        raise ValueError(
            f"DVC: {error}: family (params.yaml) was edited while the run was on; run it again"
        ) from error
    except DvcException as error:
        if lockfile.exists() and _is_merged(lockfile):
            raise ValueError(
                f"DVC: git left two versions in {LOCK_FILE}; keep one, `git checkout --ours "
                f"{LOCK_FILE}` (or --theirs): `scalenet run` makes what it does not have"
            ) from error
        raise ValueError(f"DVC: {error}") from error
    except IgnoreInCollectedDirError as error:
        raise ValueError(
            f"DVC: {error}; move that file out of the folder, or remove it: all images are read, "
            "whatever it names"
        ) from error
    except OSError as error:
        raise ValueError(files.unwritable(error.filename or "DVC's cache", error)) from error
