"""Preparing data: fair splits, any image file, and errors that name the folder, file or class."""

import io
import re
import shutil
import tarfile
import time
import zipfile
from collections import Counter
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import DATA
from PIL import Image
from sklearn.datasets import load_digits

from scalenet.config.params import Data
from scalenet.data import intake, readers, store
from scalenet.data.source import Source
from scalenet.data.splits import cut, numbered
from scalenet.records.documents import DataInfo
from scalenet.records.paths import Paths
from scalenet.stages import declared, prepare
from scalenet.training.loop import ignore

DIGITS = DATA | {"name": "digits", "source": "data/digits"}


def data(**changes) -> Data:
    return Data.model_validate(DIGITS | {"select_fraction": 0.2, "test_fraction": 0.2} | changes)


def split_images(section, source):
    """Run the stage ``prepare`` on a source; return the data's description and the splits."""
    params = SimpleNamespace(data=section)
    return prepare.run(params, source, state=None, generator=None, device=None, emit=ignore)[:2]


def made(counts, given=(), contents=None, groups=None, **changes):
    """Split a data set with so many images of each class, some of them in given splits.

    Of each class, the first ``given[split]`` are in that split. Every image is 4 bytes: its
    number, or that of ``contents``.
    """
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    splits = np.full(len(labels), "train" if given else "", dtype="<U6")
    for name, count in dict(given).items():
        for label in range(len(counts)):
            start = int((splits[labels == label] == "train").argmax())
            splits[np.flatnonzero(labels == label)[start : start + count]] = name
    numbers = np.arange(len(labels)) if contents is None else np.asarray(contents)
    pixels = numbers.astype("<u4").view(np.uint8).reshape(-1, 1, 2, 2)
    source = Source(
        [f"c{i}" for i in range(len(counts))],
        labels,
        splits,
        lambda index: ((i, pixels[i]) for i in index.tolist()),
        groups=groups,
    )
    return cut(data(size=2, **changes), source), source


def numbers(splits):
    """Return the numbers that the images of each split stand for."""
    return {
        name: part["pixels"][:].reshape(-1, 4).view("<u4")[:, 0] for name, part in splits.items()
    }


def home(made):
    """Return the split of each number."""
    return {n: name for name, part in numbers(made.splits).items() for n in part.tolist()}


def everything(params, root):
    """Return a source's images, labels and classes, all decoded."""
    source = readers.find(params, root)
    index = np.arange(len(source.labels))
    return intake.pixels(params, source, index), source.labels, source.classes


# --- splits ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return split_images(data(), readers.digits(data()))


def test_digits_are_split_once_and_whole(digits):
    info, splits = digits
    assert sum(info.counts.values()) == 1797 and info.counts == {
        n: len(s["labels"]) for n, s in splits.items()
    }
    for name in ("select", "test"):  # a share by chance: four deviations about it
        assert info.counts[name] == pytest.approx(0.2 * 1797, abs=4 * (1797 * 0.16) ** 0.5)
    whole, together = load_digits(), Counter()
    for part in splits.values():
        pixels, labels = part["pixels"], part["labels"]
        assert pixels.shape == (len(labels), 1, 8, 8) and pixels.dtype == np.uint8
        assert labels.dtype == np.int64
        together.update(zip(map(bytes, pixels), labels.tolist(), strict=True))
    grey = np.round(whole.images * 255 / 16).astype(np.uint8)
    assert together == Counter(zip(map(bytes, grey), whole.target.tolist(), strict=True))
    assert info.classes == list("0123456789")


def test_pixels_are_normalised_by_train_alone(digits):
    info, splits = digits
    train = splits["train"]["pixels"][:] / 255
    assert info.mean == [pytest.approx(train.mean(), abs=1e-5)] and info.std == [
        pytest.approx(train.std(), abs=1e-5)
    ]
    assert info.mean != [pytest.approx(splits["test"]["pixels"][:].mean() / 255, abs=1e-5)]


def test_every_image_is_in_one_split_with_its_label():
    done, source = made([40, 300, 70], select_fraction=0.05, test_fraction=0.3)
    assert list(done.splits) == ["train", "select", "test"]
    found = numbers(done.splits)
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(410))
    for name, part in done.splits.items():
        assert np.array_equal(part["labels"], source.labels[found[name]])
        assert np.array_equal(done.places[name], found[name])


