"""A network as a drawing: every layer a bar, its side in px upwards, its channels downwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from scalenet.report import style
from scalenet.space.cost import inputs, output_side
from scalenet.space.network import Network

COLUMNS = ("x", "part", "kernel", "expand", "width", "px", "first")
STEP, TALL = 21, 130  # px of a layer, and of a network
GAP = 0.6  # between blocks, in layers
LANE = 0.11  # half the height of the lane of kernels, in units of the largest side
Layers = list[list[Any]]  # a row of COLUMNS a layer


def layers(network: Network) -> Layers:
    """Return stem, inverted residuals and head in order; ``px`` is the side of a layer's output."""
    px = output_side(network.resolution, network.stem_stride)
    rows: Layers = [[0.0, "stem", network.stem_kernel, None, network.stem_width, px, True]]
    for number, (block, _, px_in) in enumerate(inputs(network), 1):
        px, x = output_side(px_in, block.stride), rows[-1][0] + 1 + GAP
        for i, kernel in enumerate(block.kernels):
            about = [f"block {number}", kernel, block.expand, block.width, px, i == 0]
            rows.append([x + i, *about])
    return [*rows, [rows[-1][0] + 1 + GAP, "head", 1, None, network.head_width, px, True]]


def rows(networks: Mapping[str, Network]) -> style.Rows:
    """Return the layers of named networks as rows of a chart."""
    return [
        {"network": name} | dict(zip(COLUMNS, layer, strict=True))
        for name, network in networks.items()
        for layer in layers(network)
    ]


def chart(drawn: alt.Data, scale: Mapping[str, float], names: Sequence[str]) -> alt.Chart:
    """Draw networks one below the other, to one scale: ``scale`` has the most px, width and x."""
    far, fields = scale["x"] + 1, [*COLUMNS[1:6]]
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, far], nice=False))
    colour = alt.Color(
        "kernel:O",
        title="kernel",
        scale=alt.Scale(domain=[1, 3, 5, 7], range=["#7a8290", "#2f7fc1", "#d55e00", "#b4609a"]),
        legend=alt.Legend(orient="bottom"),
    )
    names_of = {"px": "side of its output, px", "width": "channels", "expand": "expansion ratio"}
    tips = [alt.Tooltip(f"{field}:N", title=names_of.get(field, field)) for field in fields]
    base = alt.Chart().encode(x=x)
    y = alt.Y("up:Q", axis=None, scale=alt.Scale(domain=[-1.55, 1.3], nice=False))
    wide = {"x2": "right:Q", "color": colour, "tooltip": tips}
    parts = [
        base.mark_rect(opacity=0.5).encode(y=y, y2=alt.datum(LANE), **wide),
        base.mark_rect(opacity=0.5).encode(y="down:Q", y2=alt.datum(-LANE), **wide),
        base.mark_rect(opacity=1).encode(y=alt.datum(LANE), y2=alt.datum(-LANE), **wide),
        _text(base, "middle:Q", "datum.kernel", "white").encode(y=alt.datum(0)),
        _text(base, "x:Q", "datum.first ? datum.px + ' px' : ''").encode(y="above:Q"),
        _text(base, "x:Q", "datum.first ? 'c' + datum.width : ''").encode(y="below:Q"),
        _text(base, "x:Q", "datum.first && datum.expand ? 'e' + datum.expand : ''").encode(
            y="lowest:Q"
        ),
    ]
    header = alt.Header(labelAngle=0, labelAlign="left", labelFontWeight=600)
    return (
        alt.layer(*parts, data=drawn)
        .properties(width=STEP * far, height=TALL)
        .transform_calculate(
            up=f"{LANE} + datum.px / {scale['px']}",
            down=f"-{LANE} - datum.width / {scale['width']}",
            right="datum.x + 0.88",
            middle="datum.x + 0.44",
        )
        .transform_calculate(
            above="datum.up + 0.14", below="datum.down - 0.14", lowest="datum.down - 0.36"
        )
        .facet(row=alt.Row("network:N", title=None, sort=list(names), header=header), spacing=0)
    )


def _text(base: alt.Chart, x: str, words: str, colour: str = style.INK) -> alt.Chart:
    """Write words at every layer where there are any."""
    align = "center" if x == "middle:Q" else "left"
    return (
        base.transform_calculate(words=words)
        .mark_text(fontSize=9, color=colour, baseline="middle", align=align)
        .encode(x=alt.X(x, axis=None), text="words:N", tooltip=alt.value(None))
    )


def scale(rows: style.Rows) -> dict[str, float]:
    """Return the largest side, width and place of layers: what networks are drawn to."""
    return {field: max(row[field] for row in rows) for field in ("px", "width", "x")}
