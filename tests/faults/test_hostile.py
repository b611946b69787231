"""Inputs that were made to hurt: enormous, endless, or no files at all. Named, or counted."""

from __future__ import annotations

import io
import os
import socket
import struct
import subprocess
import sys
import tarfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA
from PIL import Image

from scalenet.config.params import Data
from scalenet.data import intake, readers
from scalenet.data.pixels import image_array

SECTION = DATA | {"name": "odd", "source": "a", "select_fraction": 0.2, "test_fraction": 0.2}
COLOURS = {"L": 0, "RGB": 2, "LA": 4, "RGBA": 6}
GIB = 2**30
MEASURED = """
import resource, sys
from pathlib import Path
import numpy as np
from scalenet.config.params import Data
from scalenet.data import intake, readers
params = Data.model_validate({section})
source = readers.find(params, Path.cwd())
intake.take(params, source)
rss = sum(resource.getrusage(who).ru_maxrss for who in (0, -1))  # this process, the largest other
print(len(source.labels), len(source.faults), len(source.skipped), rss * 1024)
"""


def data(**changes) -> Data:
    return Data.model_validate(SECTION | changes)


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def claim(width: int, height: int, mode: str, depth: int = 8) -> bytes:
    """Return the beginning of a PNG that would be as large as it says."""
    form = struct.pack(">IIBBBBB", width, height, depth, COLOURS[mode], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", form) + chunk(b"IDAT", zlib.compress(b"\0"))


def folder(path: Path) -> Path:
    for label in ("ant", "bee"):
        (path / label).mkdir(parents=True)
        for i in range(5):
            Image.new("L", (9, 9), 20 * i + len(label)).save(path / label / f"{i}.png")
    return path


def test_more_pixels_than_fit_a_gigabyte_are_refused_before_they_are_decoded():
    for mode, depth, side in (
        ("L", 8, 13300),
        ("RGB", 8, 8193),
        ("RGBA", 8, 5793),
        ("L", 16, 5793),
    ):
        with warnings.catch_warnings(), pytest.raises(ValueError, match=f"{side}x{side} pixels"):
            warnings.simplefilter("error")
            image_array(data(), claim(side, side, mode, depth))
    with pytest.raises(OSError, match="truncated"):  # a plain one of that many is not
        image_array(data(), claim(5793, 5793, "RGB"))


def test_a_photograph_of_many_pixels_is_decoded_as_a_smaller_one():
    content = io.BytesIO()
    Image.new("L", (12000, 9000), 77).save(content, "jpeg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (image_array(data(), content.getvalue()) == 77).all()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has these files")
def test_what_is_no_file_is_counted_and_named(tmp_path):
    path = folder(tmp_path / "a")
    os.mkfifo(path / "ant/pipe.png")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path / "ant/door.png"))
    for name, target in {"zero": "/dev/zero", "sys": "/sys/kernel/uevent_seqnum"}.items():
        (path / f"bee/{name}.png").symlink_to(target)
    (path / "bee/gone.png").symlink_to("nothing")
    params = data(most_skipped=0.5)
    source = readers.find(params, tmp_path)
    intake.take(params, source)
    assert set(source.skipped) == {"ant/pipe.png", "ant/door.png", "bee/zero.png"}
    assert set(source.faults) == {"bee/sys.png", "bee/gone.png"}
    with pytest.raises(ValueError, match=r"3 no file but a device.*bee/zero\.png"):
        readers.find(data(), tmp_path)
    for name in source.skipped:
        (path / name).unlink()
    with pytest.raises(ValueError, match=r"a/bee/\w+\.png: not a readable image \([\w ]+\); repl"):
        intake.take(data(), readers.find(data(), tmp_path))


def test_a_large_file_is_decoded_in_its_turn_by_the_process_that_read_it(tmp_path, monkeypatch):
    path = folder(tmp_path / "a")
    noise = np.random.default_rng(0).integers(0, 255, (60, 60), dtype=np.uint8)
    Image.fromarray(noise).save(path / "ant/large.png")
    whole = intake.take(data(), readers.find(data(), tmp_path)).facts
    monkeypatch.setattr(intake, "LARGE", 2000)
    monkeypatch.setattr(intake, "IMAGES", 1)
    monkeypatch.setattr(intake, "ALONE", -1.0)
    monkeypatch.setattr(intake, "cores", lambda: 2)
    here, lay = [], intake.lay
    monkeypatch.setattr(intake, "lay", lambda *given: here.append(given) or lay(*given))
    monkeypatch.setattr(intake, "_pool", lambda processes, shelf: Elsewhere(shelf, lay))
    parts = intake.take(data(), readers.find(data(), tmp_path)).facts
    assert all(np.array_equal(a, b) for a, b in zip(parts, whole, strict=True))
    sizes = [sum(len(content) for _, content in batch) for _, _, _, batch, _ in here]
    assert len(sizes) == 2 and sizes[1] > 2000, "the first, before there were others; the large one"


class Elsewhere:
    """A pool whose processes are this one, and are not counted."""

    def __init__(self, shelf, lay):
        self.shelf, self.lay = shelf, lay

    def submit(self, lay, *given):
        done = type("Done", (), {})()
        done.result = lambda: self.lay(self.shelf, *given)
        return done

    def __enter__(self):
        return self

    def __exit__(self, *fault):
        return None


@pytest.mark.long
def test_members_of_a_quarter_gigabyte_stay_below_one(tmp_path):
    size = 250 * 2**20
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(folder(tmp_path / "b"), ".")
        for i in range(6):
            member = tarfile.TarInfo(f"ant/bomb{i}.png")
            member.size = size
            archive.addfile(member, io.BytesIO(bytes(size)))
        member = tarfile.TarInfo("ant/claim.png")
        member.size = 2 * GIB
        archive.addfile(member, Zeros())
    section = SECTION | {"source": "a.tar.gz", "most_skipped": 0.5}
    command = [sys.executable, "-c", MEASURED.format(section=section)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    count, faults, skipped, peak = map(int, done.stdout.split())
    assert (count, faults, skipped) == (16, 6, 1) and peak < GIB


class Zeros(io.RawIOBase):
    """Gives as many zeros as one likes."""

    def read(self, size: int = -1) -> bytes:
        return bytes(size)
