"""What was read is said: taken, skipped and why, and images that are there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain, combinations, islice, permutations
from pathlib import Path

import numpy as np

from scalenet.config.params import Data
from scalenet.data.likeness import alike
from scalenet.data.listing import UNMARKED
from scalenet.data.names import doubtful, few, shown
from scalenet.data.source import Source
from scalenet.data.splits import Cut, conflicting, numbered
from scalenet.records.documents import DataInfo, Reading
from scalenet.records.predictions import equal_groups
from scalenet.records.written import counted

FIRST = 5  # files that a summary names
MANY = 30  # groups of a test that says something
OFF = 0.5  # of its fraction, by which a split may be larger or smaller without a word
# share of a split, and how many of it, that may look like images of another one: some do by chance
FEW_ALIKE, CHANCE = 0.01, 2
PAIRS = 3  # of them that are named
COPIES = 6  # equal images that are named: most come in twos
DARK = 64  # of 255: few photographs have no pixel above it, all of 12 or 14 bits in 16 have none


def too_many(origin: Path, skipped: Mapping[str, str], most: float) -> ValueError:
    """Say that more files were skipped than params allow; ``skipped`` maps each to its reason."""
    return ValueError(
        f"data.source: of {origin}, {counted(len(skipped), 'file')} could not be taken, more than "
        f"the share data.most_skipped {most:g} allows: {_counted(Counter(skipped.values()))} "
        f"({few(skipped, FIRST)}); convert them or take them out, or raise data.most_skipped "
        "(`scalenet init --most-skipped`)"
    )


def reading(params: Data, source: Source, made: Cut) -> Reading:
    """Describe what became of every file of a source."""
    skipped = source.skipped | source.faults
    by_reason: dict[str, Counter[str]] = {why: Counter() for why in sorted(set(skipped.values()))}
    for name, why in skipped.items():
        by_reason[why][source.folder(name)] += 1
    parts = {name: part["labels"] for name, part in made.splits.items()}
    contents = {name: made.facts.contents[places] for name, places in made.places.items()}
    near = _alike(made)
    together = _together(source, made)
    used = sum(map(len, parts.values())) + made.dropped
    found = Reading(
        name=params.name,
        source=params.source,
        taken={name: _by_class(source.classes, labels) for name, labels in parts.items()},
        skipped={why: dict(sorted(counts.items())) for why, counts in by_reason.items()},
        first=[shown(name) for name in sorted(skipped)[:FIRST]],
        ignored=dict(sorted(Counter(source.ignored.values()).items())),
        unused=len(source.labels) - used - len(source.faults),
        duplicates=_duplicates(contents),
        repeated={name: len(i) - len(np.unique(i)) for name, i in contents.items()},
        conflicting=_conflicting(source, made),
        dropped=made.dropped,
        alike={name: len(pairs) for name, pairs in near.items()},
        pairs=[_pair(source, *two) for two in islice(chain(*near.values()), PAIRS)],
        groups=len(together),
        torn=sum(len(splits) > 1 for splits in together.values()),
        tested=_tested(source, made),
        brightest=max(int(made.facts.brightest[i].max()) for i in made.places.values()),
        dark=sum(int((made.facts.brightest[i] <= DARK).sum()) for i in made.places.values()),
        unmarked=source.files is not None and source.files.unmarked,
    )
    said = warnings(found) + missed(params, source, made)
    return found.model_copy(update={"warnings": said})


def _by_class(classes: list[str], labels: np.ndarray) -> dict[str, int]:
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    return dict(zip(classes, counts, strict=True))


def _duplicates(contents: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Count, for each two splits, images of the second whose pixels are in the first as well."""
    return {
        f"{second} in {first}": int(np.isin(contents[second], contents[first]).sum())
        for first, second in combinations(contents, 2)
    }


def _alike(made: Cut) -> dict[str, np.ndarray]:
    """Return, for each two splits, the places (n, 2) of the second's images that look like one of
    the first, and of those; without what the first has pixel by pixel."""
    contents, looks, found = made.facts.contents, made.facts.looks, {}
    for (first, mine), (second, others) in combinations(made.places.items(), 2):
        near = alike(looks[mine], looks[others])
        other = (near >= 0) & ~np.isin(contents[others], contents[mine])
        found[f"{second} in {first}"] = np.stack([others[other], mine[near[other]]], 1)
    return found


def _pair(source: Source, one: int, other: int) -> str:
    return f"{_named(source, one)} and {_named(source, other)}"


def _named(source: Source, i: int) -> str:
    return shown(source.names[i]) if source.names else f"image {i}"


def _conflicting(source: Source, made: Cut) -> list[str]:
    """Name the images whose pixels are there under another class too: equal ones together."""
    equal: dict[int, list[str]] = {}
    for i in np.flatnonzero(conflicting(source, made.facts)).tolist():
        equal.setdefault(int(made.facts.contents[i]), []).append(_named(source, i))
    return list(chain(*sorted(map(sorted, equal.values()))))


def _together(source: Source, made: Cut) -> dict[str, set[str]]:
    """Return the splits that each group is in."""
    found: dict[str, set[str]] = {}
    for split, places in made.places.items() if source.groups is not None else ():
        for group in set(source.groups[places].tolist()) - {""}:
            found.setdefault(group, set()).add(split)
    return found


def _tested(source: Source, made: Cut) -> int:
    """Return how many groups of equal size test is worth, where images come in groups; 0 if none
    of its images has one."""
    if source.groups is None or not (groups := source.groups[made.places["test"]]).any():
        return 0
    return round(equal_groups(numbered(groups)))


