"""How far a run is: from the records of its stages, in lines, and as a terminal shows it."""

from __future__ import annotations

import io
import shutil
from itertools import count

import pytest
import yaml
from rich.console import Console

from scalenet.pipeline.remember import reports
from scalenet.pipeline.watch.display import View
from scalenet.pipeline.watch.lines import Lines, about, clock, figures, summary
from scalenet.pipeline.watch.progress import Progress, wall
from scalenet.records.paths import Paths
from scalenet.stages import declared, run_stage
from scalenet.stages import search as stage_search
from scalenet.stages import supernet as stage_supernet

NEEDS = {
    "prepare": set(), "supernet": {"prepare"}, "search": {"supernet"}, "extrapolate": {"search"},
    "retrain@S0": {"extrapolate"}, "retrain@S1": {"extrapolate"}, "baselines": {"prepare"},
    "publish": {"retrain@S0", "retrain@S1", "baselines"},
}  # fmt: skip


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Clock()


def begun(time, name="supernet", expected=None, listeners=()):
    progress = Progress(listeners, time)
    progress.plan({name: set()}, {} if expected is None else {name: expected}, 1)
    progress.tell(name, {"event": "began"})
    return progress, progress.works[name]


def step(number, steps=100, loss=1.0):
    return {"event": "step", "step": number, "steps": steps, "loss": loss, "learning_rate": 0.1}


def candidate(number, accuracy, size=1, phase="bases"):
    record = {"event": "candidate", "number": number, "accuracy": accuracy}
    return record | {"stage": size, "phase": phase}


# --- one stage ------------------------------------------------------------------------------------


def test_a_training_tells_its_pace_and_what_is_left(time):
    progress, work = begun(time)
    time.now = 5  # it prepares: its pace is measured from its first step on
    progress.tell("supernet", {"event": "training", "step": 0, "steps": 100})
    time.now = 15
    progress.tell("supernet", step(50, loss=0.4))
    progress.tell("supernet", {"event": "judged", "step": 50, "steps": 100, "select": 0.7})
    assert (work.fraction(), work.pace, work.loss, work.reached) == (0.5, 5.0, 0.4, {"select": 0.7})
    assert work.left(15.0) == pytest.approx(10) and work.left(19.0) == pytest.approx(6)


def test_a_member_ends_with_the_accuracy_that_is_written_of_it(built, time, tmp_path):
    """A training is watched on a part of select and before its norms are calibrated."""
    root = shutil.copytree(built, tmp_path / "built")
    content = yaml.safe_load((root / "params.yaml").read_text())
    content["retrain"]["watch"] = 7
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    progress, work = begun(time, "retrain@S0")
    run_stage(root, "retrain", "S0", lambda record: progress.tell("retrain@S0", record))
    written = Paths(root).trained("S0").select.accuracy
    assert work.reached == {"select": pytest.approx(written)}


def test_a_resumed_training_is_paced_by_the_steps_that_it_takes_itself(time):
    progress, work = begun(time)
    progress.tell("supernet", {"event": "training", "step": 80, "steps": 100})
    assert work.fraction() == 0.8 and work.left(0.0) is None
    time.now = 4
    progress.tell("supernet", step(90))
    assert work.pace == 2.5 and work.left(4.0) == pytest.approx(4)


def test_what_it_cost_last_counts_first_and_then_its_own_pace(time):
    progress, work = begun(time, expected=100)
    assert work.left(10.0) == 90
    progress.tell("supernet", {"event": "training", "step": 0, "steps": 100})
    time.now = 10
    progress.tell("supernet", step(5))  # twice as slow as planned is not believed at once
    assert work.left(10.0) == pytest.approx(0.75 * 90 + 0.25 * 190)
    time.now = 40
    progress.tell("supernet", step(20))
    assert work.left(40.0) == pytest.approx(160)


def test_a_search_counts_candidates_of_those_planned_and_keeps_the_best_of_each_size(time):
    progress, work = begun(time, "search")
    progress.tell("search", {"event": "planned", "candidates": 10, "known": 2})
    for number, (accuracy, size) in enumerate([(0.5, 1), (0.4, 1), (0.6, 0)], start=2):
        time.now += 1
        progress.tell("search", candidate(number, accuracy, size))
    assert work.candidates == 5 and work.fraction() == 0.5
    assert work.best == {("", 1): 0.5, ("", 0): 0.6}
    assert work.left(3.0) == pytest.approx(5)
    progress.tell("search", candidate(11, 0.7, 1, "finetuned"))
    assert work.fraction() == 0.99, "more than planned is no more than all"
    assert work.best["finetuned", 1] == 0.7 and work.best["", 1] == 0.5