def test_adding_or_removing_images_never_moves_another():
    few, many = home(made([50, 50])[0]), home(made([900, 100])[0])
    assert all(many[number] == split for number, split in few.items())
    other = home(made([50, 50], contents=np.arange(100)[::-1])[0])
    assert other == few, "nor does their order"


def test_changing_one_fraction_moves_no_image_between_the_other_and_train():
    wide, narrow = (home(made([200, 200], select_fraction=f)[0]) for f in (0.3, 0.1))
    assert all((wide[n] == "test") == (narrow[n] == "test") for n in wide)
    assert {n for n in wide if narrow[n] == "select"} < {n for n in wide if wide[n] == "select"}


def test_the_source_giving_a_test_moves_no_image_into_or_out_of_select():
    drawn, given = (home(made([90, 90], given)[0]) for given in ((), {"test": 30}))
    both = [n for n in given if given[n] != "test"]
    assert all((drawn[n] == "select") == (given[n] == "select") for n in both)


def test_the_stored_order_is_one_of_content_alone():
    first = made([50, 60])[0].splits
    again = made([50, 60], contents=np.r_[np.arange(50)[::-1], 50 + np.arange(60)[::-1]])[0].splits
    for name in first:
        assert np.array_equal(first[name]["pixels"], again[name]["pixels"])
        assert np.array_equal(first[name]["labels"], again[name]["labels"])


