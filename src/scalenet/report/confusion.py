"""What a member confuses, as a picture: true classes down, predicted classes across."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import altair as alt

from scalenet.laws.choice import leader
from scalenet.records.documents import Family
from scalenet.report import style

MOST = 60  # classes of a picture; artifacts/family/confusion.csv holds any number
COUNTED = 30  # classes up to which every cell says how many images are in it
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
    name = leader(family.members).member.name
    drawn = chart(classes, [count[1:] for count in counts if count[0] == name], name)
    return style.svg(drawn) if drawn else None


def chart(
    classes: Sequence[str], counts: Sequence[tuple[str, str, int]], member: str
) -> alt.LayerChart | None:
    """Colour a cell by its share of the true class, and count its images; None for too many."""
    if len(classes) > MOST:
        return None
    totals = {label: sum(n for true, _, n in counts if true == label) for label in classes}
    rows = [
        {"true": true, "predicted": predicted, "images": n, "share": n / totals[true]}
        for true, predicted, n in counts
    ]
    cell = 30 if len(classes) <= COUNTED else 12
    sides = {"sort": list(classes), "scale": alt.Scale(domain=list(classes))}
    base = alt.Chart(style.data(rows)).encode(
        x=alt.X("predicted:N", title="predicted class", **sides).axis(
            labelAngle=-90, labelLimit=130
        ),
        y=alt.Y("true:N", title="true class", **sides).axis(labelLimit=130),
    )
    shades = alt.Scale(domain=[0, 1], range=["#dbe9f6", "#08306b"])
    shade = alt.Color("share:Q", scale=shades, title="share of the true class", legend=None)
    cells = base.mark_rect().encode(
        color=shade,
        tooltip=[
            *(alt.Tooltip(f"{field}:N") for field in ("true", "predicted")),
            alt.Tooltip("images:Q", format=","),
            alt.Tooltip("share:Q", format=".1%"),
        ],
    )
    ink = alt.condition("datum.share > 0.45", alt.value("white"), alt.value("black"))
    words = base.mark_text(fontSize=10, tooltip=None).encode(text="images:Q", color=ink)
    drawn = alt.layer(cells, words) if len(classes) <= COUNTED else alt.layer(cells)
    side = cell * len(classes)
    title = f"test images of {member}, true and predicted"
    return drawn.properties(width=max(side, 60), height=max(side, 60), title=title)
