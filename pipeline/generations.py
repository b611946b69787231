"""Families in the model registry: registered once each, and found by the aliases s0, s1, …"""

from __future__ import annotations

from pathlib import Path

from mlflow.exceptions import MlflowException

from scalenet.config.params import Params
from scalenet.pipeline import registry
from scalenet.pipeline.registry import Registry
from scalenet.records.documents import Family
from scalenet.records.paths import Paths


def register(root: Path, params: Params) -> dict[str, str]:
    """Register the published members that are not there yet; return every member's version.

    Aliases move only after all versions exist, and members that left the family lose theirs.
    """
    from scalenet.pipeline import program

    paths, store = Paths(root), registry.opened(root, params)
    family, info = Family.read(paths.family / "family.json"), paths.info()
    _create(store)
    known = {
        registry.identity(v.tags): str(v.version)
        for v in registry.all_versions(store.client, store.name)
    }
    keys = {
        trained.member.name: registry.identity(registry.tags(trained, info))
        for trained in family.members
    }
    new = [trained for trained in family.members if keys[trained.member.name] not in known]
    for trained in new:
        program.weights(paths, trained)  # refused before anything is stored
    made = {t.member.name: registry.create_version(store, t, paths) for t in new}
    found = {name: made.get(name) or known[key] for name, key in keys.items()}
    _point(store, found)
    return found


def _create(store: Registry) -> None:
    try:
        store.client.create_registered_model(store.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _point(store: Registry, found: dict[str, str]) -> None:
    """Move the aliases to these versions, and remove those of members that left the family."""
    wanted = {registry.alias(name): version for name, version in found.items()}
    present = dict(store.client.get_registered_model(store.name).aliases)
    for name, version in wanted.items():
        if str(present.get(name)) != str(version):
            store.client.set_registered_model_alias(store.name, name, version)
    for name in present.keys() - wanted.keys():
        if name[:1] == "s" and name[1:].isdigit():
            store.client.delete_registered_model_alias(store.name, name)
