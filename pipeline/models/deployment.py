"""Deploying a generation: the members' aliases move to it all at once, and can move back.

The history of promotions lies in the registry: a tag ``promotion.N`` of the registered model, with
the aliases before and after. Whoever reaches the registry can undo the last one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from scalenet.config.params import Params
from scalenet.pipeline.models import evidence, generations, page, promotion, registry
from scalenet.pipeline.models.generations import Generation
from scalenet.pipeline.models.promotion import Promotion
from scalenet.pipeline.remember import stores

HISTORY = "promotion."  # tags of the registered model, numbered from 1
CURRENT = "promoted"  # its tag that names the generation that is deployed


def apply(root: Path, wanted: Promotion) -> None:
    """Move all aliases, and remember where they pointed; ``ValueError`` if another moved them, but
    for who moves them to the same generation at this moment."""
    client, model = stores.connect(root), wanted.model
    with registry.locked(root):
        present = generations.deployed(client, model)
        if not _is_between(present, wanted.aliases, wanted.target):
            raise ValueError(f"the aliases of {model} were moved meanwhile; run the command again")
        if present != wanted.target and not _is_begun(client, wanted):
            entry = {
                "generation": wanted.generation,
                "instead": current(client, model),
                "before": present,
                "after": wanted.target,
                "at": _now(),
            }
            _remember(client, model, len(history(client, model)) + 1, entry)
        _move(client, model, wanted.target, wanted.generation)
        page.write(client, model)


def promote(root: Path, params: Params) -> str:
    """Deploy the generation that lies here, with nobody to ask; return a line that says so.

    ``ValueError`` says what speaks against it, or what somebody should decide.
    """
    wanted = promotion.plan(root, params)
    promotion.check(wanted, insist=False)
    if wanted.questions:
        questions = "; ".join(wanted.questions)
        raise ValueError(f"{questions}; `scalenet promote {wanted.generation}` asks")
    apply(root, wanted)
    return standing(root, params)


def _is_begun(client: MlflowClient, wanted: Promotion) -> bool:
    """Tell whether the last promotion was this one, and was killed before all aliases moved."""
    entries = history(client, wanted.model)
    last = entries[-1] if entries else {}
    if "undone" in last or last.get("after") != wanted.target:
        return False
    return _is_between(wanted.aliases, last["before"], last["after"])


def _is_between(aliases: dict[str, str], *ways: dict[str, str]) -> bool:
    """Tell whether each alias points where it did before or where it does after."""
    names = {*aliases}.union(*ways)
    return all(aliases.get(name) in {way.get(name) for way in ways} for name in names)


def history(client: MlflowClient, model: str) -> list[dict[str, Any]]:
    """Return the promotions of a registered model, the first first."""
    tags = client.get_registered_model(model).tags
    numbers = (key.removeprefix(HISTORY) for key in tags if key.startswith(HISTORY))
    return [json.loads(tags[f"{HISTORY}{number}"]) for number in sorted(numbers, key=int)]


def _remember(client: MlflowClient, model: str, number: int, entry: dict[str, Any]) -> None:
    stores.insist(client.set_registered_model_tag, model, f"{HISTORY}{number}", json.dumps(entry))


def _move(client: MlflowClient, model: str, target: dict[str, str], generation: str) -> None:
    """Point the members' aliases where they should, and remove all others of them."""
    present = generations.deployed(client, model)
    for alias, number in target.items():
        if present.get(alias) != number:
            stores.insist(client.set_registered_model_alias, model, alias, number)
    for alias in present.keys() - target.keys():
        client.delete_registered_model_alias(model, alias)
    stores.insist(client.set_registered_model_tag, model, CURRENT, generation)


def current(client: MlflowClient, model: str) -> str:
    """Return the name of the generation that is deployed; "" if it has none."""
    return client.get_registered_model(model).tags.get(CURRENT, generations.UNNAMED)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())


