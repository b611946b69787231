"""How figures look: one theme for page, SVG and PNG, in colours that the colour-blind tell apart.

Text, axes and grids are ``currentColor``: black in a file, the page's ink in a page, dark or light.
"""

from __future__ import annotations

import re
from typing import Any

import altair as alt

Spec = dict[str, Any]  # Vega-Lite
Rows = list[dict[str, Any]]

BLUE, RED, GREEN, PURPLE, OCHRE, GREY = (
    "#2f7fc1", "#d55e00", "#00916a", "#b4609a", "#a67c00", "#7a8290",
)  # fmt: skip
SERIES = [BLUE, RED, GREEN, PURPLE, OCHRE, GREY]
DASHES = [[1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [10, 4], [4, 4, 1, 4]]  # beside SERIES
WIDTH, HEIGHT = 620, 340  # px of a figure in a file; a page fits the width to its column
INK = "currentColor"
FAINT = {"gridColor": INK, "gridOpacity": 0.13, "domainColor": INK, "tickColor": INK}
CONFIG = {
    "background": "white",
    "font": "system-ui, sans-serif",
    "axis": FAINT | {"labelColor": INK, "titleColor": INK, "titleFontWeight": "normal"},
    "header": {"labelColor": INK, "titleColor": INK},
    "legend": {"labelColor": INK, "titleColor": INK, "labelLimit": 260},
    "title": {
        "color": INK,
        "subtitleColor": INK,
        "anchor": "start",
        "fontSize": 13,
        "fontWeight": 600,
    },
    "text": {"color": INK},
    "view": {"stroke": None},
    "range": {"category": SERIES},
}


def data(rows: Rows) -> alt.InlineData:
    """Return rows as a chart's data."""
    return alt.InlineData(values=rows)


def spec(chart: alt.TopLevelMixin) -> Spec:
    """Return a chart as Vega-Lite in the one theme; its rows are under ``datasets``."""
    with alt.data_transformers.enable("default", consolidate_datasets=True):
        return chart.to_dict(validate=False) | {"config": CONFIG}


def svg(chart: alt.TopLevelMixin) -> str:
    """Return a chart as SVG; equal charts give equal text."""
    import vl_convert

    drawn = vl_convert.vegalite_to_svg(spec(chart))
    numbers: dict[str, str] = {}  # of clip paths: Vega goes on counting from chart to chart
    return re.sub(r"\bclip\d+", lambda m: numbers.setdefault(m[0], f"clip{len(numbers)}"), drawn)


def legend(title: str | None = None, columns: int = 2, **more: Any) -> alt.Legend:
    """Return a legend below its chart, which a narrow page has room for."""
    return alt.Legend(title=title, orient="bottom", columns=columns, symbolOpacity=1, **more)
