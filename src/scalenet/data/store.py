"""A split's images in one file, reached by index: bytes of pixels, or image files as they were.

The file is an uncompressed .npz, which `numpy.load` reads too. Images of one size are one array,
``pixels``. Where some are kept as image files, ``content`` is all of them end to end, ``offsets``
(N + 1) are where each begins, ``shape`` is what they become; one as long as its pixels is pixels.
Where images come in groups, ``groups`` (N) number them.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from scalenet.data.pixels import DAMAGED, Missing, image_array
from scalenet.records import files

CHUNK = 2**22  # bytes that are copied at a time
HEADER = struct.Struct("<26xHH")  # of a zip file's member: the lengths of its name and its extra
BROKEN = (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, struct.error)


class Square(NamedTuple):
    """How images are stored: ``channels`` 1 or 3, ``size`` px high and wide."""

    channels: int
    size: int

    @property
    def bytes(self) -> int:
        """Return how many bytes an image's pixels are."""
        return self.channels * self.size**2


class FilePixels:
    """Images in a file: indexed as an array uint8 (N, C, H, W) is, along its first axis.

    ``starts`` and ``ends`` (N) are the places of their bytes. Only what is asked for is read, and
    nothing is kept. Another process may be given one whose file has a path.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(
        self, file: Path | IO[bytes], form: Square, starts: Sequence[int], ends: Sequence[int]
    ):
        self.file, self.form, self.starts, self.ends = file, form, starts, ends
        self.opened: IO[bytes] | None = None if isinstance(file, Path) else file

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"opened": None}

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return that of the array."""
        return (len(self), self.form.channels, self.form.size, self.form.size)

    @property
    def raw(self) -> bool:
        """Whether all are bytes of pixels, one after the other: nothing is decoded."""
        return isinstance(self.starts, range)

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, (int, np.integer)):
            return self[[index]][0]
        places = _places(index, len(self))
        pixels = np.empty((len(places), *self.shape[1:]), np.uint8)
        for row, place in enumerate(places.tolist()):
            self._read(place, pixels[row])
        return pixels

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)

    def chosen(self, index: np.ndarray) -> FilePixels:
        """Return some of them, in another order, from the same file."""
        starts, ends = np.asarray(self.starts), np.asarray(self.ends)
        return FilePixels(self.file, self.form, starts[index], ends[index])

    def entry(self, place: int) -> bytes:
        """Return an image's bytes as they are kept."""
        start, length = self._where(place)
        content = os.pread(self._descriptor(), length, start)
        self._check(len(content), length)
        return content

    def entries(self, places: np.ndarray) -> memoryview:
        """Return images' bytes as they are kept, end to end."""
        where = [self._where(place) for place in places.tolist()]
        content, begin = memoryview(bytearray(sum(length for _, length in where))), 0
        for start, length in where:
            room, begin = content[begin : begin + length], begin + length
            self._check(os.preadv(self._descriptor(), [room], start), length)
        return content

    def _read(self, place: int, pixels: np.ndarray) -> None:
        """Read an image into pixels (C, H, W)."""
        start, length = self._where(place)
        if length == self.form.bytes:
            self._check(os.preadv(self._descriptor(), [pixels], start), length)
            return
        content = self.entry(place)
        try:
            pixels[:] = image_array(self.form, content)
        except Missing:
            raise
        except DAMAGED as error:
            raise damaged(self.file, f"image {place}: {error}") from error

    def _where(self, place: int) -> tuple[int, int]:
        """Return the place of an image's first byte in the file, and how many they are."""
        return int(self.starts[place]), int(self.ends[place] - self.starts[place])

    def _descriptor(self) -> int:
        if self.opened is None:
            self.opened = self.file.open("rb", buffering=0)
        return self.opened.fileno()

    def _check(self, read: int, length: int) -> None:
        if read < length:
            raise damaged(self.file, "it ends too early")


class JoinedPixels:
    """Two splits' pixels as one, the second's after the first's; indexed as ``FilePixels`` is."""

    def __init__(self, first: Any, second: Any):
        self.first, self.second = first, second
        self.shape = (len(first) + len(second), *first.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, (int, np.integer)):
            return self[[index]][0]
        places, start = _places(index, len(self)), len(self.first)
        pixels = np.empty((len(places), *self.shape[1:]), np.uint8)
        inside = places < start
        pixels[inside] = self.first[places[inside]]
        pixels[~inside] = self.second[places[~inside] - start]
        return pixels


def _places(index: Any, count: int) -> np.ndarray:
    """Return which of so many an index along one axis means, int64 (n), at the cost of n."""
    if isinstance(index, slice):
        return np.arange(*index.indices(count))
    index = np.asarray(index)
    if index.dtype == bool:
        return np.arange(count)[index]
    if len(index) and not -count <= index.min() <= index.max() < count:
        raise IndexError(f"no such image among {count}: {index.min()} to {index.max()} asked for")
    return np.where(index < 0, index + count, index).astype(np.int64)


