"""Params that fit data, machine and minutes: which draft of them, for how many steps.

No timing and no files: what was seen and measured in, every number with its reason out.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from scalenet.config.params import Params, parse, read_yaml
from scalenet.pipeline.init import recipes
from scalenet.pipeline.init.drafts import Chosen, Drafts, Wish
from scalenet.pipeline.init.estimate import Rates, seconds, wall
from scalenet.pipeline.init.look import Seen
from scalenet.pipeline.init.recipes import Choice, Choices, Needs
from scalenet.pipeline.init.shares import Shares
from scalenet.pipeline.init.start import Started
from scalenet.pipeline.project import DEFAULTS
from scalenet.pipeline.runs import workers
from scalenet.pipeline.settings import merge, nested

USED = 0.92  # share of the minutes that is planned for: a machine is not always equally fast
LIKED = 0.5  # share of the steps that are enough below which sizes are given up instead
LEAST = 60  # steps of a member below which nothing is learnt
BUSY = 1.3  # times that work takes longer beside other work, from which it is said
EMPTY: Mapping[str, Choice] = {}


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
    def drafts(self) -> Drafts:
        return (Started if self.wish.start else Chosen)(self.seen, self.wish)

    @cached_property
    def default(self) -> dict[str, Any]:
        return read_yaml(DEFAULTS)

    @cached_property
    def enough(self) -> int:
        """Steps of a member that are enough for so many images."""
        return recipes.enough(self.drafts.frame, self.drafts.shares.train)

    def first(self) -> Needs:
        """Return the draft whose networks are timed; ``ValueError`` if nothing can be trained in
        the minutes, since reading the images takes longer."""
        if self.seen.reading >= self._seconds:
            raise ValueError(
                f"--minutes {self.wish.minutes:g} is too short: reading all {self.seen.images:,} "
                f"images takes about {self.seen.reading / 60:.0f} minutes here, however few of them"
                " are used; give far more minutes, or a source with a part of the images"
            )
        return next(self.drafts.usual())

    def design(self, rates: Rates) -> Design:
        """Return the largest family that the minutes train well.

        ``ValueError`` if they are too few for the smallest, with how many are enough for it.
        """
        for draft in self.drafts.usual():
            steps = self._affordable(draft, rates)
            if steps >= self.enough * LIKED:
                return self._designed(*self._grown(draft, steps, rates), rates)
        if steps < LEAST:
            least = self._designed(draft, LEAST, rates)
            minutes = least.wall / USED / 60
            smaller = "" if self.wish.start else ", or store smaller images by --size"
            raise ValueError(
                f"--minutes {self.wish.minutes:g} is too short: the smallest family, {draft.sizes} "
                f"sizes trained for {LEAST} steps each, takes about {minutes:.1f} minutes here"
                f"{slowed(rates)}; give more{smaller}"
            )
        return self._designed(draft, steps, rates)

    def _grown(self, draft: Needs, steps: int, rates: Rates) -> tuple[Needs, int]:
        """Return a draft with its steps, or larger ones where there is time to train them."""
        for larger in self.drafts.larger() if steps >= self.enough else ():
            with suppress(ValueError):  # a larger budget may be out of reach
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
        task, counts = self.drafts.task, draft.shares.counts
        choices, params = self.params(draft, steps)
        took = seconds(params, self.seen.images, counts, task, rates)
        chosen = recipes.baselines(took, params.family, rates, self.wish.residual)
        choices, params = self.params(draft, steps, chosen)
        took = seconds(params, self.seen.images, counts, task, rates)
        return Design(choices, params, took, wall(took, params.family, self.workers), draft.shares)

    @cached_property
    def workers(self) -> int:
        """How many stages run side by side here."""
        return workers.count(parse(self.default).compute)

    def params(
        self, draft: Needs, steps: int, more: Mapping[str, Choice] = EMPTY
    ) -> tuple[Choices, Params]:
        """Return every choice for a draft and a member's steps, and the params that they make."""
        choices = recipes.choices(self.seen, draft, steps) | self.drafts.choices() | more
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
