"""How far a run is: plain data that the records of its stages change, and that displays read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from scalenet.pipeline import Stopped
from scalenet.records.documents import FINALS

WAITING, RUNNING, DONE, CACHED = "waiting", "running", "done", "cached"
FAILED, STOPPED = "failed", "stopped"  # of itself, or with its run
TRUSTED = 0.2  # share of a stage after which its own pace says when it ends, not what it cost last
MOST = 0.99  # share of a search that may be done while it runs: how many it measures is a guess

Listener = Callable[["Work", Mapping[str, Any]], None]  # told a stage and what happened in it


@dataclass
class Work:
    """A stage of a run: whether it runs, how far it is and how well it does.

    ``expected`` are the seconds that it took last or was planned for, None if nobody knows.
    ``best`` are the best accuracies (0…1) of candidates by (phase of finalists, else "", size).
    ``mark`` is when its pace was first measured, and the share of it that was done then.
    """

    name: str
    expected: float | None = None
    state: str = WAITING
    began: float | None = None
    seconds: float = 0.0
    why: str = ""
    part: str = ""
    before: float = 0.0
    share: float = 1.0
    first: int = 0
    step: int = 0
    steps: int = 0
    pace: float | None = None
    loss: float | None = None
    reached: dict[str, float] = field(default_factory=dict)
    candidates: int = 0
    planned: int = 0
    best: dict[tuple[str, int], float] = field(default_factory=dict)
    mark: tuple[float, float] | None = None
    latest: float = 0.0
    training: float = 0.0

    def take(self, record: Mapping[str, Any], now: float) -> None:
        """Change by a record of what happened; others leave it as it is."""
        take = getattr(self, f"_{record['event']}", None)
        if take is not None:
            take(record, now)

    def _ended(self, record: Mapping[str, Any], now: float) -> None:
        self.state, self.why = record["state"], record.get("why", "")
        self.seconds = 0.0 if self.began is None else now - self.began

    def _part(self, record: Mapping[str, Any], now: float) -> None:
        self.part, self.before, self.share = record["name"], record["done"], record["share"]
        self.first = self.step = self.steps = 0
        self.pace = self.loss = None

    def _training(self, record: Mapping[str, Any], now: float) -> None:
        self.first = self.step = record["step"]
        self.steps, self.training = record["steps"], now
        self._marked(now)

    def _step(self, record: Mapping[str, Any], now: float) -> None:
        self.step, self.steps, self.loss = record["step"], record["steps"], record["loss"]
        self.latest = now
        if now > self.training and self.step > self.first:
            self.pace = (self.step - self.first) / (now - self.training)

    def _judged(self, record: Mapping[str, Any], now: float) -> None:
        self.reached = {k: v for k, v in record.items() if k.startswith("select")}

    _answered = _judged  # in the end, by all of select

    def _planned(self, record: Mapping[str, Any], now: float) -> None:
        self.candidates, self.planned = record["known"], record["candidates"]
        self._marked(now)

    def _candidate(self, record: Mapping[str, Any], now: float) -> None:
        self.candidates, self.latest = record["number"] + 1, now
        kind = (record["phase"] if record["phase"] in FINALS else "", record["stage"])
        self.best = self.best | {kind: max(record["accuracy"], self.best.get(kind, 0.0))}

    def _marked(self, now: float) -> None:
        self.latest = now
        if self.mark is None:
            self.mark = (now, self.fraction() or 0.0)

    def fraction(self) -> float | None:
        """Return the share of its work that is done (0…1); None if it does not say."""
        if self.state in (DONE, CACHED):
            return 1.0
        if self.planned:
            return min(MOST, self.candidates / self.planned)
        if self.steps:
            return min(1.0, self.before + self.share * self.step / self.steps)
        return self.before or None

    def left(self, now: float) -> float | None:
        """Return the seconds that are left of it; None if nobody can know yet.

        First by what it was expected to take, then more and more by its own pace.
        """
        if self.state not in (WAITING, RUNNING):
            return 0.0
        if self.state == WAITING:
            return self.expected
        paced, trust = self._paced(now)
        if self.expected is None:
            return paced
        planned = max(0.0, self.expected - (now - self.began))
        return planned if paced is None else trust * paced + (1 - trust) * planned

    def _paced(self, now: float) -> tuple[float | None, float]:
        """Return what is left by the pace since it was first measured, and how far to trust it."""
        done = self.fraction()
        if self.mark is None or done is None:
            return None, 0.0
        since, at_first = self.mark
        gained = done - at_first
        if gained <= 0 or self.latest <= since:
            return None, 0.0
        left = (1 - done) * (self.latest - since) / gained - (now - self.latest)
        return max(0.0, left), min(1.0, gained / TRUSTED)


class Progress:
    """The stages of a run, in the order in which they begin, and who is told of them.

    Any thread may tell. A listener is told one thing at a time, after the stage was changed by it.
    Reading needs no lock: what can be looked through is replaced, never changed.
    """

    def __init__(
        self, listeners: Iterable[Listener] = (), clock: Callable[[], float] = time.monotonic
    ):
        self.listeners, self.clock = list(listeners), clock
        self.began = self.clock()
        self.works: dict[str, Work] = {}
        self.needs: Mapping[str, set[str]] = {}
        self.workers = 1
        self.noted: dict[str, str] = {}  # the last note of each name
        self.closing = ""  # what is done when all stages are
        self.away = False  # MLflow was when the run ended, and lacks what it was to be told
        self.lock = RLock()

    def plan(
        self, needs: Mapping[str, set[str]], seconds: Mapping[str, float], workers: int
    ) -> None:
        """Say which stages there are, each with those that it needs, and what they are to take."""
        self.needs, self.workers = needs, workers
        self.works = {name: Work(name, seconds.get(name)) for name in needs}

    def tell(self, name: str, record: Mapping[str, Any]) -> None:
        """Change a stage by a record, then tell everybody."""
        with self.lock:
            now, work = self.clock(), self.works.setdefault(name, Work(name))
            if record["event"] == "began":
                work = self.works[name] = Work(name, work.expected, RUNNING, began=now)
            work.take(record, now)
            for listener in self.listeners:
                listener(work, record)

    @contextmanager
    def failing(self, name: str) -> Iterator[None]:
        """Tell that a stage failed, or was stopped, if the body does not end well."""
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, Stopped | KeyboardInterrupt)
            state = STOPPED if stopped else FAILED
            self.tell(name, {"event": "ended", "state": state, "why": str(error)})
            raise

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Tell one more while the body runs."""
        with self.lock:
            self.listeners.append(listener)
        try:
            yield
        finally:
            with self.lock:
                self.listeners.remove(listener)

    def note(self, name: str, text: str) -> None:
        """Tell everybody something that is about no stage; once, if it is said again."""
        with self.lock:
            if self.noted.get(name) == text:
                return
            self.noted[name] = text
            for listener in self.listeners:
                listener(Work(name), {"event": "notice", "text": text})

    def passed(self) -> float:
        """Return the seconds since the run began."""
        return self.clock() - self.began

    def left(self) -> tuple[float, int]:
        """Return the seconds that are left of the run, and how many stages they do not count,
        because nobody timed them."""
        now = self.clock()
        left = {name: work.left(now) for name, work in self.works.items()}
        unknown = sum(seconds is None for seconds in left.values())
        known = {name: seconds or 0.0 for name, seconds in left.items()}
        waits = {name: self.works[name].state != RUNNING for name in left}
        first = sorted(known, key=lambda name: (waits[name], -known[name]))  # as they are begun
        known = {name: known[name] for name in first}
        return wall(known, self.needs, self.workers), unknown


def wall(
    seconds: Mapping[str, float],
    needs: Mapping[str, set[str]],
    workers: int,
    beside: float = 1.0,
) -> float:
    """Return the seconds of a run whose stages take these, at most so many side by side.

    A stage begins when those that it needs are done, the first of ``seconds`` first. While several
    run, each takes ``beside`` times as long.
    """
    left, clock = dict(seconds), 0.0
    running: list[str] = []
    while left:
        ready = [n for n in left if n not in running and not needs.get(n, set()) & left.keys()]
        running += ready[: workers - len(running)]
        passed = min(left[name] for name in running)
        clock += passed * (beside if len(running) > 1 else 1.0)
        for name in running:
            left[name] -= passed
        done = {name for name in running if left[name] <= 1e-9}
        running = [name for name in running if name not in done]
        left = {name: rest for name, rest in left.items() if name not in done}
    return clock