def missed(params: Data, source: Source, made: Cut) -> list[str]:
    """Say where a drawn split is far from the fraction that was asked for, as groups go whole to
    one."""
    if source.groups is None or source.given.any():
        return []
    sizes = {name: len(places) for name, places in made.places.items()}
    every = source.groups[np.concatenate(list(made.places.values()))]
    names, counts = np.unique(every[every != ""], return_counts=True)
    said = []
    for name in ("select", "test") if len(names) else ():
        wanted, share = getattr(params, f"{name}_fraction"), sizes[name] / sum(sizes.values())
        if abs(share - wanted) > OFF * wanted:
            largest = shown(str(names[counts.argmax()]))
            said.append(
                f"{name} has {share:.0%} of the images, where data.{name}_fraction asks for "
                f"{wanted:.0%}: a group goes whole to one split, and {largest} alone has "
                f"{counts.max():,} images; another data.seed or fraction draws anew"
            )
    return said


def changed(file: Path, classes: list[str]) -> str:
    """Say which classes have gone and come since the description that lies in a file, if one does
    that can be read; "" if none."""
    before = classes
    with suppress(ValueError):  # it is about to be made anew
        before = DataInfo.read(file).classes
    gone, new = ([n for n in one if n not in two] for one, two in permutations((before, classes)))
    said = [f"gone {few(gone)}" if gone else "", f"new {few(new)}" if new else ""]
    return f"classes since the last time: {', '.join(filter(None, said))}" if any(said) else ""


def line(read: Reading) -> str:
    """Return a summary as one line."""
    counts = {name: sum(classes.values()) for name, classes in read.taken.items()}
    classes = len(next(iter(read.taken.values())))
    sizes = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    parts = [
        f"{sum(counts.values()):,} images of {counted(classes, 'class', 'classes')} taken ({sizes})"
    ]
    parts += _left_out(read)
    return "; ".join([*parts, *(f"warning: {sentence}" for sentence in read.warnings)])


def warnings(read: Reading) -> list[str]:
    """Say in sentences what may be wrong with what was read."""
    found = [UNMARKED] if read.unmarked else []
    found += doubtful(next(iter(read.taken.values())))
    shared = {name: count for name, count in read.duplicates.items() if count}
    if shared:
        said = ", ".join(f"{count:,} of {name}" for name, count in shared.items())
        found.append(
            f"the same images in two splits: {said}; data.duplicates: drop leaves them out"
        )
    if read.conflicting:
        said = f"{len(read.conflicting):,} images are there under two classes"
        drop = "they are left out" if read.dropped else "data.duplicates: drop leaves them out"
        found.append(f"{said} ({few(read.conflicting, COPIES)}); {drop}")
    if said := _looking_alike(read):
        found.append(
            f"images of two splits look alike: {said} ({few(read.pairs)}); where they are "
            "copies or shots of one thing, accuracies are too good: give them a group "
            "(data.group), or take them out"
        )
    if read.torn:
        found.append(
            f"{counted(read.torn, 'group is', 'groups are')} in two of the source's own splits"
        )
    if 0 < read.tested < MANY:
        found.append(few_groups(read.tested))
    for split, counts in read.taken.items():
        if lacking := [name for name, count in counts.items() if not count]:
            found.append(f"{split} has no image of {few(lacking)}")
    taken = sum(sum(counts.values()) for counts in read.taken.values())
    found += almost_black(read.dark, taken, read.brightest)
    return found


def _looking_alike(read: Reading) -> str:
    """Count the images that look like some of another split, where they are more than few."""
    sizes = {split: sum(counts.values()) for split, counts in read.taken.items()}
    counts = [(n, name, sizes[name.split()[0]]) for name, n in read.alike.items()]
    many = (row for row in counts if row[0] > max(CHANCE, FEW_ALIKE * row[2]))
    return ", ".join(f"{n:,} of {name}" for n, name, _ in many)


def almost_black(dark: int, images: int, brightest: int) -> list[str]:
    """Say, where most images have no bright pixel, what may have been done to them."""
    if dark <= images / 2:
        return []
    return [
        f"{dark:,} of {images:,} images have no pixel brighter than {DARK} of 255, the "
        f"brightest of all is {brightest}; 12 bits in 16 look so: scale them to 0…65535"
    ]


def few_groups(tested: int) -> str:
    """Say what fewer groups than many in test mean; unequal ones count as fewer."""
    return (
        f"test is worth {counted(tested, 'group')} of equal size, and as images of one may be "
        f"alike, intervals are wide: {MANY} and more say more (a larger data.test_fraction, or "
        "more groups)"
    )


def _left_out(read: Reading) -> list[str]:
    """Say what was not taken, or is there twice, and why."""
    parts, repeated = [], sum(read.repeated.values())
    if read.groups:
        parts.append(counted(read.groups, "group"))
    if read.unused:
        parts.append(f"{read.unused:,} left over, beyond per_class")
    if read.dropped:
        parts.append(f"{read.dropped:,} dropped, the same as others")
    if repeated:
        parts.append(f"{repeated:,} the same as others of their split")
    if read.skipped:
        reasons = {why: sum(counts.values()) for why, counts in read.skipped.items()}
        total = sum(reasons.values())
        parts.append(f"{total:,} skipped: {_counted(reasons)} ({few(read.first)})")
    if read.ignored:
        parts.append(f"{sum(read.ignored.values()):,} ignored: {_counted(read.ignored)}")
    return parts


def _counted(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {why}" for why, count in sorted(reasons.items()))
