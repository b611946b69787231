"""The family's figure: accuracy against a cost, intervals, the accuracy law, and the baselines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import altair as alt

from scalenet.records.documents import Family, Trained
from scalenet.records.written import percent
from scalenet.report import marks, style

SEARCHED, EXTRAPOLATED = "searched size", "extrapolated size"
NETWORK, SCORED, EXPECTED = "baseline network", "candidate of the search", "the law's next"
SHAPES = {SEARCHED: "circle", EXTRAPOLATED: "square", NETWORK: "diamond", SCORED: "circle",
          EXPECTED: "triangle-up"}  # fmt: skip
COLOURS = dict(zip(SHAPES, [style.BLUE, style.RED, style.GREEN, style.GREY, style.PURPLE],
                   strict=True))  # fmt: skip


NAMED = {"fontSize": 10, "limit": {"expr": "0.55 * width"}}  # of baselines
LINE = 13  # px from one name to the next
PADDING = 24  # px from the frame to the first and the last point
BESIDE_FIRST, BESIDE_LAST = PADDING + 12, alt.ExprRef(f"width - {PADDING + 12}")


class Axis(NamedTuple):
    """A cost: its field in rows, its title, and a number of it as text (D3)."""

    field: str
    title: str
    form: str


FLOPS = Axis("flops", "FLOPs (multiply-accumulates), log scale", "~s")
PARAMS = Axis("params", "parameters, log scale", "~s")
LATENCY = Axis("ms", "ms an image, one CPU thread, log scale", "~g")


def svg(family: Family) -> str:
    """Return a family's figure as SVG; equal families give equal text."""
    return style.svg(chart(family, FLOPS))


def chart(
    family: Family,
    axis: Axis,
    candidates: style.Rows = (),
    latencies: Mapping[str, float] | None = None,
) -> alt.LayerChart:
    """Draw the family over a cost; ``candidates`` are rows of the search, ``latencies`` in ms."""
    members = [r for r in rows(family, axis, latencies or {}) if r.get(axis.field)]
    networks = [r for r in networks_of(family) if r[axis.field]]
    lines = [
        {"y": b.accuracy, "about": f"{b.about}: {percent(b.accuracy)}"}
        for b in family.baselines
        if not getattr(b, axis.field, None)
    ]
    drawn_law = axis == FLOPS and family.law is not None and not family.by_latency
    law = law_rows(family) if drawn_law else {"line": [], "next": []}
    domain = _domain(members + law["next"], [r["test"] for r in [*networks, *candidates]], lines)
    shown = [line for line in lines if domain[0] <= line["y"] <= domain[1]]
    everything = [*candidates, *networks, *law["next"], *members]
    layout = _layout(axis, domain, everything)
    scored = _points(candidates, layout)
    layers = [
        (candidates, [scored.mark_point(size=18, filled=True, opacity=0.4, clip=True)]),
        (law["line"], [_law(law["line"], layout)]),
        (shown, [_lines(shown)]),
        (networks, [_points(networks, layout).mark_point(size=70, strokeWidth=2, clip=True)]),
        ([*networks, *shown], _names(networks, shown, layout)),
        (law["next"], _members(law["next"], layout)),
        (members, _members(members, layout)),
    ]
    title = {"text": f"{family.name}: test accuracy, {family.members[0].confidence:.0%} intervals"}
    if far := [line["about"] for line in lines if line not in shown]:
        title |= {"subtitle": f"far below: {'; '.join(far)}"}
    drawn = [layer for content, some in layers if content for layer in some]
    return alt.layer(*drawn).properties(title=title, width=style.WIDTH, height=style.HEIGHT)


# --- rows -----------------------------------------------------------------------------------------


