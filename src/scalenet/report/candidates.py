"""The search's candidates as a figure: accuracy against FLOPs, a colour and a shape a size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from scalenet.records.documents import FINALS, FINETUNED, RESCORED
from scalenet.report import style

WIDTH, HEIGHT = 620, 380  # px
HOLLOW = {FINETUNED: "after fine-tuning", RESCORED: "on all of select"}  # how finalists differ
TOLD = ("number", "size", "network", "phase", "flops", "accuracy", "score")  # of a candidate


def chart(rows: Sequence[Mapping[str, Any]], name: str) -> alt.LayerChart:
    """Draw rows of candidates.csv, finalists hollow; ``name`` is the data set's.

    Hovering tells what a point is.
    """
    points = [{key: row.get(key, row.get("stage")) for key in TOLD} for row in rows]
    for point in points:
        point["size"] = f"S{point['size']}"
    sizes = sorted({point["size"] for point in points}, key=lambda size: (len(size), size))
    title, quantity = {"text": f"{name}: all {len(points):,} candidates"}, "accuracy on select"
    if finals := [HOLLOW[phase] for phase in FINALS if any(p["phase"] == phase for p in points)]:
        title["subtitle"] = f"filled: with shared weights; hollow: finalists, {finals[0]}"
    else:
        quantity += ", with shared weights"
    x = alt.X("flops:Q", title="FLOPs (multiply-accumulates of one image), logarithmic")
    y = alt.Y("accuracy:Q", title=quantity)
    base = alt.Chart(alt.InlineData(values=points)).encode(
        x=x.scale(type="log", nice=False, padding=15).axis(format="~s", tickCount=6),
        y=y.scale(zero=False, padding=10).axis(format=".3~p"),
        color=alt.Color("size:N", sort=sizes, scale=alt.Scale(range=style.SERIES), title="size"),
        shape=alt.Shape("size:N", sort=sizes, title="size"),
        tooltip=[f"{key}:N" for key in TOLD],
    )
    hollow = alt.FieldOneOfPredicate("phase", list(FINALS))
    kinds = [(True, ~hollow), (False, hollow)] if finals else [(True, ~hollow)]
    drawn = [
        base.transform_filter(of).mark_point(filled=f, opacity=0.75, size=45) for f, of in kinds
    ]
    return (
        alt.layer(*drawn)
        .properties(width=WIDTH, height=HEIGHT, title=title)
        .configure(background="white")
    )


def html(drawn: alt.LayerChart) -> str:
    """Return a chart as a page that needs no network."""
    return drawn.to_html(inline=True)


def svg(drawn: alt.LayerChart) -> str:
    """Return a chart as SVG; equal charts give equal text."""
    import vl_convert

    return vl_convert.vegalite_to_svg(drawn.to_dict())
