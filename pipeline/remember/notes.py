"""What MLflow's pages say of a run and of an experiment: Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient

from scalenet.config.params import Params
from scalenet.data import summary
from scalenet.pipeline.remember import stores, views
from scalenet.records import files
from scalenet.records.documents import (
    FINALS,
    Family,
    Found,
    Measurements,
    Member,
    Tested,
    Trained,
)
from scalenet.records.paths import Paths
from scalenet.records.written import markdown, percent

NOTE = "mlflow.note.content"  # the tag that MLflow's pages show as a description
LONGEST = {"run": 7900, "experiment": 19000, "model": 4900}  # characters that MLflow takes
MOST = 40  # rows of a table
WARNING = "*Warning*: "  # begins a paragraph that is one
GAP = "&emsp;"  # MLflow's pages draw a table's columns without space between them
Row = Mapping[str, str]  # of candidates.csv


class Place(NamedTuple):
    """What a note speaks of: a stage (of a member), the documents, and its run in MLflow."""

    paths: Paths
    member: str | None
    run: str


# --- a run ----------------------------------------------------------------------------------------


def of_run(client: MlflowClient, run: str, paths: Paths, stage: str, member: str | None) -> None:
    """Describe a stage's run by what the stage wrote."""
    client.set_tag(run, NOTE, cut(STAGES[stage](Place(paths, member, run)), "run"))


def _prepare(place: Place) -> str:
    read = place.paths.reading()
    splits = list(read.taken)
    classes = sorted({name for taken in read.taken.values() for name in taken})
    rows = [(name, *(f"{read.taken[s].get(name, 0):,}" for s in splits)) for name in classes]
    counts = table(("class", *splits), rows)
    said = markdown(summary.line(read))
    return "\n\n".join((f"{said}.", counts, figure("contact.png", place.run)))


def _supernet(place: Place) -> str:
    made = json.loads((place.paths.supernet / "metrics.json").read_bytes())
    return (
        f"One set of {made['parameters']:,} weights that holds every network of every size. "
        "*Model metrics* has its loss, and the accuracy on select of a network of the first size "
        "and of one of the last."
    )


def _search(place: Place) -> str:
    from scalenet.report.candidates import HOLLOW  # draws: altair takes a second

    found = Found.read(place.paths.search / "found.json")
    rows = files.read_table(place.paths.search / "candidates.csv")
    ways = {"shared weights": [row for row in rows if row["phase"] not in FINALS]}
    ways |= {how: [r for r in rows if r["phase"] == phase] for phase, how in HOLLOW.items()}
    ways = {how: some for how, some in ways.items() if some}
    again = "".join(f", and finalists {how}" for how in HOLLOW.values() if how in ways)
    head = ("size", "strategy", "FLOPs", "parameters", *(f"accuracy on select, {w}" for w in ways))
    said = (
        f"{found.measured:,} networks, measured with the super-supernet's weights{again}, chose "
        f"the base model `{found.base}` and a strategy for each size.",
        table(head, _chosen(found, list(ways.values()))),
        figure("candidates.svg", place.run),
        "*Artifacts* has the same as `candidates.html`, where a point says what it is.",
    )
    return "\n\n".join(said)


def _chosen(found: Found, ways: Sequence[Sequence[Row]]) -> Iterable[tuple[str, ...]]:
    """Yield a row for each size: what was found, and its accuracy in each way of measuring; a
    finalist need not have been measured with shared weights."""
    for size, strategy in enumerate(found.strategies):
        wanted = {"base": str(found.base), "scaling": str(strategy), "stage": str(size)}.items()
        if row := next((r for rows in ways for r in rows if wanted <= r.items()), None):
            numbers = (f"{int(row[name]):,}" for name in ("flops", "params"))
            known = ({r["network"]: r["accuracy"] for r in rows} for rows in ways)
            each = (accuracies.get(row["network"]) for accuracies in known)
            reached = (percent(float(accuracy)) if accuracy else "–" for accuracy in each)
            yield f"S{size}", str(strategy), *numbers, *reached


def _extrapolate(place: Place) -> str:
    members = planned(place.paths)
    head = ("size", "budget", "chosen by", "depth", "width", "px", "FLOPs", "parameters")
    rows = [
        (m.name, f"{m.multiple:g} x", "search" if m.origin == "searched" else "law",
         f"{m.scaling.depth:g} x", f"{m.scaling.width:g} x", str(m.network.resolution),
         f"{m.flops:,}", f"{m.params:,}")
        for m in members
    ]  # fmt: skip
    return (
        f"The family's {len(members)} sizes: searched, or by the laws of the budget.\n\n"
        + table(head, rows)
    )


def planned(paths: Paths) -> list[Member]:
    """Return the planned members, the smallest budget first."""
    found = (Member.read(file) for file in paths.plan.glob("*.json"))
    return sorted(found, key=lambda member: member.multiple)


def _retrain(place: Place) -> str:
    trained = place.paths.trained(place.member)
    network = f"The network: `{trained.member.network}`"
    return f"{_sentence(trained)}\n\n{members([trained])}\n\n{network}"