def rows(family: Family, axis: Axis, latencies: Mapping[str, float]) -> style.Rows:
    """Return a row a member; ``pareto`` says that none as cheap is as good on select."""

    def cost(trained: Trained) -> float | None:
        return latencies.get(trained.member.name) if axis == LATENCY else getattr(
            trained.member, axis.field)  # fmt: skip

    front = marks.pareto(family.members, cost)
    judged = all(t.select for t in family.members)
    return [
        {
            "name": t.member.name,
            "series": SEARCHED if t.member.origin == "searched" else EXTRAPOLATED,
            "flops": t.member.flops,
            "params": t.member.params,
            "ms": latencies.get(t.member.name),
            "test": t.accuracy,
            "low": t.low,
            "high": t.high,
            "select": t.select.accuracy if t.select else None,
            "pareto": t.member.name in front or not judged,
            "network": str(t.member.network),
        }
        for t in family.members
    ]


def networks_of(family: Family) -> style.Rows:
    """Return a row for each baseline that is a network of known cost."""
    return [
        {"name": b.about, "series": NETWORK, "flops": b.flops, "params": b.params, "ms": None,
         "test": b.accuracy, "select": b.select.accuracy if b.select else None}
        for b in family.baselines if b.flops
    ]  # fmt: skip


def law_rows(family: Family) -> dict[str, style.Rows]:
    """Return the accuracy law as a line, and what it expects of the next sizes."""
    law, smallest, largest = family.law, family.members[0].member, family.members[-1].member
    base = smallest.budget / smallest.multiple
    following = [
        {"name": f"{at['multiple']:g} × the base", "series": EXPECTED, "pareto": False,
         "flops": at["multiple"] * base, "test": at["value"], "low": at["low"], "high": at["high"]}
        for at in law["next"]
    ]  # fmt: skip
    first, last = smallest.flops, max([largest.flops, *(row["flops"] for row in following)])
    places = [first * (last / first) ** (i / 60) for i in range(61)]
    falls = [law["scale"] * (flops / law["flops0"]) ** -law["exponent"] for flops in places]
    line = [{"flops": x, "test": law["top"] - fall} for x, fall in zip(places, falls, strict=True)]
    return {"line": line, "next": following}


def _domain(members: style.Rows, others: Iterable[float], lines: style.Rows) -> list[float]:
    """Return the accuracies to show: members and all that is not far below them."""
    low, high = min(r["low"] for r in members), max(r["high"] for r in members)
    least = low - 1.5 * max(high - low, 0.02)
    near = [v for v in [*others, *(line["y"] for line in lines)] if v >= least]
    pad = 0.03 * (max([high, *near]) - min([low, *near]))
    return [max(0.0, min([low, *near]) - pad), min(1.0 + pad, max([high, *near]) + 2 * pad)]


# --- layers ---------------------------------------------------------------------------------------


class Layout(NamedTuple):
    """What the layers of a figure share: the cost, its middle, the accuracies that are shown, both
    axes, colours and shapes."""

    axis: Axis
    middle: float
    domain: list[float]
    x: alt.X
    y: alt.Y
    colour: alt.Color
    shape: alt.Shape
    fill: alt.Fill


def _layout(axis: Axis, domain: list[float], content: style.Rows) -> Layout:
    """Lay out a figure of rows, whose legend names the series that are there."""
    costs = [row[axis.field] for row in content]
    there = {row["series"] for row in content}
    legend = style.legend(values=[name for name in SHAPES if name in there])
    colours = alt.Scale(domain=list(SHAPES), range=list(COLOURS.values()))
    shapes = alt.Scale(domain=list(SHAPES), range=list(SHAPES.values()))
    x = alt.X(f"{axis.field}:Q", title=axis.title, axis=alt.Axis(format=axis.form, tickCount=6))
    y = alt.Y("test:Q", title="top-1 accuracy", axis=alt.Axis(format=".3~p"))
    return Layout(
        axis,
        math.sqrt(min(costs) * max(costs)),
        domain,
        x.scale(type="log", nice=False, padding=PADDING),
        y.scale(domain=domain, nice=False, zero=False),
        alt.Color("series:N", scale=colours, legend=legend),
        alt.Shape("series:N", scale=shapes, legend=legend),
        alt.Fill("series:N", scale=colours, legend=legend),
    )


