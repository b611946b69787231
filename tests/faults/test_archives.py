"""Damaged archives: what differs from what was packed is refused, never taken in silence."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA
from PIL import Image

from scalenet.config.params import Data
from scalenet.data import intake, readers

PARAMS = DATA | {"name": "odd", "select_fraction": 0.2, "test_fraction": 0.2}
PARTS = 2048  # bytes of a tar archive that are compressed for themselves, as parallel tools do
COMPRESSED = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
Images = tuple[list[str], list[tuple[str, int, bytes]], bool]


def files(kind: str) -> dict[str, bytes]:
    """Name images of noise, and what is no image, among classes that one bit makes hidden."""
    found, noise = {"readme.txt": b"a note\n" * 9}, np.random.default_rng(0)
    for i in range(8):
        content = io.BytesIO()
        Image.fromarray(noise.integers(0, 255, (12, 14), dtype=np.uint8)).save(content, kind)
        found[f"{('noon', 'ant')[i % 2]}/{i}.{kind}"] = content.getvalue()
    return found


def tarred(path: Path, content: dict[str, bytes]) -> bytes:
    with tarfile.open(path, "w") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path.read_bytes()


def zipped(path: Path, content: dict[str, bytes], streamed: bool) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if streamed else zipfile.ZIP_DEFLATED) as a:
        for folder in ("noon", "ant"):
            a.mkdir(folder)
        for name, data in content.items():
            with a.open(name, "w", force_zip64=streamed) as member:
                member.write(data)


def parquet(path: Path, content: dict[str, bytes]) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    rows = {name: data for name, data in content.items() if name != "readme.txt"}
    images = [{"bytes": data, "path": name} for name, data in rows.items()]
    table = pa.table({"image": images, "label": [name.split("/")[0] for name in rows]})
    write_table(table, path, write_page_checksum=True)


def packed(path: Path, content: dict[str, bytes]) -> Path:
    """Pack files into an archive of the kind that its name ends with."""
    first, last = path.suffixes[0], path.suffixes[-1]
    if last == ".zip":
        zipped(path, content, streamed=first == ".streamed")
    elif last == ".parquet":
        parquet(path, content)
    else:
        whole = tarred(path, content)
        size = PARTS if first == ".parts" else len(whole)
        parts = [whole[i : i + size] for i in range(0, len(whole), size)]
        path.write_bytes(b"".join(map(COMPRESSED.get(last, bytes), parts)))
    return path


def images(path: Path) -> Images:
    """Return the classes of a source, each image's name, class and pixels, and whether a warning
    says that it may have been cut."""
    params = Data.model_validate(PARAMS | {"source": path.name})
    source = readers.find(params, path.parent)
    pixels = intake.pixels(params, source, np.arange(len(source.labels)))
    rows = zip(source.names, source.labels.tolist(), map(np.ndarray.tobytes, pixels), strict=True)
    return source.classes, sorted(rows), source.files.unmarked


def flip(content: bytes, draws: random.Random) -> bytes:
    place = draws.randrange(len(content))
    return (
        content[:place] + bytes([content[place] ^ 1 << draws.randrange(8)]) + content[place + 1 :]
    )


def cut(content: bytes, draws: random.Random) -> bytes:
    return content[: draws.randrange(len(content))]


def erase(content: bytes, draws: random.Random) -> bytes:
    place, size = draws.randrange(len(content)), draws.choice((16, 512, 1024))
    return content[:place] + bytes(len(content[place : place + size])) + content[place + size :]


def leave_out(content: bytes, draws: random.Random) -> bytes:
    place, size = draws.randrange(len(content)), draws.choice((1, 16, 512))
    return content[:place] + content[place + size :]


def repeat(content: bytes, draws: random.Random) -> bytes:
    place, size = draws.randrange(len(content)), draws.choice((1, 16, 512))
    return content[:place] + content[place : place + size] + content[place:]


def lengthen(content: bytes, draws: random.Random) -> bytes:
    return content + draws.randbytes(draws.choice((1, 8, 512, 10240)))


Damage = Callable[[bytes, random.Random], bytes]
ALL = (flip, flip, flip, cut, erase, leave_out, repeat, lengthen)
SUMMED = (
    *(".tar.gz", ".tar.xz", ".tar.bz2", ".zip"),
    *(".parts.tar.gz", ".parts.tar.xz", ".parts.tar.bz2", ".streamed.zip", ".parquet"),
)


def tried(path: Path, damage: tuple[Damage, ...], times: int, told: Callable) -> int:
    """Damage an archive many times; return how often it was refused. What is taken is the same, or
    some of it where a warning says so."""
    whole, expected, refused = path.read_bytes(), images(path), 0
    told("tried", times)
    for trial in range(times):
        draws = random.Random(trial)
        path.write_bytes(damage[trial % len(damage)](whole, draws))
        try:
            found = images(path)
        except ValueError as error:
            refused += 1
            assert str(path.parent) in str(error) and len(str(error).splitlines()) == 1, trial
            assert len(str(error)) < 600, trial
        else:
            said = found == expected or (found[2] and set(found[1]) <= set(expected[1]))
            assert said, f"{path.name}, trial {trial}: taken, and not what was packed"
    return refused


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize("suffix", SUMMED)
def test_damage_to_what_has_checksums_is_refused_or_changes_nothing(
    tmp_path, suffix, kind, record_property
):
    assert tried(packed(tmp_path / f"a{suffix}", files(kind)), ALL, 96, record_property) > 48


@pytest.mark.long
@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize("suffix", SUMMED)
def test_much_damage_to_what_has_checksums_is_refused_or_changes_nothing(
    tmp_path, suffix, kind, record_property
):
    assert tried(packed(tmp_path / f"a{suffix}", files(kind)), ALL, 4000, record_property) > 2000


@pytest.mark.parametrize("times", [400, pytest.param(8000, marks=pytest.mark.long)])
def test_damage_to_a_plain_tar_of_images_with_checksums(tmp_path, times, record_property):
    """Tar sums its headers alone; that of a PNG's content is the PNG's own.

    Zeros from a header to the end are no damage that anybody could tell: so an archive ends.
    """
    path = packed(tmp_path / "a.tar", files("png"))
    assert tried(path, (flip, flip, flip, cut), times, record_property) > times // 3


def test_a_flipped_bit_of_a_plain_tar_moves_no_image_and_loses_none(tmp_path):
    """A JPEG has no checksum, so other pixels may pass; never other names, classes or counts."""
    path = packed(tmp_path / "a.tar", files("jpeg"))
    whole, expected, draws = path.read_bytes(), images(path), random.Random(0)
    for trial in range(200):
        path.write_bytes((flip, cut)[trial % 2](whole, draws))
        try:
            classes, rows, unmarked = images(path)
        except ValueError:
            continue
        assert classes == expected[0]
        there = [row[:2] for row in expected[1]]
        assert [row[:2] for row in rows] == there or unmarked, trial
        assert {row[:2] for row in rows} <= set(there), trial


def test_an_entry_that_swallows_the_next_is_found(tmp_path):
    """A longer comment in a zip's list hides the entries behind it, to whoever does not count."""
    path = packed(tmp_path / "a.zip", files("png"))
    content = bytearray(path.read_bytes())
    first = content.index(b"PK\1\2")
    second = content.index(b"PK\1\2", first + 4)
    content[first + 32 : first + 34] = (content.index(b"PK\1\2", second + 4) - second).to_bytes(
        2, "little"
    )
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.zip cannot be read to its end \(its list has 10 "):
        images(path)


def test_an_image_that_a_bit_hides_or_doubles_is_found(tmp_path):
    """What is not read later is compared with its own header all the same."""
    path = packed(tmp_path / "a.zip", files("png"))
    whole = path.read_bytes()
    start = whole.index(b"PK\1\2")
    for name, other in ((b"noon/0.png", b".oon/0.png"), (b"noon/0.png", b"noon/2.png")):
        path.write_bytes(whole[:start] + whole[start:].replace(name, other))
        with pytest.raises(ValueError, match=r"a\.zip cannot be read to its end \(File name in"):
            images(path)


@pytest.mark.long
def test_a_zip_of_more_entries_than_its_end_has_digits_for_is_read(tmp_path):
    path = tmp_path / "a.zip"
    content = files("png") | {f"notes/{i}.txt": b"" for i in range(66_000)}
    zipped(path, content, streamed=False)
    assert len(images(path)[1]) == 8
