"""What was read of a table, in a line, and what makes it doubtful.

A column, a unit or a lineage that is not what was meant gives figures as any other does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from bench.method import priors
from bench.method.tablefiles import Contents, Networks, Published
from scalenet.data.names import few
from scalenet.laws.accuracy import Point
from scalenet.records.written import counted, percent, short

FALLING = 0.5  # share of families, or rank correlation of networks, beyond which a table is odd


def about(name: str, table: Contents) -> str:
    """Say what was read of a table."""
    said = _networks(table) if isinstance(table, Networks) else _families(table)
    return f"{name}: {said}"


def _networks(table: Networks) -> str:
    trainings = (~np.isnan(table.accuracies)).sum(1)
    networks = counted(len(table.scores), "network")
    choices = counted(table.choices.shape[1], "position")
    trained = counted(int(trainings.sum()), "training")
    return f"{networks} of {choices}, {trained}; {_ends(table.flops, table.scores)}"


def _families(table: Sequence[Published]) -> str:
    members = [member for family in table for member in family.members]
    lineages = sorted({family.lineage for family in table})
    families = counted(len(table), "family", "families")
    ends = _ends([member.spent for member in members], list(map(_accuracy, members)))
    return (
        f"{counted(len(members), 'member')} of {families} of {counted(len(lineages), 'lineage')} "
        f"({few(lineages)}); {ends}"
    )


def _ends(flops: Iterable[float], accuracies: Iterable[float]) -> str:
    return f"{_range(flops, short)} FLOPs, accuracy {_range(accuracies, percent)}"


def _range(values: Iterable[float], written: Callable[[Any], str]) -> str:
    """Write the least and the most of some values, once where they are the same."""
    return " to ".join(dict.fromkeys(map(written, (min(values), max(values)))))


def doubt(name: str, table: Contents) -> str | None:
    """Say that accuracy falls as FLOPs grow, if it does: it may be another number."""
    said = _falling(table)
    return said and (
        f"{name}: {said}; the law and the searches take larger for better. See whether "
        f"{name}.schema.yaml names the columns that it means; shares of errors are no accuracies: "
        "write 100 less each (1 less, of shares of 1) into the table"
    )


def _falling(table: Contents) -> str | None:
    if isinstance(table, Networks):
        if len(set(table.flops)) < 3 or len(set(table.scores)) < 3:
            return None
        rank = float(spearmanr(table.flops, table.scores).statistic)
        return f"the more FLOPs, the less accurate (ρ {rank:.2f})" if rank < -FALLING else None
    grown = [family.members for family in priors.teaching(table)]
    worse = sum(_accuracy(members[-1]) < _accuracy(members[0]) for members in grown)
    if worse <= FALLING * len(grown):
        return None
    return f"in {worse} of {counted(len(grown), 'family', 'families')} the largest member is worse"


def _accuracy(member: Point) -> float:
    return member.correct / member.tested


def untaught(families: Sequence[Published]) -> str:
    """Say why families teach no prior."""
    lineages = sorted({family.lineage for family in priors.teaching(families)})
    return (
        f"nothing: a prior takes {priors.LINEAGES} lineages with a family of three members of "
        f"different FLOPs, and here are {len(lineages)} ({few(lineages) or 'none'}); the column "
        "`family` and the `lineages` of a schema say which they are"
    )
