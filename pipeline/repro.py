"""DVC in this process: which stages there are, which changed, and the commit of what they made.

It leaves what ``dvc repro`` leaves, byte for byte. While a stage runs it holds the locks that
``dvc repro`` would hold, so that a concurrent one refuses.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvc.config import NotDvcRepoError
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.rwlock import rwlock
from dvc.scm import SCMError
from networkx import descendants, lexicographical_topological_sort


class Graph:
    """The stages of a project's dvc.yaml. DVC reads the files anew for each question."""

    def __init__(self, root: Path):
        self.root = root

    def order(self, target: str | None) -> list[str]:
        """Return the names of the stages that a target needs (all by default), each after its
        own needs."""
        with self._opened() as repo:
            stages = {stage.addressing: stage for stage in repo.index.stages}
            needs = repo.index.graph  # edges point from a stage to what it needs
        if target is not None and target not in stages:
            known = ", ".join(stages)
            raise ValueError(f"target {target!r} is no stage of dvc.yaml; it has {known}")
        chosen = stages.get(target)
        wanted = set(needs) if chosen is None else {chosen, *descendants(needs, chosen)}
        place = {name: i for i, name in enumerate(stages)}
        ranked = lexicographical_topological_sort(
            needs.subgraph(wanted).reverse(), key=lambda stage: place[stage.addressing]
        )
        return [stage.addressing for stage in ranked]

    def changed(self, name: str) -> bool:
        """Tell whether a stage must run."""
        with self._opened() as repo:
            return bool(repo.status(targets=[name]))

    def commit(self, name: str) -> None:
        """Have DVC lock a stage as it is."""
        with self._opened() as repo:
            repo.commit(name, force=True)

    @contextmanager
    def committing(self, name: str) -> Iterator[None]:
        """Hold a stage's locks while the body computes it; then have DVC commit what it made.

        ``ValueError`` if what the stage depends on changed meanwhile: nothing is committed then.
        """
        with self._opened() as repo:
            stage = _stage(repo, name)
            missing = [str(dep) for dep in stage.deps if not dep.exists]
            if missing:
                raise ValueError(f"{name}: {', '.join(missing)} does not exist")
            before, lock = _depended_on(stage), _lock(repo, stage)
            lock.__enter__()
        try:
            yield
            with self._opened() as repo:
                now = _depended_on(_stage(repo, name))
                if changed := [dep for dep in before if before[dep] != now.get(dep)]:
                    raise ValueError(
                        f"{name}: {', '.join(changed)} changed while it ran, so its result is not "
                        "committed; run it again"
                    )
                repo.commit(name, force=True)
        finally:
            lock.__exit__(None, None, None)

    @contextmanager
    def _opened(self) -> Iterator[Repo]:
        # not a line for each file that it writes
        logging.getLogger("dvc").setLevel(logging.WARNING)
        with _said(), Repo(str(self.root)) as repo:
            yield repo


def _stage(repo: Repo, name: str) -> Any:
    [stage] = repo.stage.collect(name)
    return stage


def _lock(repo: Repo, stage: Any) -> Any:
    """Return the locks that ``dvc repro`` holds while it runs a stage."""
    return rwlock(
        repo.tmp_dir,
        repo.fs,
        " ".join(sys.argv),  # as DVC's own locks in this process say, so that they pass each other
        [dep.fs_path for dep in stage.deps],
        [out.fs_path for out in stage.outs],
        repo.config["core"].get("hardlink_lock", False),
    )


def _depended_on(stage: Any) -> dict[str, Any]:
    """Return the content of what a stage depends on, as DVC sees it."""
    return {str(dep): dep.get_hash() for dep in stage.deps}


@contextmanager
def _said() -> Iterator[None]:
    """Turn what DVC refuses into a message."""
    try:
        yield
    except SCMError as error:
        raise ValueError(
            f"{error}; run `git init` there, or `dvc config core.no_scm true` to do without git"
        ) from error
    except NotDvcRepoError as error:
        raise ValueError("this folder holds no project; `scalenet params` begins one") from error
    except DvcException as error:
        raise ValueError(f"DVC: {error}") from error
