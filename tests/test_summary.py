"""What was read is said: taken, skipped and why, and the same image in two splits."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_sources import data, find, images, picture, tarball, unpacked

from scalenet.data.names import doubtful, few
from scalenet.data.summary import few_groups
from scalenet.pipeline.init import plan
from scalenet.pipeline.init.look import look
from scalenet.pipeline.watch.lines import Lines
from scalenet.pipeline.watch.progress import Progress
from scalenet.records.documents import Reading
from scalenet.records.paths import Paths
from scalenet.records.written import counted
from scalenet.stages import __main__ as bare
from scalenet.stages import prepare

BROKEN = b"no image"


def prepared(path, **changes):
    """Run the stage on a source; return what it made and what it told."""
    params, told = SimpleNamespace(data=data(source=path.name, **changes)), []
    made = prepare.run(
        params,
        find(path, **changes),
        state=None,
        generator=None,
        device=None,
        emit=told.append,
    )
    return made, told


@pytest.fixture
def damaged(tmp_path):
    """Of 43 files in two class folders, 3 that are no images; and some that nobody misses."""
    files = images("ant", "bee", count=20)
    files |= {"ant/broken.png": BROKEN, "bee/cut.jpg": b"", "bee/photo.mp4": b"\0\0\0 ftypisom"}
    files |= {"ant/notes.txt": b"x", "ant/.DS_Store": b"x", "logo.png": picture(9), "sums": b""}
    return unpacked(tmp_path / "a", files)


@pytest.mark.parametrize(
    ("classes", "named"),
    [
        (["cat", "dog", "cat|dog"], "(cat|dog)"),
        (["a;b", "a;c", "b;c"], "(a;b, a;c, b;c)"),
        (["['cat']", "['cat', 'dog']", "['dog']"], "(\"['cat', 'dog']\")"),
        (["cat, dog", "dog", "cat", "dog, cat"], '("cat, dog", "dog, cat")'),
        (["cat", "dog", "cat and dog"], ""),
        (["tench, Tinca tinca", "crane", "crane, bird"], ""),
        (["salt+vinegar", "salt", "R&D"], ""),
    ],
)
def test_classes_that_join_the_names_of_others_are_said(classes, named):
    said = list(doubtful(classes))
    assert len(said) == bool(named)
    assert all(one.startswith(f"classes are called like several others {named}") for one in said)


def test_a_name_with_a_comma_is_not_read_as_several():
    assert few(["cross, big", "star", "ring"], 2) == '"cross, big", star and 1 more'


def test_a_table_with_several_labels_in_a_row_is_warned_of(tmp_path):
    folder = unpacked(tmp_path / "a", images("x", count=60))
    labels = ("ant", "bee", "ant;bee")
    rows = [f"x/{path.name},{labels[n % 3]}" for n, path in enumerate(sorted(folder.glob("x/*")))]
    (folder / "t.csv").write_text("\n".join(["file,label", *rows]), encoding="utf-8")
    table = {"file": "t.csv", "path": "file", "label": "label", "split": None, "group": None}
    said = prepared(folder, table=table)[0].read.warnings
    assert any("several others (ant;bee)" in one for one in said)
    assert look(str(folder), table=table).classes == ["ant", "ant;bee", "bee"]


def test_a_share_of_broken_files_is_skipped_and_said(damaged):
    made, told = prepared(damaged, most_skipped=0.08)
    assert (
        sum(made.info.counts.values()) == 40 == sum(len(s["labels"]) for s in made.splits.values())
    )
    levels = np.concatenate([part["pixels"][:][:, 0, 0, 0] for part in made.splits.values()])
    assert sorted(levels.tolist()) == list(range(40)), "every image once, none that is broken"
    read = made.read
    assert {name: sum(c.values()) for name, c in read.taken.items()} == made.info.counts
    assert all(counts.keys() == {"ant", "bee"} for counts in read.taken.values())
    assert (read.name, read.source) == ("odd", "a")
    assert read.skipped == {
        "not a readable image": {"ant": 1, "bee": 1},
        "suffix unknown (.mp4)": {"bee": 1},
    }
    assert read.first == ["ant/broken.png", "bee/cut.jpg", "bee/photo.mp4"]
    assert read.ignored == {
        "hidden, or left by a system": 1,
        "in no class folder": 2,
        "no image by its suffix": 1,
    }
    (record,) = told
    assert record["event"] == "read" and record["skipped"] == read.skipped
    assert record["summary"].startswith("40 images of 2 classes taken (train 2")
    assert "3 skipped: 2 not a readable image, 1 suffix unknown (.mp4) (ant/b" in record["summary"]


@pytest.mark.parametrize("most", [0.0, 0.02])
def test_more_than_the_share_stops_before_anything_is_decoded(damaged, most):
    (damaged / "bee/other.mp4").write_bytes(b"")
    with pytest.raises(ValueError) as caught:
        find(damaged, most_skipped=most)
    for part in ("2 suffix unknown (.mp4)", "bee/other.mp4, bee/photo.mp4", f"{most:g} allows"):
        assert part in str(caught.value)
    assert "raise data.most_skipped" in str(caught.value)


def test_more_broken_images_than_the_share_stop_the_stage(damaged):
    (damaged / "bee/photo.mp4").unlink()
    with pytest.raises(ValueError, match=r"ant/broken\.png: not a readable image .*most_skipped"):
        prepared(damaged)
    with pytest.raises(ValueError, match="its content is of no known kind"):
        prepared(damaged)
    with pytest.raises(ValueError, match=r"2 not a readable image \(ant/broken.png, bee/cut.jpg\)"):
        prepared(damaged, most_skipped=0.03)


def test_skipped_files_count_by_the_split_that_their_folder_is(tmp_path):
    names = ("train/ant", "train/bee", "test/ant", "test/bee")
    files = images(*names, count=10) | {"test/bee/x.png": BROKEN, "train/bee/y.png": BROKEN}
    read = prepared(unpacked(tmp_path / "a", files), most_skipped=0.1)[0].read
    assert read.skipped == {"not a readable image": {"test/bee": 1, "train/bee": 1}}
    assert read.taken["test"] == {"ant": 10, "bee": 10}


def test_a_class_of_which_a_split_keeps_nothing_is_told(tmp_path):
    names = ("train/ant", "train/bee", "test/ant", "test/bee")
    files = images(*names, count=12) | {f"test/bee/{i}.png": BROKEN for i in range(12)}
    made, told = prepared(unpacked(tmp_path / "a", files), most_skipped=0.5)
    assert made.read.taken["test"] == {"ant": 12, "bee": 0}
    assert "warning: test has no image of bee" in told[0]["summary"]
    files |= {f"train/bee/{i}.png": BROKEN for i in range(12)}
    with pytest.raises(ValueError, match=r"no image of bee is left in train .*replace those that"):
        prepared(unpacked(tmp_path / "b", files), most_skipped=0.6)


def test_a_file_that_may_not_be_read_is_skipped_like_a_broken_one(tmp_path, monkeypatch):
    path = unpacked(tmp_path / "a", images("ant", "bee", count=20))
    read_bytes = type(path).read_bytes

    def closed(file):
        if file.name == "3.png" and file.parent.name == "bee":
            raise PermissionError(13, "Permission denied", str(file))
        return read_bytes(file)

    monkeypatch.setattr(type(path), "read_bytes", closed)
    assert sum(prepared(path, most_skipped=0.1)[0].info.counts.values()) == 39
    with pytest.raises(ValueError, match=r"bee/3\.png: not a readable image .*Permission denied"):
        prepared(path)


def test_the_same_image_in_two_splits_is_counted_and_dropped_on_demand(tmp_path):
    names = ("train/ant", "train/bee", "val/ant", "val/bee", "test/ant", "test/bee")
    path = unpacked(tmp_path / "a", images(*names))
    made, told = prepared(path)
    assert set(made.read.duplicates.values()) == {0} and "two splits" not in told[0]["summary"]
    for i in range(3):
        (path / f"test/bee/{i}.png").write_bytes((path / f"train/bee/{i}.png").read_bytes())
    made, told = prepared(path)
    assert made.read.duplicates == {"select in train": 0, "test in train": 3, "test in select": 0}
    said = "warning: the same images in two splits: 3 of test in train; data.duplicates: drop"
    assert said in told[0]["summary"] and made.info.counts["train"] == 10
    made, told = prepared(path, duplicates="drop")
    assert set(made.read.duplicates.values()) == {0} and made.read.dropped == 3
    assert made.info.counts == {"train": 7, "select": 10, "test": 10} and made.read.unused == 0
    assert "3 dropped, the same as others" in told[0]["summary"]


def test_the_same_image_within_a_split_is_counted_and_once_on_demand(tmp_path):
    path = unpacked(tmp_path / "a", images("ant", "bee", count=20))
    (path / "ant/again.png").write_bytes((path / "ant/0.png").read_bytes())
    made, told = prepared(path)
    assert sum(made.read.repeated.values()) == 1
    assert "1 the same as others of their split" in told[0]["summary"]
    assert sum(prepared(path, duplicates="drop")[0].info.counts.values()) == 40


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
def test_the_same_image_under_two_classes_is_named(tmp_path, duplicates):
    path = unpacked(tmp_path / "a", images("ant", "bee", count=20))
    (path / "bee/ant.png").write_bytes((path / "ant/0.png").read_bytes())
    (path / "ant/again.png").write_bytes((path / "ant/1.png").read_bytes())
    made, told = prepared(path, duplicates=duplicates)
    assert made.read.conflicting == ["ant/0.png", "bee/ant.png"]
    said = "warning: 2 images are there under two classes (ant/0.png, bee/ant.png)"
    then, left = {
        "keep": ("data.duplicates: drop leaves them out", 42),
        "drop": ("they are left out", 39),
    }[duplicates]
    assert f"{said}; {then}" in told[0]["summary"]
    assert sum(made.info.counts.values()) == left


def test_where_many_images_are_under_two_classes_each_is_named_beside_its_copy(tmp_path):
    path = unpacked(tmp_path / "a", images("ant", "bee", count=20))
    for i in range(8):
        (path / f"bee/copy{i}.png").write_bytes((path / f"ant/{i}.png").read_bytes())
    [_, told] = prepared(path)
    named = ", ".join(f"ant/{i}.png, bee/copy{i}.png" for i in range(3))
    assert f"16 images are there under two classes ({named} and 10 more)" in told[0]["summary"]


def test_groups_by_a_pattern_stay_together_and_are_counted(tmp_path):
    files = {f"{c}/{c}{i // 4}_{i}.png": picture(i + 60 * (c == "bee")) for c in ("ant", "bee")
             for i in range(60)}  # fmt: skip
    path = unpacked(tmp_path / "a", files)
    made, told = prepared(path, group="^(.*)_")
    assert made.read.groups == 30 and made.read.torn == 0 and "30 groups" in told[0]["summary"]
    assert 0 < made.read.tested < 30
    said = f"warning: test is worth {made.read.tested} groups of equal size, and as images"
    assert said in told[0]["summary"]
    for part in made.splits.values():
        levels = part["pixels"][:][:, 0, 0, 0].astype(int) // 4
        pairs = set(zip(levels.tolist(), part["groups"].tolist(), strict=True))
        assert len(pairs) == len(set(levels)) == len(set(part["groups"])), "numbered alike"
    home = {
        int(level): split
        for split, part in made.splits.items()
        for level in part["pixels"][:][:, 0, 0, 0]
    }
    assert all(len({home[i] for i in range(g * 4, g * 4 + 4)}) == 1 for g in range(30))
    with pytest.raises(ValueError, match=r"data\.group: .*no image's path matches.*ant/ant0_0"):
        prepared(path, group="(x)y")


def test_a_group_larger_than_a_split_is_named(tmp_path):
    """It goes whole to one, whatever the fractions say; and counts for little there."""
    files = {f"{c}/{'film' if i < 80 else f'g{i}'}_{i}.png": picture(i + 100 * (c == "bee"))
             for c in ("ant", "bee") for i in range(100)}  # fmt: skip
    path = unpacked(tmp_path / "a", files)
    for seed in range(20):
        made, told = prepared(path, group="/(.*)_", seed=seed)
        share = made.info.counts["test"] / 200
        if share > 0.8:
            break
    assert share > 0.8 and made.read.tested <= 2
    [line] = [one for one in made.read.warnings if one.startswith("test has ")]
    assert line.startswith(f"test has {share:.0%} of the images, where data.test_fraction asks for")
    assert "and film alone has 160 images; another data.seed or fraction draws anew" in line
    assert line in told[0]["summary"]


def test_images_that_are_alone_count_beside_a_few_pairs(tmp_path):
    files = {f"{c}/{i}_{f'p{i // 2}' if i < 12 else ''}.png": picture(i + 120 * (c == "bee"))
             for c in ("ant", "bee") for i in range(120)}  # fmt: skip
    path = unpacked(tmp_path / "a", files)
    made = next(m for m in (prepared(path, group=r"_(p.*)\.", seed=i)[0] for i in range(20))
                if m.read.tested)  # fmt: skip
    assert made.read.groups == 6 and made.read.tested > 0.6 * made.info.counts["test"]
    assert not [one for one in made.read.warnings if "equal size" in one or "asks for" in one]


def test_a_group_that_the_sources_own_splits_tear_is_told(tmp_path):
    names = ("train/ant", "train/bee", "test/ant", "test/bee")
    made, told = prepared(unpacked(tmp_path / "a", images(*names)), group=r"([0-9]+)\.png")
    assert made.read.torn == 5
    assert "warning: 5 groups are in two of the source's own splits" in told[0]["summary"]


def test_classes_that_are_spelt_in_two_ways_are_told(tmp_path):
    """A table's or a colleague's other spelling makes a class of its own."""
    made, told = prepared(unpacked(tmp_path / "a", images("Sea lion", "sea_Lion", "A", "a")))
    said = made.read.warnings[0]
    assert said.startswith("classes are called nearly the same (Sea lion, sea_Lion): if they are")
    assert said in told[0]["summary"] and said in list(plan._source(look(str(tmp_path / "a")), 30))


@pytest.mark.parametrize(("bright", "dim"), [(0, 0), (3, 3), (16, 0)])
def test_a_source_that_is_almost_black_is_told(tmp_path, bright, dim):
    """As 12 bits in integers of 16 are: the upper 8 bits hold 16 levels alone."""
    levels = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    for i in range(30):
        scale = 16 if i < bright else 0.06 if i < bright + dim else 1
        image = Image.fromarray((levels * scale + 7 * i).astype(np.uint16))
        unpacked(tmp_path / "a", {f"{'ab'[i % 2]}/{i}.png": b""})
        image.save(tmp_path / "a" / "ab"[i % 2] / f"{i}.png")
    made, told = prepared(tmp_path / "a")
    assert made.read.dark == 30 - bright and (made.read.brightest == 16) == (bright == 0)
    said = f"warning: {30 - bright} of 30 images have no pixel brighter than 64 of 255, the b"
    assert (said in told[0]["summary"]) == (bright < 15), "a few may be of the night"


def test_one_of_a_kind_is_told_as_one():
    assert few_groups(1).startswith("test is worth 1 group of equal size, and as images")
    assert counted(1_797, "group") == "1,797 groups" and counted(0, "group") == "0 groups"
    assert [counted(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]


def test_images_beyond_per_class_are_said(tmp_path):
    made, told = prepared(unpacked(tmp_path / "a", images("ant", "bee", count=29)), per_class=25)
    assert made.read.unused == 8 and "8 left over, beyond per_class" in told[0]["summary"]


def test_a_thousand_classes_with_odd_names_are_read_and_written(tmp_path):
    names = [f'{i:04}, "a\nb" %s $x' for i in range(1100)]
    places = [f"{split}/{name}" for name in names for split in ("train", "val", "test")]
    path = unpacked(tmp_path / "a", {f"{place}/0.png": picture(len(place)) for place in places})
    told, paths = [], Paths(tmp_path)
    prepare.main(SimpleNamespace(data=data(source="a")), paths, told.append)
    read = Reading.read(paths.data / "read.json")
    assert list(read.taken["train"]) == sorted(names) == paths.info().classes
    assert len(told[0]["summary"]) < 600 and "\n" not in told[0]["summary"]
    (path / "train" / names[7] / "0.png").unlink()
    with pytest.raises(ValueError, match=r"0007.* has none in its train split"):
        prepared(path)


def test_an_archive_without_its_end_mark_is_a_warning_at_every_door(tmp_path):
    path = tarball(tmp_path / "a.tar", images("ant", "bee", count=20))
    assert "end mark" not in prepared(path)[1][0]["summary"]
    path.write_bytes(path.read_bytes()[: 1024 * 38])
    made, told = prepared(path)
    assert made.read.unmarked and sum(made.info.counts.values()) == 38
    assert "38 images" in told[0]["summary"]
    assert "warning: the archive has no end mark, so it may have been cut" in told[0]["summary"]
    assert look(str(path)).unmarked


def test_the_summary_is_the_same_every_time(damaged):
    first, again = (prepared(damaged, most_skipped=0.1)[0].read for _ in range(2))
    assert json.dumps(first.plain()) == json.dumps(again.plain())


def test_a_bare_stage_prints_it(capsys):
    bare.say({"event": "read", "summary": "2,527 images of 6 classes taken"})
    assert capsys.readouterr().err == "2,527 images of 6 classes taken\n"


def test_every_door_prints_it_at_once():
    lines = []
    progress = Progress([Lines(lines.append)])
    progress.tell("prepare", {"event": "read", "summary": "60 images of 3 classes taken"})
    assert lines == ["prepare: 60 images of 3 classes taken"]
