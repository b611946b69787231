"""Workspaces: copies of the project at a revision, one for each scheduled run, so that the checkout
stays as it is.

A workspace is a clone below the project's ``.state``, with the project's DVC cache, its tracking
and what it resumes from. In it the clone lies as deep, and below folders of the same names, as the
repository does on this machine, so that what params.yaml names by ``..`` is in the workspace, too.
What a run makes comes back as a DVC experiment.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from dvc.config import Config
from dvc.exceptions import DvcException
from dvc.repo import Repo
from filelock import FileLock
from scmrepo.exceptions import SCMError

from scalenet.config.params import Params
from scalenet.pipeline import STATE, home
from scalenet.pipeline.runs.alone import is_locked
from scalenet.pipeline.runs.git import git

NAME = "workspaces"  # of their folder
FOLDER = f"{STATE}/{NAME}"
NO_GIT = (
    "{}: a scheduled run takes a git revision, and this project is in no git repository; run "
    "`git init`, `dvc config core.no_scm false`, `git add .` and `git commit`, or `scalenet run` "
    "here"
)
NOBODY = {"user.name": "scalenet", "user.email": "scalenet@localhost"}  # as the image has it
SHORT = 7  # digits of a commit in a name
LINKS = ["reflink", "hardlink", "symlink", "copy"]  # of DVC's files: nothing is copied if it can


class Workspace(NamedTuple):
    """A copy of the project: its name, the project in it, the clone that holds that, the folder of
    all of it, and the commit it is of."""

    name: str
    root: Path
    clone: Path
    folder: Path
    commit: str

    @property
    def short(self) -> str:
        return self.commit[:SHORT]


class Kept(NamedTuple):
    """A workspace that is there: its name, seconds since it was made, its bytes, and whether a
    run is in it."""

    name: str
    age: float
    size: int
    busy: bool


# --- one run's workspace --------------------------------------------------------------------------


@contextmanager
def workspace(root: Path, revision: str, run: str) -> Iterator[Workspace]:
    """Make a workspace of a revision for a run, and hold it while the body is in it; it is kept.

    ``ValueError`` if the project has no git, or no such revision of itself.
    """
    there = home(root)
    top, commit = _revision(there, revision)
    shared = _shared(there)
    name = f"{commit[:SHORT]}-{run}"
    folder = there / FOLDER / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_lock(folder)):
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier try of the same run
        clone = _within(folder, top)
        copy = ("clone", "--quiet", "--shared", "--no-checkout", str(top), str(clone))
        git(folder.parent, *copy)
        git(clone, "checkout", "--quiet", "--detach", commit)
        _sign(there, clone)
        made = Workspace(name, _within(folder, there), clone, folder, commit)
        _share(there, made, shared)
        yield made


def _sign(there: Path, clone: Path) -> None:
    """Have what a clone commits be by whom the project's repository says, or by nobody: DVC saves
    no experiment without a name, and a worker's user may have none."""
    for key, nobody in NOBODY.items():
        who = git(there, "config", "--default", nobody, "--get", key)
        git(clone, "config", key, who or nobody)


def root_in(root: Path, name: str) -> Path:
    """Return where the project lies in a workspace of that name."""
    there = home(root)
    return _within(there / FOLDER / name, there)


def _within(folder: Path, path: Path) -> Path:
    """Return where an absolute path is in a workspace's folder."""
    return folder / path.relative_to(path.anchor)