def _baselines(place: Place) -> str:
    made = Measurements.read(place.paths.baselines / "baselines.json").baselines
    rows = [(b.about, _count(b.flops), _count(b.params), *_results(b)) for b in made]
    head = ("baseline", "FLOPs", "parameters", *RESULTS)
    return f"What the family should beat, on the same images.\n\n{table(head, rows)}"


def _publish(place: Place) -> str:
    from scalenet.report import confusion  # draws: altair takes a second

    family = Family.read(place.paths.family / "family.json")
    shown = len(place.paths.info().classes) <= confusion.MOST
    confused = [figure("confusion.svg", place.run)] if shown else []
    return "\n\n".join([of_family(family, place.run), *confused])


STAGES: dict[str, Callable[[Place], str]] = {
    "prepare": _prepare,
    "supernet": _supernet,
    "search": _search,
    "extrapolate": _extrapolate,
    "retrain": _retrain,
    "baselines": _baselines,
    "publish": _publish,
}


# --- experiments ----------------------------------------------------------------------------------


def of_candidates(client: MlflowClient, root: Path, params: Params, run: str) -> None:
    """Describe the experiment of the candidates by the search's run."""
    experiment = stores.experiment_id(client, root, stores.candidate_experiment(params))
    views.save(client, experiment, "candidates")
    text = _search(Place(Paths(root), None, run))
    link = f"[The search's run]({views.run(_experiment(client, run), run)})"
    client.set_experiment_tag(experiment, NOTE, cut(f"{text}\n\n{link}", "experiment"))


def of_project(client: MlflowClient, root: Path, params: Params, run: str, name: str) -> None:
    """Describe the experiment of the stages by the published family; ``name`` is the registered
    model's."""
    experiment, family = _experiment(client, run), Family.read(Paths(root).family / "family.json")
    views.save(client, experiment, "family")
    other = client.get_experiment_by_name(stores.candidate_experiment(params))
    pages = {
        "the run that published it": views.run(experiment, run),
        **({"the search's candidates": views.runs(other.experiment_id)} if other else {}),
        f"the registered model {name}": views.model(name),
    }
    text = f"{of_family(family, run)}\n\n{listed(pages)}"
    client.set_experiment_tag(experiment, NOTE, cut(text, "experiment"))


def _experiment(client: MlflowClient, run: str) -> str:
    return client.get_run(run).info.experiment_id


def listed(pages: dict[str, str]) -> str:
    """Return a line of links; ``pages`` are fragments by what they show."""
    return "See " + ", ".join(f"[{text}]({fragment})" for text, fragment in pages.items()) + "."


# --- the family -----------------------------------------------------------------------------------


RESULTS = ("select", "test", "interval")


def of_family(family: Family, run: str) -> str:
    """Describe a family; ``run`` published it and has its figure."""
    first, last = family.members[0], family.members[-1]
    names = first.member.name if first is last else f"{first.member.name}…{last.member.name}"
    said = (
        f"{markdown(family.name)}, {names}: "
        f"{percent(first.accuracy)} of {first.tested:,} test images right "
        f"at {first.member.flops:,} FLOPs, {percent(last.accuracy)} at {last.member.flops:,}.",
        members(family.members),
        figure("family.svg", run),
        *(f"{WARNING}{markdown(warning)}" for warning in family.warnings),
    )
    return "\n\n".join(said)


def members(trained: Sequence[Trained]) -> str:
    """Return the table of members."""
    rows = [
        (t.member.name, _count(t.member.flops), _count(t.member.params),
         str(t.member.network.resolution), *_results(t))
        for t in trained
    ]  # fmt: skip
    return table(("size", "FLOPs", "parameters", "px", *RESULTS), rows)


def _sentence(trained: Trained) -> str:
    return (
        f"{trained.member.name} labels {percent(trained.accuracy)} of {trained.tested:,} test "
        "images right, once, after its training. *Model metrics* has its loss and its accuracy on "
        "select."
    )


def _results(tested: Tested) -> tuple[str, str, str]:
    select = percent(tested.select.accuracy) if tested.select else "–"
    return select, percent(tested.accuracy), f"{percent(tested.low)} to {percent(tested.high)}"


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


# --- Markdown -------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; what is beyond ``MOST`` rows is counted."""
    cells = [[markdown(cell) for cell in row] for row in rows]
    more = [f"\n\nand {len(cells) - MOST:,} more"] if len(cells) > MOST else []
    ruled = ["---"] * len(head)
    lines = [f"{GAP} | ".join(line) for line in (head, *cells[:MOST])]
    lines.insert(1, " | ".join(ruled))
    return "\n".join(f"| {line} |" for line in lines) + "".join(more)


def figure(file: str, run: str) -> str:
    """Return an image that MLflow's server hands out: a file of a run."""
    return f"![{file}](get-artifact?path={file}&run_uuid={run})"


def cut(text: str, kind: str) -> str:
    """Return as many whole lines of a note as MLflow takes."""
    if len(text) <= LONGEST[kind]:
        return text
    return text[: LONGEST[kind]].rpartition("\n")[0] + "\n\n…"
