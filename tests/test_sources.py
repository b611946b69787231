"""Sources that went wrong: links, loops, unsorted splits, damaged archives, odd names and files."""

import gzip
import io
import os
import re
import shlex
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA
from PIL import Image

from scalenet.config.params import Data
from scalenet.data import intake, listing, readers

SHARES = {"select_fraction": 0.2, "test_fraction": 0.2}
SECTION = DATA | SHARES | {"name": "odd", "source": "."}


def data(**changes) -> Data:
    return Data.model_validate(SECTION | changes)


def find(path: Path, **changes):
    return readers.find(data(source=path.name, **changes), path.parent)


def picture(level: int, kind: str = "png", size: int = 9) -> bytes:
    content = io.BytesIO()
    Image.new("L", (size, size), level).save(content, kind)
    return content.getvalue()


def images(*classes: str, count: int = 5, suffix: str = ".png") -> dict[str, bytes]:
    """Name images by class; every image is a grey level of its own."""
    names = [f"{label}/{i}{suffix}" for label in classes for i in range(count)]
    return {name: picture(level) for level, name in enumerate(names)}


def decoded(source, index):
    """Return images as they are stored by default."""
    return intake.pixels(data(), source, index)


def unpacked(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def tarball(path: Path, files: dict[str, bytes], **options) -> Path:
    mode = {".gz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}.get(path.suffix, "w")
    with tarfile.open(path, mode, **options) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["bee", "ant/more", "train/bee"])
def test_a_link_to_a_folder_is_refused_because_dvc_does_not_look_behind(tmp_path, place):
    unpacked(tmp_path / "real", images("bee"))
    prefix = "train/" if place.startswith("train") else ""
    path = unpacked(tmp_path / "a", images(f"{prefix}ant", f"{prefix}cat"))
    (path / place).symlink_to(tmp_path / "real/bee")
    with pytest.raises(ValueError, match=rf"holds {place} as a link .*DVC does not see.*cp -rL"):
        find(path)


def test_a_link_to_another_class_is_refused(tmp_path):
    path = unpacked(tmp_path / "a", images("ant", "bee"))
    (path / "wasp").symlink_to("bee")
    with pytest.raises(ValueError, match="holds wasp as a link"):
        find(path)


@pytest.mark.parametrize(("place", "target"), [("ant/latest", "."), ("ant/back", ".."), ("x", ".")])
def test_a_link_that_leads_back_up_is_not_followed(tmp_path, place, target):
    path = unpacked(tmp_path / "a", images("ant", "bee"))
    (path / place).symlink_to(target)
    source = find(path)
    assert source.classes == ["ant", "bee"] and len(source.labels) == 10


def test_links_to_images_and_to_the_source_are_followed(tmp_path):
    real = unpacked(tmp_path / "real", images("ant", "bee"))
    for name in images("ant", "bee"):
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).symlink_to(real / name)
    (tmp_path / "top").symlink_to("a")
    assert len(find(tmp_path / "a").labels) == len(find(tmp_path / "top").labels) == 10
    (real / "bee/0.png").unlink()
    source = find(tmp_path / "a")
    with pytest.raises(ValueError, match=r"bee/0\.png: not a readable image .*take it out"):
        decoded(source, np.arange(len(source.labels)))


@pytest.mark.parametrize("names", [["all.tar"], ["train.zip", "test.zip"], ["a/1.zip", "b/2.zip"]])
def test_archives_inside_of_a_source_without_images_are_named(tmp_path, names):
    path = unpacked(tmp_path / "a", dict.fromkeys([*names, "sample_submission.csv"], b""))
    with pytest.raises(ValueError, match=r"has no images but archives .*unpack them") as refused:
        find(path)
    assert names[0] in str(refused.value)
    assert (f"give {path}/all.tar, or" in str(refused.value)) == (len(names) == 1)


def test_a_linked_folder_in_an_archive_is_refused(tmp_path):
    path = tarball(tmp_path / "a.tar", images("ant", "bee"))
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("wasp")
        member.type, member.linkname = tarfile.SYMTYPE, "../wasp"
        archive.addfile(member)
    with pytest.raises(ValueError, match=r"wasp as a link .*unpack it into a folder"):
        find(path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in images("ant", "bee").items():
            archive.writestr(name, content)
        entry = zipfile.ZipInfo("wasp")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "../wasp")
    with pytest.raises(ValueError, match=r"wasp as a link .*unpack it into a folder"):
        find(tmp_path / "a.zip")


