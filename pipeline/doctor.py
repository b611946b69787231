"""What a machine and a project have, lack and should mend: one finding a line, with its remedy."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from scalenet.config import params as config
from scalenet.config.away import Unavailable
from scalenet.config.params import Params
from scalenet.data.cores import cores
from scalenet.pipeline import STATE, cache, clean, home, project
from scalenet.pipeline.address import hidden
from scalenet.pipeline.doors import servers
from scalenet.pipeline.models import evidence, generations, registry
from scalenet.pipeline.remember import reports, stores
from scalenet.pipeline.repro import LOCK_FILE, Graph
from scalenet.pipeline.runs import workspaces
from scalenet.records.written import counted

GIB = 2**30
LEAST_FREE = 2 * GIB  # of disk: below it a full family may not fit
LEAST_FILES = 10_000  # that can be made anew there: DVC's cache has each image that is under it
SHOWN = ("torch", "dvc", "mlflow", "prefect", "numpy")


class Finding(NamedTuple):
    """Something that was looked at; a remedy if it should be mended."""

    what: str
    remedy: str = ""


def examine(root: Path, deep: bool, mend: bool) -> Iterator[Finding]:
    """Yield what is found, the machine first, then the project and its servers."""
    yield from _versions()
    yield from _machine(root)
    if not (root / "params.yaml").exists():
        yield Finding(f"project: {root} holds none", "`scalenet init PHOTOS` begins one")
        return
    params = yield from _project(root)
    mlflow = next(_refused("MLflow", lambda: _mlflow(root)))
    yield mlflow
    if params is not None and stores.is_there(root) and not mlflow.remedy:
        yield from _refused("deployed", lambda: _deployed(root, params))
    yield from _refused("Prefect", _prefect)
    yield from _left_over(root)
    if params is not None and deep:
        yield from _cache(root, mend)


def _versions() -> Iterator[Finding]:
    """Say which versions there are, and which are outside of what this package was made for."""
    yield Finding(f"python {platform.python_version()} on {platform.platform(terse=True)}")
    for text in metadata.requires("scalenet-pipeline") or ():
        wanted = Requirement(text)
        try:
            there = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed
        if wanted.specifier.contains(there, prereleases=True):
            if wanted.name in SHOWN:
                yield Finding(f"{wanted.name} {there}")
        elif not wanted.marker or "extra" not in str(wanted.marker) or wanted.name in SHOWN:
            yield Finding(
                f"{wanted.name} {there}, outside of {wanted.specifier}",
                f"pip install '{wanted.name}{wanted.specifier}'",
            )


def _machine(root: Path) -> Iterator[Finding]:
    import torch

    yield Finding(f"{counted(cores(), 'core')} for this process")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield Finding(f"GPUs: {', '.join(names) or 'none; everything runs on the CPU'}")
    yield from _disks(root)


def _disks(root: Path) -> Iterator[Finding]:
    """Look at the disk of the project, and at those that its state and its workspaces lie on."""
    state, seen = home(root) / STATE, set()
    for folder in (root, state, home(root) / workspaces.FOLDER):
        if not folder.is_dir() or (disk := folder.stat().st_dev) in seen:
            continue
        seen.add(disk)
        of, free = os.statvfs(folder), shutil.disk_usage(folder).free
        remedy = f"free some, or go where there are {LEAST_FREE // GIB} GiB"
        what = f"{free / GIB:.1f} GiB free on the disk of {folder}"
        yield Finding(what, remedy if free < LEAST_FREE else "")
        if of.f_files and of.f_favail < LEAST_FILES:
            what = f"{counted(of.f_favail, 'file')} more fit on the disk of {folder}"
            yield Finding(what, "free some inodes: remove folders of many files")
        if of.f_flag & os.ST_RDONLY:
            yield Finding(f"the disk of {folder} is mounted read-only", "mount it for writing")


def _project(root: Path) -> Iterator[Finding]:
    """Look at params.yaml and the images; return the params if they are valid."""
    try:
        params = config.load(root / "params.yaml")
    except ValueError as error:
        yield Finding(str(error), "do what this line says, or `git checkout HEAD params.yaml`")
        return None
    yield Finding(f"params.yaml: valid, family {', '.join(params.family)}")
    yield _data(root, params)
    if (root / "dvc.yaml").exists():  # if not, the next line says what to do
        yield from _refused("DVC", lambda: _dvc(root))
    yield from _refused("code", lambda: _code(root))
    return params


def _dvc(root: Path) -> Finding:
    try:
        Graph(root).needs(None)
    except ValueError as error:
        if LOCK_FILE not in str(error):
            raise
        what, _, remedy = str(error).partition("; ")
        return Finding(what, remedy or "`scalenet run` mends it, or says what to do")
    return Finding("DVC: knows the stages of dvc.yaml")


def _code(root: Path) -> Finding:
    project.check_code(root)
    return Finding("code: that of this installation")


def _data(root: Path, params: Params) -> Finding:
    source = root / params.data.source
    if source.exists():
        return Finding(f"images: {params.data.source}")
    return Finding(
        f"images: {source} does not exist",
        "set data.source to a folder or archive, or `dvc pull` if DVC has them",
    )


def _refused(name: str, look: Callable[[], Finding]) -> Iterator[Finding]:
    """Yield what a look at a server finds; if it refuses, that is the finding."""
    try:
        yield look()
    except Unavailable as error:
        what, _, remedy = str(error).partition("; ")
        yield Finding(what, remedy)
    except ValueError as error:
        said = str(error).removeprefix(f"{name}: ")
        yield Finding(f"{name}: {said}", "do what this line says")


def _mlflow(root: Path) -> Finding:
    """Look at MLflow's store, and at runs that a killed process left unfinished."""
    if not stores.is_there(root):
        return Finding("MLflow: no database yet; the first run makes it")
    client = stores.connect(root)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    running = client.search_runs(experiments, "attributes.status = 'RUNNING'", max_results=1000)
    return Finding(
        f"MLflow: {hidden(stores.uri(root))}, {counted(len(running), 'run')} marked as running"
    )


