"""How far a run is, in words: plain lines, few, where no display can be drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from scalenet.pipeline.watch.progress import CACHED, DONE, FAILED, RUNNING, STOPPED, Progress, Work
from scalenet.records import written
from scalenet.records.documents import FINETUNED, RESCORED

PATIENCE = 30  # seconds between two lines about a stage that runs
# how a candidate was measured, by its phase as a finalist
MEASURED = {"": "", FINETUNED: " fine-tuned", RESCORED: " on all of select"}
Say = Callable[[str], None]


def clock(seconds: float) -> str:
    """Return seconds as a clock shows them: 0:07, 12:30, 2:05:00."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float) -> str:
    """Return seconds as a guess is said: about 40 s, about 12 min."""
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def counted(work: Work) -> str:
    """Return how far a stage is by what it counts; empty if it counts nothing."""
    if work.planned:
        most = f" of ~{work.planned:,}" if work.candidates < work.planned else ""
        return f"{work.candidates:,}{most} candidates"
    of = f"{work.part}: " if work.part else ""
    return f"{of}step {work.step:,} of {work.steps:,}" if work.steps else work.part


def paced(work: Work) -> str:
    """Return a training's pace; empty before it is known."""
    if work.pace is None:
        return ""
    return f"{work.pace:,.0f} steps/s" if work.pace >= 10 else f"{work.pace:.1f} steps/s"


def reached(work: Work) -> list[str]:
    """Return how well a stage does: the loss, accuracies on select, the best candidate so far."""
    over = work.part and work.state != RUNNING  # the loss of one training of several
    found = [] if work.loss is None or over else [f"loss {work.loss:.3g}"]
    if work.reached:
        found.append("select " + " to ".join(written.percent(v) for v in work.reached.values()))
    if work.best:
        (phase, size), accuracy = max(work.best.items())
        found.append(f"best of size {size} {written.percent(accuracy)}{MEASURED[phase]}")
    return found


def figures(work: Work) -> list[str]:
    """Return everything that is known of a stage that runs or ran, the most important first."""
    return [text for text in (counted(work), *reached(work), paced(work)) if text]


def ended(work: Work) -> str:
    """Return how a stage ended."""
    if work.state == CACHED:
        return "up to date"
    if work.state == FAILED:
        return f"failed after {clock(work.seconds)}: {work.why}"
    if work.state == STOPPED:
        return f"stopped after {clock(work.seconds)}; a run goes on from its last checkpoint"
    return ", ".join([f"done in {clock(work.seconds)}", *reached(work)])


class Lines:
    """A listener that says when a stage begins and ends, what it notes, and now and then how far
    it is."""

    def __init__(self, say: Say, now: Callable[[], float] = time.monotonic):
        self.say, self.now = say, now
        self.last: dict[str, float] = {}

    def __call__(self, work: Work, record: Mapping[str, Any]) -> None:
        event = record["event"]
        if event == "began":
            expected = "" if work.expected is None else f", {about(work.expected)}"
            self._tell(work, f"begins{expected}")
        elif event == "read":
            self._tell(work, record["summary"])
        elif event == "notice":
            self._tell(work, record["text"])
        elif event == "ended":
            self._tell(work, ended(work))
        elif self.now() - self.last.get(work.name, self.now()) >= PATIENCE and figures(work):
            left = work.left(self.now())
            later = [] if left is None else [f"{about(left)} left"]
            self._tell(work, ", ".join([*figures(work), *later]))

    def _tell(self, work: Work, text: str) -> None:
        self.last[work.name] = self.now()
        self.say(f"{work.name}: {text}")


def summary(progress: Progress) -> str:
    """Return the last line of a run: what was done, and in what time."""
    states = [work.state for work in progress.works.values()]
    parts = [f"{states.count(DONE)} computed", f"{states.count(CACHED)} up to date"]
    parts += [f"{states.count(s)} {s}" for s in (FAILED, STOPPED) if s in states]
    rest = sum(state not in (DONE, CACHED, FAILED, STOPPED) for state in states)
    parts += [f"{rest} not done"] if rest else []
    stages = written.counted(len(states), "stage")
    return f"{stages}: {', '.join(parts)}; {clock(progress.passed())} in all"
