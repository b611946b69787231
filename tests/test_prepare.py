"""Preparing data: fair splits, any image file, and errors that name the folder, file or class."""

import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from stages import artifacts, prepare
from stages.artifacts import DataInfo, Paths
from stages.params import Data
from stages.prepare import Labelled

DIGITS = {"name": "digits", "source": "data/digits", "channels": 1, "size": 8, "seed": 0}


def data(**changes) -> Data:
    return Data.model_validate(DIGITS | {"select_fraction": 0.2, "test_fraction": 0.2} | changes)


def made(counts, **changes):
    """Split a data set with so many images of each class; every image is its own number."""
    labels = np.repeat(np.arange(len(counts)), counts)
    numbers = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    labelled = Labelled(numbers, labels.astype(np.int64), [f"c{i}" for i in range(len(counts))])
    return prepare.split(data(**changes), labelled), labelled


# --- splits ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return prepare.run(data(), prepare.read_digits(data()))


def test_digits_are_split_once_and_whole(digits):
    info, splits = digits
    assert sum(info.counts.values()) == 1797 and info.counts == {n: len(s["labels"]) for n, s in splits.items()}
    assert info.counts["select"] == pytest.approx(0.2 * 1797, abs=5)
    assert info.counts["test"] == pytest.approx(0.2 * 1797, abs=5)
    whole, together = load_digits(), Counter()
    for split in splits.values():
        assert split["pixels"].shape == (len(split["labels"]), 1, 8, 8) and split["pixels"].dtype == np.uint8
        assert split["labels"].dtype == np.int64
        together.update(zip(map(bytes, split["pixels"]), split["labels"].tolist(), strict=True))
    grey = np.round(whole.images * 255 / 16).astype(np.uint8)
    assert together == Counter(zip(map(bytes, grey), whole.target.tolist(), strict=True))
    assert info.classes == list("0123456789")


def test_digits_splits_are_stratified(digits):
    for split in digits[1].values():
        counts = np.bincount(split["labels"], minlength=10)
        whole = np.bincount(load_digits().target)
        assert np.abs(counts - whole * len(split["labels"]) / 1797).max() <= 1.5


def test_pixels_are_normalised_by_train_alone(digits):
    info, splits = digits
    train = splits["train"]["pixels"] / 255
    assert info.mean == [pytest.approx(train.mean(), abs=1e-5)] and info.std == [pytest.approx(train.std(), abs=1e-5)]
    assert info.mean != [pytest.approx(splits["test"]["pixels"].mean() / 255, abs=1e-5)]


@pytest.mark.parametrize("counts", [[3, 100], [3, 3, 3], [4, 50, 7, 90], [30, 20]])
@pytest.mark.parametrize("fractions", [(0.2, 0.2), (0.05, 0.3), (0.4, 0.1)])
def test_every_split_has_every_class(counts, fractions):
    parts, labelled = made(counts, select_fraction=fractions[0], test_fraction=fractions[1])
    assert list(parts) == ["train", "select", "test"]
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(sum(counts)))
    for indices in parts.values():
        assert set(labelled.labels[indices]) == set(range(len(counts)))


