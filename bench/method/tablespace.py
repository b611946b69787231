"""A table of trained networks as a space of this project, and the look-ups of a search in it.

Choices that stand for one network are one evaluation. Blocks have one layer, the choices being its
kernels (choice i is kernel 2i + 1).
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil

import numpy as np
from sklearn.preprocessing import StandardScaler

from bench.method.efficiency import Spent
from bench.method.tablefiles import Networks
from scalenet.config import params as config
from scalenet.config.params import Params
from scalenet.search.surrogate import features
from scalenet.space import cost
from scalenet.space.budget import Budget
from scalenet.space.network import Network, Task
from scalenet.space.scale import scale
from scalenet.space.scaling import BaseBlock, BaseModel, Scaling, strategies

MOST_CHOICES = 8  # of a position: kernels end at 15
RAREST = 1000
TASK, RESOLUTION = Task(3, 10), 32


@dataclass
class Lookups:
    """The evaluations of one search: at most ``allowed``, and none after ``goal`` is reached.

    ``candidates`` says what was told of a network, ``best`` the best score after each evaluation.
    """

    table: Networks
    allowed: int
    goal: float = np.inf
    candidates: dict[int, float] = field(default_factory=dict)
    best: list[float] = field(default_factory=list)

    def score(self, choices: Sequence[int]) -> float:
        """Return a feasible network's score."""
        network = self.table.known[tuple(choices)]
        if network not in self.candidates:
            if len(self.best) == self.allowed or (self.best and self.best[-1] >= self.goal):
                raise Spent
            score = self.candidates[network] = float(self.table.scores[network])
            self.best.append(max(score, self.best[-1] if self.best else 0.0))
        return self.candidates[network]


def within(table: Networks, share: float) -> Networks:
    """Return the rows of a table whose FLOPs are at most those of a share of its networks."""
    rows = table.flops[table.network] <= np.quantile(table.flops, share)
    kept, network = np.unique(table.network[rows], return_inverse=True)
    return Networks(table.choices[rows], network, table.accuracies[kept], table.flops[kept])


@dataclass(frozen=True)
class Listed(Budget):
    """The budget that a table's own networks are within, whatever they would cost here."""

    known: Container[tuple[int, ...]]

    def total_miss(self, base: BaseModel, chosen: list[Scaling] | None = None) -> float:
        return float(
            tuple((k - 1) // 2 for (k,) in (block.kernels for block in base.blocks))
            not in self.known
        )

    def feasible(self, base: BaseModel, size: int) -> list[Scaling]:
        return strategies(self.scalings, size)

    def meeting(self, bases: list[BaseModel], strategy: Scaling, size: int) -> list[BaseModel]:
        return bases


@dataclass(frozen=True)
class Mapped:
    """A table as a space of the project, in params whose search spends so many evaluations."""

    table: Networks
    params: Params

    @classmethod
    def of(cls, table: Networks, params: Params, evaluations: int) -> Mapped:
        """Map a table; ``ValueError`` for positions of more than 8 choices, and for one that has
        too few of the networks that its choices describe."""
        counts = table.choices.max(0) + 1
        if counts.max() > MOST_CHOICES:
            raise ValueError(
                f"a position has {counts.max()} choices; the space can hold {MOST_CHOICES} a "
                "position: leave out columns of finer steps"
            )
        content = params.model_dump(mode="json")
        block = {"width": 8, "depth": 1, "stride": 1, "expands": [1]}
        offered = [[2 * i + 1 for i in range(count)] for count in counts]
        content["space"]["stages"] = [block | {"kernels": kernels} for kernels in offered]
        size = {"depths": [1.0], "widths": [1.0], "resolutions": [RESOLUTION], "tolerance": 0.999}
        content["scaling"] |= {"stages": [size], "tolerance": 0.999}
        content["family"] = {"S0": {"multiple": 1, "seed": 0}}
        transition = content["search"]["population"] * content["search"]["generations"]
        content["search"] |= {"stage_weights": [1.0], "iterations": 1 + evaluations // transition}
        content["supernet"]["stage_weights"] = None
        content["scaling"]["tries"] = max(content["scaling"]["tries"], _tries(table, counts))
        return cls(table, config.parse(content))

    def network(self, choices: Sequence[int]) -> Network:
        """Return the network that stands for choices."""
        base = BaseModel(tuple(BaseBlock((2 * int(i) + 1,), 1) for i in choices))
        return scale(self.params.space, base, Scaling(1.0, 1.0, RESOLUTION))

    @cached_property
    def rows(self) -> np.ndarray:
        """The first row of each network."""
        return np.unique(self.table.network, return_index=True)[1]

    @cached_property
    def described(self) -> np.ndarray:
        """What the project's surrogate sees of the networks, standardised (networks, features)."""
        networks = map(self.network, self.table.choices[self.rows].tolist())
        rows = [features(network, cost.flops(network, TASK)) for network in networks]
        return StandardScaler().fit_transform(rows)


def _tries(table: Networks, counts: np.ndarray) -> int:
    """Return so many draws of the space that one of them is sure to be a network of the table."""
    rarity = float(np.prod(counts.astype(float))) / len(table.known)
    if rarity > RAREST:
        raise ValueError(
            f"the table has one in {rarity:.0f} of the networks that its choices describe; "
            f"searches breed networks, so that it needs one in {RAREST} at least"
        )
    return ceil(20 * rarity)


def choices_of(network: Network) -> tuple[int, ...]:
    """Return the choices that a network stands for."""
    return tuple((block.kernels[0] - 1) // 2 for block in network.blocks)
