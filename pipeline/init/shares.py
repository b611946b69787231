"""How the images will be split: fractions, seed and ``per_class``, and what is left to train on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, count
from typing import NamedTuple

import numpy as np

from scalenet.config.params import Data
from scalenet.data import splits
from scalenet.data.source import Source
from scalenet.pipeline.init.frame import Frame
from scalenet.pipeline.init.look import Seen, section
from scalenet.records.files import SPLITS
from scalenet.records.predictions import equal_groups
from scalenet.records.written import counted

ANY = "images"  # a name for a source where it does not matter
HELD = 2e9  # bytes of stored images that memory is sure to hold
SELECT, TEST = (1000, 0.06, 0.15), (2000, 0.1, 0.2)  # images wanted; least and most share of them
LEAST = 2  # images that normalisation is calibrated on
SAFE = 0.95  # chance that train has every class, from which nothing is said of it
HOPELESS = 0.02  # the same, below which trying other seeds may not help


class Shares(NamedTuple):
    """How the images will be split.

    ``select`` and ``test`` are the fractions of data, ``lowered`` for the sake of rare classes;
    ``counts`` are the images of each split, ``exact`` or about; ``sure`` those that train will have
    whatever is drawn. ``every`` is the chance that train has every class, ``untested`` about how
    many classes test lacks, ``groups`` how many of them each split has, if there are any, and
    ``tested`` how many of equal size test is worth.
    """

    select: float
    test: float
    lowered: bool
    per_class: int | None
    seed: int
    counts: dict[str, int]
    exact: bool
    sure: int
    every: float
    untested: float
    groups: dict[str, int]
    tested: int

    @property
    def train(self) -> int:
        """How many images there will be to train on."""
        return self.counts["train"]


def shares(seen: Seen, frame: Frame) -> Shares:
    """Return how images will be split; ``ValueError`` where that leaves too few anywhere."""
    most = _per_class(seen, frame)
    found = _alone(seen, most) if seen.grouped is None else _together(seen, seen.grouped, most)
    if found.sure >= LEAST:
        return found
    free = sum(seen.free)
    taken = found.select * ("select" not in seen.given) + found.test * ("test" not in seen.given)
    enough = next(n for n in count(free + 1) if surely(seen, math.floor(n * (1 - taken))) >= LEAST)
    raise ValueError(
        f"data.source: {free:,} images are too few, of which about {found.train:,} would be to "
        f"train on; give {enough:,} at least, and far more for networks that are any good"
    )


def surely(seen: Seen, train: int, alone: int | None = None) -> int:
    """Return images that train will have, of about so many.

    A share of them may be left out. Those that are ``alone`` in it, by default all, draw their own
    split: four standard deviations below the mean where half of the images are drawn, which is more
    than any split here has.
    """
    chance = 4 * math.sqrt((train if alone is None else alone) / 2)
    return int(train * (1 - seen.most_skipped) - chance)


def _per_class(seen: Seen, frame: Frame) -> int | None:
    """Return data.per_class: None unless all images are too many for memory."""
    most = HELD / (seen.channels * frame.size**2)
    return None if sum(seen.free) <= most else max(20, int(most / len(seen.classes)))


# --- each image draws its own split ---------------------------------------------------------------


def _alone(seen: Seen, most: int | None) -> Shares:
    """Return how images are split that draw a split each."""
    wanted, sizes = _wanted(seen), [min(n, most or n) for n in seen.free]
    select, test = next(
        (pair for pair in _lower(*wanted) if _every(seen, sizes, *pair) >= SAFE),
        (SELECT[1], TEST[1]),
    )
    every = _every(seen, sizes, select, test)
    if every < HOPELESS:
        raise _too_rare(seen, sizes, select, test)
    counts = seen.splits(select, test, most)
    return Shares(
        select=select,
        test=test,
        lowered=(select, test) != wanted,
        per_class=most,
        seed=section(ANY).seed,
        counts=counts,
        exact=False,
        sure=surely(seen, counts["train"]),
        every=every,
        untested=_untested(seen, sizes, test),
        groups={},
        tested=0,
    )


def _wanted(seen: Seen) -> tuple[float, float]:
    """Return the shares of the images in no split that go to select and to test."""
    free = max(1, sum(seen.free))
    return tuple(
        round(min(most, max(least, wanted / free)), 2) for wanted, least, most in (SELECT, TEST)
    )


def _lower(select: float, test: float) -> Iterator[tuple[float, float]]:
    """Yield fractions from those given to the least."""
    for part in np.linspace(1, 0, 11).tolist():
        yield tuple(
            round(least + part * (given - least), 2)
            for given, (_, least, _) in ((select, SELECT), (test, TEST))
        )


def _every(seen: Seen, sizes: list[int], select: float, test: float) -> float:
    """Return the chance that train has every class, of so many images each."""
    taken = select * ("select" not in seen.given) + test * ("test" not in seen.given)
    return math.prod(1 - taken**n for n in sizes)


def _untested(seen: Seen, sizes: list[int], test: float) -> float:
    """Return how many classes test lacks: as the source has it, or about, of so many images."""
    if "test" in seen.given:
        return seen.given["test"].count(0)
    return sum((1 - test) ** n for n in sizes)


def _too_rare(seen: Seen, sizes: list[int], select: float, test: float) -> ValueError:
    """Return what to say where chance alone would leave classes out of train."""
    enough = next(
        least
        for least in count(2)
        if _every(seen, [max(least, n) for n in sizes], select, test) >= SAFE
    )
    rare = sum(n < enough for n in sizes)
    return ValueError(
        f"data.source: {rare:,} of {len(sizes):,} classes have fewer than {enough} images to draw "
        "from, and as images go to select and test by chance, some classes would have none to train"
        f" on; take these classes out, add images up to {enough} for each, or give the images with "
        "splits of their own (folders train and test, or --split of a table)"
    )


# --- a group draws the split of its images --------------------------------------------------------


def _together(seen: Seen, source: Source, most: int | None) -> Shares:
    """Return how images in groups are split: by the first seed that serves every class best."""
    select, test = _wanted(seen)
    data = section(ANY, select_fraction=select, test_fraction=test)
    seed, place, held = _best(data, source)
    left = [min(1, (most or n) / n) for n in seen.free]
    counts = dict(zip(SPLITS, (held * left).sum(1).round().astype(int).tolist(), strict=True))
    alone = counts["train"] if most else int((source.groups[place == splits.TRAIN] == "").sum())
    named = [set(source.groups[place == i].tolist()) - {""} for i in range(len(SPLITS))]
    return Shares(
        select=select,
        test=test,
        lowered=False,
        per_class=most,
        seed=seed,
        counts=counts | {name: sum(own) for name, own in seen.given.items()},
        exact=most is None and (source.groups != "").all(),
        sure=surely(seen, counts["train"], alone),
        every=1,
        untested=float((held[splits.TEST] == 0).sum()),
        groups={name: len(groups) for name, groups in zip(SPLITS, named, strict=True)},
        tested=round(equal_groups(splits.numbered(source.groups[place == splits.TEST]))),
    )


def _best(data: Data, source: Source) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the first seed that gives every split images of every class, and train at least half
    of those drawn, or else the one that comes nearest.

    With it come the split of each image (N) and how many of a class each split holds.
    """
    # a group's name decides; an image of none draws by its pixels, for which its number stands
    contents, best, most = np.arange(len(source.labels)), None, (0, False)
    everything, half = np.ones(len(contents), bool), np.isin(source.given, ("", "train")).sum() / 2
    for each in chain([data], splits.next_seeds(data, len(contents))):
        place = splits.assigned(each, source, contents)
        held = splits.held(source, place, everything)
        filled = int((held > 0).sum()) if splits.suffices(held) else 0
        served = filled, bool(held[splits.TRAIN].sum() >= half)
        if filled and served > most:
            best, most = (each.seed, place, held), served
        if most == (held.size, True):
            break
    if best is None:
        raise _too_few_groups(source)
    return best


def _too_few_groups(source: Source) -> ValueError:
    """Return what to say where no seed leaves every class to train on and fills every split."""
    groups = counted(len(set(source.groups.tolist()) - {""}), "group")
    return ValueError(
        f"data.source: with its {groups} no draw leaves every class to train on and images"
        " in select and test, as a group is never torn apart; give images of more groups, of each "
        "class in several, or take out the classes of few"
    )