# --- splits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("flat", ["val", "test", "Validation", "eval"])
@pytest.mark.parametrize("deep", [("train",), ("train", "valid")])
@pytest.mark.parametrize("prefix", ["", "birds/v2/"])
def test_unsorted_images_beside_a_sorted_train_are_refused(tmp_path, flat, deep, prefix):
    files = images(*(f"{prefix}{split}/{label}" for split in deep for label in ("ant", "bee")))
    path = unpacked(tmp_path / "a", files | images(f"{prefix}{flat}"))
    with pytest.raises(ValueError, match=rf"images in {flat} that lie .*{flat}/<class>"):
        find(path)


def test_splits_without_classes_are_no_classes(tmp_path):
    with pytest.raises(ValueError, match="images in test, train that lie in no class folder"):
        find(unpacked(tmp_path / "a", images("train", "test")))
    with pytest.raises(ValueError, match="images in train that lie in no class folder"):
        find(unpacked(tmp_path / "b", images("train", "val/ant", "val/bee")))


@pytest.mark.parametrize(
    "splits",
    [
        ("training_set/training_set", "test_set/test_set"),
        ("seg_train", "seg_test"),
        ("trainset", "valset"),
        ("1_train", "2_test"),
        ("Train Images", "Test Images"),
        ("TrainData", "ValData"),
        ("birds/v2/train-v2", "birds/v2/test-v2"),
    ],
)
def test_folders_that_are_splits_by_a_word_of_their_names_are_no_classes(tmp_path, splits):
    path = unpacked(tmp_path / "a", images(*(f"{s}/{c}" for s in splits for c in ("ant", "bee"))))
    with pytest.raises(ValueError, match=r"the same folders \(ant, bee\).* call them .*train"):
        find(path)


@pytest.mark.parametrize(
    "classes", [("trains", "buses"), ("test tube", "flask"), ("train/day", "test rig/front")]
)
def test_classes_with_such_words_are_classes(tmp_path, classes):
    source = find(unpacked(tmp_path / "a", images(*classes)))
    assert source.classes == sorted(name.split("/")[0] for name in classes)


