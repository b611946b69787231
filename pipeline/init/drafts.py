"""How many sizes a family may have, and of which budgets: drafts, which have no steps yet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scalenet.config.params import read_yaml
from scalenet.config.space import Latency
from scalenet.pipeline.init import shares
from scalenet.pipeline.init.frame import Frame, frame_of
from scalenet.pipeline.init.look import Seen
from scalenet.pipeline.init.recipes import Choices, Needs
from scalenet.pipeline.init.shares import Shares
from scalenet.pipeline.init.sizes import FEWEST, LARGEST, TOLERANCE, TOLERANCES, Reach, scalings
from scalenet.pipeline.project import DEFAULTS
from scalenet.space.measure import Measure, on
from scalenet.space.network import Task

if TYPE_CHECKING:
    from scalenet.pipeline.init.start import Start

MORE = (2, 4)  # times the usual budget, where there is time for it
LESS = 0.5  # the same before a size is given up
TRIED = 20  # bounds in milliseconds, up to the largest, for the least that can be had


class Wish(NamedTuple):
    """What a user asks for.

    A name, minutes, the largest member's FLOPs, or its milliseconds on a device that budgets are
    for, a stored side in px, weights of another network to compare with (file, timm's name of the
    network), whether to compare with residual networks trained here, a project whose super-supernet
    training starts from, and keys of ``data`` that say how the images are read.
    """

    name: str
    minutes: float
    max_flops: float | None = None
    max_ms: float | None = None
    device: Latency | None = None
    size: int | None = None
    pretrained: tuple[str, str] | None = None
    residual: bool = True
    start: Start | None = None
    reading: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Drafts:
    """Drafts of a project for what was seen and a wish."""

    seen: Seen
    wish: Wish

    @cached_property
    def frame(self) -> Frame:
        return frame_of(self.seen.side, self.wish.size)

    @cached_property
    def task(self) -> Task:
        return Task(self.seen.channels, len(self.seen.classes))

    @cached_property
    def shares(self) -> Shares:
        """How the images will be split."""
        return shares.shares(self.seen, self.frame)

    def usual(self) -> Iterator[Needs]:
        """Yield drafts from what is wished for to what takes least time; ``ValueError`` if there
        are none."""
        raise NotImplementedError

    def larger(self) -> Iterator[Needs]:
        """Yield drafts for which there has to be time to spare, the smallest first."""
        raise NotImplementedError

    def choices(self) -> Choices:
        """Return what is chosen for other reasons than a draft's."""
        return {}


class Chosen(Drafts):
    """Drafts whose space and budgets are chosen for the images."""

    @cached_property
    def reach(self) -> Reach:
        return Reach(self.frame, self.task, read_yaml(DEFAULTS)["space"], self.wish.device)

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

    def usual(self) -> Iterator[Needs]:
        """Budgets out of a space's reach are passed over, unless all are. Milliseconds double
        from larger ones on where a layer takes some whatever its size."""
        refused, yielded = ValueError(), False
        for ladder in ((1, LESS), MORE if self.wish.device else ()):
            for sizes, times in product(self._sizes(), ladder):
                try:
                    draft = self.draft(sizes, times)
                except ValueError as error:
                    refused = error
                    continue
                yielded = True
                yield draft
            if yielded:
                return
        if not self.wish.device:
            raise refused
        most, draft = self._least()
        if most > self.most:
            raise self._out_of_reach(most)
        yield draft

    def larger(self) -> Iterator[Needs]:
        """Yield those of the most sizes with more than the usual budget."""
        for times in MORE:
            try:
                draft = self.draft(self._sizes()[0], times)
            except ValueError:  # a larger budget may be out of reach
                continue
            yield draft

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
            raise self._out_of_reach(self._least()[0] if self.wish.device else least)
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

    def _least(self) -> tuple[float, Needs]:
        """Return the fewest milliseconds that a largest member may have, and their draft;
        ``ValueError`` if none double so often."""
        least, usual, times = self.reach.least, self.reach.usual, MORE[-1]
        ends = (1 + TOLERANCE) * least, (1 + TOLERANCES[-1]) * times * usual
        tried = 2 ** (FEWEST - 1) * np.geomspace(*ends, TRIED)
        for most in tried.tolist():
            try:
                return most, self.draft(FEWEST, times, 1.0001 * most)
            except ValueError as error:
                refused = error
        raise ValueError(
            f"{self.wished} is out of reach, as any other is ({refused}): milliseconds do not "
            "double so often on these images, since a layer takes some whatever its size; leave "
            "--latency and --max-ms out, or store larger images by --size"
        )


def _bound(sizes: int, most: float) -> float:
    """Return the largest budget of a base model whose largest member spends no more than that."""
    return most / 2 ** (sizes - 1) / (1 + TOLERANCE)


def _rounded(budget: float) -> float:
    """Return a budget with two digits, rounded down."""
    unit = 10 ** (math.floor(math.log10(budget)) - 1)
    return float(budget // unit * unit)
