"""The report as people meet it: in a browser, by hand, by keyboard, on a phone, in the dark."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, verb
from playwright.sync_api import Browser, Page, sync_playwright

from scalenet.data import store
from scalenet.laws import choice, scores
from scalenet.pipeline import locked
from scalenet.pipeline.remember import remembered
from scalenet.records import files, predictions
from scalenet.records.documents import (
    Baseline,
    Candidate,
    DataInfo,
    Family,
    Measurements,
    Member,
    Reading,
    Trained,
)
from scalenet.records.paths import Paths
from scalenet.records.predictions import Predictions
from scalenet.records.written import short
from scalenet.report import candidates, figure, gathered, marks, mistakes, page, table
from scalenet.report.gathered import Remembered
from scalenet.stages import run_stage
from scalenet.training.loop import ignore

SIZES = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = '</script><img src=x onerror="alert(1)"><b>&amp;{{7*7}}'
TESTED, DIGEST = 120, "0123456789abcdef"


@dataclass(frozen=True)
class Case:
    """A family to report: what is unusual about it."""

    classes: Sequence[str] = tuple("abcde")
    members: int = 3
    channels: int = 1
    baselines: bool = True
    candidates: int = 30
    finalists: int = 0
    one_class: bool = False
    side: int = 8
    warnings: tuple[str, ...] = ()
    remembered: Remembered = field(default_factory=Remembered)


def reading(**changes) -> Reading:
    """Return what was read of images of which nothing is odd."""
    counted = dict.fromkeys(("unused", "dropped", "groups", "torn"), 0) | {"brightest": 255}
    kinds = {key: {} for key in ("taken", "skipped", "ignored", "duplicates", "repeated")}
    about = {"name": "odd", "source": "odd.tar", "first": [], "conflicting": []}
    return Reading(**counted, **kinds, **about, **changes)


def say(case: Case, good: float, seed: int) -> Predictions:
    """Return answers that are right as often as asked."""
    rng, classes = np.random.default_rng(seed), len(case.classes)
    labels = np.arange(TESTED) % classes
    right = rng.random(TESTED) < good
    predicted = np.where(right, labels, rng.integers(0, classes, TESTED))
    if case.one_class:
        predicted = np.zeros(TESTED, int)
    sure = rng.uniform(0.3, 1.0, TESTED).astype(np.float32)
    true = np.where(labels == predicted, sure, (1 - sure) / 2).astype(np.float32)
    return Predictions(labels.astype(np.int32), predicted.astype(np.int32), sure, true)


def judged(said: dict[str, Predictions]) -> dict:
    return scores.tested(said["test"], said["select"], 0.95)


@pytest.fixture(scope="module")
def make(built, make_params, tmp_path_factory) -> Callable[[Case], Path]:
    """Return what invents a project's artifacts; publish, which is real, makes a family of them."""

    def invent(case: Case) -> Path:
        folder = tmp_path_factory.mktemp("project")
        paths, rng = Paths(folder), np.random.default_rng(0)
        shutil.copytree(built / "artifacts/law", paths.law)
        members = {f"S{i}": {"multiple": 2**i, "seed": 0} for i in range(case.members)}
        content = make_params({"data": {"channels": case.channels}}).model_dump(mode="json")
        content["family"] = members
        (folder / "params.yaml").write_text(yaml.safe_dump(content))
        DataInfo(
            channels=case.channels,
            size=case.side,
            classes=list(case.classes),
            counts={"train": 500, "select": TESTED, "test": TESTED},
            mean=[0.5] * case.channels,
            std=[0.2] * case.channels,
            digest=DIGEST,
        ).write(paths.data / "info.json")
        reading(warnings=list(case.warnings)).write(paths.data / "read.json")
        for split in ("test", "select"):
            shape = (TESTED, case.channels, case.side, case.side)
            pixels = rng.integers(0, 255, shape).astype(np.uint8)
            labels = np.arange(TESTED) % len(case.classes)
            arrays = {"pixels": pixels, "labels": labels}
            store.write(paths.data / f"{split}.npz", **arrays)
        plan = Member.read(built / "artifacts/plan/S0.json")
        for i, name in enumerate(members):
            about = {"name": name, "multiple": 2.0**i, "flops": plan.flops * 2**i}
            member = plan.model_copy(update=about | {"params": plan.params * (i + 1)})
            train(paths, member, case, 0.5 + 0.1 * i)
        base(paths, case)
        search(paths, plan, case)
        run_stage(folder, "publish", None, ignore)
        return folder

    return invent


