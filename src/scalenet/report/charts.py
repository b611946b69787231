"""The report's other figures: laws, the search, trainings, calibration."""

from __future__ import annotations

import altair as alt

from scalenet.report import style

SHORT = 220  # px of the height of a smaller figure
SMALL = 300  # px of its width in a file
NARROW = 16  # letters of a line's name, of which two fit side by side below a smaller figure
ROUND = {"domain": [0, 1], "nice": False}


def law(rows: style.Rows, dimension: str, unit: str) -> alt.LayerChart:
    """Draw a dimension over the budget: the law with its interval, members, and EfficientNet's."""
    shown = [row[name] for row in rows for name in ("used", "law", "efficientnet")]
    least, most = min(shown), max(shown)
    pad = 0.15 * (most - least or most)
    y = alt.Y("law:Q", title=f"{dimension}{unit}")
    y = y.scale(domain=[max(0, least - pad), most + pad], nice=False, zero=False)
    x = alt.X("multiple:Q", title="budget in base budgets, log scale")
    x = x.scale(type="log", base=2, nice=False, padding=12).axis(format="~s", tickCount=6)
    base = alt.Chart(style.data(rows)).encode(x=x)
    tips = [alt.Tooltip("member:N"), *(alt.Tooltip(f"{n}:Q", format=".3~g") for n in
            ("used", "law", "low", "high", "efficientnet"))]  # fmt: skip
    return alt.layer(
        base.mark_area(opacity=0.18, color=style.BLUE, clip=True).encode(
            y=alt.Y("low:Q"), y2="high:Q"
        ),
        base.mark_line(color=style.BLUE).encode(y=y),
        base.mark_line(color=style.GREY, strokeDash=[5, 4], clip=True).encode(y="efficientnet:Q"),
        base.mark_point(size=60, filled=True, color=style.RED, opacity=1).encode(
            y="used:Q", tooltip=tips
        ),
        base.mark_text(dx=5, dy=11, align="left", fontSize=10).encode(y="used:Q", text="member:N"),
    ).properties(width=SMALL, height=SHORT, title=f"{dimension} by budget")


def progress(rows: style.Rows) -> alt.LayerChart:
    """Draw the best score so far of each size, over all that the search measured."""
    x = alt.X("number:Q", title="networks measured").scale(nice=False)
    y = alt.Y("best:Q", title="best score so far").scale(zero=False)
    colour, dash = _by("size:N", "size")
    base = alt.Chart(style.data(rows)).encode(x=x, y=y)
    dots = base.mark_point(size=8, opacity=0.35, filled=True, color=style.GREY).encode(y="score:Q")
    lines = base.mark_line(interpolate="step-after").encode(color=colour, strokeDash=dash)
    return alt.layer(dots, lines).properties(
        width=SMALL, height=SHORT, title="progress of the search"
    )


def sampled(rows: style.Rows) -> alt.Chart:
    """Draw how many networks the super-supernet's training drew at each cost."""
    x = alt.X("flops:Q", title="FLOPs, log scale").axis(format="~s", tickCount=6)
    colour, dash = _by("sampling:N", "sampling")
    return (
        alt.Chart(style.data(rows))
        .mark_line(interpolate="step-after")
        .encode(
            x=x.scale(type="log", nice=False),
            y=alt.Y("networks:Q", title="share of networks").axis(format=".0%"),
            color=colour,
            strokeDash=dash,
        )
        .properties(width=SMALL, height=SHORT, title="networks sampled, by FLOPs")
    )


def curves(rows: style.Rows, quantity: str, title: str) -> alt.Chart:
    """Draw a quantity of trainings over their steps: ``training``, ``step``, ``value`` a row."""
    y = alt.Y("value:Q", title=quantity).scale(zero=False)
    if quantity != "loss":
        y = y.axis(format=".3~p")
    narrow = all(len(row["training"]) <= NARROW for row in rows)
    colour, dash = _by("training:N", None, columns=2 if narrow else 1)
    tips = [alt.Tooltip("training:N"), alt.Tooltip("step:Q"), alt.Tooltip("value:Q", format=".4~g")]
    return (
        alt.Chart(style.data(rows))
        .mark_line(point={"size": 14})
        .encode(
            x=alt.X("step:Q", title="step").scale(nice=False),
            y=y,
            color=colour,
            strokeDash=dash,
            tooltip=tips,
        )
        .properties(width=SMALL, height=SHORT, title=title)
    )


def calibration(rows: style.Rows, member: str) -> alt.LayerChart:
    """Draw the share of right answers over their confidence; on the diagonal, they are equal."""
    x = alt.X("confidence:Q", title="probability that it gives its answer").axis(format=".0%")
    y = alt.Y("right:Q", title="share of such answers that are right").axis(format=".0%")
    tips = [
        alt.Tooltip("images:Q", format=","),
        *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("confidence", "right")),
    ]
    ends = [{"confidence": 0, "right": 0}, {"confidence": 1, "right": 1}]
    base = alt.Chart(style.data(rows)).encode(x=x.scale(**ROUND), y=y.scale(**ROUND))
    line = alt.Chart(style.data(ends)).mark_line(color=style.GREY, strokeDash=[4, 4])
    bars = base.mark_rule(color=style.BLUE).encode(y=alt.Y("low:Q"), y2="high:Q")
    dots = base.mark_point(filled=True, color=style.BLUE, opacity=1).encode(
        size=alt.Size("images:Q", legend=None), tooltip=tips
    )
    return alt.layer(line.encode(x="confidence:Q", y="right:Q"), bars, dots).properties(
        width=SMALL, height=260, title=f"calibration of {member} on test"
    )


def _by(field: str, title: str | None, columns: int = 2) -> tuple[alt.Color, alt.StrokeDash]:
    """Encode what lines are of, in colour and in dashes."""
    legend = style.legend(title, columns)
    dashes = alt.Scale(range=style.DASHES)
    return alt.Color(field, legend=legend), alt.StrokeDash(field, scale=dashes, legend=legend)
