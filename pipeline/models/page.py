"""What the registered model's page says: which generation is deployed, and which lie beside it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from scalenet.pipeline.models import evidence, generations, registry
from scalenet.pipeline.models.generations import Generation
from scalenet.pipeline.remember import notes, stores, views
from scalenet.records.written import percent

HEAD = ("size", "version", "FLOPs", "parameters", "px", "select", "test", "interval")
GENERATION = "generation"  # the tag of the run that published it
REGISTERED = "mlflow.modelVersions"  # the tag by which a logged model's page knows its versions


def write(client: MlflowClient, model: str) -> None:
    """Describe a registered model by what is deployed, and tell its programs their versions."""
    _mark(client, model)
    known = generations.known(client, model)
    aliases = generations.deployed(client, model)
    parts = list(_deployed(client, model, known, aliases))
    client.update_registered_model(model, notes.cut("\n\n".join(parts), "model"))


def _deployed(
    client: MlflowClient, model: str, known: Mapping[str, Generation], aliases: Mapping[str, str]
) -> Iterator[str]:
    """Yield the paragraphs; members' ``aliases`` point at versions."""
    beside, numbers = dict(known), set(aliases.values())
    for name, generation in known.items():
        if numbers and numbers <= set(generation.numbers.values()):
            beside.pop(name)
            yield f"Generation {name} is deployed; an alias such as `s0` points at each member."
            yield notes.table(HEAD, (_row(client, *each) for each in generation.versions.items()))
            yield from _links(client, generation)
            break
    else:
        yield _of_no_generation(client, model, known, aliases)
    for name, generation in beside.items():
        versions = ", ".join(generation.numbers.values())
        yield f"Generation {name} is there too: versions {versions}; `scalenet promote {name}`."


def _of_no_generation(
    client: MlflowClient, model: str, known: Mapping[str, Generation], aliases: Mapping[str, str]
) -> str:
    """Say what is deployed where no generation has all of it."""
    if not aliases:
        return "No generation is deployed."
    of = {number: name for name, found in known.items() for number in found.numbers.values()}

    def whose(number: str) -> str:
        if number in of:
            return f"of generation {of[number]}"
        is_member = registry.is_member(client.get_model_version(model, number))
        return "from before there were generations" if is_member else "which is no member"

    said = [f"`{alias}` is version {number}, {whose(number)}" for alias, number in aliases.items()]
    return f"What is deployed is no generation: {'; '.join(said)}."


def _row(client: MlflowClient, member: str, version: ModelVersion) -> tuple[str, ...]:
    found = evidence.numbers(client, version)

    def said(name: str, form: Callable[[float], str]) -> str:
        return form(found[name]) if name in found else "–"

    counts = (said(name, "{:,.0f}".format) for name in ("flops", "params", "resolution"))
    select, test, low, high = (
        said(name, percent) for name in ("select", "accuracy", "low", "high")
    )
    return member, str(version.version), *counts, select, test, f"{low} to {high}"


def _links(client: MlflowClient, generation: Generation) -> Iterator[str]:
    """Yield the figure of a generation and its warnings, if its publishing is on record here, and
    where to look; nothing if its runs were deleted for good."""
    runs_of = (stores.unless_gone(client.get_run, v.run_id) for v in generation.versions.values())
    there = next(filter(None, runs_of), None)
    if there is None:
        return
    experiment = there.info.experiment_id
    beside = stores.candidates_beside(client.get_experiment(experiment).name)
    wanted = f"tags.stage = 'publish' and tags.{GENERATION} = '{generation.name}'"
    runs = client.search_runs([experiment], wanted, max_results=1)
    pages = {"all runs": views.runs(experiment)}
    for run in runs:
        yield notes.figure("family.svg", run.info.run_id)
        said = run.data.tags.get(notes.NOTE, "").split("\n\n")
        yield from (part for part in said if part.startswith(notes.WARNING))
        pages["the run that published it"] = views.run(experiment, run.info.run_id)
    if other := client.get_experiment_by_name(beside):
        pages["the search's candidates"] = views.runs(other.experiment_id)
    yield notes.listed(pages)


def _mark(client: MlflowClient, name: str) -> None:
    """Tell logged models which versions of a registered model they are: their pages show it."""
    known: dict[str, list[ModelVersion]] = defaultdict(list)
    for version in registry.all_versions(client, name):
        if version.source.startswith("models:/"):
            known[registry.model_id(version)].append(version)
    for model, versions in known.items():
        listed = json.dumps([{"name": name, "version": str(v.version)} for v in versions])
        there = registry.logged_model(client, model)
        if there is not None and there.tags.get(REGISTERED) != listed:
            note = versions[-1].description or ""
            told = {REGISTERED: listed, notes.NOTE: note}
            stores.insist(client.set_logged_model_tags, model, told)