def train(paths: Paths, member: Member, case: Case, good: float) -> None:
    said = {split: say(case, good, seed) for seed, split in enumerate(("test", "select"))}
    out = paths.member(member.name)
    Trained(**judged(said), member=member, data=DIGEST, weights="w").write(out / "trained.json")
    predictions.write(out / "predictions.npz", {member.name: said})
    rows = [(step, 2 / step, 0.1, None if step % 2 else step / 40) for step in range(1, 31)]
    files.write_table(out / "training.csv", ("step", "loss", "learning_rate", "select"), rows)


def base(paths: Paths, case: Case) -> None:
    found, answers = [], {}
    for name, flops, good in (("majority", None, 0.1), ("svm", None, 0.5), ("net", 60_000, 0.6)):
        if case.baselines:
            answers[name] = {split: say(case, good, 7) for split in ("test", "select")}
            about = {"name": name, "about": f"the {name}", "images": 500, "steps": None}
            sizes = {"flops": flops, "params": flops and 9_000}
            found.append(Baseline(**judged(answers[name]), **about, **sizes))
    Measurements(baselines=found).write(paths.baselines / "baselines.json")
    predictions.write(paths.baselines / "predictions.npz", answers)


def search(paths: Paths, plan: Member, case: Case) -> None:
    rng, rows = np.random.default_rng(1), []
    for number in range(case.candidates + case.finalists):
        about = {
            "number": number,
            "size": number % 3,
            "flops": int(plan.flops * (1.2 + number % 3)),
        }
        about |= {"depth": 1.0, "width": 1.0, "resolution": 8, "params": plan.params}
        about |= {"network": plan.network, "base": plan.base, "scaling": plan.scaling}
        score = float(rng.uniform(0.4, 0.6)) + 0.3 * (number >= case.candidates)
        about |= {"accuracy": score, "probability": score, "score": score, "predicted": None}
        phase = "start" if number < case.candidates else "finetuned"
        candidate = Candidate(**about, phase=phase, iteration=0, generation=0)
        rows.append(candidate.plain())
    files.write_table(
        paths.search / "candidates.csv", rows[0], [list(row.values()) for row in rows]
    )
    drawn = [("budgeted", 0, int(f)) for f in rng.uniform(2e4, 2e5, 200)]
    files.write_table(paths.supernet / "sampled.csv", ("sampling", "stage", "flops"), drawn)
    steps = [(step, 2 / step, 0.1, 0.3, 0.4) for step in range(1, 1200)]
    columns = ("step", "loss", "learning_rate", "select_first", "select_last")
    files.write_table(paths.supernet / "training.csv", columns, steps)


def written(folder: Path, known: Remembered | None = None) -> Path:
    """Write the report of a project; return its page."""
    found = gathered.gather(folder, known or Remembered())
    return page.write(found, folder / "report", remembered.scripts())[0]


def page_alone(folder: Path) -> Path:
    """Write a report without the files of its figures, which take most of the time."""
    found, file = gathered.gather(folder, Remembered()), folder / "index.html"
    file.write_text(page.html(found, page.drawings(found), remembered.scripts()))
    return file


def test_the_networks_that_are_watched_are_not_said_to_be_the_ends_of_the_space(make):
    """Each is one of many within its budget (training/supernet.py, `judge`)."""
    found = gathered.gather(make(Case()), Remembered())
    watched = {row["training"] for row in found.curves["supernet-select"]}
    assert watched == {"a network of S0's budget", "a network of the last size's budget"}


