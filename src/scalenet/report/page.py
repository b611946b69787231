"""The report: one HTML page that needs nothing else, and its figures as SVG and PNG."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import altair as alt
import jinja2
import vl_convert

from scalenet.laws.choice import leader
from scalenet.records import files, written
from scalenet.records.documents import FINALS, Trained
from scalenet.report import (
    architecture,
    charts,
    confusion,
    figure,
    gathered,
    marks,
    mistakes,
    style,
)
from scalenet.report.gathered import Gathered
from scalenet.space.network import Network

HERE = Path(__file__).parent
ZOOM = 2  # pixels of a PNG for each of its SVG
NEAREST = 20  # candidates that are listed
UNITS = {"depth": " multiplier", "width": " multiplier", "resolution": ", px"}
COSTS = {"flops": figure.FLOPS, "params": figure.PARAMS, "latency": figure.LATENCY}
TITLES = {"flops": "FLOPs", "params": "Parameters", "latency": "Latency"}
CURVES = {
    "member-loss": ("loss", "members' loss"),
    "member-select": ("accuracy", "members on select"),
    "supernet-loss": ("loss", "the super-supernet's loss"),
    "supernet-select": ("accuracy", "shared weights on select"),
}
Charts = dict[str, alt.TopLevelMixin]


def write(found: Gathered, folder: Path, scripts: str) -> list[Path]:
    """Write index.html and the figures into a folder; ``scripts`` are Vega, Vega-Lite and
    vega-embed."""
    drawn = drawings(found)
    best = leader(found.family.members).member.name
    made = [folder / "index.html"]
    files.write_bytes(made[0], html(found, drawn, scripts).encode())
    for name, chart in figures(drawn, best):
        picture = style.svg(chart)
        made += [folder / f"{name}.svg", folder / f"{name}.png"]
        files.write_bytes(made[-2], picture.encode())
        files.write_bytes(made[-1], vl_convert.svg_to_png(picture, scale=ZOOM))
    return made


def html(found: Gathered, drawn: Charts, scripts: str) -> str:
    """Return the page; what comes from data is escaped wherever it stands."""
    specs = {name: style.spec(chart) for name, chart in drawn.items()}
    rows: dict[str, style.Rows] = {}
    for spec in specs.values():  # equal rows have equal names, and are in the page once
        rows |= spec.pop("datasets", {})
    values = {
        "specs": specs,
        "rows": {name: _columns(content) for name, content in rows.items()},
        "layers": list(architecture.COLUMNS),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "short": written.short,
        "percent": written.percent,
        "duration": written.duration,
    }
    return environment.get_template("page.html").render(
        **told(found, drawn),
        values=_json(values),
        scripts=scripts,
        css=(HERE / "page.css").read_text(encoding="utf-8"),
        js=(HERE / "page.js").read_text(encoding="utf-8"),
    )


def figures(drawn: Charts, best: str) -> Iterator[tuple[str, alt.TopLevelMixin]]:
    """Yield the figures that become files: of those of members, only the best one's."""
    names = {"family-flops": "family", f"confusion-{best}": "confusion"}
    names |= {f"calibration-{best}": "calibration"}
    for name, chart in drawn.items():
        if name in names:
            yield names[name], chart
        elif not name.startswith(("confusion-", "calibration-", "candidate")):
            yield name, chart


def _columns(content: style.Rows) -> dict[str, list]:
    """Return rows as the page has them: the names of the columns once."""
    names = list(dict.fromkeys(name for row in content for name in row))
    return {"columns": names, "rows": [[row.get(name) for name in names] for row in content]}


def _json(values: Any) -> str:
    """Return JSON that may stand in a <script>."""
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


# --- what is drawn --------------------------------------------------------------------------------