# --- archives -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz", ".tar.bz2"])
def test_a_flipped_bit_in_an_archive_is_found(tmp_path, suffix):
    """Of the compressed bytes, each twentieth in turn: all are found, or change no image."""
    path = tarball(tmp_path / f"a{suffix}", images("ant", "bee"))
    whole = path.read_bytes()
    expected = decoded(find(path), np.arange(10))
    for i in range(12, len(whole), max(1, len(whole) // 20)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 16]) + whole[i + 1 :])
        try:
            found = decoded(find(path), np.arange(10))
        except ValueError as error:
            assert "data.source" in str(error), error
        else:
            assert np.array_equal(found, expected)


def test_a_wrong_checksum_at_the_end_is_found(tmp_path):
    path = tarball(tmp_path / "a.tar.gz", images("ant", "bee"))
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tar\.gz cannot be read to its end \(CRC"):
        find(path)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 5])
def test_an_archive_with_fewer_images_than_it_had_is_found(tmp_path, suffix, blocks):
    """Cut between two files it looks whole, but for the end mark: a plain one may lack it."""
    path = tarball(tmp_path / "whole.tar", images("ant", "bee"))
    content = path.read_bytes()[: 1024 * 5 + 512 * blocks]
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(gzip.compress(content) if suffix == ".tar.gz" else content)
    if suffix == ".tar" and blocks % 2 == 0:
        source = find(cut)
        assert source.files.unmarked and len(source.labels) == 5 + blocks // 2
        return
    with pytest.raises(ValueError, match="cannot be read to its end"):
        find(cut)


@pytest.mark.parametrize("blocks", [0, 1, 2, 20])
def test_an_archive_without_its_end_mark_is_read_and_known(tmp_path, blocks):
    """What appends to archives leaves the mark out; every file is there."""
    path = tarball(tmp_path / "a.tar", images("ant", "bee"))
    path.write_bytes(path.read_bytes()[: 1024 * 10 + 512 * blocks])
    source = find(path)
    assert source.files.unmarked == (blocks == 0)
    assert np.array_equal(decoded(source, np.arange(10)), decoded(find(path), np.arange(10)))
    assert len(source.labels) == 10


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
@pytest.mark.parametrize("size", ["9" * 14, "9" * 4000, "-1", "-512", "nan"])
def test_a_size_that_an_archive_makes_up_ends_at_once(tmp_path, suffix, size):
    """Python would read on for years behind the end of the file."""
    path, content = tmp_path / f"a{suffix}", picture(7)
    with tarfile.open(path, "w:gz" if suffix == ".tar.gz" else "w") as archive:
        for name in images("ant", "bee"):
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(content), {"size": size}
            archive.addfile(member, io.BytesIO(content))
    with pytest.raises(ValueError, match=rf"a{suffix} cannot be read to its end"):
        find(path)


def test_a_first_header_that_says_nonsense_is_told_of_its_archive(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        member, content = tarfile.TarInfo("ant/0.png"), picture(7)
        member.size = len(content)
        member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        archive.addfile(member, io.BytesIO(content))
    with pytest.raises(ValueError, match=r"a\.tar cannot be read to its end .*invalid literal"):
        find(path)


@pytest.mark.parametrize("change", [b"\0" * 512, b"\1" * 512])
def test_a_damaged_header_does_not_end_an_archive(tmp_path, change):
    path = tarball(tmp_path / "a.tar", images("ant", "bee"))
    content = bytearray(path.read_bytes())
    content[1024 * 4 : 1024 * 4 + 512] = change
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read to its end"):
        find(path)


@pytest.mark.parametrize("kind", [".tar", ".zip"])
def test_flipped_bits_in_names_and_headers_end_in_an_explanation(tmp_path, kind):
    random, files = np.random.default_rng(0), images("ant", "caf\xe9" * 30)
    path = tmp_path / f"a{kind}"
    if kind == ".tar":
        tarball(path, files, format=tarfile.PAX_FORMAT)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    whole = path.read_bytes()
    for place in random.integers(len(whole), size=150):
        content = bytearray(whole)
        content[place] ^= 1 << random.integers(8)
        path.write_bytes(content)
        try:
            source = find(path)
            decoded(source, np.arange(len(source.labels)))
        except ValueError as error:
            assert "data.source" in str(error) or "not a readable image" in str(error), error


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["p\xeache/0.png", "ant/\xe9.png", "ant/\xe9.txt", ".\xe9/0"])
def test_a_folder_with_names_in_another_encoding_is_refused_and_its_archive_is_read(
    tmp_path, place
):
    """DVC, which hashes the folder, takes UTF-8 alone."""
    files, path = images("ant", "bee") | {place: picture(99)}, tmp_path / "a"
    for name, content in files.items():
        unpacked(path, {os.fsdecode(name.encode("latin-1")): content})
    with pytest.raises(
        ValueError, match=r"a holds .*\\xe.*, a name that is no UTF-8, .*convmv"
    ) as said:
        find(path)
    pack = re.search(r"`(tar .*?)`", str(said.value))[1]
    subprocess.run(shlex.split(pack), cwd=tmp_path, check=True)
    source = find(tmp_path / "a.tar", most_skipped=0.1)
    assert {"ant", "bee"} <= set(source.classes) and len(source.labels) >= 10


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("outward", ["/", "../", "../../", "//"])
def test_names_that_lead_out_of_an_archive_are_those_that_they_unpack_to(tmp_path, kind, outward):
    files = images("ant", "bee")
    files = {outward * name.startswith("bee") + name: files[name] for name in files}
    path = tmp_path / f"a.{kind}"
    if kind == "tar":
        tarball(path, files)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    source = find(path)
    assert source.classes == ["ant", "bee"] and not source.ignored
    plain = find(unpacked(tmp_path / "b", images("ant", "bee")))
    assert np.array_equal(*(np.sort(decoded(s, np.arange(10)), 0) for s in (source, plain)))


def test_names_in_another_encoding_become_text(tmp_path):
    options = {"encoding": "latin-1", "format": tarfile.GNU_FORMAT}
    path = tarball(tmp_path / "a.tar", images("abricot", "caf\xe9", "p\xeache"), **options)
    source = find(path)
    assert source.classes == ["abricot", "caf\xe9", "p\xeache"]
    assert sorted(decoded(source, np.arange(15))[:, 0, 0, 0].tolist()) == list(range(15))


def test_utf8_in_a_zip_that_does_not_say_so_is_read_as_such(tmp_path):
    files = images("ant", "cafXX")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(b"cafXX", "caf\xe9".encode()))
    source = find(tmp_path / "a.zip")
    assert source.classes == ["ant", "caf\xe9"]
    assert len(decoded(source, np.arange(10))) == 10