def back(root: Path, params: Params) -> tuple[dict[str, str], dict[str, Any]]:
    """Undo the last promotion that is not undone yet; return the aliases as they were until now,
    and what was undone.

    ``ValueError`` if there is none, it was the first, or what it replaced is no longer there.
    """
    client, model = stores.connect(root), registry.model_name(params)
    with registry.locked(root):
        number, entry = _last(client, model)
        wanted = set(entry["before"].values())
        there = {
            str(version.version)
            for version in registry.all_versions(client, model)
            if str(version.version) in wanted and _has_program(client, version)
        }
        if gone := sorted(wanted - there, key=int):
            raise ValueError(
                f"versions {', '.join(gone)} of {model}, which were deployed before, were freed, "
                "or their programs were deleted; `scalenet promote --list` shows what there is"
            )
        present = generations.deployed(client, model)
        _move(client, model, entry["before"], entry["instead"])
        _remember(client, model, number, entry | {"undone": _now()})
        page.write(client, model)
    return present, entry


def _has_program(client: MlflowClient, version: ModelVersion) -> bool:
    """Tell whether a version's program is there; those from before logged models lie with a run."""
    if not version.source.startswith("models:/"):
        return True
    return not evidence.gone(client, version)


def _last(client: MlflowClient, model: str) -> tuple[int, dict[str, Any]]:
    """Return the last promotion that is not undone, and its number."""
    entries = history(client, model) if generations.deployed(client, model) else []
    standing = [(i, entry) for i, entry in enumerate(entries, 1) if "undone" not in entry]
    if not standing or not standing[-1][1]["before"]:
        raise ValueError(f"{model}: nothing was deployed before what is deployed now")
    return standing[-1]


# --- after a family is built ----------------------------------------------------------------------


def enter(root: Path, params: Params) -> str:
    """Register the family that lies here; return a line on what is deployed.

    The first generation is deployed at once, whatever it is worth: no alias is lost by that. What
    is wrong with it is said.
    """
    generation = generations.register(root, params)
    client, model = stores.connect(root), registry.model_name(params)
    aliases = generations.deployed(client, model)
    if not aliases:
        first = promotion.plan(root, params)
        apply(root, first)
        return "; ".join([standing(root, params), *first.faults])
    if aliases == promotion.target(generation):  # so before there were generations
        stores.insist(client.set_registered_model_tag, model, CURRENT, generation.name)
    page.write(client, model)
    return standing(root, params)


def standing(root: Path, params: Params) -> str:
    """Return a line on the generation that lies here: whether it is deployed, or another."""
    client, model = stores.connect(root), registry.model_name(params)
    generation = promotion.chosen(root, client, model)
    aliases, about = generations.deployed(client, model), f"{spanned(generation)} of {model}"
    if aliases == promotion.target(generation):
        return f"generation {generation.name} is deployed: {about}"
    other, moved = promoted(client, model)
    deployed = f"was deployed, but {moved}" if moved else "stays deployed"
    said = f"generation {generation.name} ({about}) {deployed}"
    if other != generation.name:
        other = other or "versions of no generation"
        said = f"registered generation {generation.name} ({about}) beside {other}, which {deployed}"
    return f"{said}; `scalenet promote {generation.name}` to deploy it"


def promoted(client: MlflowClient, model: str) -> tuple[str, str]:
    """Return the name of the generation that is deployed, "" if it has none, and which aliases
    somebody moved away from it since, or removed with their versions; "" of none."""
    aliases, known = generations.deployed(client, model), generations.known(client, model)
    for generation in known.values():
        if promotion.target(generation) == aliases:
            return generation.name, ""
    name = current(client, model)
    target = promotion.target(known[name]) if name in known else aliases
    return name, ", ".join(
        f"{alias} points at version {aliases[alias]}" if alias in aliases else f"{alias} is gone"
        for alias in {**target, **aliases}
        if aliases.get(alias) != target.get(alias)
    )


def spanned(generation: Generation) -> str:
    """Return a generation's versions as "versions 7 to 12"."""
    numbers = sorted(map(int, generation.numbers.values()))
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"versions {numbers[0]} to {numbers[-1]}"
    return f"version{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def strays(client: MlflowClient, wanted: Promotion) -> Iterator[tuple[str, ModelVersion]]:
    """Yield the user's aliases that point at another generation, with their versions."""
    aliases = client.get_registered_model(wanted.model).aliases
    for alias, number in sorted(aliases.items()):
        if not registry.is_members(alias):
            version = client.get_model_version(wanted.model, str(number))
            if version.tags.get("generation") != wanted.generation:
                yield alias, version
