"""Whether a generation may be deployed: what it changes, and what speaks against it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from scalenet.config.params import Params
from scalenet.data.names import few
from scalenet.laws.intervals import Prediction
from scalenet.laws.verdict import against
from scalenet.pipeline.models import evidence, generations, registry
from scalenet.pipeline.models.generations import Generation
from scalenet.pipeline.remember import stores

MARGIN = -0.01  # of accuracy on select: what a generation may be worse by, one point


@dataclass(frozen=True)
class Change:
    """What becomes of a size: its version before and after; None where it joins or leaves.

    ``difference`` is how much more of select the version after labels right. Where the two cannot
    be compared, ``obstacle`` says why.
    """

    member: str
    before: ModelVersion | None
    after: ModelVersion | None
    difference: Prediction | None = None
    obstacle: str = ""


@dataclass(frozen=True)
class Promotion:
    """What deploying a generation changes, and its ``faults``, which forbid it.

    ``aliases`` and ``target`` are where the members' aliases point before and after: alias ->
    version.
    """

    model: str
    generation: str
    aliases: dict[str, str]
    target: dict[str, str]
    changes: list[Change]
    faults: list[str]

    @property
    def worse(self) -> list[Change]:
        """Return the sizes that are worse: the whole interval lies below the margin."""
        return [c for c in self.changes if c.difference and c.difference.high < MARGIN]

    @property
    def questions(self) -> list[str]:
        """Return what somebody should decide: what cannot be compared, or might well be worse."""
        asked = [c.obstacle for c in self.changes if c.obstacle]
        unsure = [c for c in self.changes if c.difference and c not in self.worse]
        asked += [
            f"{c.member} seems worse, within noise" for c in unsure if c.difference.value < MARGIN
        ]
        if self.aliases and not any(c.before and c.after for c in self.changes):
            asked.append("no size is in both generations, so nothing compares them")
        return list(dict.fromkeys(asked))


def plan(root: Path, params: Params, name: str | None = None) -> Promotion:
    """Return what deploying a generation would change; by default the one that lies here.

    ``ValueError`` if there is no such generation, or some of its members are not registered.
    """
    client, model = stores.connect(root), registry.model_name(params)
    generation = chosen(root, client, model, name)
    aliases, confidence = generations.deployed(client, model), params.retrain.confidence
    faults = [
        f"{member} {fault}"
        for member, version in generation.versions.items()
        for fault in evidence.faults(root, client, version, confidence)
    ]
    versions = {str(v.version): v for v in registry.all_versions(client, model)}
    before = {alias.upper(): versions[number] for alias, number in aliases.items()}
    members = sorted({*before, *generation.versions}, key=lambda member: int(member[1:]))
    pairs = [(member, before.get(member), generation.versions.get(member)) for member in members]
    changes = [_compared(root, client, Change(*pair), confidence) for pair in pairs]
    return Promotion(model, generation.name, aliases, target(generation), changes, faults)


def check(wanted: Promotion, insist: bool) -> None:
    """Raise ``ValueError`` for a generation that must not be deployed: a member is no good, or a
    size is worse and nobody insists."""
    kept = "; the aliases stay as they are"
    if wanted.faults:
        faults = "\n".join(f"  {fault}" for fault in wanted.faults)
        raise ValueError(f"generation {wanted.generation} is refused{kept}:\n{faults}")
    if wanted.worse and not insist:
        worse = ", ".join(f"{c.member} {points(c.difference)}" for c in wanted.worse)
        raise ValueError(
            f"generation {wanted.generation} is worse on select, by more than 1 point beyond "
            f"noise: {worse}{kept}; `scalenet promote {wanted.generation} --even-if-worse` insists"
        )


def points(difference: Prediction) -> str:
    """Return a difference of accuracies in points, with its interval."""
    low, high = 100 * difference.low, 100 * difference.high
    return f"{100 * difference.value:+.1f} points ({low:+.1f} to {high:+.1f})"


def chosen(root: Path, client: MlflowClient, model: str, name: str | None = None) -> Generation:
    """Return a generation by its name, the one that lies here by default; ``ValueError`` if it is
    not wholly registered."""
    known, wanted = generations.known(client, model), name or generations.here(root)
    if wanted is None:
        raise ValueError("no family lies here; `scalenet run` builds one, `dvc pull` fetches one")
    if wanted not in known:
        there = f"{model} has {', '.join(known) or 'none'}"
        remedy = "`scalenet promote --list` shows them" if name else "`scalenet register` adds it"
        raise ValueError(f"generation {wanted} is not in the registry; {there}; {remedy}")
    found = known[wanted]
    if missing := [member for member in found.members if member not in found.versions]:
        raise ValueError(
            f"generation {wanted}: {', '.join(missing)} is not registered; run `scalenet register` "
            "where that family lies"
        )
    return found


def target(generation: Generation) -> dict[str, str]:
    """Return where the members' aliases point once a generation is deployed: "" for a member whose
    version is gone."""
    numbers = generation.numbers
    return {registry.alias(member): numbers.get(member, "") for member in generation.members}


# --- old and new on the same images ---------------------------------------------------------------


def _compared(root: Path, client: MlflowClient, change: Change, confidence: float) -> Change:
    """Return a change with how much better it is, or why that is not known."""
    member, old, new = change.member, change.before, change.after
    if old and not registry.is_member(old):
        alias = registry.alias(member)
        foreign = f"{alias} points at version {old.version}, which is no member of a generation"
        return Change(member, old, new, None, foreign)
    if old is None or new is None or _is_same(old, new):
        return change
    obstacle = _obstacle(old, new)
    if not obstacle:
        try:
            said = [evidence.answers(root, client, version) for version in (new, old)]
        except ValueError as error:
            obstacle = f"{member} cannot be compared with version {old.version}: {error}"
        else:
            return Change(member, old, new, against(*said, confidence)[0])
    return Change(member, old, new, None, obstacle)


def _is_same(old: ModelVersion, new: ModelVersion) -> bool:
    alike = all(old.tags[key] == new.tags[key] for key in ("weights", "data"))
    return alike and _has_its_classes(old, new)


def _has_its_classes(old: ModelVersion, new: ModelVersion) -> bool:
    """Say whether two versions have the same classes; an early version has but its first names."""
    known = "names" if "names" in old.tags and "names" in new.tags else "classes"
    return old.tags[known] == new.tags[known]


def _obstacle(old: ModelVersion, new: ModelVersion) -> str:
    """Say why two versions have no images on which both can be compared; "" if they have."""
    if not _has_its_classes(old, new):
        before, after = (json.loads(version.tags["classes"]) for version in (old, new))
        gone, come = (
            few([name for name in some if name not in others]) or "none of those shown"
            for some, others in ((before, after), (after, before))
        )
        return f"the classes changed (gone: {gone}; new: {come}), so old and new are not compared"
    if old.tags["data"] != new.tags["data"]:
        return (
            "the data changed, and the old members may have been trained on images that are in "
            "select now, so old and new are not compared"
        )
    if "select" not in old.tags or "select" not in new.tags:
        return "members were trained on select (retrain.use_select), so nothing compares them"
    return ""