def test_finalists_are_no_candidates_with_shared_weights(make):
    """They are scored by another metric, most after a training of their own."""
    folder = make(Case(finalists=4))
    found = gathered.gather(folder, Remembered())
    told = page.told(found, page.drawings(found))
    assert len(page.candidates(found)) == told["measured"] == 30
    assert {row["phase"] for row in told["listed"]} == {"start"} and len(told["listed"]) == 20
    assert max(row["test"] for row in page.candidates(found)) < 0.6
    rows = files.read_numbers(Paths(folder).search / "candidates.csv")
    drawn = candidates.svg(candidates.chart(rows, "odd"))
    assert "all 34 candidates" in drawn
    assert "filled: with shared weights; hollow: finalists, after fine-tuning" in drawn
    assert ">accuracy on select</text>" in drawn
    points = re.findall(r"phase: (\w+);[^>]* (fill|stroke)=\"#", drawn)
    assert points.count(("finetuned", "stroke")) == 4 and points.count(("start", "fill")) == 30
    shared = [row for row in rows if row["phase"] == "start"]
    drawn = candidates.svg(candidates.chart(shared, "odd"))
    assert ">accuracy on select, with shared weights</text>" in drawn and "hollow" not in drawn


# --- a browser ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        own = play.chromium.executable_path
        found = next(filter(None, map(shutil.which, SIZES)), own if Path(own).exists() else None)
        if not found:
            pytest.skip("no Chromium here; `apt-get install chromium`")
        chromium = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Visit:
    """A page that is open, and everything that it should not have done."""

    def __init__(self, browser: Browser, file: Path, width: int = 1280, scheme: str = "light"):
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, color_scheme=scheme, offline=True)
        self.page: Page = context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append("a dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self._asked(request.url, file))
        self.page.goto(file.as_uri())
        self.page.wait_for_function(
            "[...document.querySelectorAll('[data-drawn]')].every(e => e.querySelector('svg'))"
            " && document.querySelector('[data-drawn]')"
        )

    def _asked(self, url: str, file: Path) -> None:
        if url != file.as_uri() and not url.startswith("data:"):
            self.wrong.append(f"request of {url}")

    def overflows(self) -> bool:
        return self.page.evaluate("document.documentElement.scrollWidth > innerWidth")

    def close(self) -> None:
        self.page.context.close()
        assert not self.wrong


@pytest.fixture(scope="module")
def usual(make) -> Path:
    known = Remembered(
        versions={"S0": "1", "S1": "2"},
        latencies={"S0": 0.41, "S1": 0.9, "S2": 1.7},
        seconds={"prepare": 2.0, "supernet": 100.0, "S0": 20.0, "S1": 30.0, "publish": 1.0},
        changed={"search.seed": ("0", "7")},
        packages={"torch": "2.13.0"},
        revision="abc",
        published="2030-01-02 03:04 UTC",
    )
    return written(make(Case()), known)


def test_the_page_says_what_it_is_and_needs_no_network(usual, browser):
    visit = Visit(browser, usual)
    text = visit.page.inner_text("body")
    for said in (
        "S2 labels", "the net", "2030-01-02 03:04 UTC", "0.41", "v2", "search.seed", "abc",
        "2 min 33 s", "50.0 s", "0123456789abcdef", "Expected calibration error", "● front",
    ):  # fmt: skip
        assert said in text, said
    charts = visit.page.locator("[data-chart]:visible")
    assert charts.count() == charts.locator("svg.marks").count() == 13
    assert visit.page.locator(".images:visible img").count() > 12
    visit.close()


def test_the_name_of_the_laws_next_size_does_not_lie_on_the_last_members(usual, browser):
    family = Family.read(Paths(usual.parents[1]).family / "family.json")
    small, last = family.members[0].member, family.members[-1]
    twice = 2 * last.member.flops / (small.budget / small.multiple)
    around = {"low": last.low, "high": last.high, "confidence": 0.95}
    following = [{"multiple": twice, "value": last.accuracy, **around}]
    law = {"scale": 0.1, "flops0": 1e4, "exponent": 0.3, "top": last.accuracy, "next": following}
    far = family.baselines[-1].model_copy(update={"flops": 100 * last.member.flops})
    changed = family.model_copy(update={"law": law, "baselines": [far]})  # sizes lie closely
    view = browser.new_page()
    view.set_content(figure.svg(changed))
    texts = view.locator("svg text:not([stroke])")
    member = texts.get_by_text(last.member.name, exact=True).bounding_box()
    name = texts.filter(has_text="× the base").bounding_box()
    view.close()
    apart = [member["y"] + member["height"] <= name["y"], name["y"] + name["height"] <= member["y"]]
    beside = name["x"] + name["width"] <= member["x"] or member["x"] + member["width"] <= name["x"]
    assert any(apart) or beside, (member, name)


def test_names_of_baselines_that_are_as_good_lie_beside_each_other(usual, browser):
    family = Family.read(Paths(usual.parents[1]).family / "family.json")
    equal = [
        family.baselines[-1].model_copy(update={"about": f"rival {n}", "flops": flops})
        for n, flops in enumerate((60_000, 60_000, None, None, None))
    ]
    view = browser.new_page()
    view.set_content(figure.svg(family.model_copy(update={"baselines": equal})))
    boxes = view.locator("svg text").evaluate_all(
        "all => all.filter(e => e.textContent.startsWith('rival ') && !e.getAttribute('stroke'))"
        ".map(e => {"
        " const r = e.getBoundingClientRect(); return [r.left, r.right, r.top, r.bottom] })"
    )
    view.close()
    assert len(boxes) == len(equal)
    for (left, right, top, bottom), other in combinations(boxes, 2):
        beside = right <= other[0] or other[1] <= left
        assert beside or bottom <= other[2] + 2 or other[3] <= top + 2  # a box has some air


def test_hovering_tells_and_clicking_shows_the_network(usual, browser):
    visit = Visit(browser, usual)
    svg = visit.page.locator('[data-chart="family-flops"] svg.marks')
    svg.scroll_into_view_if_needed()
    dots = svg.locator('path[aria-label*="candidate"], .mark-symbol path')
    places = dots.evaluate_all(
        "all => all.filter(e => e.__data__?.datum?.layers).map(e => { const r ="
        " e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })"
    )
    assert len(places) == 30
    visit.page.mouse.move(*places[0])
    tooltip = visit.page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for(timeout=4000)
    assert "candidate" in tooltip.inner_text() and "stem_k3" in tooltip.inner_text()
    assert not visit.page.locator("#chosen").is_visible()
    visit.page.mouse.click(*places[0])
    visit.page.locator("#chosen svg.marks").wait_for(timeout=4000)
    assert re.search(r"r\d+-stem_k3", visit.page.inner_text("#chosen code"))
    visit.close()


def test_all_of_it_is_reached_by_keyboard(usual, browser):
    visit = Visit(browser, usual)
    tab = visit.page.locator("#cost-tab-flops")
    tab.focus()
    visit.page.keyboard.press("ArrowRight")
    assert visit.page.evaluate("document.activeElement.id") == "cost-tab-params"
    visit.page.locator("#cost-params svg.marks").wait_for(timeout=4000)
    assert not visit.page.locator("#cost-flops").is_visible()
    visit.page.keyboard.press("End")
    visit.page.locator("#cost-latency svg.marks").wait_for(timeout=4000)
    visit.page.locator("#member-tab-S2").focus()
    visit.page.keyboard.press("Home")
    visit.page.locator("#member-S0 svg.marks").first.wait_for(timeout=4000)
    visit.page.locator("#accuracy summary").last.focus()
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("Tab")  # the table, which scrolls
    visit.page.keyboard.press("Tab")
    visit.page.keyboard.press("Enter")
    visit.page.locator("#chosen svg.marks").wait_for(timeout=4000)
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert visit.page.evaluate(outline) == "solid"
    unnamed = "[...document.querySelectorAll('img')].filter(e => !e.alt).length"
    assert visit.page.evaluate(unnamed) == 0
    visit.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_by_day_and_by_night(usual, browser, scheme):
    visit = Visit(browser, usual, 375, scheme)
    assert not visit.overflows()
    paper, ink = (
        sum(map(int, re.findall(r"\d+", visit.page.evaluate(
            f"getComputedStyle(document.querySelector('{of}')).{what}"))[:3]))
        for of, what in (("body", "backgroundColor"), (".role-axis-label text", "fill"))
    )  # fmt: skip
    assert abs(paper - ink) > 400 and (paper < ink) == (scheme == "dark")
    visit.close()


CUT = """
[...document.querySelectorAll("[data-drawn]")].flatMap(chart => {
  const frame = chart.querySelector("svg").getBoundingClientRect();
  return [...chart.querySelectorAll(".role-legend text")].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1;
  }).map(text => `${chart.dataset.chart}: ${text.textContent}`);
})"""


@pytest.mark.parametrize("width", [1280, 1100, 375])
def test_no_legend_is_cut_by_the_edge_of_its_chart(usual, browser, width):
    visit = Visit(browser, usual, width)
    assert visit.page.locator(".role-legend text").count() > 8
    assert visit.page.evaluate(CUT) == []
    visit.close()


def test_it_prints_dark_on_white_without_what_paper_cannot_do(usual, browser):
    visit = Visit(browser, usual, 800, "dark")
    visit.page.emulate_media(media="print", color_scheme="dark")
    assert not visit.page.locator(".tabs").first.is_visible() and not visit.overflows()
    ink = visit.page.evaluate("getComputedStyle(document.body).color")
    assert sum(map(int, re.findall(r"\d+", ink)[:3])) < 150
    assert len(visit.page.pdf(format="A4")) > 20_000
    visit.close()


UNUSUAL = {
    "two classes": Case(classes=("yes", "no")),
    "many classes": Case(classes=tuple(f"kind {i}" for i in range(124)), channels=3, side=64),
    "one member": Case(members=1),
    "no baselines": Case(baselines=False, channels=3),
    "one answer": Case(one_class=True),
    "hostile names": Case(classes=(HOSTILE, "null", "__proto__", "a\rb", "é漢"), candidates=1),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_families_are_reported_too(name, make, browser):
    case = UNUSUAL[name]
    file = page_alone(make(case))
    visit = Visit(browser, file)
    for tab in visit.page.locator("[role=tab]").all():
        tab.click()
    for width in (1280, 375):
        visit.page.set_viewport_size({"width": width, "height": 900})
        assert not visit.overflows()
    assert case.classes[0] in visit.page.text_content("#mistakes")
    matrix = visit.page.locator("[data-chart^=confusion]").count()
    assert matrix == (case.members if len(case.classes) <= 60 else 0)
    assert visit.page.locator("img[src=x], b:has-text('49')").count() == 0
    visit.close()
    if name == "one answer":
        assert "one and the same class" in file.read_text()


def test_answers_that_were_learnt_are_no_mistakes_to_show(make):
    found = gathered.gather(make(Case()), Remembered())
    trained, *_ = found.family.members
    assert list(page._mistakes(found, trained)["hardest"]) == ["test", "select"]
    learnt = trained.model_copy(update={"select": None})  # retrain.use_select
    assert list(page._mistakes(found, learnt)["hardest"]) == ["test"]


def test_what_may_be_wrong_with_the_images_is_said_of_the_family(make):
    doubt = "the same images in two splits: 9 of test in train"
    folder = make(Case(members=1, warnings=(doubt,)))
    assert f"warning: {doubt}" in table.warnings(Paths(folder).published())
    assert doubt in page_alone(folder).read_text()


def test_a_large_family_makes_a_page_that_opens(make, browser):
    names = tuple(f"n{i:08d}, some kind of thing" for i in range(1000))
    file = page_alone(make(Case(classes=names, members=6, candidates=2000, channels=3, side=96)))
    assert file.stat().st_size < 8e6
    visit = Visit(browser, file)
    assert "1,000 classes are too many for a matrix" in visit.page.inner_text("#mistakes")
    visit.close()


# --- its parts ------------------------------------------------------------------------------------


def test_equal_families_give_equal_files_and_figures_are_files(make, usual):
    again = usual.parent.parent
    before = {f.name: f.read_bytes() for f in usual.parent.iterdir()}
    assert {"family.svg", "family.png", "architecture.svg", "confusion.png"} <= before.keys()
    assert all(before[n].startswith(b"\x89PNG") for n in before if n.endswith(".png"))
    written(again)
    after = {f.name: f.read_bytes() for f in usual.parent.iterdir()}
    svgs = [name for name in before if name.endswith(".svg") and "latency" not in name]
    assert len(svgs) > 9 and all(before[name] == after[name] for name in svgs)


def test_counts_have_three_digits_and_a_unit():
    counts = {None: "–", 0: "0", 999: "999", 1000: "1 k", 1789: "1.79 k", 999_499: "999 k"}
    counts |= {999_500: "1 M", 12_345_678: "12.3 M", 999_999_999: "1 G", 5 * 10**12: "5 T"}
    assert {count: short(count) for count in counts} == counts


def test_calibration_is_the_distance_of_confidence_and_accuracy():
    labels, sure = np.zeros(10, np.int32), np.full(10, 0.95, np.float32)
    said = Predictions(labels, np.array([0] * 7 + [1] * 3, np.int32), sure, sure)
    rows, error = mistakes.calibration(said, 0.95)
    assert error == pytest.approx(0.25) and rows[0]["images"] == 10
    assert rows[0]["low"] < 0.7 == rows[0]["right"] < rows[0]["high"]


def test_the_hardest_images_are_wrong_and_sure():
    labels = np.array([0, 1, 0, 1], np.int32)
    predicted, sure = np.array([0, 0, 1, 0], np.int32), np.array([1, 0.6, 0.9, 0.7], np.float32)
    pixels = np.zeros((4, 1, 8, 8), np.uint8)
    found = mistakes.hardest(Predictions(labels, predicted, sure, 1 - sure), pixels, ["a", "b"])
    assert [image["number"] for image in found] == [2, 3, 1]
    assert found[0]["true"] == "a" and found[0]["image"].startswith("data:image/png;base64,")


def test_marks_say_who_is_dominated_and_who_beats_what(make):
    family = Family.read(Paths(make(Case())).family / "family.json")
    small, middle, large = family.members
    worse = large.model_copy(update={"select": small.select})
    front = marks.pareto([small, middle, worse], lambda trained: trained.member.flops)
    assert front == {"S0", "S1"} and choice.leader(family.members) == large
    assert marks.against(family, "S2")["majority"] == marks.BETTER
    assert "is better than every baseline" in marks.verdict(family) or "Not so" in marks.verdict(
        family
    )


def test_the_front_is_one_of_milliseconds_where_budgets_count_them(make):
    family = Family.read(Paths(make(Case())).family / "family.json")
    of_flops = {
        line.split()[0] for line in table.text(family, None, {}).splitlines() if "○" in line
    }
    members = [
        t.model_copy(update={"member": t.member.model_copy(update={"latency": 3.0 - i})})
        for i, t in enumerate(family.members)
    ]
    timed = family.model_copy(update={"members": members})
    of_ms = {line.split()[0] for line in table.text(timed, None, {}).splitlines() if "○" in line}
    assert of_flops == set() and of_ms == {"S0", "S1"}, "the last is the quickest, and the best"
    assert any("none with so few device ms is as good" in line for line in table.key(timed, {}))


@pytest.mark.parametrize("columns", [40, 60, 80, 100, None])
def test_the_table_fits_its_terminal(make, columns, usual):
    family = Family.read(Paths(usual.parent.parent).family / "family.json")
    drawn = table.text(family, {"S0": "3"}, {"S0": 0.412, "S1": 12.3}, columns)
    head, *rows = drawn.splitlines()
    assert columns is None or max(map(len, drawn.splitlines())) <= max(columns, 40)
    assert {"size", "FLOPs", "select", "test"} <= set(head.split()) and len(rows) == 3
    if columns in (100, None):
        assert {"ms", "balanced", "front", "baselines", "version"} <= set(head.split())
        assert "0.412" in rows[0] and "v3" in rows[0] and "●" in rows[0] and "+" in rows[2]


def test_a_matrix_of_many_classes_is_seen_whole_on_a_wide_page(make, browser):
    visit = Visit(browser, written(make(Case(classes=tuple(f"class {n}" for n in range(30))))))
    matrix = visit.page.locator("[data-chart^=confusion]:visible")
    assert matrix.evaluate("e => e.scrollWidth <= e.clientWidth && e.clientWidth > 600")
    visit.close()


def test_what_is_called_what_is_seen_at_once_though_names_are_long(make, browser):
    names = tuple(
        f"{letter} of a rather long name, photographed at the roadside" for letter in "ab"
    )
    visit = Visit(browser, written(make(Case(classes=names))), width=390)
    table = visit.page.locator(".scroll:has(.pairs):visible")
    assert "b of a rather" in table.inner_text()
    assert table.evaluate("table => table.scrollWidth <= table.clientWidth")
    visit.close()


def test_a_table_in_markdown_shows_names_as_they_are(usual):
    family = Family.read(Paths(usual.parent.parent).family / "family.json")
    said = family.model_copy(update={"warnings": ["test has no image of <b>*a* [c](d)"]})
    text = table.markdown(said, {})
    assert r"**warning: test has no image of &lt;b\>\*a\* \[c\](d)**" in text
    order = [text.index(part) for part in ("| baseline |", "as listed above")]
    assert order == sorted(order)


def test_what_differs_from_the_defaults_is_told(make_params):
    default = remembered.changed(remembered.config.load(ROOT / "params.yaml"))
    assert default == {}
    changed = remembered.changed(make_params({"search": {"seed": 99}}))
    assert changed["search.seed"] == ("0", "99")


def test_a_report_tells_the_numbers_that_the_family_was_made_with(make_params, tmp_path):
    """params.yaml may have been edited since, for the next run."""
    made = make_params({"search": {"seed": 7}}).model_dump(mode="json")
    stages = {
        "search": {"search": made["search"], "supernet.recipe": made["supernet"]["recipe"]},
        "retrain@S9": {"family.S9": {"multiple": 512, "seed": 0}},  # it left the family
        "publish": {"data.name": "x"},
    }
    content = {name: {"params": {"params.yaml": known}} for name, known in stages.items()}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": content}))
    edited = {"search": {"seed": 99}, "data": {"name": "y"}, "compute": {"workers": 3}}
    changed = remembered.remembered(tmp_path, make_params(edited)).changed
    assert changed["search.seed"] == ("0", "7") and changed["data.name"][1] == "x"
    assert changed["compute.workers"][1] == "3" and "family.S9.seed" not in changed
    content["search"]["params"]["params.yaml"]["search"]["older"] = 1  # of another version
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": content}))
    changed = remembered.remembered(tmp_path, make_params(edited)).changed
    assert changed["search.seed"] == ("0", "99")


def test_a_report_does_not_mix_a_family_with_a_later_search(tmp_path, make_params):
    """After `scalenet run --target search` with other numbers, the family is as it was."""
    plan, params = "artifacts/plan/S0.json", make_params().model_dump(mode="json")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "artifacts/plan").mkdir(parents=True)
    (tmp_path / plan).write_text("a plan")

    def stage(deps: dict[str, str], outs: dict[str, str]) -> dict:
        parts = {"deps": deps, "outs": outs}
        return {k: [{"path": p, "md5": m} for p, m in part.items()] for k, part in parts.items()}

    def locked_with(search: str, planned: str = "a plan") -> list[str]:
        found, trained = "artifacts/search/found.json", "artifacts/members/S0/trained.json"
        digest = hashlib.md5(planned.encode()).hexdigest()
        stages = {
            "search": stage({"src/scalenet/search": "0.dir"}, {found: search}),
            "extrapolate": stage({found: "1"}, {"artifacts/plan": "2.dir"}),
            "retrain@S0": stage({plan: digest}, {trained: "3"}),
            "retrain@S9": stage({"artifacts/plan/S9.json": "4"}, {"artifacts/members/S9": "5"}),
            "publish": stage({trained: "3"}, {"artifacts/family/family.json": "6"}),
        }
        (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
        return locked.made_anew(tmp_path)

    assert locked_with("1") == []
    assert locked_with("7", "another") == ["extrapolate", "search"]
    assert locked_with("7") == ["search"]
    code, _, said = verb(tmp_path, "report")
    assert code == 2 and "search was run again since the family was published" in said
    assert not (tmp_path / "report").exists()
