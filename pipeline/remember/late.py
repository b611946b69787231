"""A family is registered when its report is delivered, however late: from where it lies by then.
While it lies nowhere, its report waits for who has it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from scalenet.config.params import Params
from scalenet.pipeline import STATE, home
from scalenet.pipeline.models import registry
from scalenet.pipeline.remember import notes
from scalenet.records.paths import Paths


def place_of(root: Path) -> str:
    """Name where a family is made, from its project: the project itself, or a workspace in it."""
    return os.path.relpath(root.resolve(), home(root))


def register(
    client: MlflowClient, root: Path, folder: Path, params: Params, content: Mapping[str, Any]
) -> str | None:
    """Register the family of a report, whose content this is, from where it lies now; return a line
    on what is deployed, "" if somebody else registered it, None if it waits."""
    from scalenet.pipeline.models import deployment, generations, page

    name, model = generations.here(folder), registry.model_name(params)
    place, known = _found(root, folder, content), generations.known(client, model).get(name)
    if place is None and not (known and known.versions.keys() == set(known.members)):
        return None
    client.set_tag(content["run"], page.GENERATION, name)
    said = deployment.enter(place, params) if place else ""
    notes.of_project(client, folder, params, content["run"], model)
    return said


def _found(root: Path, folder: Path, content: Mapping[str, Any]) -> Path | None:
    """Return where the family of a report lies: here, where it was made, or in the project."""
    published = (Paths(folder).family / "family.json").read_bytes()
    for place in (root, home(root) / content.get("place", "."), home(root)):
        there = Paths(place).family / "family.json"
        if there.exists() and there.read_bytes() == published:
            return place
    return None


def waits(folder: Path, content: Mapping[str, Any]) -> str:
    """Say that the family of a report is not registered, and what would register it."""
    made, back = Path(content.get("place", ".")).parts, "bring it back by git and DVC, and `"
    if made[:2] == (STATE, "workspaces"):
        back = f"`dvc exp apply {made[2]} && "
    return (
        f"{folder.name}: the family that was published does not lie here, and is not registered; "
        f"{back}scalenet register` does that, `rm -r {folder.resolve()}` gives it up"
    )
