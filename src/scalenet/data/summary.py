"""What was read is said: taken, skipped and why, and images that two splits share."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scalenet.data.names import few, shown
from scalenet.records.documents import Reading

if TYPE_CHECKING:
    from scalenet.data.readers import Source
    from scalenet.data.splits import Splits

FIRST = 5  # files that a summary names
DARK = 65  # brightest level of a source, of 255, that is none of a camera's


def too_many(origin: Path, skipped: Mapping[str, str], most: float) -> ValueError:
    """Say that more files were skipped than params allow; ``skipped`` maps each to its reason."""
    return ValueError(
        f"data.source: of {origin}, {len(skipped):,} files could not be taken, more than the share "
        f"data.most_skipped {most:g} allows: {_counted(Counter(skipped.values()))} "
        f"({few(skipped, FIRST)}); convert them or take them out, or raise data.most_skipped"
    )


def reading(source: Source, splits: Splits) -> Reading:
    """Describe what became of every file of a source."""
    skipped = source.skipped | source.faults
    by_reason: dict[str, Counter[str]] = {why: Counter() for why in sorted(set(skipped.values()))}
    for name, why in skipped.items():
        by_reason[why][source.folder(name)] += 1
    taken = {name: _by_class(source.classes, part["labels"]) for name, part in splits.items()}
    used = sum(len(part["labels"]) for part in splits.values())
    return Reading(
        taken=taken,
        skipped={why: dict(sorted(counts.items())) for why, counts in by_reason.items()},
        first=[shown(name) for name in sorted(skipped)[:FIRST]],
        ignored=dict(sorted(Counter(source.ignored.values()).items())),
        unused=len(source.labels) - used - len(source.faults),
        duplicates=_duplicates(splits),
        brightest=max(int(part["pixels"].max()) for part in splits.values()),
    )


def _by_class(classes: list[str], labels: np.ndarray) -> dict[str, int]:
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    return dict(zip(classes, counts, strict=True))


def _duplicates(splits: Splits) -> dict[str, int]:
    """Count, for each two splits, images of the second whose pixels are in the first as well."""
    seen = {
        name: [
            hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in part["pixels"]
        ]
        for name, part in splits.items()
    }
    return {
        f"{second} in {first}": sum(map(set(seen[first]).__contains__, seen[second]))
        for first, second in combinations(seen, 2)
    }


def line(read: Reading) -> str:
    """Return a summary as one line."""
    counts = {name: sum(classes.values()) for name, classes in read.taken.items()}
    classes = len(next(iter(read.taken.values())))
    sizes = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    parts = [f"{sum(counts.values()):,} images of {classes:,} classes taken ({sizes})"]
    if read.unused:
        parts.append(f"{read.unused:,} left over, beyond per_class")
    if read.skipped:
        reasons = {why: sum(counts.values()) for why, counts in read.skipped.items()}
        total = sum(reasons.values())
        parts.append(f"{total:,} skipped: {_counted(reasons)} ({few(read.first)})")
    if read.ignored:
        parts.append(f"{sum(read.ignored.values()):,} ignored: {_counted(read.ignored)}")
    shared = {name: count for name, count in read.duplicates.items() if count}
    if shared:
        said = ", ".join(f"{count:,} of {name}" for name, count in shared.items())
        parts.append(f"warning: the same images in two splits: {said}")
    if read.brightest < DARK:
        parts.append(
            f"warning: no pixel is brighter than {read.brightest} of 255; 12 bits in 16 "
            "look so: scale them to 0…65535"
        )
    return "; ".join(parts)


def _counted(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {why}" for why, count in sorted(reasons.items()))
