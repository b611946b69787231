"""Generations in the model registry: a family is registered beside those that were before it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from scalenet.config.params import Params
from scalenet.pipeline.models import registry
from scalenet.pipeline.models.registry import Registry
from scalenet.pipeline.remember import stores
from scalenet.records.documents import Family, Trained
from scalenet.records.paths import Paths

UNNAMED = ""  # the generation of what was registered before there were any


@dataclass(frozen=True)
class Generation:
    """A family in the registry: a version per member, and when it was registered.

    ``members`` are all that it should have; ``since`` is in milliseconds since 1970.
    """

    name: str
    versions: Mapping[str, ModelVersion]
    members: tuple[str, ...]
    since: int

    @property
    def numbers(self) -> dict[str, str]:
        """Return every member's version."""
        return {member: str(version.version) for member, version in self.versions.items()}


def known(client: MlflowClient, name: str) -> dict[str, Generation]:
    """Return a registered model's generations by their names, oldest first."""
    grouped: dict[str, dict[str, ModelVersion]] = {}
    for version in registry.all_versions(client, name):
        if generation := version.tags.get("generation", UNNAMED):
            # of twins the first
            grouped.setdefault(generation, {}).setdefault(version.tags["member"], version)
    made = [_generation(name, versions) for name, versions in grouped.items()]
    return {generation.name: generation for generation in sorted(made, key=lambda g: g.since)}


def _generation(name: str, versions: dict[str, ModelVersion]) -> Generation:
    first, *_ = versions.values()
    members = tuple(first.tags["family"].split())
    ordered = {member: versions[member] for member in members if member in versions}
    return Generation(name, ordered, members, min(v.creation_timestamp for v in versions.values()))


def deployed(client: MlflowClient, name: str) -> dict[str, str]:
    """Return where the members' aliases point: alias -> version; none if there is no such model."""
    model = stores.unless_gone(client.get_registered_model, name)
    aliases = model.aliases.items() if model else ()
    mine = {alias: str(v) for alias, v in aliases if registry.is_members(alias)}
    return dict(sorted(mine.items(), key=lambda item: int(item[0][1:])))


# --- the family that lies here --------------------------------------------------------------------


def here(root: Path) -> str | None:
    """Return the name of the generation that lies here, registered or not; None if none does."""
    paths = Paths(root)
    if not (paths.family / "family.json").exists():
        return None
    return registry.generation(Family.read(paths.family / "family.json"), paths.info())


def versions(root: Path, params: Params) -> dict[str, str]:
    """Return the version of every member that lies here, in its own generation; what is not
    registered is left out."""
    name = here(root)
    if name is None or not stores.is_there(root):
        return {}
    found = known(stores.connect(root), registry.model_name(params)).get(name)
    return found.numbers if found else {}


def address(root: Path, params: Params, member: str) -> str | None:
    """Return what MLflow loads a member that lies here by: its alias if that points at it, else
    its version; None if it is not registered."""
    name, version = registry.model_name(params), versions(root, params).get(member)
    if version is None:
        return None
    alias = registry.alias(member)
    if deployed(stores.connect(root), name).get(alias) == version:
        return f"models:/{name}@{alias}"
    return f"models:/{name}/{version}"


def load_line(root: Path, params: Params, member: str) -> str:
    """Return the line that says how a member is loaded from the registry."""
    if (place := address(root, params, member)) is None:
        return f"load      `scalenet register` first: {member} is not in the model registry"
    return f'load      mlflow.pyfunc.load_model("{place}")'


def check_alias(alias: str) -> None:
    """Refuse an alias that MLflow takes for none, or that a promotion moves."""
    if _is_reserved(alias):
        raise ValueError(f"--alias {alias} was given; s0, v1 and latest are not for you to set")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", alias):
        raise ValueError(f"--alias {alias!r} was given; give letters, digits, - and _, up to 255")


def _is_reserved(alias: str) -> bool:
    name = alias.lower()
    return (name[:1] in ("s", "v") and name[1:].isdigit()) or name == "latest"


def pointed(root: Path, params: Params, alias: str) -> ModelVersion:
    """Return the version that an alias points at; ``ValueError`` names the aliases that do."""
    client, name = stores.connect(root), registry.model_name(params)
    model = stores.unless_gone(client.get_registered_model, name)
    known = model.aliases if model else {}
    if alias not in known:
        there = f"{name} has {', '.join(sorted(known)) or 'none'}"
        raise ValueError(f"--alias {alias} was given; {there}; {pointing(alias)}")
    return client.get_model_version_by_alias(name, alias)