def join(first: files.Split, second: files.Split) -> files.Split:
    """Return two splits as one, the second's images after the first's."""
    return JoinedPixels(first[0], second[0]), np.concatenate([first[1], second[1]])


def damaged(path: Any, why: Any) -> ValueError:
    """Say that a split's file cannot be read."""
    return ValueError(f"{path}: cannot be read as a split ({why}); run `dvc repro` or `dvc pull`")


# --- reading --------------------------------------------------------------------------------------


def read(path: Path) -> files.Split:
    """Open a split: its pixels, read when they are asked for, and labels int64 (N)."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            labels = _array(archive, "labels.npy")
            if "pixels.npy" in archive.namelist():
                start, shape = _place(archive, file, "pixels.npy")
                form = Square(shape[1], shape[2])
                starts = range(start, start + shape[0] * form.bytes, form.bytes)
                ends = range(start + form.bytes, start + (shape[0] + 1) * form.bytes, form.bytes)
            else:
                start, _ = _place(archive, file, "content.npy")
                form = Square(*_array(archive, "shape.npy").tolist())
                offsets = start + _array(archive, "offsets.npy")
                starts, ends = offsets[:-1], offsets[1:]
    except BROKEN as error:
        raise damaged(path, error) from error
    return FilePixels(path, form, starts, ends), labels


def splits(folder: Path) -> dict[str, files.Split]:
    """Open train, select and test."""
    return {name: read(folder / f"{name}.npz") for name in files.SPLITS}


def groups(folder: Path, names: Sequence[str] = files.SPLITS) -> dict[str, np.ndarray]:
    """Return, of each split whose source says so, which images belong together: int32 (N)."""
    found = {}
    for path in (folder / f"{name}.npz" for name in names):
        try:
            with zipfile.ZipFile(path) as archive:
                if "groups.npy" in archive.namelist():
                    found[path.stem] = _array(archive, "groups.npy")
        except BROKEN as error:
            raise damaged(path, error) from error
    return found


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _place(archive: zipfile.ZipFile, file: IO[bytes], name: str) -> tuple[int, tuple[int, ...]]:
    """Return where in the file an array's bytes begin, and its shape."""
    about = archive.getinfo(name)
    if about.compress_type != zipfile.ZIP_STORED:
        raise ValueError("it is compressed: an earlier version wrote it")
    file.seek(about.header_offset)
    file.seek(sum(HEADER.unpack(file.read(HEADER.size))), os.SEEK_CUR)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype != np.uint8:
        raise ValueError(f"{name} is of {dtype}")
    return file.tell(), shape


# --- writing --------------------------------------------------------------------------------------


def write(path: Path, pixels: Any, labels: np.ndarray, groups: np.ndarray | None = None) -> None:
    """Write a split; equal images give equal bytes. ``pixels`` are an array or ``FilePixels``."""
    count, channels, size, _ = pixels.shape
    form = Square(channels, size)
    lengths = np.full(count, form.bytes)
    if isinstance(pixels, FilePixels):
        lengths = np.asarray(pixels.ends) - np.asarray(pixels.starts)
    with (
        files.replacing(path) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
    ):
        files.put_array(archive, "labels.npy", labels.astype(np.int64))
        if groups is not None:
            files.put_array(archive, "groups.npy", groups.astype(np.int32))
        if (lengths == form.bytes).all():
            _stream(archive, "pixels.npy", pixels.shape, _entries(pixels, lengths))
            return
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        files.put_array(archive, "shape.npy", np.array(form))
        files.put_array(archive, "offsets.npy", offsets)
        _stream(archive, "content.npy", (int(offsets[-1]),), _entries(pixels, lengths))


def _entries(pixels: Any, lengths: np.ndarray) -> Iterator[bytes | memoryview]:
    """Yield the bytes of all images, whose lengths are given, in order; many at a time."""
    parts = np.diff(np.cumsum(lengths) // CHUNK).nonzero()[0] + 1
    for places in np.split(np.arange(len(lengths)), parts):
        stored = isinstance(pixels, FilePixels)
        yield pixels.entries(places) if stored else pixels[places].tobytes()


def _stream(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    parts: Iterator[bytes | memoryview],
) -> None:
    """Write an array uint8 of that shape as its bytes come.

    Its size is said before: what does not need Zip64 has the same bytes by every Python.
    """
    about = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
    entry = zipfile.ZipInfo(name)
    entry.file_size = math.prod(shape)
    with archive.open(entry, "w") as member:
        np.lib.format.write_array_header_1_0(member, about)
        for part in parts:
            member.write(part)
