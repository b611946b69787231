"""Labelled images that nobody has decoded yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from scalenet.data.listing import Files
from scalenet.data.names import few, shown

OWN_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "select"), "select"),
}
# a word of a name that says which split it is, such as that of seg_train or Test Images
SPLIT = re.compile(
    r"(train(?:ing)?|test(?:ing)?|val(?:id(?:ation)?)?)(?:sets?|data|images?|imgs?)?"
)


# an image file, the error that reading it met, or pixels uint8 (C, H, W) as they are
Content = bytes | OSError | np.ndarray


def refuse(index: int, why: str) -> None:
    """Refuse any image that cannot be decoded."""
    raise ValueError(f"image {index} cannot be decoded ({why})")


@dataclass(frozen=True)
class Source:
    """Labelled images that nobody has decoded yet.

    ``labels`` int64 (N); ``given`` (N) names the split that an image's folder or row puts it in,
    "" for none; ``groups`` (N) names what must not be torn apart, "" for none. ``read`` yields the
    contents of indices (n), each with its index, in any order. ``fault`` is told of an image that
    cannot be decoded, and why: it adds it to ``faults``, by name, or raises ``ValueError``. These
    and files that were ``skipped`` or ``ignored`` come with the reason; ``depth`` is how many
    folders lead to a class; ``files`` hold the images, where files do.
    """

    classes: list[str]
    labels: np.ndarray
    given: np.ndarray
    read: Callable[[np.ndarray], Iterator[tuple[int, Content]]]
    fault: Callable[[int, str], None] = refuse
    names: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    depth: int = 0
    groups: np.ndarray | None = None
    files: Files | None = None

    def folder(self, name: str) -> str:
        """Return the folders down to a file's class, or, where a table names it, to the file."""
        return "/".join(shown(name).split("/")[: self.depth or -1])


def groups_of(pattern: str | None, names: list[str]) -> np.ndarray | None:
    """Return the group (N) that a pattern finds in each name, "" where it finds none."""
    if pattern is None:
        return None
    found = (re.search(pattern, shown(name)) for name in names)
    groups = np.array([(match and match[1]) or "" for match in found], dtype=str)
    if not groups.any():
        raise ValueError(
            f"data.group: {pattern!r} was given, but no image's path matches it; they are such as "
            f"{few(names, 3)}"
        )
    return groups


def split_words(name: str) -> list[str]:
    """Return the splits that words of a name say, in their order."""
    parts = re.split(r"[\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    said = (SPLIT.fullmatch(part.lower()) for part in parts)
    return [OWN_SPLITS[word[1]] for word in said if word]


def val_is_test(splits: dict[str, str]) -> dict[str, str]:
    """Return what words stand for; where there is no test, val is the test, as on ImageNet."""
    if "test" in splits.values():
        return splits
    return {word: split.replace("select", "test") for word, split in splits.items()}