@pytest.mark.parametrize(
    ("phase", "said", "metric"),
    [
        ("bases", "best of size 1 70.0 %", "search/best_stage1"),
        ("finetuned", "best of size 1 70.0 % fine-tuned", "search/best_stage1_finetuned"),
        ("rescored", "best of size 1 70.0 % on all of select", "search/best_stage1_rescored"),
    ],
)
def test_a_candidate_is_said_to_be_measured_as_it_was(time, phase, said, metric):
    progress, work = begun(time, "search")
    record = candidate(0, 0.7, 1, phase)
    progress.tell("search", record)
    assert said in figures(work)
    assert [name for name, *_ in reports.figures(work, record)] == [metric]


def test_baselines_are_as_far_as_the_share_of_their_trainings_says(time):
    progress, work = begun(time, "baselines")
    part = {"event": "part", "name": "run", "done": 0.6, "share": 0.4}
    progress.tell("baselines", part)
    progress.tell("baselines", {"event": "training", "step": 0, "steps": 100})
    progress.tell("baselines", step(50))
    assert work.fraction() == pytest.approx(0.8) and work.part == "run"


def test_a_stage_that_begins_again_knows_nothing_of_before(time):
    progress, _ = begun(time)
    progress.tell("supernet", step(50))
    progress.tell("supernet", {"event": "ended", "state": "failed", "why": "away"})
    progress.tell("supernet", {"event": "began"})
    assert progress.works["supernet"].fraction() is None
    assert progress.works["supernet"].loss is None


@pytest.mark.parametrize(
    "error, state", [(ValueError("away"), "failed"), (KeyboardInterrupt(), "stopped")]
)
def test_everybody_hears_once_how_a_stage_failed(time, error, state):
    heard = []
    progress, work = begun(time, listeners=[lambda work, record: heard.append(dict(record))])
    with pytest.raises(type(error)), progress.failing("supernet"):
        raise error
    assert heard[1:] == [{"event": "ended", "state": state, "why": str(error)}]
    assert (work.state, work.why) == (state, str(error))


def test_stages_say_what_they_plan_before_they_begin(short_run):
    events = [record["event"] for record in short_run["supernet"]]
    assert events[0] == "training" and events.count("step") == 5
    planned = next(r for r in short_run["search"] if r["event"] == "planned")
    measured = sum(r["event"] == "candidate" for r in short_run["search"])
    assert planned["known"] == 0 and measured / 2 < planned["candidates"] < measured * 3


@pytest.fixture(scope="module")
def short_run(built, make_params, tmp_path_factory):
    """Return what the stages of a tiny run tell, by stage."""
    from scalenet.records.paths import Paths

    params, paths = make_params(), Paths(built)
    told = {"supernet": [], "search": []}
    stage_supernet.main(declared(params, "supernet"), paths, told["supernet"].append)
    stage_search.main(declared(params, "search"), paths, told["search"].append)
    return told


# --- a run ----------------------------------------------------------------------------------------


def test_the_time_left_of_a_run_is_that_of_what_runs_side_by_side(time):
    progress = Progress((), time)
    seconds = dict.fromkeys(NEEDS, 10.0) | {"retrain@S1": 30.0, "baselines": 50.0}
    progress.plan(NEEDS, seconds, 2)
    # baselines end at 60; beside them the chain to S1 takes 30, S1 until 70, then S0 is done too
    assert progress.left() == (80, 0)
    progress.tell("prepare", {"event": "ended", "state": "cached"})
    progress.tell("supernet", {"event": "began"})
    time.now = 4
    assert progress.left() == (70, 0)
    assert progress.passed() == 4


def test_stages_that_nobody_timed_are_counted_not_guessed(time):
    progress = Progress((), time)
    progress.plan(NEEDS, {"prepare": 5.0}, 1)
    assert progress.left() == (5.0, len(NEEDS) - 1)


def test_side_by_side_takes_longer_by_what_is_measured():
    took = {"a": 10.0, "b": 10.0}
    assert wall(took, {}, 1) == 20 and wall(took, {}, 2) == 10 and wall(took, {}, 2, 1.2) == 12
    assert wall(took, {"b": {"a"}}, 2, 1.2) == 20


