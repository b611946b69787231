"""The search's candidates as a figure: accuracy against FLOPs, a colour and a shape a size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

WIDTH, HEIGHT = 620, 380  # px
COLOURS = ["#2f7fc1", "#d55e00", "#00916a", "#b4609a", "#a67c00", "#7a8290"]
TOLD = ("number", "size", "network", "phase", "flops", "accuracy", "score")  # of a candidate


def chart(rows: Sequence[Mapping[str, Any]], name: str) -> alt.Chart:
    """Draw rows of candidates.csv; ``name`` is the data set's. Hovering tells what a point is."""
    points = [{key: row.get(key, row.get("stage")) for key in TOLD} for row in rows]
    for point in points:
        point["size"] = f"S{point['size']}"
    sizes = sorted({point["size"] for point in points}, key=lambda size: (len(size), size))
    colour = alt.Color("size:N", sort=sizes, scale=alt.Scale(range=COLOURS), title="size")
    x = alt.X("flops:Q", title="FLOPs (multiply-accumulates of one image), logarithmic")
    y = alt.Y("accuracy:Q", title="accuracy on select, with shared weights")
    return (
        alt.Chart(alt.InlineData(values=points))
        .mark_point(filled=True, opacity=0.75, size=45)
        .encode(
            x=x.scale(type="log", nice=False, padding=15).axis(format="~s", tickCount=6),
            y=y.scale(zero=False, padding=10).axis(format=".3~p"),
            color=colour,
            shape=alt.Shape("size:N", sort=sizes, title="size"),
            tooltip=[f"{key}:N" for key in TOLD],
        )
        .properties(width=WIDTH, height=HEIGHT, title=f"{name}: all {len(points):,} candidates")
        .configure(background="white")
    )


def html(drawn: alt.Chart) -> str:
    """Return a chart as a page that needs no network."""
    return drawn.to_html(inline=True)


def svg(drawn: alt.Chart) -> str:
    """Return a chart as SVG; equal charts give equal text."""
    import vl_convert

    return vl_convert.vegalite_to_svg(drawn.to_dict())