def _revision(there: Path, revision: str) -> tuple[Path, str]:
    """Return the repository's folder and the commit that a revision names."""
    if not shutil.which("git"):
        raise ValueError("git is not installed; a scheduled run takes a revision from it")
    if not (there / "params.yaml").exists():
        raise ValueError(
            f"{there} has no params.yaml; a worker works in the folder in which it is started: "
            "start it in a project's folder"
        )
    try:
        top = Path(git(there, "rev-parse", "--show-toplevel")).resolve()
    except ValueError as error:
        if any((folder / ".git").exists() for folder in (there, *there.parents)):
            raise  # another user's repository, or a damaged one: git says what to do
        raise ValueError(NO_GIT.format(there)) from error
    try:
        commit = git(there, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    except ValueError as error:
        raise ValueError(
            f"revision {revision!r} is no commit of {top}; give a branch, a tag or a commit, or "
            "HEAD, the one that is checked out"
        ) from error
    inside = (there.relative_to(top) / "params.yaml").as_posix()
    if not git(there, "ls-tree", "--full-tree", commit, "--", inside):
        raise ValueError(
            f"revision {revision!r} of {top} holds no {inside}; commit the project: "
            "`git add .` and `git commit`"
        )
    return top, commit


def _shared(there: Path) -> dict[str, Any]:
    """Return the DVC configuration of a project's copies: what is local there, and its cache."""
    with Repo(str(there)) as repo:
        if repo.config["core"].get("no_scm"):
            raise ValueError(
                f"{there}: DVC is told that there is no git; `dvc config core.no_scm false`, and "
                "commit .dvc/config"
            )
        local = repo.config.read("local")
        cache = {"dir": repo.cache.local_cache_dir, "type": LINKS}
    return local | {"cache": local.get("cache", {}) | cache}


def _share(there: Path, made: Workspace, shared: dict[str, Any]) -> None:
    """Give a workspace the project's state and its DVC configuration."""
    _lead(made, made.root / STATE, there / STATE)
    (made.root / ".dvc" / "config.local").touch(mode=0o600)  # credentials of remotes may be there
    config = Config(dvc_dir=str(made.root / ".dvc"), validate=False)
    with config.edit("local") as own:
        own.update(shared)


def bring(root: Path, made: Workspace, params: Params) -> None:
    """Bring what DVC has of the revision into a workspace, and lead what neither git nor DVC has
    to where it lies in the project.

    ``ValueError`` if DVC's cache lacks what the params name (what lies in the project may be
    another revision's), or if the images are nowhere on this machine. (Weights that are not here
    are asked for when a stage reads them: what it makes may be known.)
    """
    there, named = home(root), _outside(params)
    for name in ("dvc", "dvc_data"):  # not a line for each file that it has not
        logging.getLogger(name).setLevel(logging.ERROR)
    with Repo(str(made.root)) as repo:
        repo.checkout(allow_missing=True, force=True)
        made_there = {Path(out.fs_path) for out in repo.index.outs}  # by stages of the project
        for name in named.values():
            if lacks := _lacking(repo, name):
                raise ValueError(
                    f"{lacks} is under `dvc add`, and DVC's cache has not all that revision "
                    f"{made.short} has of it; `dvc fetch --all-commits {lacks}` in {there} brings "
                    "it from the DVC remote"
                )
    for key, name in named.items():
        place, lies = made.root / name, there / name  # of an absolute name the same
        if not place.exists() and lies.exists():
            _lead(made, place, lies.resolve())
        elif key == "data.source" and not (place.exists() or made_there & {place, *place.parents}):
            raise ValueError(
                f"{key}: {os.path.normpath(lies)} does not exist on {platform.node()}, the machine "
                "of this worker; bring it there, or name what is there"
            )


def _lacking(repo: Repo, name: str) -> str | None:
    """Return what was put under DVC of a file or folder, as a whole or in part, and was not checked
    out: DVC leaves out what its cache has not whole."""
    wanted = Path(repo.root_dir, name).resolve()
    for out in repo.index.outs:
        added = Path(out.fs_path)
        related = added.is_relative_to(wanted) or wanted.is_relative_to(added)
        if out.stage.is_data_source and related and not added.exists():
            return os.path.relpath(added, repo.root_dir)
    return None


def _lead(made: Workspace, place: Path, target: Path) -> None:
    """Make a link in a workspace that git does not see: ignored folders are no links to it."""
    place = place.parent.resolve() / place.name
    if not place.is_relative_to(made.folder.resolve()):
        raise ValueError(
            f"{target}: the name that params.yaml has for it leads out of a copy of the project; "
            "give this absolute one"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    clone = made.clone.resolve()
    if place.is_relative_to(clone):
        with (clone / ".git" / "info" / "exclude").open("a", encoding="utf-8") as file:
            file.write(f"/{place.relative_to(clone).as_posix()}\n")


def _outside(params: Params) -> dict[str, str]:
    """Return the files and folders that params name and that need not be under version control."""
    named = {"supernet.init": params.supernet.init}
    named["baselines.pretrained"] = params.baselines.pretrained
    files = {key: entry.file for key, entry in named.items() if entry is not None}
    return {"data.source": params.data.source, **files}


def save(root: Path, made: Workspace, stages: list[str]) -> None:
    """Leave a workspace, with stages that were done there, as a DVC experiment of its name in the
    project's repository."""
    with Repo(str(made.root)) as repo:
        try:
            repo.experiments.save(targets=stages, name=made.name, force=True)
        except (DvcException, SCMError) as error:
            raise ValueError(
                f"{made.name}: DVC cannot save it as an experiment: {error}"
            ) from error
    reference = f"refs/exps/{made.commit[:2]}/{made.commit[2:]}/{made.name}"
    git(home(root), "fetch", "--quiet", str(made.clone), f"+{reference}:{reference}")


# --- those that are there -------------------------------------------------------------------------


def found(root: Path) -> list[Kept]:
    """Return the workspaces of a project, the oldest first."""
    folders = [p for p in (home(root) / FOLDER).glob("*/") if not p.is_symlink()]
    kept = []
    for p in folders:
        with suppress(FileNotFoundError):  # its run has ended well, and removed it
            age = time.time() - p.stat().st_mtime
            kept.append(Kept(p.name, age, _size(p), is_locked(_lock(p))))
    return sorted(kept, key=lambda one: -one.age)


def remove(root: Path, name: str) -> None:
    """Remove a workspace; ``ValueError`` if there is none of that name, or a run is in it."""
    known = {one.name: one for one in found(root)}
    if name not in known:
        raise ValueError(f"workspace {name!r} is not there; there are {', '.join(known) or 'none'}")
    if known[name].busy:
        raise ValueError(f"workspace {name!r}: a run is in it; cancel that one first")
    drop(home(root) / FOLDER / name)


def drop(folder: Path) -> None:
    """Remove a workspace's folder and its lock."""
    shutil.rmtree(folder)
    _lock(folder).unlink(missing_ok=True)


def _lock(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _size(folder: Path) -> int:
    """Return the bytes of a workspace that nothing else has: DVC's cache may have its files too."""
    size = 0
    for file in (Path(p, f) for p, _, names in os.walk(folder) for f in names):
        with suppress(FileNotFoundError):  # the run that is in it has replaced it
            stat = file.lstat()
            size += stat.st_size if stat.st_nlink == 1 else 0
    return size
