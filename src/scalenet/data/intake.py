"""Images are taken in once, by all cores: decoded, hashed, measured, and laid in a file.

What is found out of an image depends on it alone, so nothing depends on how many processes there
are. They hold a few images each, and write them to the file themselves: this process, which reads
for all of them, would be who they wait for.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from hashlib import blake2b
from multiprocessing import active_children, get_context
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import UnidentifiedImageError

from scalenet.config.interrupts import end_with_parent, kept_from_children
from scalenet.config.params import Data
from scalenet.data.cores import cores
from scalenet.data.likeness import looks
from scalenet.data.pixels import DAMAGED, Missing, image_array
from scalenet.data.source import Content, Source
from scalenet.data.store import FilePixels, Square
from scalenet.records import files

MOST = 2**23  # bytes of files, or of pixels, that a process is given at a time
IMAGES = 256  # the same, in images
LARGE = 2**25  # bytes of a file that no other process is given: it would be in memory thrice
ALONE = 0.5  # seconds that this process works before it starts others
WAITING = 3  # batches a process, done or to be done
PROCESSES = 32  # at most: this one reads the files for them

Batch = list[tuple[int, Content]]


class Facts(NamedTuple):
    """What is known of images once they were decoded; zeros of one that could not be.

    ``contents`` uint64 (N) are hashes of their pixels, ``looks`` uint64 (N) what they look like,
    ``sums`` uint64 (N, 2, C) the sums of the pixels and of their squares, ``brightest`` uint8 (N)
    the highest, ``lengths`` uint32 (N) how many bytes are kept.
    """

    contents: np.ndarray
    looks: np.ndarray
    sums: np.ndarray
    brightest: np.ndarray
    lengths: np.ndarray


class Laid(NamedTuple):
    """What is known of some images: their indices (n) in the source, their facts, where in the file
    each begins, int64 (n), and why some could not be decoded, by index."""

    index: list[int]
    facts: Facts
    starts: np.ndarray
    faults: dict[int, str]


class Taken(NamedTuple):
    """A source's images, in a file that is gone when nobody looks at it any more."""

    facts: Facts
    pixels: FilePixels


class Shelf:
    """The file that images lie in while they are taken in. It has no name, so that nothing is left
    behind; whoever reads it keeps it open. Processes that are being started may be given it."""

    def __init__(self, folder: Path, file: IO[bytes] | None = None):
        self.folder = folder
        with files.written(folder):
            self.file = file or tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    def __reduce__(self) -> tuple:
        return _shared, (self.folder, DupFd(self.file.fileno()))

    def put(self, content: bytes, place: int) -> None:
        """Write bytes to a place of their own, whoever else writes to others."""
        rest = memoryview(content)
        with files.written(self.folder):
            while rest:
                done = os.pwrite(self.file.fileno(), rest, place)
                rest, place = rest[done:], place + done


def _shared(folder: Path, descriptor: DupFd) -> Shelf:
    return Shelf(folder, os.fdopen(descriptor.detach(), "r+b", buffering=0))


def take(params: Data, source: Source, folder: Path | None = None) -> Taken:
    """Take in all images of a source; those that cannot be decoded are its ``faults``.

    ``folder`` is where the file lies that holds them, as large as all splits; by default the
    system's folder for such files.
    """
    form, count = Square(params.channels, params.size), len(source.labels)
    facts = Facts(
        np.zeros(count, np.uint64),
        np.zeros(count, np.uint64),
        np.zeros((count, 2, form.channels), np.uint64),
        np.zeros(count, np.uint8),
        np.zeros(count, np.uint32),
    )
    starts, shelf = np.zeros(count, np.int64), Shelf(folder or Path(tempfile.gettempdir()))
    with closing(_laid(params, source, shelf)) as laid:
        for part in laid:
            for column, found in zip(facts, part.facts, strict=True):
                column[part.index] = found
            starts[part.index] = part.starts
            for i, why in part.faults.items():
                source.fault(i, why)
    return Taken(facts, FilePixels(shelf.file, form, starts, starts + facts.lengths))


def pixels(params: Data, source: Source, index: np.ndarray) -> np.ndarray:
    """Return chosen images uint8 (n, C, size, size), zeros for one that cannot be decoded."""
    form, row = Square(params.channels, params.size), {i: n for n, i in enumerate(index.tolist())}
    found = np.zeros((len(index), form.channels, form.size, form.size), np.uint8)
    for i, content in source.read(index):
        image = _decoded(form, content)
        if isinstance(image, str):
            source.fault(i, image)
        else:
            found[row[i]] = image
    return found


# --- by many processes ----------------------------------------------------------------------------


