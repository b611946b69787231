"""What a member confuses, as a picture: true classes down, predicted classes across."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from scalenet.records.documents import Family, Trained
from scalenet.report.figure import STYLE

MOST = 40  # classes of a picture; artifacts/family/confusion.csv holds any number
NAMED = 24  # characters of a class name that are shown
Counts = Sequence[tuple[str, str, str, int]]  # member, true class, predicted class, images


def read(path: Path) -> Counts:
    """Read confusion.csv."""
    with path.open(newline="", encoding="utf-8") as content:
        rows = list(csv.reader(content))[1:]
    return [(member, true, predicted, int(count)) for member, true, predicted, count in rows]


def svg(family: Family, classes: Sequence[str], counts: Counts) -> str | None:
    """Return the picture of the member that is best on select; None for too many classes.

    Where no member has a score on select, it is the largest's.
    """
    if len(classes) > MOST:
        return None
    chosen = max(family.members, key=_rank)
    name, place = chosen.member.name, {label: i for i, label in enumerate(classes)}
    matrix = np.zeros((len(classes), len(classes)), int)
    for member, true, predicted, count in counts:
        if member == name:
            matrix[place[true], place[predicted]] = count
    return _drawn(matrix, classes, f"{family.name}: test images of {name}, true and predicted")


def _rank(trained: Trained) -> tuple[float, float]:
    return (trained.select.accuracy if trained.select else 0.0, trained.member.multiple)


def _drawn(matrix: np.ndarray, classes: Sequence[str], title: str) -> str:
    """Colour a cell by its share of the row; write the count of images in it."""
    content, side = io.StringIO(), 2.6 + 0.32 * len(classes)
    shares = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    names = [name if len(name) <= NAMED else f"{name[: NAMED - 1]}…" for name in classes]
    with matplotlib.rc_context(STYLE | {"text.parse_math": False}):
        figure = Figure(figsize=(side + 0.6, side), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (y, x), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if shares[y, x] > 0.5 else "black"
                axes.text(x, y, str(count), ha="center", va="center", color=colour, fontsize=8)
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted class", ylabel="true class")
        axes.set_title(title, fontsize=10)
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()
