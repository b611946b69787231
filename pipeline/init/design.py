"""Params that fit data, machine and minutes: how many sizes, of which budgets, for how many steps.

No timing and no files: what was seen and measured in, every number with its reason out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from scalenet.config.params import Params, parse, read_yaml
from scalenet.config.space import Latency
from scalenet.pipeline.init import recipes, shares
from scalenet.pipeline.init.estimate import Rates, seconds, wall
from scalenet.pipeline.init.frame import Frame, frame_of
from scalenet.pipeline.init.look import Seen
from scalenet.pipeline.init.recipes import Choice, Choices, Needs
from scalenet.pipeline.init.shares import Shares
from scalenet.pipeline.init.sizes import FEWEST, LARGEST, TOLERANCE, TOLERANCES, Reach, scalings
from scalenet.pipeline.project import DEFAULTS
from scalenet.pipeline.runs import workers
from scalenet.pipeline.settings import merge, nested
from scalenet.space.measure import Measure, on
from scalenet.space.network import Task

USED = 0.92  # share of the minutes that is planned for: a machine is not always equally fast
LIKED = 0.5  # share of the steps that are enough below which sizes are given up instead
LEAST = 60  # steps of a member below which nothing is learnt
BUSY = 1.3  # times that work takes longer beside other work, from which it is said
EMPTY: Mapping[str, Choice] = {}
MORE = (2, 4)  # times the usual budget, where there is time for it
TRIED = 12  # bounds in milliseconds, up to the usual, for the least that can be had
LESS = 0.5  # the same before a size is given up


class Wish(NamedTuple):
    """What a user asks for.

    A name, minutes, the largest member's FLOPs, or its milliseconds on a device that budgets are
    for, a stored side in px, weights of another network to compare with (file, timm's name of the
    network), whether to compare with residual networks trained here, and keys of ``data`` that say
    how the images are read.
    """

    name: str
    minutes: float
    max_flops: float | None = None
    max_ms: float | None = None
    device: Latency | None = None
    size: int | None = None
    pretrained: tuple[str, str] | None = None
    residual: bool = True
    reading: Mapping[str, Any] = {}


class Design(NamedTuple):
    """What was chosen: every number with its reason, the params they make, seconds by stage.

    ``wall`` are the seconds of the run, whose stages lie side by side.
    """

    choices: Choices
    params: Params
    seconds: dict[str, float]
    wall: float
    shares: Shares


@dataclass(frozen=True)
class Designer:
    """Designs a project for what was seen, named as data.source names it, and a wish."""

    seen: Seen
    source: str
    wish: Wish

    @cached_property
    def frame(self) -> Frame:
        return frame_of(self.seen.side, self.wish.size)

    @cached_property
    def task(self) -> Task:
        return Task(self.seen.channels, len(self.seen.classes))

    @cached_property
    def default(self) -> dict[str, Any]:
        return read_yaml(DEFAULTS)

    @cached_property
    def reach(self) -> Reach:
        return Reach(self.frame, self.task, self.default["space"], self.wish.device)

    @cached_property
    def measure(self) -> Measure:
        """What budgets count."""
        return on(self.wish.device)

    @property
    def most(self) -> float:
        """The most that the largest member may spend."""
        return (self.wish.max_ms if self.wish.device else self.wish.max_flops) or math.inf

    @property
    def wished(self) -> str:
        """That bound as it was given."""
        option = "--max-ms" if self.wish.device else "--max-flops"
        return f"{option} {self.most:{self.measure.form}}"

    @cached_property
    def enough(self) -> int:
        """Steps of a member that are enough for so many images."""
        return recipes.enough(self.frame, self.shares.train)

    @cached_property
    def shares(self) -> Shares:
        """How the images will be split."""
        return shares.shares(self.seen, self.frame)

    # --- how many sizes, of which budgets ---------------------------------------------------------

    def draft(self, sizes: int, times: float, most: float | None = None) -> Needs:
        """Return sizes whose base has some times the usual budget, within a bound of the largest:
        the wish's, unless another is given."""
        most = self.most if most is None else most
        budget = min(self.reach.usual * times, _bound(sizes, most))
        width = self.reach.width(budget)
        low, middle, high = self.reach.typical[width]
        budget = _rounded(budget if low <= budget <= high else middle)
        space = self.reach.space(width)
        offered = scalings(self.reach, space, budget, sizes)
        largest = offered.target(sizes - 1) * (1 + offered.stages[-1].tolerance)
        if largest > most:
            raise ValueError(
                f"{self.wished}: the largest of {sizes} sizes may have "
                f"{self.measure.said(largest)}; raise it, or store smaller images by --size"
            )
        return Needs(self.frame, space, offered, self.shares)

    def _sizes(self) -> list[int]:
        """Return the numbers of sizes that the wish for the largest allows, most first."""
        counts = range(LARGEST, FEWEST - 1, -1)
        allowed = [n for n in counts if _bound(n, self.most) >= self.reach.least]
        if not allowed:
            least = 2 ** (FEWEST - 1) * (1 + TOLERANCE) * self.reach.least
            raise self._too_slow() if self.wish.device else self._out_of_reach(least)
        return allowed

    def _out_of_reach(self, least: float) -> ValueError:
        """Return the refusal of a bound below the least that a largest member may have."""
        low = 1.01 * least  # in reach even if it is rounded down to be said
        high = self.reach.most * 2 ** (LARGEST - 1)
        smaller = "" if self.wish.device else ", or store smaller images by --size"
        return ValueError(
            f"{self.wished} is out of reach: with images stored at {self.frame.size} px the "
            f"largest member may have {self.measure.said(low, high)}; raise it{smaller}"
        )

    def _too_slow(self) -> ValueError:
        """Return the refusal of milliseconds that no sizes have: others do, or none that double."""
        ends = (1 + TOLERANCE) * self.reach.least, (1 + TOLERANCES[-1]) * self.reach.usual
        tried = 2 ** (FEWEST - 1) * np.geomspace(*ends, TRIED)
        for most in tried.tolist():
            try:
                self.draft(FEWEST, 1, 1.0001 * most)
            except ValueError as error:
                refused = error
            else:
                return self._out_of_reach(most)
        return ValueError(
            f"{refused}; milliseconds do not double so often on these images, since a layer "
            "takes some whatever its size: leave --latency and --max-ms out, or store larger "
            "images by --size"
        )

    def first(self) -> Needs:
        """Return the draft whose networks are timed; ``ValueError`` if nothing can be trained in
        the minutes, since reading the images takes longer."""
        if self.seen.reading >= self._seconds:
            raise ValueError(
                f"--minutes {self.wish.minutes:g} is too short: reading all {self.seen.images:,} "
                f"images takes about {self.seen.reading / 60:.0f} minutes here, however few of them"
                " are used; give far more minutes, or a source with a part of the images"
            )
        return next(self._drafts())

    # --- for how many steps -----------------------------------------------------------------------

    def design(self, rates: Rates) -> Design:
        """Return the largest family that the minutes train well.

        ``ValueError`` if they are too few for the smallest, with how many are enough for it.
        """
        for draft in self._drafts():
            steps = self._affordable(draft, rates)
            if steps >= self.enough * LIKED:
                return self._designed(*self._grown(draft, steps, rates), rates)
        if steps < LEAST:
            least = self._designed(draft, LEAST, rates)
            minutes = least.wall / USED / 60
            raise ValueError(
                f"--minutes {self.wish.minutes:g} is too short: the smallest family, {FEWEST} "
                f"sizes trained for {LEAST} steps each, takes about {minutes:.1f} minutes here"
                f"{slowed(rates)}; give more, or store smaller images by --size"
            )
        return self._designed(draft, steps, rates)

    def _drafts(self) -> Iterator[Needs]:
        """Yield drafts from what is wished for to what takes least time; budgets out of a space's
        reach are passed over, unless all are."""
        refused, yielded = ValueError(), False
        for sizes, times in product(self._sizes(), (1, LESS)):
            try:
                draft = self.draft(sizes, times)
            except ValueError as error:
                refused = error
                continue
            yielded = True
            yield draft
        if not yielded:
            raise self._too_slow() if self.wish.device else refused

    def _grown(self, draft: Needs, steps: int, rates: Rates) -> tuple[Needs, int]:
        """Return a draft with its steps, or larger ones where there is time to train them."""
        for times in MORE if steps >= self.enough else ():
            with suppress(ValueError):  # a larger budget may be out of reach
                larger = self.draft(self._sizes()[0], times)
                afforded = self._affordable(larger, rates)
                if afforded >= self.enough:
                    draft, steps = larger, afforded
        return draft, min(steps, 2 * self.enough)

    def _affordable(self, draft: Needs, rates: Rates) -> int:
        """Return the most steps of a member with which a run fits in the minutes; 0 if none do."""
        low, high = 0, 4 * self.enough
        while low < high:
            middle = (low + high + 1) // 2
            took = self._designed(draft, middle, rates).wall
            low, high = (middle, high) if took <= self._seconds else (low, middle - 1)
        return low

    @property
    def _seconds(self) -> float:
        return self.wish.minutes * 60 * USED

    def _designed(self, draft: Needs, steps: int, rates: Rates) -> Design:
        """Return what a draft and a member's steps make, and how long that takes."""
        choices, params = self.params(draft, steps)
        took = seconds(params, self.seen.images, self.shares.counts, self.task, rates)
        chosen = recipes.baselines(took, params.family, rates, self.wish.residual)
        choices, params = self.params(draft, steps, chosen)
        took = seconds(params, self.seen.images, self.shares.counts, self.task, rates)
        return Design(choices, params, took, wall(took, params.family, self.workers), self.shares)

    @cached_property
    def workers(self) -> int:
        """How many stages run side by side here."""
        return workers.count(parse(self.default).compute)

    def params(
        self, draft: Needs, steps: int, more: Mapping[str, Choice] = EMPTY
    ) -> tuple[Choices, Params]:
        """Return every choice for a draft and a member's steps, and the params that they make."""
        choices = recipes.choices(self.seen, draft, steps) | more
        choices |= {
            "data.name": Choice(self.wish.name),
            "data.source": Choice(self.source),
            **{f"data.{key}": Choice(value) for key, value in self.wish.reading.items()},
        }
        if self.wish.pretrained:
            file, model = self.wish.pretrained
            choices["baselines.pretrained"] = Choice({"file": file, "model": model})
        content = deepcopy(self.default)
        for key, choice in choices.items():
            merge(content, nested(key, choice.value))
        return choices, parse(content, "scalenet init")


def slowed(rates: Rates) -> str:
    """Return what to say of a machine that does other work; "" if it does none to speak of."""
    busy = rates.busy
    return f", where other work slows everything {busy:.1f} times" if busy > BUSY else ""


def _bound(sizes: int, most: float) -> float:
    """Return the largest budget of a base model whose largest member spends no more than that."""
    return most / 2 ** (sizes - 1) / (1 + TOLERANCE)


def _rounded(budget: float) -> float:
    """Return a budget with two digits, rounded down."""
    unit = 10 ** (math.floor(math.log10(budget)) - 1)
    return float(budget // unit * unit)