def test_the_first_part_of_a_split_is_a_fair_sample():
    """Batch norm is calibrated on the first images of train: they must not be those of the first class."""
    parts, labelled = made([100, 100])
    for indices in parts.values():
        first = labelled.labels[indices[: len(indices) // 4]]
        assert 0.2 < first.mean() < 0.8


def test_splits_depend_on_the_seed_alone():
    first, again, other = (made([20, 30], seed=seed)[0] for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert set(first["test"]) != set(other["test"])


@pytest.mark.parametrize("counts", [[2, 50], [50, 1], [0, 9]])
def test_a_class_that_is_too_small_is_named(counts):
    small = int(np.argmin(counts))
    with pytest.raises(
        ValueError, match=rf"data\.source 'data/digits'.*'c{small}' has {counts[small]} images.*add images"
    ):
        made(counts)


def test_fractions_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(ValueError, match="lower the fractions"):
        made([10, 10], select_fraction=0.5, test_fraction=0.48)


def test_the_room_writes_the_same_bytes_every_time(make_params, tmp_path, monkeypatch):
    params, clock = make_params({"data": {"seed": 3}}), time.time
    written = []
    for name, late in (("a", 0), ("b", 10**7)):
        monkeypatch.setattr(time, "time", lambda late=late: clock() + late)
        paths = Paths(tmp_path / name)
        prepare.main(params, paths)
        written.append({path.name: path.read_bytes() for path in sorted(paths.data.iterdir())})
    assert written[0] == written[1] and set(written[0]) == {"info.json", "train.npz", "select.npz", "test.npz"}
    info = DataInfo.read(paths.data / "info.json")
    pixels, labels = artifacts.read_split(paths.data / "select.npz")
    assert len(pixels) == len(labels) == info.counts["select"] and pixels.shape[1:] == (1, 8, 8)


def test_the_digest_tells_data_apart(digits):
    labelled = prepare.read_digits(data())
    other = prepare.run(data(seed=1), labelled)[0]
    swapped = Labelled(labelled.pixels, np.roll(labelled.labels, 1), labelled.classes)
    digests = {digits[0].digest, other.digest, prepare.run(data(), swapped)[0].digest}
    assert len(digests) == 3 and prepare.run(data(), labelled)[0] == digits[0]


def test_digits_come_in_other_sizes_and_in_colour():
    labelled = prepare.read_digits(data(channels=3, size=12))
    assert labelled.pixels.shape == (1797, 3, 12, 12)
    assert (labelled.pixels[:, 0] == labelled.pixels[:, 2]).all()


# --- folders --------------------------------------------------------------------------------------


def save(path, size=(10, 10), mode="L", value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of two classes: grey, colour, palette and transparent images of odd sizes and suffixes."""
    for i in range(4):
        save(tmp_path / "cats" / f"{i}.png", (9 + i, 20), "L", 40)
        save(tmp_path / "dogs" / f"{i}.JPG", (31, 7 + i), "RGB", (200, 100, 50))
    save(tmp_path / "cats" / "deep" / "er" / "5.png", (8, 8), "RGBA", (10, 20, 30, 128))
    save(tmp_path / "dogs" / "palette.gif", (6, 5), "P", 3)
    (tmp_path / "cats" / "notes.txt").write_text("no image")
    (tmp_path / "readme.md").write_text("beside the classes")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 8), (3, 13), (1, 1)])
def test_a_folder_of_any_images_is_read(folder, channels, size):
    labelled = prepare.read(data(source=folder.name, channels=channels, size=size), folder.parent)
    assert labelled.classes == ["cats", "dogs"] and labelled.labels.tolist() == [0] * 5 + [1] * 5
    assert labelled.pixels.shape == (10, channels, size, size) and labelled.pixels.dtype == np.uint8
    assert (labelled.pixels[:4] == 40).all()
    dog = labelled.pixels[5].mean((1, 2))
    expected = (200, 100, 50) if channels == 3 else (0.299 * 200 + 0.587 * 100 + 0.114 * 50,)
    assert dog == pytest.approx(expected, abs=4)


def test_a_folder_becomes_splits(folder):
    info, splits = prepare.run(data(source=str(folder)), prepare.read(data(source=str(folder)), folder))
    assert info.counts == {"train": 6, "select": 2, "test": 2} and info.classes == ["cats", "dogs"]
    assert all(set(split["labels"]) == {0, 1} for split in splits.values())


def test_images_are_cropped_at_the_centre(tmp_path):
    picture = np.zeros((6, 18), np.uint8)
    picture[:, 6:12] = 255
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(picture).save(tmp_path / name / "wide.png")
        Image.fromarray(picture.T).save(tmp_path / name / "tall.png")
    labelled = prepare.read_folder(data(size=6), tmp_path)
    assert (labelled.pixels == 255).all()


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    steps = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(steps).save(tmp_path / name / "deep.png")
    labelled = prepare.read_folder(data(), tmp_path)
    assert np.abs(labelled.pixels[0, 0].astype(int) - steps // 256).max() <= 1


def test_a_missing_folder_says_what_to_give(tmp_path):
    with pytest.raises(ValueError, match=r"data\.source: .*nowhere is no folder; give 'data/digits' or a folder"):
        prepare.read(data(source="nowhere"), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is no folder"):
        prepare.read(data(source="file"), tmp_path)


@pytest.mark.parametrize("classes", [[], ["one"]])
def test_a_folder_needs_two_classes(tmp_path, classes):
    for name in classes:
        save(tmp_path / name / "0.png")
    with pytest.raises(
        ValueError, match=rf"at least two sub-folders.*it has {len(classes)}: {(classes or ['none'])[0]}"
    ):
        prepare.read_folder(data(), tmp_path)


def test_a_class_without_images_is_refused(folder):
    (folder / "birds").mkdir()
    with pytest.raises(ValueError, match=r"each with images.*birds has none"):
        prepare.read_folder(data(), folder)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_an_unreadable_image_is_named(folder, content):
    (folder / "dogs" / "broken.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"dogs/broken\.png: not a readable image .*take it out"):
        prepare.read_folder(data(), folder)


def test_a_cut_off_image_is_named(folder):
    whole = (folder / "dogs" / "0.JPG").read_bytes()
    (folder / "dogs" / "0.JPG").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"dogs/0\.JPG: not a readable image"):
        prepare.read_folder(data(), folder)


def test_an_image_that_claims_to_be_enormous_is_named(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(ValueError, match=r"cats/0\.png: not a readable image"):
        prepare.read_folder(data(), folder)


def test_a_large_jpeg_is_read_as_a_smaller_one(tmp_path):
    """Decoding a JPEG at a fraction of its size gives what decoding it whole and shrinking it gives, nearly."""
    side = np.arange(128)
    picture = np.stack([side[:, None] + 0 * side, 0 * side[:, None] + side, side[:, None] // 2 + side // 2], -1)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / name / "0.jpg", quality=95)
    pixels = prepare.read_folder(data(channels=3, size=16), tmp_path).pixels[0]
    whole = np.asarray(Image.fromarray(picture.astype(np.uint8)).resize((16, 16), Image.Resampling.BICUBIC))
    assert abs(pixels.transpose(1, 2, 0).astype(int) - whole).max() <= 4