def test_two_forms_of_one_letter_are_one_class(tmp_path):
    """As from macOS (train) and from Linux (test)."""
    names = ("train/ant", "train/cafe\u0301", "test/ant", "test/caf\xe9")
    source = find(unpacked(tmp_path / "a", images(*names)))
    assert source.classes == ["ant", "caf\xe9"]
    assert np.bincount(source.labels).tolist() == [10, 10]
    assert sorted(decoded(source, np.arange(20))[:, 0, 0, 0].tolist()) == list(range(20))


@pytest.mark.parametrize("suffix", ["jfif", "JPE", "avif", "JP2", "pnm", "dib", "tga"])
def test_images_of_many_suffixes_are_taken(tmp_path, suffix):
    kind = {"jfif": "jpeg", "JPE": "jpeg", "JP2": "jpeg2000", "pnm": "ppm"}.get(suffix, suffix)
    files = {f"{c}/{i}.{suffix}": picture(i * 40, kind) for c in ("ant", "bee") for i in range(3)}
    source = find(unpacked(tmp_path / "a", files))
    assert len(source.labels) == 6
    assert np.abs(decoded(source, np.arange(6))[:3, 0, 4, 4].astype(int) - [0, 40, 80]).max() < 9


def test_an_image_with_an_odd_name_is_known_by_its_beginning(tmp_path):
    files = images("ant", "bee", suffix="") | images("ant", "bee", suffix=".0001")
    for path in (unpacked(tmp_path / "a", files), tarball(tmp_path / "a.tar", files)):
        assert len(find(path).labels) == 20


def test_what_systems_leave_behind_is_no_image(tmp_path):
    left = (
        *(".DS_Store", "._0.png", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints/0.png"),
        *("@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "$RECYCLE.BIN/x.png", "#recycle/0.png"),
        *("__MACOSX/._0.png", "lost+found/0.png", ".thumbnails/0.png", "notes.txt"),
    )
    junk = {f"{place}{name}": picture(7) for name in left for place in ("", "ant/", "bee/")}
    source = find(unpacked(tmp_path / "a", images("ant", "bee") | junk))
    assert source.classes == ["ant", "bee"] and len(source.labels) == 10
    assert len(source.ignored) >= 24, "a folder that is passed over is counted too"


def test_class_names_may_hold_anything(tmp_path):
    odd = ["crane, bird", "crane", " bird", 'say "x"', "two\nlines", "100%", "$HOME", "\u706b"]
    assert find(unpacked(tmp_path / "a", images(*odd))).classes == sorted(odd)


# --- odd files ------------------------------------------------------------------------------------


def test_a_pipe_in_the_folder_is_not_opened(tmp_path):
    path = unpacked(tmp_path / "a", images("ant", "bee"))
    os.mkfifo(path / "ant/pipe.png")
    os.mkfifo(path / "ant/pipe")
    assert len(find(path, most_skipped=0.2).labels) == 10
    with pytest.raises(ValueError, match=r"2 no file but a device.* \(ant/pipe, ant/pipe.png\)"):
        find(path)
    with pytest.raises(ValueError, match="pipe is no regular file; give"):
        find(path / "ant/pipe")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    path = unpacked(tmp_path / "a", images("ant", "bee", "cat"))
    scan = os.scandir

    def closed(place):
        if Path(place).name == "bee":
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(ValueError, match=r"a/bee cannot be listed \(Permission denied\)"):
        find(path)


def test_a_file_that_claims_to_be_enormous_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "LARGEST", 5000)
    files = images("ant", "bee") | {"ant/bomb.png": b"\0" * 10_000}
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    unpacked(tmp_path / "a", files)
    tarball(tmp_path / "a.tar", files)
    for name in ("a", "a.zip", "a.tar"):
        assert len(find(tmp_path / name, most_skipped=0.1).labels) == 10
        with pytest.raises(ValueError, match=r"1 larger than .* \(ant/bomb\.png\)"):
            find(tmp_path / name)


def test_splits_inside_of_the_classes_are_refused(tmp_path):
    names = ("cat/train", "cat/test", "dog/train", "dog/test")
    with pytest.raises(ValueError, match=r"splits test, train inside of the class cat.*train/cat/"):
        find(unpacked(tmp_path / "set", images(*names)))
    named = ("cat/train", "cat/steam", "dog/train", "dog/cable")
    assert find(unpacked(tmp_path / "cars", images(*named))).classes == ["cat", "dog"]