def pointing(alias: str) -> str:
    """Say how an alias comes to point at a member."""
    if _is_reserved(alias):
        deploying = "`scalenet register`, then `scalenet promote`"
        return f"s0, s1, … are set to the members of the family that lies here by {deploying}"
    return f"set it with `scalenet pick --alias {alias}`"


def point(root: Path, params: Params, member: str, alias: str) -> str:
    """Point an alias at the version of a member that lies here; return the version.

    ``ValueError`` if it is not registered.
    """
    version = versions(root, params).get(member)
    if version is None:
        raise ValueError(f"{member} is not in the model registry; run `scalenet register`")
    client = stores.connect(root)
    client.set_registered_model_alias(registry.model_name(params), alias, version)
    return version


# --- registering ----------------------------------------------------------------------------------


def register(root: Path, params: Params) -> Generation:
    """Register the family that lies here as a generation, beside those that there are; return it.

    What it has already stays, whoever else registers it at the same time; so do all aliases. What
    somebody removed of its programs is stored again. ``ValueError`` if it was published under
    another name than params have.
    """
    from scalenet.pipeline.models import program

    paths = Paths(root)
    family = Family.read(paths.family / "family.json")
    if family.name != params.data.name:
        raise ValueError(
            f"the family that lies here was published as {family.name}, and params.yaml has "
            f"data.name: {params.data.name}; `scalenet run` publishes it under that name, or set "
            "data.name back"
        )
    with registry.locked(root):
        store = registry.opened(root, params)
        _create(store)
        names = " ".join(trained.member.name for trained in family.members)
        belongs = {"family": names, "generation": registry.generation(family, paths.info())}
        new = _unregistered(store, family, paths, belongs)
        lost = list(_lost(store, family, belongs["generation"]))
        for trained in [*new, *(trained for trained, *_ in lost)]:
            program.weights(paths, trained)  # refused before anything is stored
        for trained, version, model in lost:
            if model:
                registry.store_again(store, version, trained, paths)
            else:
                _replace(store, version, trained, paths, belongs)
        for trained in new:
            version = registry.create_version(store, trained, paths, belongs)
            _withdraw_twin(store, trained.member.name, version, belongs["generation"])
        return known(store.client, store.name)[belongs["generation"]]


def _create(store: Registry) -> None:
    try:
        store.client.create_registered_model(store.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _unregistered(
    store: Registry, family: Family, paths: Paths, belongs: dict[str, str]
) -> list[Trained]:
    """Return the members without a version in their generation.

    Versions from before there were generations become those of the family whose members they are.
    """
    info, found = paths.info(), known(store.client, store.name).get(belongs["generation"])
    there = found.versions if found else {}
    versions = registry.all_versions(store.client, store.name)
    older = {registry.identity(v.tags): v for v in versions if "generation" not in v.tags}
    missing = []
    for trained in family.members:
        version = older.get(registry.identity(registry.tags(trained, info)))
        if trained.member.name in there:
            continue
        if version is None:
            missing.append(trained)
        else:
            registry.adopt(store, version, paths, belongs)
    return missing


def _lost(
    store: Registry, family: Family, name: str
) -> Iterator[tuple[Trained, ModelVersion, LoggedModel | None]]:
    """Yield the members of a generation whose programs are gone, with their versions and programs:
    of one the files were removed, or it was deleted in MLflow, and is None."""
    found = known(store.client, store.name).get(name)
    for trained in family.members if found else ():
        version = found.versions.get(trained.member.name)
        if version and version.source.startswith("models:/"):
            model = registry.logged_model(store.client, registry.model_id(version))
            if model is None or not registry.has_files(model):
                yield trained, version, model


def _replace(
    store: Registry,
    version: ModelVersion,
    trained: Trained,
    paths: Paths,
    belongs: dict[str, str],
) -> None:
    """Make a version anew, and point its aliases there: MLflow gives a deleted program to none."""
    client, name, old = store.client, store.name, str(version.version)
    new = registry.create_version(store, trained, paths, belongs)
    for alias, number in client.get_registered_model(name).aliases.items():
        if str(number) == old:
            stores.insist(client.set_registered_model_alias, name, alias, new)
    stores.unless_gone(partial(client.delete_model_version, name), old)


def _withdraw_twin(store: Registry, member: str, version: str, generation: str) -> None:
    """Delete a version that was made here if another process, on a server that both use, was
    quicker."""
    if known(store.client, store.name)[generation].numbers[member] != version:
        store.client.delete_model_version(store.name, version)