def _laid(params: Data, source: Source, shelf: Shelf) -> Iterator[Laid]:
    """Yield what ``lay`` returns of the batches of a source, in their order."""
    form, keep = Square(params.channels, params.size), params.store == "encoded"
    batches = _placed(form, _batches(source, max(1, min(IMAGES, MOST // form.bytes))))
    processes, began = min(cores(), PROCESSES), time.monotonic()
    for batch, place in batches:
        yield lay(shelf, form, keep, batch, place)
        if processes > 1 and time.monotonic() > began + ALONE:
            break
    most = WAITING * processes
    with ExitStack() as stack:
        pool: Executor | None = None
        waiting: deque = deque()  # of each batch its bytes, and what will be found
        for batch, place in batches:
            size = _size(batch)
            room = most * MOST - size if size <= LARGE else -1
            while waiting and (len(waiting) == most or sum(s for s, _ in waiting) > room):
                yield _result(waiting.popleft()[1].result)
            if size > LARGE:
                yield lay(shelf, form, keep, batch, place)
                continue
            pool = pool or stack.enter_context(_pool(processes, shelf))
            with kept_from_children():
                waiting.append((size, pool.submit(_lay, form, keep, batch, place)))
        while waiting:
            yield _result(waiting.popleft()[1].result)


def _batches(source: Source, most: int) -> Iterator[Batch]:
    """Yield a source's contents, so many at a time; fewer where they are large."""
    batch, size = [], 0
    for i, content in source.read(np.arange(len(source.labels))):
        batch.append((i, content))
        size += _size(batch[-1:])
        if len(batch) == most or size > MOST:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _placed(form: Square, batches: Iterable[Batch]) -> Iterator[tuple[Batch, int]]:
    """Yield batches, each with its place in the file: there is room for its pixels, of which files
    that are kept instead leave a hole."""
    place = 0
    for batch in batches:
        yield batch, place
        place += len(batch) * form.bytes


def _size(batch: Batch) -> int:
    """Return the bytes of the files in a batch."""
    return sum(len(content) for _, content in batch if isinstance(content, bytes))


@contextmanager
def _pool(processes: int, shelf: Shelf) -> Iterator[Executor]:
    """Begin processes that decode; they end at once where nobody wants what they are at."""
    others, spawn = set(active_children()), get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, _belong_to_parent, (shelf,)) as pool:
        try:
            yield pool
        except BaseException:
            for process in set(active_children()) - others:
                process.kill()
            raise


def _result(wait: Callable[[], Laid]) -> Laid:
    try:
        return wait()
    except BrokenProcessPool as error:
        raise ValueError(
            "a process that decodes images was ended from outside: if memory ran out, let fewer "
            "cores decode (`taskset -c 0,1 scalenet run`)"
        ) from error


# --- in each of them ------------------------------------------------------------------------------

_shelves: list[Shelf] = []  # the one that a process of a pool lays images in


def _belong_to_parent(shelf: Shelf) -> None:
    """Leave Ctrl-C to the process that started this one, and end when that one ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    _shelves.append(shelf)


def _lay(*given: Any) -> Laid:
    return lay(_shelves[0], *given)


def lay(shelf: Shelf, form: Square, keep: bool, batch: Batch, place: int) -> Laid:
    """Write a batch's images to a place in the file; return what is known of them."""
    index, facts, entries, faults = look(form, keep, batch)
    shelf.put(entries, place)
    starts = place + np.cumsum(facts.lengths, dtype=np.int64) - facts.lengths
    return Laid(index, facts, starts, faults)


def look(form: Square, keep: bool, batch: Batch) -> tuple[list[int], Facts, bytes, dict[int, str]]:
    """Return the indices of a batch, what is known of its images, their bytes, and what failed.

    An image's bytes are its pixels or, to ``keep`` it, its file, if that is smaller.
    """
    contents, lengths = np.zeros(len(batch), np.uint64), np.zeros(len(batch), np.uint32)
    images = np.zeros((len(batch), form.channels, form.size, form.size), np.uint8)
    entries, faults = [], {}
    for row, (i, content) in enumerate(batch):
        image = _decoded(form, content)
        if isinstance(image, str):
            faults[i] = image
            continue
        images[row], entry = image, image.tobytes()
        contents[row] = hashed(entry)
        if keep and isinstance(content, bytes) and len(content) < len(entry):
            entry = content
        lengths[row] = len(entry)
        entries.append(entry)
    # one by one: each is in the processor's cache then
    totals = np.stack([sums(image) for image in images])
    facts = Facts(contents, looks(images), totals, images.max((1, 2, 3)), lengths)
    return [i for i, _ in batch], facts, b"".join(entries), faults


def _decoded(form: Square, content: Content) -> np.ndarray | str:
    """Return an image's pixels, or why there are none."""
    if isinstance(content, np.ndarray):
        return content
    try:
        return image_array(form, content)
    except Missing:  # left out, all of its kind would be
        raise
    except UnidentifiedImageError:
        return "its content is of no known kind"
    except MemoryError:
        return "memory ran out"
    except DAMAGED as error:
        return getattr(error, "strerror", None) or " ".join(str(error).split())


def sums(images: np.ndarray) -> np.ndarray:
    """Return the sums of pixels and of their squares, uint64 (…, 2, C), of uint8 (…, C, H, W)."""
    values = images.reshape(*images.shape[:-2], -1).astype(np.uint32)
    both = [power.sum(-1, dtype=np.uint64) for power in (values, values * values)]
    return np.stack(both, -2)


def hashed(content: bytes) -> int:
    """Return the hash of an image's pixels, 64 bits.

    Two of a million images have the same by accident with a probability of 3e-8.
    """
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big")