def test_a_thing_is_said_once():
    told = []
    progress = Progress([lambda work, record: told.append((work.name, record["text"]))])
    for name in ("mlflow", "mlflow", "prefect", "mlflow", "prefect"):
        progress.note(name, "away")
    assert told == [("mlflow", "away"), ("prefect", "away")]
    progress.note("mlflow", "back")
    progress.note("mlflow", "away")
    assert told[2:] == [("mlflow", "back"), ("mlflow", "away")]


# --- lines ----------------------------------------------------------------------------------------


def test_lines_are_few_and_say_beginnings_ends_and_results(time):
    said = []
    progress, _ = begun(time, "supernet", 300, [Lines(said.append, time)])
    assert said == ["supernet: begins, about 5 min"]
    progress.tell("supernet", {"event": "training", "step": 0, "steps": 100})
    for number in range(1, 100):
        time.now += 1
        progress.tell("supernet", step(number))
    progress.tell("supernet", {"event": "judged", "step": 99, "steps": 100, "select": 0.7})
    progress.tell("supernet", {"event": "ended", "state": "done"})
    assert len(said) == 1 + 3 + 1
    assert said[1].startswith("supernet: step 30 of 100, loss 1, 1.0 steps/s, about")
    assert said[-1] == "supernet: done in 1:39, loss 1, select 70.0 %"
    assert summary(progress) == "1 stage: 1 computed, 0 up to date; 1:39 in all"


@pytest.mark.parametrize(
    ("seconds", "shown", "said"),
    [(7, "0:07", "about 5 s"), (61, "1:01", "about 60 s"), (7500, "2:05:00", "about 2.1 h")],
)
def test_times_as_people_say_them(seconds, shown, said):
    assert (clock(seconds), about(seconds)) == (shown, said)


# --- the display ----------------------------------------------------------------------------------


@pytest.fixture
def busy(time):
    """Return a run in the middle: every kind of line there is."""
    progress = Progress((), time)
    progress.plan(NEEDS, {"publish": 20.0, "retrain@S0": 90.0, "retrain@S1": 200.0}, 2)
    progress.tell("prepare", {"event": "ended", "state": "cached"})
    progress.tell("supernet", {"event": "began"})
    time.now = 151
    progress.tell("supernet", step(100, loss=0.25))
    progress.tell("supernet", {"event": "ended", "state": "done"})
    progress.tell("search", {"event": "began"})
    progress.tell("search", {"event": "planned", "candidates": 180, "known": 0})
    time.now = 200
    progress.tell("search", candidate(126, 0.931, 2))
    progress.tell("baselines", {"event": "began"})
    progress.tell("baselines", {"event": "ended", "state": "failed", "why": "no memory\nat all"})
    return progress


def drawn(progress, width, height=24):
    console = Console(record=True, width=width, height=height, file=io.StringIO())
    console.print(View(progress))
    return console.export_text().rstrip("\n").split("\n")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_display_fits_its_terminal(busy, width):
    lines = drawn(busy, width)
    assert len(lines) == 1 + len(NEEDS) and all(len(line) <= width for line in lines)
    assert lines[0].startswith("2 of 8 stages  3:20")
    assert lines[1].startswith("✓ prepare") and "up to date" in lines[1]
    assert lines[2].startswith("✓ supernet") and "2:31" in lines[2]
    assert lines[3].startswith("▸ search") and "127 of ~180" in lines[3]
    assert ("best of size 2 93.1 %" in lines[3]) == (width >= 80)
    assert lines[5].startswith("· retrain@S0") and "~1:30" in lines[5]
    assert lines[7].startswith("✗ baselines") and lines[7].rstrip().endswith("no memory")


def test_a_low_terminal_shows_what_runs_and_counts_the_rest(busy):
    lines = drawn(busy, 80, height=8)
    assert len(lines) <= 7 and any("▸ search" in line for line in lines)
    assert "and 4 more" in lines[-1]


def test_a_family_of_thousands_is_drawn_in_time(time):
    progress, numbers = Progress((), time), count()
    members = {f"retrain@S{next(numbers)}": set() for _ in range(3000)}
    progress.plan(members, dict.fromkeys(members, 5.0), 2)
    assert "of 3,000 stages" in drawn(progress, 80)[0]
