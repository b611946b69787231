"""Generations that were replaced: what of them nothing points at, and how it is removed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from mlflow import MlflowClient

from scalenet.config.params import Params
from scalenet.pipeline import home
from scalenet.pipeline.models import deployment, generations, page, registry
from scalenet.pipeline.remember import stores


@dataclass(frozen=True)
class Retired:
    """Versions of one generation that nothing points at, and the programs that are only theirs.

    ``folders`` are where the programs lie in this project; a server's lie with the server.
    """

    generation: str
    versions: list[str]
    programs: list[str]
    folders: list[Path]


def found(root: Path, params: Params) -> list[Retired]:
    """Return what was registered before the generation that is deployed, oldest first.

    What an alias points at is left out, and what the last promotion replaced, and the family that
    lies here; so is a version that is no member: somebody else's.
    """
    if not stores.is_there(root):
        return []
    client, model = stores.connect(root), registry.model_name(params)
    everything = {str(v.version): v for v in registry.all_versions(client, model)}
    aliases = generations.deployed(client, model)
    if not aliases:
        return []
    kept, first = _kept(client, model), min(map(int, aliases.values()))
    here = generations.here(root)
    grouped: dict[str, list[str]] = {}
    for number, version in everything.items():
        generation = version.tags.get("generation", generations.UNNAMED)
        free = number not in kept and generation != here and registry.is_member(version)
        if int(number) < first and free:
            grouped.setdefault(generation, []).append(number)
    made = []
    for generation, numbers in grouped.items():
        # a program that a later generation has too is freed with that one
        mine = {registry.model_id(everything.pop(number)) for number in numbers}
        programs = sorted(mine - set(map(registry.model_id, everything.values())))
        folders = [folder for program in programs if (folder := _folder(root, client, program))]
        made.append(Retired(generation, numbers, programs, folders))
    return made


def _kept(client: MlflowClient, model: str) -> set[str]:
    """Return the versions that something points at, or that the last promotion replaced."""
    pointed = set(map(str, client.get_registered_model(model).aliases.values()))
    entries = [e for e in deployment.history(client, model) if "undone" not in e]
    return pointed.union(entries[-1]["before"].values() if entries else ())


def _folder(root: Path, client: MlflowClient, program: str) -> Path | None:
    """Return where a program's files lie in this project; None if they lie elsewhere."""
    model = registry.logged_model(client, program)
    if model is None:
        return None  # removed already
    place = urlparse(model.artifact_location)
    folder = Path(unquote(place.path))
    mine = place.scheme == "file" and folder.is_relative_to(home(root) / "mlruns")
    return folder.parent if mine and folder.name == "artifacts" else folder if mine else None


def free(root: Path, params: Params, wanted: Retired) -> str:
    """Remove versions and their programs; return "", or why they were left."""
    client, model = stores.connect(root), registry.model_name(params)
    with registry.locked(root):
        if wanted not in found(root, params):
            return "something points at it now"
        for program in wanted.programs:  # before the versions: who is killed here finds them again
            stores.unless_gone(client.delete_logged_model, program)
        for folder in wanted.folders:
            shutil.rmtree(folder, ignore_errors=True)
        for version in wanted.versions:
            client.delete_model_version(model, version)
        page.write(client, model)
    return ""
