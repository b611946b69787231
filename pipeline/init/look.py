"""What labelled images are: how many, of how many classes, how large, grey or in colour.

Files are listed as the stage ``prepare`` lists them. A sample of them is opened for its sides; a
part of that is decoded, timed, and kept for timing training steps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from scalenet.config.params import Data, read_yaml
from scalenet.data import folders, intake, readers
from scalenet.data.cores import cores
from scalenet.data.listing import BROKEN, Files, unreadable
from scalenet.data.pixels import DAMAGED, Missing, image_array, opened
from scalenet.data.readers import BUNDLED, Source
from scalenet.pipeline.project import DEFAULTS

OPENED = 400  # images whose sides are read
DECODED = 128  # of these, images that are decoded
SAMPLE_PX = 96  # stored side of the sample, px; that of the images where they are smaller
GREY = 4.0  # largest mean difference of a grey image's channels, of 255: a JPEG adds some
DOT, VIVID = 0.001, 48  # share of a grey image's pixels whose channels may differ more, of 255
DRAWN = ("select", "test")  # splits that are drawn where a source does not come with them
MOST_SKIPPED = 0.01  # of the files, if no other share is given: one that is broken stops no project


@dataclass(frozen=True)
class Seen:
    """What a source holds.

    ``counts`` are the images of each class, ``given`` those of each split that it comes with,
    ``sides`` (n) the shorter sides of a sample in px, ``sample`` uint8 (m, C, H, W) some images
    with their ``labels`` (m), and ``decode`` the seconds that reading one image takes,
    where all cores decode.
    ``unmarked`` is an archive from which files may be missing; ``grouped`` the source itself, if it
    says what must not be torn apart; ``most_skipped`` the largest share of files that may be left
    out, since they cannot be read; ``inner`` the folders that each class holds, if every one holds
    some and one holds several, ``depth`` folders down; ``square`` the share of an image that its
    central square holds, the median of the sample.
    """

    classes: list[str]
    counts: list[int]
    given: dict[str, list[int]]
    sides: np.ndarray
    sample: np.ndarray
    labels: np.ndarray
    decode: float
    unmarked: bool = False
    grouped: Source | None = None
    most_skipped: float = MOST_SKIPPED
    inner: Mapping[str, list[str]] = field(default_factory=dict)
    depth: int = 1
    square: float = 1.0

    @property
    def images(self) -> int:
        """How many images there are, of all splits."""
        return sum(self.counts)

    @property
    def reading(self) -> float:
        """Seconds that reading all images takes."""
        return self.images * self.decode

    @property
    def side(self) -> int:
        """The median of the images' shorter sides in px."""
        return int(np.median(self.sides))

    @property
    def channels(self) -> int:
        """1 where the sample is grey, else 3."""
        return self.sample.shape[1]

    @property
    def free(self) -> list[int]:
        """How many images of each class are in no select or test of the source's own."""
        return [
            count - sum(own) for count, *own in zip(self.counts, *self.given.values(), strict=True)
        ]

    def splits(self, select: float, test: float, per_class: int | None = None) -> dict[str, int]:
        """Return about how many images each split will hold.

        ``select`` and ``test`` are the shares of the images in no split of the source's own, of
        which at most ``per_class`` of a class are used.
        """
        free = sum(min(count, per_class or count) for count in self.free)
        drawn = {"select": round(free * select), "test": round(free * test)}
        sizes = drawn | {name: sum(own) for name, own in self.given.items()}
        taken = sum(count for name, count in drawn.items() if name not in self.given)
        return {"train": free - taken, **sizes}


def look(source: str, **kept: Any) -> Seen:
    """Look at labelled images; ``ValueError`` says what is wrong with them.

    ``source`` is a path, absolute unless it stands for the bundled digits; ``kept`` are keys of
    params.yaml's ``data`` that say how it is read: ``table``, ``group``.
    """
    if source == BUNDLED:
        params, first = section(source, channels=1, size=8), np.arange(DECODED)
        found = readers.digits(params)
        sample = intake.pixels(params, found, first)
        return _seen(found, np.full(DECODED, 8), sample, first, 0.0)
    path, began = Path(source), time.perf_counter()
    found = readers.find(section(source, **kept), path.parent)
    listing = time.perf_counter() - began
    index = np.random.default_rng(0).permutation(len(found.labels))[:OPENED]
    start = time.perf_counter()
    contents = _contents(found.files, [found.names[i] for i in index])
    single = (path / found.names[0]).is_file()  # an archive, or a shard, is read as a whole
    each = len(index) if single else len(found.labels)
    read = (time.perf_counter() - start) / each + listing / len(found.labels)
    seen = _opened(source, found, {i: contents[found.names[i]] for i in index.tolist()}, read)
    return replace(seen, most_skipped=kept.get("most_skipped", MOST_SKIPPED))