def _points(content: style.Rows, layout: Layout) -> alt.Chart:
    """Encode points by series, in colour and shape, with what hovering tells."""
    told = {field for row in content for field in row}
    tips = [
        alt.Tooltip("name:N"),
        alt.Tooltip("series:N", title="what"),
        alt.Tooltip("flops:Q", title="FLOPs", format=","),
        alt.Tooltip("params:Q", title="parameters", format=","),
        *([alt.Tooltip("ms:Q", format=".3~g")] if layout.axis == LATENCY else []),
        alt.Tooltip("test:Q", title="accuracy", format=".2%"),
        *(alt.Tooltip(f"{field}:N") for field in ("score", "network") if field in told),
    ]
    keys = {"color": layout.colour, "shape": layout.shape, "tooltip": tips}
    return alt.Chart(style.data(list(content))).encode(x=layout.x, y=layout.y, **keys)


def _members(content: style.Rows, layout: Layout) -> list[alt.Chart]:
    """Draw intervals, points and names; hollow where another is as cheap and as good."""
    held = alt.condition("datum.pareto", alt.value(1), alt.value(0))
    plain = alt.Chart(style.data(content)).encode(x=layout.x, y=layout.y)
    law = bool(content) and content[0]["series"] == EXPECTED
    place = {"dx": -7, "dy": -13, "align": "right"} if law else {"dx": 6, "dy": 12, "align": "left"}
    bars = plain.mark_rule(strokeWidth=1.5, clip=True)
    points = _points(content, layout).mark_point(size=90, strokeWidth=2, opacity=1)
    return [
        bars.encode(y="low:Q", y2="high:Q", color=layout.colour),
        points.encode(fill=layout.fill, fillOpacity=held),
        _words(plain.encode(text="name:N"), clip=True, **place),
    ]


def _words(chart: alt.Chart, **place: Any) -> alt.LayerChart:
    """Write on a white edge, so that what lies behind does not strike the words out."""
    edge = chart.mark_text(stroke="white", strokeWidth=4, strokeJoin="round", aria=False, **place)
    return alt.layer(edge, chart.mark_text(**place))


def _law(line: style.Rows, layout: Layout) -> alt.Chart:
    drawn = alt.Chart(style.data(line)).mark_line(strokeDash=[6, 4], clip=True, color=style.GREY)
    return drawn.encode(x=layout.x, y=layout.y)


def _lines(content: style.Rows) -> alt.Chart:
    """Draw what has no such cost as lines."""
    rules = alt.Chart(style.data(content)).mark_rule(strokeDash=[3, 3], color=style.GREEN)
    return rules.encode(y="y:Q")


def _names(networks: style.Rows, lines: style.Rows, layout: Layout) -> list[alt.Chart]:
    """Name baselines, networks towards the middle and lines at alternating ends; no name lies on
    another of its side."""
    low, high = layout.domain
    line, cost = LINE * (high - low) / style.HEIGHT, layout.axis.field
    layers = []
    for side, dx, end in (("right", -9, BESIDE_LAST), ("left", 9, BESIDE_FIRST)):
        points = [
            {"words": f"{row['name']}: {percent(row['test'])}", "at": row["test"],
             cost: row[cost]}
            for row in networks if (row[cost] > layout.middle) == (side == "right")
        ]  # fmt: skip
        ends = [{"words": row["about"], "at": row["y"] + line / 2} for row in lines]
        ends = ends[side == "left" :: 2]
        _part([*points, *ends], line)
        if points:
            text = alt.Chart(style.data(points)).encode(x=layout.x, y="at:Q", text="words:N")
            layers.append(_words(text, align=side, dx=dx, **NAMED))
        if ends:
            text = alt.Chart(style.data(ends)).encode(x=alt.value(end), y="at:Q", text="words:N")
            layers.append(_words(text, align=side, **NAMED))
    return layers


def _part(names: style.Rows, line: float) -> None:
    """Move names up until each is a line of text above the one below it."""
    ordered = sorted(names, key=lambda name: name["at"])
    for below, name in pairwise(ordered):
        name["at"] = max(name["at"], below["at"] + line)