def test_the_first_part_of_a_split_is_a_fair_sample():
    """Batch norm is calibrated on train's first images: they must not all be of one class."""
    for part in made([300, 300])[0].splits.values():
        first = part["labels"][: len(part["labels"]) // 4]
        assert 0.2 < first.mean() < 0.8


def test_splits_depend_on_the_seed_alone():
    first, again, other = (home(made([20, 30], seed=seed)[0]) for seed in (0, 0, 1))
    assert first == again != other


def test_shares_are_right_on_the_whole():
    done = made([20000, 20000], select_fraction=0.1, test_fraction=0.3)[0]
    shares = {name: len(part["labels"]) / 40000 for name, part in done.splits.items()}
    assert shares == pytest.approx({"train": 0.6, "select": 0.1, "test": 0.3}, abs=0.01)


def test_a_group_is_in_one_split_whatever_is_added():
    groups = np.array([f"g{i // 8}" for i in range(400)])
    done, _ = made([200, 200], groups=groups)
    where = home(done)
    assert all(len({where[n] for n in range(g * 8, g * 8 + 8)}) == 1 for g in range(50))
    assert len(set(where.values())) == 3
    more = home(made([200, 600], groups=np.array([f"g{i // 8}" for i in range(800)]))[0])
    assert all(more[n] == where[n] for n in range(400))


def test_images_without_a_group_go_by_their_content():
    free = home(made([100, 100])[0])
    groups = np.array(["" if i % 2 else "all" for i in range(200)])
    assert numbered(groups[:6]).tolist() == [1, 2, 1, 3, 1, 4], "each a group of its own"
    where = home(made([100, 100], groups=groups)[0])
    assert all(where[n] == free[n] for n in range(1, 200, 2))
    assert len({where[n] for n in range(0, 200, 2)}) == 1


def test_equal_images_are_in_one_split():
    contents = np.tile(np.arange(50), 4)
    done, _ = made([100, 100], contents=contents)
    found = [set(part.tolist()) for part in numbers(done.splits).values()]
    assert sum(map(len, found)) == 50 and sum(len(p["labels"]) for p in done.splits.values()) == 200


def test_equal_images_are_dropped_from_train_and_select_before_test():
    contents = [*range(30), *range(20, 40), *range(40)]  # of train, of select and of test
    given = {"test": 40, "select": 20}
    source_order = [*contents[50:], *contents[30:50], *contents[:30]]
    contents = [*source_order, *range(100, 190)]
    done, _ = made([100, 80], given, contents=contents)
    kept, _ = made([100, 80], given, contents=contents, duplicates="drop")
    assert done.dropped == 0 and kept.dropped == 30 + 20
    numbers_kept = numbers(kept.splits)
    assert set(range(40)) <= set(numbers_kept["test"].tolist())
    assert all(len(part) == len(set(part.tolist())) for part in numbers_kept.values())
    assert not set(numbers_kept["train"].tolist()) & set(range(40))
    assert not set(numbers_kept["select"].tolist()) & set(range(40))


@pytest.mark.parametrize("counts", [[0, 90], [90, 0]])
def test_a_class_with_nothing_to_train_on_is_named(counts):
    small = int(np.argmin(counts))
    with pytest.raises(
        ValueError, match=rf"data\.source 'data/digits'.*no image of c{small} is left.*add images"
    ):
        made(counts)


def test_many_rare_classes_are_refused_with_a_seed_that_serves_all_of_them():
    asked = {"select_fraction": 0.06, "test_fraction": 0.1}
    with pytest.raises(ValueError, match=r"no image of c.* is left in train") as refused:
        made([4] * 600, seed=0, **asked)
    seed = int(re.search(r"set data\.seed: (\d+)", str(refused.value))[1])
    labels = made([4] * 600, seed=seed, **asked)[0].splits["train"]["labels"]
    assert len(set(labels.tolist())) == 600


def test_nor_is_a_seed_advised_where_none_helps():
    with pytest.raises(ValueError, match=r"none of 300 other seeds helps: add .* lower the frac"):
        made([1] * 90)


def test_where_images_are_copies_or_of_few_groups_others_are_asked_for():
    """More images of a class's one group, or the same ones again, would help nobody."""
    equal = "as 90 images are copies of 1, which stay together: add other images, or"
    with pytest.raises(ValueError, match=equal):
        made([45, 45], contents=np.zeros(90, int))
    groups = np.array([f"patient {i // 30}" for i in range(90)])
    with pytest.raises(ValueError, match=r"of 3 groups, each .*: add images of other groups"):
        made([30, 30, 30], groups=groups)


def test_a_class_may_be_in_train_alone_but_a_split_may_not_be_empty():
    done, _ = made([1, 200], seed=0)
    there = [name for name, part in done.splits.items() if 0 in part["labels"]]
    assert there == ["train"]
    with pytest.raises(ValueError, match=r"select has no image .*raise its fraction"):
        made([30, 30], select_fraction=1e-9)


def test_the_stage_writes_the_same_bytes_every_time(make_params, tmp_path, monkeypatch):
    params, clock = make_params({"data": {"seed": 3}}), time.time
    written = []
    for name, late in (("a", 0), ("b", 10**7)):
        monkeypatch.setattr(time, "time", lambda late=late: clock() + late)
        paths = Paths(tmp_path / name)
        prepare.main(declared(params, "prepare"), paths, ignore)
        written.append({path.name: path.read_bytes() for path in sorted(paths.data.iterdir())})
    assert written[0] == written[1] and set(written[0]) == {
        "info.json",
        "read.json",
        "train.npz",
        "select.npz",
        "test.npz",
        "contact.png",
    }
    info = DataInfo.read(paths.data / "info.json")
    pixels, labels = store.read(paths.data / "select.npz")
    assert len(pixels) == len(labels) == info.counts["select"] and pixels.shape[1:] == (1, 8, 8)


def test_classes_that_went_and_came_are_said_before_anything_is_trained(tmp_path):
    told, section = [], data(source=str(tmp_path / "images"), select_fraction=0.3)
    for classes in (["ant", "bee", "cat"], ["ant", "bee", "cat"], ["ant", "bees"], ["ant", "wasp"]):
        shutil.rmtree(tmp_path / "images", ignore_errors=True)
        for value, name in enumerate(product(classes, range(20))):
            save(tmp_path / "images" / name[0] / f"{name[1]}.png", value=3 * value)
        prepare.main(SimpleNamespace(data=section), Paths(tmp_path / "out"), told.append)
    said = [record["text"] for record in told if record["event"] == "notice"]
    begins = "classes since the last time: "
    assert said == [f"{begins}gone bee, cat, new bees", f"{begins}gone bees, new wasp"]
    (tmp_path / "out/artifacts/data/info.json").write_text("cut o")
    prepare.main(SimpleNamespace(data=section), Paths(tmp_path / "out"), told.append)
    assert told[-1]["event"] == "read", "a damaged one is made anew"


def test_the_digest_tells_data_apart(digits):
    source = readers.digits(data())
    other = split_images(data(seed=1), source)[0]
    swapped = replace(source, labels=np.roll(source.labels, 1))
    digests = {digits[0].digest, other.digest, split_images(data(), swapped)[0].digest}
    assert len(digests) == 3 and split_images(data(), source)[0] == digits[0]


def test_digits_come_in_other_sizes_and_in_colour():
    pixels, _, _ = everything(data(channels=3, size=12), None)
    assert pixels.shape == (1797, 3, 12, 12) and (pixels[:, 0] == pixels[:, 2]).all()


@pytest.mark.parametrize(
    ("given", "drawn"), [({"test": 10}, {"select"}), ({"test": 10, "select": 5}, set())]
)
def test_splits_of_the_sources_own_are_taken_whole(given, drawn):
    done, source = made([60, 60, 60], given)
    parts = done.places
    for name, count in given.items():
        assert len(parts[name]) == 3 * count and (source.given[parts[name]] == name).all()
    for name in {"train", *drawn}:
        assert len(parts[name]) and (source.given[parts[name]] == "train").all()
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(180))


