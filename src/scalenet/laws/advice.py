"""What a response surface says of a budget: the best strategy, its interval, the regret of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scalenet.config.params import Params
from scalenet.laws.affordable import affordable
from scalenet.laws.intervals import Prediction
from scalenet.laws.surface import SHARED, TUNED, Evaluation, Surface
from scalenet.records.documents import FINETUNED, Candidate, DataInfo
from scalenet.space.budget import Budget
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseModel, Scaling

DIGITS = 9  # of an expected accuracy; what differs by less is as good
DIMENSIONS = ("depth", "width", "resolution")


def evaluations(candidates: Sequence[Candidate]) -> list[Evaluation]:
    """Return what a search has measured as a surface is fitted to it: by top-1, in both ways."""
    return [
        Evaluation(c.network, c.accuracy, TUNED if c.phase == FINETUNED else SHARED)
        for c in candidates
    ]


@dataclass(frozen=True)
class Advice:
    """What a surface says of the strategies that a budget allows a base model.

    ``best`` is the one with the highest mean, ``expected`` its accuracy (0…1), ``intervals`` say
    within which depths, widths and resolutions the best ones of the posterior's surfaces lie.
    """

    params: Params
    surface: Surface
    base: BaseModel
    options: tuple[Scaling, ...]
    best: Scaling
    expected: float
    intervals: dict[str, Prediction]

    def regret(self, chosen: Scaling) -> float:
        """Return by how much a strategy is expected to fall short of the best option (0…1).

        That is the mean over the posterior's surfaces of their best less the chosen one.
        """
        networks = [scale(self.params.space, self.base, by) for by in (chosen, *self.options)]
        drawn = self.surface.drawn(networks)
        return float((drawn.max(1) - drawn[:, 0]).mean())

    def plain(self, used: Scaling) -> dict[str, Any]:
        """Return what law.json says of a member with the strategy that it uses."""
        intervals = {name: asdict(row) for name, row in self.intervals.items()}
        about = {"best": str(self.best), "expected": self.expected, "regret": self.regret(used)}
        return about | {"predicted": intervals}


def advise(params: Params, surface: Surface, base: BaseModel, options: Sequence[Scaling]) -> Advice:
    """Ask a surface for the best of some strategies of a base model; the first one wins ties."""
    networks = [scale(params.space, base, by) for by in options]
    expected = surface.predict(networks).round(DIGITS)
    number, rivals = int(expected.argmax()), surface.drawn(networks).argmax(1)
    confidence = params.extrapolate.confidence
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    intervals = {}
    for name in DIMENSIONS:
        values = np.array([float(getattr(by, name)) for by in options])
        low, high = np.quantile(values[rivals], tails).tolist()
        value = float(values[number])
        intervals[name] = Prediction(value, min(low, value), max(high, value), confidence)
    found = (tuple(options), options[number], float(expected[number]), intervals)
    return Advice(params, surface, base, *found)


def options(
    params: Params, info: DataInfo, base: BaseModel, multiple: float, known: Scaling | None
) -> list[Scaling]:
    """Return the strategies for a budget: what a searched size offers, else what it affords.

    In the latter there is ``known``, if one is already chosen.
    """
    size = params.scaling.searched(multiple)
    if size is not None:
        return Budget(params.space, params.scaling, info.task).feasible(base, size)
    chosen = () if known is None else (known,)
    return affordable(params, info.task, base, multiple, info.size, chosen)