def _deployed(root: Path, params: Params) -> Finding:
    """Look for the programs of the versions that the members' aliases point at."""
    client, model = stores.connect(root), registry.model_name(params)
    aliases = generations.deployed(client, model)
    versions = {alias: client.get_model_version_by_alias(model, alias) for alias in aliases}
    members = {alias: v for alias, v in versions.items() if registry.is_member(v)}
    lost = [f"{a} ({why})" for a, v in members.items() if (why := evidence.gone(client, v))]
    if not lost:
        return Finding(f"deployed: {' '.join(aliases) or 'nothing yet'}")
    return Finding(
        f"deployed: {'; '.join(lost)}",
        "`scalenet register` where that family lies stores them again, or deploy another: "
        "`scalenet promote --list` shows what there is",
    )


def _prefect() -> Finding:
    url = servers.configured()
    if url is None:
        return Finding("Prefect: a server of its own for each run; none is configured")
    servers.check(url)
    return Finding(f"Prefect: {hidden(url)} answers")


def _left_over(root: Path) -> Iterator[Finding]:
    """Say what is kept for an interrupted run, and what a damaged or killed write left."""
    state = home(root) / STATE
    copies = home(root) / workspaces.FOLDER
    others = (copies, reports.folder_of(home(root)))
    kept = [p for p in state.glob("*/*/") if p.parent not in others and clean.below(p)]
    if kept:
        size = sum(map(clean.size, kept))
        yield Finding(
            f"kept to resume from: {', '.join(sorted({path.parent.name for path in kept}))} "
            f"({size / 2**20:.0f} MiB in .state; `scalenet clean` shows what of it is of no use)"
        )
    for path in clean.left_files(root):
        remedy = "`scalenet clean --only leftovers --yes` frees it"
        yield Finding(f"left over: {os.path.relpath(path, root)}", remedy)
    for line in reports.unregistered(root):
        what, _, remedy = line.partition("; ")
        yield Finding(what, remedy)
    for one in workspaces.found(root):
        what = f"workspace {one.name}: {one.age / 3600:.1f} hours old, {one.size / 2**20:.0f} MiB"
        if one.busy:
            yield Finding(f"{what}, a run is in it")
        else:
            remedy = (
                f"look at it in {workspaces.root_in(root, one.name)}, then "
                "`scalenet clean --only workspaces --yes`"
            )
            yield Finding(
                f"{what}, kept after a run that did not end well, or is suspended", remedy
            )


def _cache(root: Path, mend: bool) -> Iterator[Finding]:
    """Compare every object of DVC's cache with its name; set damaged ones aside if told."""
    found = cache.damaged(root)
    if not found:
        yield Finding("DVC's cache: every object is what its name says")
        return
    if mend:
        cache.mend(found)
    for item in found:
        made = ", ".join(str(file.relative_to(root)) for file in item.files) or "no file in use"
        remedy = "`dvc pull` or `scalenet run` makes it again"
        if not mend:
            remedy = f"`scalenet doctor --deep --mend` sets it aside, then {remedy}"
        yield Finding(f"damaged: {item.path} ({made})", remedy)