def test_a_balanced_subset_leaves_the_sources_own_test_whole():
    def of(given, per_class):
        done, source = made([60, 50, 40], given, per_class=per_class)
        counts = {n: np.bincount(source.labels[i], minlength=3) for n, i in done.places.items()}
        return done, counts

    done, counts = of({"test": 10}, 20)
    assert counts["test"].tolist() == [10] * 3
    assert (counts["train"] + counts["select"]).tolist() == [20] * 3
    assert sum(of((), 20)[1].values()).tolist() == [20] * 3
    more, _ = of({"test": 10}, 30)
    small, large = home(done), home(more)
    assert len(small) < len(large) and all(large[n] == split for n, split in small.items()), (
        "a smaller subset is a part, and no image moves"
    )


# --- folders --------------------------------------------------------------------------------------


def save(path, size=(10, 10), mode="L", value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of two classes: grey, colour, palette and transparent images of odd sizes."""
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
    pixels, labels, classes = everything(
        data(source=folder.name, channels=channels, size=size), folder.parent
    )
    assert classes == ["cats", "dogs"] and labels.tolist() == [0] * 5 + [1] * 5
    assert pixels.shape == (10, channels, size, size) and pixels.dtype == np.uint8
    assert (pixels[:4] == 40).all()
    dog = pixels[5].mean((1, 2))
    expected = (200, 100, 50) if channels == 3 else (0.299 * 200 + 0.587 * 100 + 0.114 * 50,)
    assert dog == pytest.approx(expected, abs=4)


def test_a_folder_becomes_splits(folder):
    for i in range(20):
        save(folder / "cats" / f"more{i}.png", value=i * 9)
    section = data(source=str(folder))
    info, splits = split_images(section, readers.find(section, folder))
    assert sum(info.counts.values()) == 30 and info.classes == ["cats", "dogs"]
    assert all(info.counts[name] == len(part["labels"]) > 0 for name, part in splits.items())


def test_images_are_cropped_at_the_centre(tmp_path):
    picture = np.zeros((6, 18), np.uint8)
    picture[:, 6:12] = 255
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(picture).save(tmp_path / name / "wide.png")
        Image.fromarray(picture.T).save(tmp_path / name / "tall.png")
    assert (everything(data(size=6, source="."), tmp_path)[0] == 255).all()


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    steps = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(steps).save(tmp_path / name / "deep.png")
    pixels = everything(data(source="."), tmp_path)[0]
    assert np.abs(pixels[0, 0].astype(int) - steps // 256).max() <= 1


def test_a_missing_folder_says_what_to_give(tmp_path):
    with pytest.raises(
        ValueError, match=r"data\.source: .*nowhere does not exist; give 'data/digits', a folder or"
    ):
        readers.find(data(source="nowhere"), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file is neither a folder nor an archive; give"):
        readers.find(data(source="file"), tmp_path)


@pytest.mark.parametrize("classes", [[], ["one"]])
def test_a_folder_needs_two_classes(tmp_path, classes):
    for name in classes:
        save(tmp_path / name / "0.png")
    with pytest.raises(
        ValueError,
        match=rf"at least two folders.*it has {len(classes)}: {(classes or ['none'])[0]}",
    ):
        readers.find(data(source="."), tmp_path)


def test_images_in_no_folder_are_refused_with_what_to_do(tmp_path):
    for name in ("a.png", "b.png"):
        save(tmp_path / name)
    with pytest.raises(ValueError, match=r"holds 2 images and no folder.*a folder for each class"):
        readers.find(data(source="."), tmp_path)


def test_a_class_without_images_is_refused(folder):
    (folder / "birds").mkdir()
    with pytest.raises(ValueError, match=r"each with images.*birds has none"):
        everything(data(source="."), folder)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_an_unreadable_image_is_named(folder, content):
    (folder / "dogs" / "broken.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"dogs/broken\.png: not a readable image .*take it out"):
        everything(data(source="."), folder)


def test_a_cut_off_image_is_named(folder):
    whole = (folder / "dogs" / "0.JPG").read_bytes()
    (folder / "dogs" / "0.JPG").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"dogs/0\.JPG: not a readable image"):
        everything(data(source="."), folder)


def test_an_image_that_claims_to_be_enormous_is_named(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(ValueError, match=r"cats/0\.png: not a readable image"):
        everything(data(source="."), folder)


def test_a_large_jpeg_is_read_as_a_smaller_one(tmp_path):
    """Decoding a JPEG at a fraction of its size gives nearly what shrinking it whole gives."""
    side = np.arange(128)
    picture = np.stack(
        [side[:, None] + 0 * side, 0 * side[:, None] + side, side[:, None] // 2 + side // 2], -1
    )
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / name / "0.jpg", quality=95)
    pixels = everything(data(channels=3, size=16, source="."), tmp_path)[0][0]
    whole = np.asarray(
        Image.fromarray(picture.astype(np.uint8)).resize((16, 16), Image.Resampling.BICUBIC)
    )
    assert abs(pixels.transpose(1, 2, 0).astype(int) - whole).max() <= 4


# --- archives and splits of their own -------------------------------------------------------------


def picture(value):
    content = io.BytesIO()
    Image.new("RGB", (9, 9), (value, value, value)).save(content, "png")
    return content.getvalue()


def contents(prefix="", splits=("train", "test"), count=6):
    """Name images by split and class; every image is a grey level of its own."""
    names = [
        f"{prefix}{split}/{label}/{i}.png"
        for split in splits
        for label in ("ant", "bee")
        for i in range(count)
    ]
    return {name: picture(i) for i, name in enumerate(names)}


def packed(path, files, folders=()):
    """Write an archive of the kind that its name says, with hidden files that none should read."""
    files = files | {
        "__MACOSX/train/ant/0.png": b"",
        "train/ant/._0.png": b"",
        "notes.txt": b"hello",
    }
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:" + path.suffix[1:].replace("tar", "")) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name in folders:
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
    return path


def unpacked(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["folder", "a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
@pytest.mark.parametrize("prefix", ["", "birds/v2/"])
def test_a_folder_and_an_archive_of_it_are_the_same(tmp_path, kind, prefix):
    files = contents(prefix)
    unpacked(tmp_path / kind, files) if kind == "folder" else packed(tmp_path / kind, files)
    pixels, _, classes = everything(data(source=kind), tmp_path)
    assert classes == ["ant", "bee"] and sorted(pixels[:, 0, 0, 0].tolist()) == list(range(24))
    info, splits = split_images(data(source=kind), readers.find(data(source=kind), tmp_path))
    assert info.counts["test"] == 12 and info.counts["train"] + info.counts["select"] == 12
    assert sorted(splits["test"]["pixels"][:][:, 0, 0, 0].tolist()) == list(range(12, 24))
    for part in splits.values():  # levels 0-5 and 12-17 are ants
        assert (part["labels"] == part["pixels"][:][:, 0, 0, 0] % 12 // 6).all()


def test_the_same_images_at_another_path_give_the_same_bytes(tmp_path):
    """In a folder and in archives of other names: files that later stages read do not change."""
    files, written = contents("birds/v2/", splits=("all",), count=20), []
    unpacked(tmp_path / "here/a", files)
    shuffled = sorted(files.items(), key=lambda item: item[1])
    packed(tmp_path / "b.tar.gz", dict(shuffled))
    renamed = {f"x/{n.split('/')[-2]}/y{n.split('/')[-1]}": c for n, c in files.items()}
    packed(tmp_path / "c.zip", renamed)
    for source in ("here/a", "b.tar.gz", "c.zip"):
        paths = Paths(tmp_path / "out" / source)
        section = data(source=str(tmp_path / source), name=source[0])
        prepare.main(SimpleNamespace(data=section), paths, ignore)
        names = ("info.json", "train.npz", "select.npz", "test.npz")
        written.append({name: (paths.data / name).read_bytes() for name in names})
        assert f'"source": "{tmp_path / source}"' in (paths.data / "read.json").read_text()
    assert written[0] == written[1] == written[2]


@pytest.mark.parametrize(
    ("splits", "counts"),
    [
        (("train", "test"), {"test": 12}),
        (("train", "val", "test"), {"train": 12, "select": 12, "test": 12}),
        (("Train", "Validation"), {"test": 12}),
        (("train",), {}),
    ],
)
def test_folders_named_as_splits_are_splits(tmp_path, splits, counts):
    packed(tmp_path / "a.zip", contents(splits=splits))
    section = data(source="a.zip")
    found = split_images(section, readers.find(section, tmp_path))[0].counts
    assert sum(found.values()) == 12 * len(splits) and found.items() >= counts.items()
    assert found["test"] == counts.get("test", found["test"]) > 0


def test_a_class_may_be_called_test(tmp_path):
    unpacked(
        tmp_path / "a",
        {f"{name}/{i}.png": picture(i) for name in ("test", "train", "exam") for i in range(5)},
    )
    source = readers.find(data(source="a"), tmp_path)
    assert source.classes == ["exam", "test", "train"] and set(source.given) == {""}


def test_a_train_that_lacks_a_class_is_named(tmp_path):
    files = {name: content for name, content in contents().items() if "train/bee" not in name}
    packed(tmp_path / "a.tar", files)
    with pytest.raises(ValueError, match=r"a\.tar .*bee has none in its train split"):
        readers.find(data(source="a.tar"), tmp_path)


def test_an_empty_class_folder_of_an_archive_is_named(tmp_path):
    packed(tmp_path / "a.tar", contents(), folders=("train/wasp", "test/wasp"))
    with pytest.raises(ValueError, match="wasp has none in its train split"):
        readers.find(data(source="a.tar"), tmp_path)


@pytest.mark.parametrize("share", [0.01, 0.5])
@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_a_cut_off_archive_is_refused(tmp_path, kind, share):
    path = packed(
        tmp_path / kind, {name: np.random.default_rng(0).bytes(9000) for name in contents()}
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(
        ValueError, match=r"data\.source: .*a\.(zip|tar).* cannot be read to its end .*whole copy"
    ):
        everything(data(source=kind), tmp_path)


def test_an_unreadable_image_in_an_archive_is_named(tmp_path):
    packed(tmp_path / "a.zip", contents() | {"train/bee/x.png": b"no image"})
    with pytest.raises(
        ValueError,
        match=r"a\.zip/train/bee/x\.png: not a readable image .*take it out of the source",
    ):
        everything(data(source="a.zip"), tmp_path)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (
            ("train", "test", "unlabeled"),
            "has unlabeled beside train; splits are called train, .* take out unlabeled",
        ),
        (("train", "extra"), "has extra beside train"),
        (("val", "test"), "has test, val but no folder called train"),
    ],
)
def test_a_folder_beside_the_splits_is_no_class(tmp_path, splits, message):
    unpacked(tmp_path / "a", contents(splits=splits))
    with pytest.raises(ValueError, match=message):
        readers.find(data(source="a"), tmp_path)


@pytest.mark.parametrize("loose", ["logo.png", "birds/logo.png", "birds/v2/train/logo.png"])
def test_loose_images_change_nothing(tmp_path, loose):
    unpacked(tmp_path / "a", contents("birds/v2/") | {loose: picture(0)})
    source = readers.find(data(source="a"), tmp_path)
    assert source.classes == ["ant", "bee"] and len(source.labels) == 24


def test_a_linked_image_in_an_archive_is_refused(tmp_path):
    path = packed(tmp_path / "a.tar", contents())
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("train/ant/again.png")
        member.type, member.linkname = tarfile.LNKTYPE, "train/ant/0.png"
        archive.addfile(member)
    with pytest.raises(ValueError, match=r"again\.png as a link .*unpack it into a folder"):
        readers.find(data(source="a.tar"), tmp_path)


def test_a_photo_is_turned_upright(tmp_path):
    bright = np.zeros((8, 8), np.uint8)
    bright[0] = 255  # the top row, noted as the right column
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        exif = Image.Exif()
        exif[0x0112] = 6  # turn by 90 degrees to the right
        Image.fromarray(bright).save(tmp_path / name / "0.png", exif=exif)
    assert (everything(data(source="."), tmp_path)[0][0, 0, :, -1] == 255).all()