def section(source: str, **changes: Any) -> Data:
    """Return the section ``data`` of the default params, for a source."""
    default = read_yaml(DEFAULTS)["data"]
    return Data.model_validate(default | {"source": source, "most_skipped": MOST_SKIPPED} | changes)


def _contents(files: Files, names: list[str]) -> dict[str, bytes]:
    """Return the bytes of named files; none for one that cannot be read."""
    try:
        return {
            name: content if isinstance(content, bytes) else b""
            for name, content in files.read(set(names))
        }
    except BROKEN as error:
        raise unreadable(files.origin, error) from error


def _opened(source: str, found: Source, contents: dict[int, bytes], read: float) -> Seen:
    """Describe a source by files of it, keyed by their index; ``read`` seconds took each."""
    sizes = {i: size for i, content in contents.items() if (size := _size(content))}
    sides = {i: min(size) for i, size in sizes.items()}
    if not sides:
        raise ValueError(f"data.source: none of {len(contents)} images of {source} can be opened")
    shown = list(sides)[:DECODED]
    stored = min(SAMPLE_PX, int(np.median(list(sides.values()))))
    params, start = section(source, channels=3, size=stored), time.perf_counter()
    arrays = {i: array for i in shown if (array := _decoded(params, contents[i])) is not None}
    processes = min(cores(), intake.PROCESSES)
    seconds = (time.perf_counter() - start) / len(shown) / processes + read
    if not arrays:
        raise ValueError(f"data.source: none of {len(shown)} images of {source} can be decoded")
    sample = np.stack(list(arrays.values()))
    seen = _seen(found, np.array(list(sides.values())), _lean(sample), arrays, seconds)
    return replace(seen, square=float(np.median([min(s) / max(s) for s in sizes.values()])))


def _size(content: bytes) -> tuple[int, int] | None:
    """Return an image file's sides in px, of its header alone; None if it has none."""
    try:
        with opened(content) as image:
            return image.size if min(image.size) else None
    except Missing:
        raise
    except DAMAGED:
        return None


def _decoded(params: Data, content: bytes) -> np.ndarray | None:
    try:
        return image_array(params, content)
    except DAMAGED:
        return None


def _lean(sample: np.ndarray) -> np.ndarray:
    """Return images (n, 3, H, W) with one channel if all of them are grey.

    One that is grey but for a dot, as of a lamp or a stain, is not: the dot may be what it shows.
    """
    spread = sample.max(1).astype(float) - sample.min(1)
    vivid = (spread > VIVID).mean((1, 2)).max()
    return sample[:, :1] if spread.mean((1, 2)).max() <= GREY and vivid <= DOT else sample


def _seen(
    found: Source,
    sides: np.ndarray,
    sample: np.ndarray,
    shown: Sequence[int],
    decode: float,
) -> Seen:
    given = {
        name: np.bincount(found.labels[found.given == name], minlength=len(found.classes)).tolist()
        for name in DRAWN
        if (found.given == name).any()
    }
    if sum(map(sum, given.values())) == len(found.labels):
        raise ValueError(
            f"data.source: all {len(found.labels)} images are in {' and '.join(given)} as the "
            "source has it, so none is left to train on; give the source with its train split too"
        )
    return Seen(
        classes=found.classes,
        counts=np.bincount(found.labels, minlength=len(found.classes)).tolist(),
        given=given,
        sides=sides,
        sample=sample,
        labels=found.labels[list(shown)],
        decode=decode,
        unmarked=found.files is not None and found.files.unmarked,
        grouped=None if found.groups is None else found,
        inner=folders.inner(found),
        depth=found.depth,
    )
