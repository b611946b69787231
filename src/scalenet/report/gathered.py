"""All that a report tells of a built family, gathered from its artifacts as plain values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from scalenet.data import store
from scalenet.records import files, predictions
from scalenet.records.documents import FINALS, DataInfo, Family
from scalenet.records.paths import Paths
from scalenet.records.predictions import Predictions
from scalenet.report import confusion
from scalenet.report.style import Rows

POINTS = 200  # of a curve that are drawn
COLUMNS = 36  # of the histogram of what was sampled
MOST_PIXELS = 2**30  # bytes of a split's file beyond which its images are not looked at


@dataclass(frozen=True)
class Remembered:
    """What the artifacts do not hold, as far as it is known.

    By member: ``versions`` in the model registry, ``latencies`` in ms (one image, one CPU thread).
    ``seconds`` by stage or member; ``changed``: a key of params.yaml -> (the default, its value).
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    latencies: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    changed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None
    published: str | None = None


@dataclass(frozen=True)
class Gathered:
    """A built family with everything around it, read and in order."""

    family: Family
    info: DataInfo
    remembered: Remembered
    candidates: Rows
    laws: dict[str, Rows]
    growth: dict[str, dict[str, float]]
    sampled: Rows
    curves: dict[str, Rows]
    counts: dict[str, list[tuple[str, str, int]]]
    recall: dict[str, Rows]
    answers: dict[str, dict[str, Predictions]]
    pixels: dict[str, np.ndarray]


def gather(root: Path, remembered: Remembered) -> Gathered:
    """Read a built family; ``ValueError`` names what is missing and how to get it."""
    paths = Paths(root)
    family = paths.current()
    names = [t.member.name for t in family.members]
    rows = files.read_numbers(paths.law / "law.csv")
    laws = files.read_json(paths.law / "law.json")["laws"].items()
    counts = confusion.read(paths.family / "confusion.csv")
    recalls = files.read_numbers(paths.family / "recall.csv")
    return Gathered(
        family=family,
        info=paths.info(),
        remembered=remembered,
        candidates=_candidates(files.read_numbers(paths.search / "candidates.csv")),
        laws={name: _law(rows, name, of) for name, of in laws},
        growth={name: of["growth"] | {"efficientnet": of["efficientnet"]} for name, of in laws},
        sampled=histogram(files.read_numbers(paths.supernet / "sampled.csv")),
        curves=_curves(paths, names),
        counts={name: [c[1:] for c in counts if c[0] == name] for name in names},
        recall={name: [r for r in recalls if r["member"] == name] for name in names},
        answers={name: _answers(paths, name) for name in names},
        pixels=_pixels(paths),
    )


def _answers(paths: Paths, name: str) -> dict[str, Predictions]:
    return predictions.read(paths.member(name) / "predictions.npz")[name]


def _pixels(paths: Paths) -> dict[str, np.ndarray]:
    """Read the images of the splits that members answered, but not what would fill the memory."""
    found = {name: paths.data / f"{name}.npz" for name in ("test", "select")}
    return {
        name: store.read(path)[0]
        for name, path in found.items()
        if not path.exists() or path.stat().st_size <= MOST_PIXELS
    }


# --- the search -----------------------------------------------------------------------------------


def _candidates(rows: Rows) -> Rows:
    """Add the best score so far of a candidate's size, among those that were scored alike."""
    best: dict[tuple[Any, bool], float] = {}
    for row in rows:
        key = (row["stage"], row["phase"] in FINALS)
        best[key] = max(best.get(key, -math.inf), row["score"])
        row["best"], row["size"] = best[key], f"size {row['stage']}"
    return rows


def histogram(rows: Rows) -> Rows:
    """Return the share of networks in bins of log FLOPs, by how they were sampled."""
    values = np.array([row["flops"] for row in rows], float)
    if not len(values):
        return []
    low, high = values.min(), max(values.max(), values.min() * 1.01)
    edges = np.geomspace(low, high, COLUMNS + 1)
    made = []
    for sampling in dict.fromkeys(row["sampling"] for row in rows):
        mine = np.array([row["flops"] for row in rows if row["sampling"] == sampling], float)
        places = np.clip(np.searchsorted(edges, mine, "right") - 1, 0, COLUMNS - 1)
        counts = np.bincount(places, minlength=COLUMNS)
        made += [
            {"sampling": sampling, "flops": float(edge), "networks": int(count) / len(mine)}
            for edge, count in zip(edges, [*counts, 0], strict=True)
        ]
    return made


def _law(rows: Rows, dimension: str, of: Mapping[str, Any]) -> Rows:
    """Return a dimension's rows beside EfficientNet's: its factor for each doubling."""
    start, factor = of["law"]["start"], of["efficientnet"]
    mine = [row for row in rows if row["dimension"] == dimension]
    return [row | {"efficientnet": start * factor ** math.log2(row["multiple"])} for row in mine]


# --- trainings ------------------------------------------------------------------------------------


def _curves(paths: Paths, names: Sequence[str]) -> dict[str, Rows]:
    """Return what trainings logged, by what is drawn together: a training, step and value a row.

    The super-supernet's accuracies are those of two networks that were drawn within two budgets.
    """
    members = {name: files.read_numbers(paths.member(name) / "training.csv") for name in names}
    supernet = files.read_numbers(paths.supernet / "training.csv")
    parts = {
        "select_first": "a network of S0's budget",
        "select_last": "a network of the last size's budget",
    }
    return {
        "member-loss": [r for n, rows in members.items() for r in _curve(rows, "loss", n)],
        "member-select": [r for n, rows in members.items() for r in _curve(rows, "select", n)],
        "supernet-loss": list(_curve(supernet, "loss", "super-supernet")),
        "supernet-select": [r for c, name in parts.items() for r in _curve(supernet, c, name)],
    }


def _curve(rows: Rows, column: str, training: str) -> Iterator[dict[str, Any]]:
    held = [row for row in rows if row.get(column) is not None]
    step = math.ceil(len(held) / POINTS) or 1
    for row in held[::-1][::step][::-1]:  # the last one always
        yield {"training": training, "step": row["step"], "value": row[column]}


def stages(seconds: Mapping[str, float], members: Sequence[str]) -> Rows:
    """Return seconds by stage: those of members together."""
    named = [("retrain" if name in members else name, took) for name, took in seconds.items()]
    order = list(dict.fromkeys(name for name, _ in named))
    grouped = groupby(sorted(named, key=lambda n: order.index(n[0])), key=lambda n: n[0])
    return [{"stage": name, "seconds": sum(took for _, took in group)} for name, group in grouped]