def drawings(found: Gathered) -> Charts:
    """Return every chart of the page by its name."""
    family, remembered = found.family, found.remembered
    scored = candidates(found)
    drawn: Charts = {
        f"family-{name}": figure.chart(family, axis, scored, remembered.latencies)
        for name, axis in COSTS.items()
        if name != "latency"
    }
    if remembered.latencies:
        drawn["family-latency"] = figure.chart(family, figure.LATENCY, (), remembered.latencies)
    drawn |= _networks(found)
    drawn |= {f"law-{name}": charts.law(r, name, UNITS[name]) for name, r in found.laws.items()}
    drawn |= {"progress": charts.progress(_scores(found)), "sampled": charts.sampled(found.sampled)}
    for name, rows in found.curves.items():
        if rows:
            drawn[name] = charts.curves(rows, *CURVES[name])
    for trained in family.members:
        drawn |= _judged(found, trained)
    return drawn


def candidates(found: Gathered) -> style.Rows:
    """Return a row of the family's figure for each network that was measured with shared
    weights."""
    fields = ("flops", "params", "network", "score")
    return [
        {
            "name": f"candidate {row['number']}",
            "series": figure.SCORED,
            "test": row["accuracy"],
            **{name: row[name] for name in fields},
            "layers": architecture.layers(Network.parse(row["network"])),
        }
        for row in _alike(found)
    ]


def _alike(found: Gathered) -> style.Rows:
    """Return the candidates that were scored alike: finalists have another metric, and training."""
    return [row for row in found.candidates if row["phase"] not in FINALS]


def _scores(found: Gathered) -> style.Rows:
    names = ("number", "score", "best", "size")
    return [{name: row[name] for name in names} for row in _alike(found)]


def _networks(found: Gathered) -> Charts:
    """Draw the members' networks, and what will be a candidate's, to one scale."""
    members = {t.member.name: t.member.network for t in found.family.members}
    rows = architecture.rows(members)
    scale = architecture.scale(rows)
    chosen = alt.NamedData(name="chosen")  # the page puts a candidate's layers there
    return {
        "architecture": architecture.chart(style.data(rows), scale, list(members)),
        "candidate": architecture.chart(chosen, scale, []),
    }


def _judged(found: Gathered, trained: Trained) -> Charts:
    name = trained.member.name
    matrix = confusion.chart(found.info.classes, found.counts[name], name)
    drawn: Charts = {f"confusion-{name}": matrix} if matrix else {}
    said = found.answers[name]["test"]
    if said.probability is not None:
        bins, _ = mistakes.calibration(said, trained.confidence)
        drawn[f"calibration-{name}"] = charts.calibration(bins, name)
    return drawn


# --- what is told ---------------------------------------------------------------------------------


def told(found: Gathered, drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that the template writes."""
    family, remembered = found.family, found.remembered
    best = leader(family.members).member.name
    scored = sorted(_alike(found), key=lambda row: -row["score"])
    front = marks.pareto(family.members, lambda trained: trained.member.spent)
    return {
        "family": family,
        "warnings": family.warnings,
        "info": found.info,
        "device": family.by_latency,
        "verdict": marks.verdict(family),
        "best": best,
        "front": front if all(t.select for t in family.members) else None,
        "against": {t.member.name: marks.against(family, t.member.name) for t in family.members},
        "remembered": remembered,
        "drawn": set(drawn),
        "costs": {n: TITLES[n] for n in COSTS if f"family-{n}" in drawn},
        "listed": scored[:NEAREST],
        "measured": len(scored),
        "names": {t.member.name: t.member.name for t in family.members},
        "growth": found.growth,
        "judged": {t.member.name: _mistakes(found, t) for t in family.members},
        "most": confusion.MOST,
        "stages": gathered.stages(remembered.seconds, [t.member.name for t in family.members]),
    }


def _mistakes(found: Gathered, trained: Trained) -> dict[str, Any]:
    """Return what is told of a member's mistakes; not of select, where it was trained on it."""
    name = trained.member.name
    said, classes = found.answers[name], found.info.classes
    sure = said["test"].probability is not None
    shown = {
        split: mistakes.hardest(said[split], pixels, classes)
        for split, pixels in found.pixels.items()
        if split in said
        and said[split].probability is not None
        and (split == "test" or trained.select)
    }
    return {
        "recall": sorted(
            found.recall[name], key=lambda row: 2.0 if row["recall"] is None else row["recall"]
        ),
        "pairs": mistakes.confused(found.counts[name]),
        "ece": mistakes.calibration(said["test"], trained.confidence)[1] if sure else None,
        "hardest": shown,
    }
