"""Tables of paths and labels, images inside tables, splits, groups, and rows that went wrong."""

import csv
import io
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from test_sources import data, decoded, images, picture, tarball, unpacked
from test_summary import prepared

from scalenet.data import readers
from scalenet.data.rows import Row, ordered

TABLE = {"file": "labels.csv", "path": "file", "label": "species", "split": None, "group": None}


def table(**changes):
    return TABLE | changes


def find(place, **changes):
    return readers.find(data(source=place.name, table=table(**changes)), place.parent)


def text(rows, head=("file", "species"), separator=","):
    content = io.StringIO()
    csv.writer(content, delimiter=separator, lineterminator="\n").writerows([head, *rows])
    return content.getvalue()


def write(file, rows, head):
    """Write a table of the kind that its name says."""
    if file.suffix == ".parquet":
        columns = dict(zip(head, map(list, zip(*rows, strict=True)), strict=True))
        parquet.write_table(pa.table(columns), file)
    else:
        file.write_text(text(rows, head, "\t" if file.suffix == ".tsv" else ","), encoding="utf-8")


@pytest.fixture
def flat(tmp_path):
    """Twenty images in one folder, img0.png is of level 0 and so on, and rows of their classes."""
    files = {f"images/img{i}.png": picture(i) for i in range(20)}
    return unpacked(tmp_path / "a", files), [(f"images/img{i}.png", "ab"[i % 2]) for i in range(20)]


def levels(source):
    """Return the class name of each image by its grey level."""
    pixels = decoded(source, np.arange(len(source.labels)))[:, 0, 0, 0].tolist()
    return dict(zip(pixels, [source.classes[i] for i in source.labels], strict=True))


EXPECTED = {i: "ab"[i % 2] for i in range(20)}


def rows_in_order(labels):
    return ordered({label: Row(label, label, "", "") for label in labels})


# --- text of every kind ---------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", [*("utf-8", "utf-8-sig", "utf-32"), *("utf-16", "utf-16-le", "utf-16-be")]
)
def test_separators_and_encodings_are_told_from_the_table(flat, separator, encoding):
    path, rows = flat
    (path / "labels.csv").write_bytes(text(rows, separator=separator).encode(encoding))
    assert levels(find(path)) == EXPECTED


@pytest.mark.parametrize("separator", [";", "\t"])
def test_excels_line_on_the_separator_is_no_row(flat, separator):
    path, rows = flat
    content = f"sep={separator}\r\n" + text(rows, separator=separator)
    (path / "labels.csv").write_bytes(content.encode())
    assert levels(find(path)) == EXPECTED


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_line_ends_and_blank_lines_and_spaces_do_not_matter(flat, newline):
    path, rows = flat
    content = text([(f" {p}", f"{c} ") for p, c in rows], head=(" file", "species ")) + "\n\n"
    (path / "labels.csv").write_bytes(content.replace("\n", newline).encode())
    assert levels(find(path)) == EXPECTED


def test_labels_may_hold_anything(flat):
    path, rows = flat
    odd = {"a": 'crane, "grey"', "b": "two\nlines; caf\xe9"}
    (path / "labels.csv").write_bytes(text([(p, odd[c]) for p, c in rows]).encode("latin-1"))
    source = find(path)
    assert source.classes == sorted(odd.values())
    (path / "labels.csv").write_bytes(text([(p, odd[c]) for p, c in rows]).encode())
    assert find(path).classes == source.classes


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_spaces_before_a_quote_are_no_part_of_a_cell(flat, separator):
    path, rows = flat
    content = "".join(f' "{p}"{separator} "{c}, wild"\n' for p, c in rows)
    (path / "labels.csv").write_text(f"file{separator} species\n{content}", encoding="utf-8")
    assert find(path).classes == ["a, wild", "b, wild"]


def test_numeric_labels_are_in_the_order_of_numbers(flat):
    path, rows = flat
    (path / "labels.csv").write_text(text([(p, i % 12) for i, (p, _) in enumerate(rows)]))
    assert find(path).classes == [str(i) for i in range(12)]


@pytest.mark.parametrize("file", ["labels.csv", "labels.parquet"])
@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10.0", "2.0", "", "NaN"], ["2", "10"]),  # as pandas writes integers with gaps
        (["10", "2.0", "2"], ["2", "10"]),
        (["10.0", "-1.0", "2.0"], ["-1", "2", "10"]),
        (["10.0", "2.0", "2.5"], ["2.0", "2.5", "10.0"]),
        (["10", "01", "1"], ["01", "1", "10"]),
        (["10.0", "2.0", "none at all"], ["10.0", "2.0", "none at all"]),
    ],
)
def test_labels_that_are_floating_numbers_are_in_the_order_of_numbers(flat, file, labels, classes):
    path, rows = flat
    content = [(p, labels[i % len(labels)]) for i, (p, _) in enumerate(rows)]
    write(path / file, content, ("file", "species"))
    source = readers.find(data(source="a", table=table(file=file), most_skipped=1), path.parent)
    assert source.classes == classes


@pytest.mark.parametrize("word", ["NaN", "nan", "NA", "null"])
def test_a_number_that_is_missing_is_no_class(flat, word):
    path, rows = flat
    (path / "labels.csv").write_text(text([(p, "12"[i % 2]) for i, (p, _) in enumerate(rows)]))
    assert find(path).classes == ["1", "2"]
    numbers = [(p, word if i == 5 else "12"[i % 2]) for i, (p, _) in enumerate(rows)]
    (path / "labels.csv").write_text(text(numbers))
    source = readers.find(data(source="a", table=table(), most_skipped=0.1), path.parent)
    assert source.classes == ["1", "2"]
    assert list(source.skipped.values()) == ["a row without a label"]
    words = [(p, word if i == 5 else "ab"[i % 2]) for i, (p, _) in enumerate(rows)]
    (path / "labels.csv").write_text(text(words))
    assert set(find(path).classes) == {"a", "b", word}, "among words it may be one"


def test_two_labels_of_one_number_have_one_order(flat):
    """It was that of Python's hashes, which differ from run to run."""
    path, rows = flat
    (path / "labels.csv").write_text(
        text([(p, ("1", "01", "2")[i % 3]) for i, (p, _) in enumerate(rows)])
    )
    orders = {tuple(rows_in_order(("1", "01", f"{i}"))) for i in range(2, 40)}
    assert find(path).classes == ["01", "1", "2"] and {o[:2] for o in orders} == {("01", "1")}


@pytest.mark.parametrize("cell", ['"z', 'b "z" "', '"a,b'])
def test_a_quote_that_nothing_closes_takes_no_rows_with_it(flat, cell):
    path, rows = flat
    lines = [f"{p},{c},note" for p, c in rows]
    lines[8] = lines[8].replace("note", cell)
    (path / "labels.csv").write_text("\n".join(["file,species,notes", *lines]) + "\n")
    if cell.startswith('"'):
        with pytest.raises(ValueError, match=r"labels\.csv is no table .*ends with one"):
            find(path)
    else:
        assert levels(find(path)) == EXPECTED


def test_paths_without_a_suffix_mean_the_image_of_that_name(flat):
    path, rows = flat
    (path / "images/img3.jpg").write_bytes(picture(3))  # now img3 is two
    (path / "labels.csv").write_text(text([(p.removesuffix(".png"), c) for p, c in rows]))
    with pytest.raises(ValueError, match=r"1 in the table, but not in the source \(images/img3\)"):
        find(path)
    (path / "images/img3.jpg").unlink()
    assert levels(find(path)) == EXPECTED


# --- where a table and its images lie -------------------------------------------------------------


@pytest.mark.parametrize("how", ["back\\slash", "./dot", "absolute", "beside", "parent"])
def test_paths_are_found_however_they_are_written(flat, how):
    path, rows = flat
    write = {
        "back\\slash": lambda p: p.replace("/", "\\"),
        "./dot": lambda p: f"./{p}",
        "absolute": lambda p: str(path / p),
        "beside": lambda p: p.removeprefix("images/"),
        "parent": lambda p: f"../a/../{p}".replace("../a/", "images/"),
    }[how]
    place = "images/labels.csv" if how == "beside" else "labels.csv"
    (path / place).write_text(text([(write(p), c) for p, c in rows]))
    assert levels(find(path, file=place)) == EXPECTED
    assert levels(find(path)) == EXPECTED, "the end of its path names a table"


def test_paths_may_start_at_the_source_too(flat):
    path, rows = flat
    unpacked(path, {"about/labels.csv": text(rows).encode()})
    assert levels(find(path)) == EXPECTED


@pytest.mark.parametrize("suffix", [".png", ""])
def test_files_may_be_named_without_their_folder(flat, suffix):
    path, rows = flat
    rows = [(Path(p).stem + suffix, c) for p, c in rows]
    (path / "labels.csv").write_text(text(rows))
    assert levels(find(path)) == EXPECTED
    unpacked(path, {"more/img3.png": picture(3)})  # now img3 is two
    with pytest.raises(ValueError, match=r"1 in the table, but not in the source \(img3"):
        find(path)
    unpacked(path, {"img4.png": picture(4)})  # paths as they are written lead to an image: no guess
    with pytest.raises(ValueError, match="19 in the table, but not in the source"):
        find(path)


def test_paths_that_all_lead_nowhere_are_shown_beside_those_of_the_images(flat):
    path, rows = flat
    (path / "labels.csv").write_text(text([(f"https://x.org/{p}", c) for p, c in rows]))
    with pytest.raises(
        ValueError, match=r"all 20 paths of 'file' are in the table, but"
    ) as refused:
        find(path)
    assert "such as https://x.org/images/img0.png, " in str(refused.value)
    assert "those of its images such as images/img0.png, " in str(refused.value)
    with pytest.raises(ValueError, match=r"all 2 paths of 'species' .* such as a, b, and"):
        find(path, path="species", label="file")


@pytest.mark.parametrize("kind", ["a.tar", "a.tar.gz", "a.zip"])
def test_a_table_and_its_images_may_be_in_an_archive(flat, kind, tmp_path):
    path, rows = flat
    files = {f"birds/{p.relative_to(path).as_posix()}": p.read_bytes() for p in path.rglob("*.png")}
    files["birds/labels.csv"] = text(rows).encode()
    if kind == "a.zip":
        with zipfile.ZipFile(tmp_path / kind, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        tarball(tmp_path / kind, files)
    assert levels(find(tmp_path / kind)) == EXPECTED


def test_a_parquet_table_is_one_like_another(flat):
    path, rows = flat
    columns = {"file": [p for p, _ in rows], "species": [c for _, c in rows]}
    parquet.write_table(pa.table(columns), path / "labels.parquet")
    assert levels(find(path, file="labels.parquet")) == EXPECTED
    columns["species"] = [float(c == "b") for _, c in rows]  # as pandas writes integers with gaps
    parquet.write_table(pa.table(columns), path / "labels.parquet")
    assert find(path, file="labels.parquet").classes == ["0", "1"]


# --- splits and groups ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "counts"),
    [
        ({0: "train", 1: "Test", 2: "validation"}, {"train": 7, "test": 7, "select": 6}),
        ({0: "train", 1: "train", 2: "val"}, {"train": 14, "test": 6}),
        ({0: "", 1: "", 2: "test"}, {"": 14, "test": 6}),
    ],
)
def test_a_column_may_name_the_splits(flat, words, counts):
    path, rows = flat
    content = [(*row, words[i % 3]) for i, row in enumerate(rows)]
    (path / "labels.csv").write_text(text(content, head=("file", "species", "set")))
    given = find(path, split="set").given.tolist()
    assert {split: given.count(split) for split in given} == counts


def test_an_unknown_word_for_a_split_is_named(flat):
    path, rows = flat
    content = [(*row, "holdout" if i else "train") for i, row in enumerate(rows)]
    (path / "labels.csv").write_text(text(content, head=("file", "species", "set")))
    with pytest.raises(ValueError, match=r"split: 'set' holds holdout; splits are called tr"):
        find(path, split="set")


def test_a_column_may_name_the_groups(tmp_path):
    files = {f"{i}.png": picture(i) for i in range(120)}
    rows = [(name, "ab"[i // 4 % 2], f"bird {i // 4}") for i, name in enumerate(files)]
    path = unpacked(tmp_path / "a", files)
    (path / "labels.csv").write_text(text(rows, head=("file", "species", "bird")))
    made, told = prepared(path, table=table(group="bird"))
    home = {
        int(level): split
        for split, part in made.splits.items()
        for level in part["pixels"][:][:, 0, 0, 0]
    }
    assert len(home) == 120 and made.read.groups == 30 and "30 groups" in told[0]["summary"]
    assert all(len({home[i] for i in range(g * 4, g * 4 + 4)}) == 1 for g in range(30))


@pytest.mark.parametrize("word", ["", "NaN", "nan", "NA", "null", "None"])
@pytest.mark.parametrize("file", ["labels.csv", "labels.tsv", "labels.parquet"])
def test_rows_without_a_group_are_each_alone(tmp_path, file, word):
    """They were one group called NaN, three quarters of the images in one split."""
    files = {f"{i}.png": picture(i) for i in range(120)}
    rows = [(n, "ab"[i % 2], f"b{i // 4}" if i < 32 else word) for i, n in enumerate(files)]
    path = unpacked(tmp_path / "a", files)
    write(path / file, rows, ("file", "species", "bird"))
    made, _ = prepared(path, table=table(file=file, group="bird"))
    assert made.read.groups == 8 and min(len(p["labels"]) for p in made.splits.values()) > 10
    assert sum(len(np.unique(part["groups"])) for part in made.splits.values()) == 8 + 88


def test_a_column_in_which_no_row_names_a_group_is_refused(flat):
    path, rows = flat
    for word in ("", "NaN"):
        write(path / "labels.csv", [(*row, word) for row in rows], ("file", "species", "bird"))
        with pytest.raises(ValueError, match=r"group: 'bird' was given, but no row names a group"):
            find(path, group="bird")


# --- what is wrong is named -----------------------------------------------------------------------


@pytest.mark.parametrize(("key", "value"), [("path", "name"), ("label", "x"), ("split", "set")])
def test_a_column_that_is_not_there_lists_those_that_are(flat, key, value):
    path, rows = flat
    said = rf"table\.{key}: '{value}' is no column of labels\.\w+; its columns are file, spec"
    (path / "labels.csv").write_text(text(rows, separator=";"))
    with pytest.raises(ValueError, match=said):
        find(path, **{key: value})
    columns = {"file": [p for p, _ in rows], "species": [c for _, c in rows]}
    parquet.write_table(pa.table(columns), path / "labels.parquet")
    with pytest.raises(ValueError, match=said):
        find(path, **{key: value, "file": "labels.parquet"})


@pytest.mark.parametrize("file", ["labels.csv", "labels.parquet"])
def test_a_name_that_two_columns_have_is_refused_if_it_is_asked_for(flat, file):
    """The first was taken."""
    path, rows = flat
    content = [(*row, "x", "y") for row in rows]
    if file.endswith("csv"):
        write(path / file, content, ("file", "species", "species ", "note"))
    else:
        columns = [list(column) for column in zip(*content, strict=True)]
        made = pa.Table.from_arrays(columns, ["file", "species", "species", "note"])
        parquet.write_table(made, path / file)
    with pytest.raises(ValueError, match=rf"label: 2 columns of {file} are called 'species', so"):
        find(path, file=file)
    write(path / "labels.csv", content, ("file", "species", "note", "note"))
    assert levels(find(path)) == EXPECTED, "columns that are not asked for may be called anything"


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", b"PAR1 no parquet"])
def test_a_table_that_is_none_is_refused(flat, content):
    (flat[0] / "labels.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"data\.table\.(file|path): .*(columns|cannot be read)"):
        find(flat[0])


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PK\x03\x04\x14\0\0\0[Content_Types].xml", "a workbook or an archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "a workbook"),
        (b'{"file_name": "a.png", "label": "cat"}\n', "JSON"),
        (b"\x1f\x8b\x08\0", "a compressed file"),
        (b"BZh91AY&SY", "a compressed file"),
        (b"\xfd7zXZ\0", "a compressed file"),
    ],
)
def test_a_workbook_or_json_is_told_what_to_be_saved_as(flat, content, kind):
    """Its columns were listed, which were a line of its bytes."""
    (flat[0] / "labels.csv").write_bytes(content)
    with pytest.raises(ValueError, match=f"labels.csv is {kind}; save it as .csv"):
        find(flat[0])


def test_a_table_that_is_not_there_lists_those_that_are(flat):
    path, _ = flat
    unpacked(path, {"x/other.csv": b"", "y/other.csv": b""})
    with pytest.raises(ValueError, match=r"'labels\.csv' was given, but .* tables there: x/other"):
        find(path)
    with pytest.raises(ValueError, match=r"is there 2 times: x/other\.csv, y/other\.csv"):
        find(path, file="other.csv")


WRONG = {
    "in the table, but not in the source": ("images/none.png", "a"),
    "outside of the source, where DVC does not look": ("../b.png", "a"),
    "a row without a label": ("images/img3.png", ""),
    "a row without a path": ("", "a"),
    "a row with more or fewer cells than there are columns": ("images/img3.png", "a", "b"),
    "listed twice, with two labels, splits or groups": ("images/img4.png", "b"),
    "suffix unknown (.mp4)": ("images/x.mp4", "a"),
    "not a readable image": ("images/broken.png", "a"),
}


@pytest.mark.parametrize("why", WRONG)
def test_a_row_that_cannot_be_used_is_counted_with_its_reason(flat, why):
    path, rows = flat
    unpacked(path, {"images/x.mp4": b"", "images/broken.png": b"no image", "../b.png": picture(1)})
    rows = [row for row in rows if row[0] != WRONG[why][0] or "twice" in why]
    (path / "labels.csv").write_text(text([*rows, WRONG[why]]))
    with pytest.raises(ValueError, match=r"most_skipped"):
        prepared(path, table=table())
    made, told = prepared(path, table=table(), most_skipped=0.1)
    assert {key: sum(counts.values()) for key, counts in made.read.skipped.items()} == {why: 1}
    left = 20 if WRONG[why][0] not in {"images/img3.png", "images/img4.png"} else 19
    assert sum(made.info.counts.values()) == left
    assert why in told[0]["summary"]


def test_an_absolute_path_elsewhere_is_outside(flat, tmp_path):
    path, rows = flat
    unpacked(tmp_path, {"b.png": picture(1)})
    for odd in (str(tmp_path / "b.png"), "C:\\photos\\b.png"):
        (path / "labels.csv").write_text(text([*rows, (odd, "a")]))
        with pytest.raises(ValueError, match="1 outside of the source, where DVC does not look"):
            find(path)


@pytest.mark.parametrize("written", ["{}", "./{}", "images/../{}"])
def test_images_in_no_row_and_rows_said_again_are_ignored_and_counted(flat, written):
    path, rows = flat
    again = (written.format(rows[0][0]), rows[0][1])
    (path / "labels.csv").write_text(text([*rows[:18], again]))
    source = find(path)
    assert len(source.labels) == 18
    assert sorted(source.ignored.values()) == [
        "no image by its suffix",
        "not in the table",
        "not in the table",
        "rows that say the same again",
    ]


def test_one_class_is_refused(flat):
    path, rows = flat
    (path / "labels.csv").write_text(text([(p, "a") for p, _ in rows]))
    with pytest.raises(ValueError, match="needs at least two classes, each with images"):
        find(path)


def test_a_table_as_the_source_says_what_to_give(flat):
    path, rows = flat
    (path / "labels.csv").write_text(text(rows))
    with pytest.raises(ValueError, match=r"labels\.csv is a table; give the folder that holds it"):
        find(path / "labels.csv")


def test_groups_are_named_once(make_params):
    with pytest.raises(ValueError, match=r"group and table\.group both name groups"):
        make_params({"data": {"group": "(x)", "table": table(group="bird")}})


# --- images inside --------------------------------------------------------------------------------


FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["wasp", "ant", "bee"], "_type": "ClassLabel"},
}


def inside(count, start=0, features=FEATURES, label=lambda i: i % 2 + 1):
    """Return a table of images as a Hugging Face data set has them; no image is a wasp."""
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    numbers = range(start, start + count)
    pictures = pa.array([{"bytes": picture(i), "path": None} for i in numbers], kind)
    columns = pa.table({"image": pictures, "label": [label(i) for i in numbers]})
    about = {b"huggingface": json.dumps({"info": {"features": features}})}
    return columns.replace_schema_metadata(about if features else None)


def saved(path, columns):
    """Write a table as ``Dataset.save_to_disk`` does: a stream, its state, and a cache beside."""
    path.mkdir(parents=True)
    for name in ("data-00000-of-00001.arrow", "cache-123.arrow"):
        with pa.ipc.new_stream(path / name, columns.schema) as stream:
            stream.write_table(columns, max_chunksize=7)
    (path / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]})
    )
    (path / "dataset_info.json").write_text("{}")


def read(path, **changes):
    return readers.find(data(source=path.name, **changes), path.parent)


def test_a_hugging_face_data_set_on_disk_is_read_with_its_class_names(tmp_path):
    saved(tmp_path / "a", inside(20))
    source = read(tmp_path / "a")
    assert source.classes == ["ant", "bee"] and set(source.given) == {""}
    assert levels(source) == {i: ("ant", "bee")[i % 2] for i in range(20)}


def test_the_folders_of_a_data_set_dict_are_splits(tmp_path):
    for i, split in enumerate(("train", "validation", "test")):
        saved(tmp_path / "a" / split, inside(10, 10 * i))
    (tmp_path / "a" / "dataset_dict.json").write_text('{"splits": []}')
    source = read(tmp_path / "a")
    assert source.given.tolist() == ["test"] * 10 + ["train"] * 10 + ["select"] * 10
    assert sorted(levels(source)) == list(range(30))


def test_parquet_shards_are_read_with_their_splits(tmp_path):
    path = tmp_path / "a/data"
    path.mkdir(parents=True)
    for name, start in (("train-00000-of-2", 0), ("train-00001-of-2", 10), ("test-00000-of-1", 20)):
        parquet.write_table(inside(10, start), path / f"{name}.parquet", row_group_size=3)
    source = read(tmp_path / "a")
    assert source.given.tolist() == ["test"] * 10 + ["train"] * 20
    assert levels(source) == {i: ("ant", "bee")[i % 2] for i in range(30)}
    (path / "train-00000-of-2.parquet").rename(path / "train-00000-of-2.PARQUET")
    single = read(path / "train-00000-of-2.PARQUET")
    assert len(single.labels) == 10
    made, told = prepared(tmp_path / "a")
    assert made.info.counts["test"] == 10 and "30 images of 2 classes" in told[0]["summary"]


@pytest.mark.parametrize("odd", ["holdout", "dev-0"])
def test_a_file_of_no_split_beside_some_of_one_is_refused(tmp_path, odd):
    for start, name in enumerate(("train", odd)):
        parquet.write_table(inside(30, 30 * start), tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match=rf"{odd}\.parquet beside files that name a split"):
        readers.find(data(source=tmp_path.name), tmp_path.parent)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("mnist_train.parquet", "mnist_test.parquet"), ["test", "train"]),
        (("c10-train-00000-of-2.arrow", "c10-test.arrow", "c10-train-00001-of-2.arrow"), None),
        (("svhn/seg_train/0.parquet", "svhn/seg_test/0.parquet"), ["test", "train"]),
        (("test set/TrainData.parquet", "test set/ValData.parquet"), ["train", "test"]),
        (("train.parquet", "mnist_test.parquet"), ["test", "train"]),
        (("train.parquet", "test.PARQUET"), ["test", "train"]),
        (("train.Arrow", "test.ARROW"), ["test", "train"]),
        (("crash_test_1.parquet", "crash_test_2.parquet"), ["", ""]),
        (("a_train_and_test_1.parquet", "a_train_and_test_2.parquet"), ["", ""]),
    ],
)
def test_a_word_in_the_names_of_files_of_images_is_their_split(tmp_path, names, splits):
    """Mixed, the source's own test set would be trained on."""
    for start, name in enumerate(names):
        place = tmp_path / "a" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        columns = inside(10, 10 * start)
        if place.suffix.lower() == ".parquet":
            parquet.write_table(columns, place)
        else:
            with pa.ipc.new_stream(place, columns.schema) as stream:
                stream.write_table(columns)
    splits = splits or ["test", "train", "train"]
    assert read(tmp_path / "a").given.tolist() == [split for split in splits for _ in range(10)]


@pytest.mark.parametrize("odd", ["svhn_extra", "svhn_train_test"])
def test_a_file_that_says_no_split_or_two_is_refused_until_its_name_begins_with_one(tmp_path, odd):
    for start, name in enumerate(("svhn_train", "svhn_test", odd)):
        parquet.write_table(inside(10, 10 * start), tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match=rf"has {odd}.* \(such as train-{odd}\.parquet\)"):
        readers.find(data(source=tmp_path.name), tmp_path.parent)
    (tmp_path / f"{odd}.parquet").rename(tmp_path / f"train-{odd}.parquet")
    given = readers.find(data(source=tmp_path.name), tmp_path.parent).given.tolist()
    assert given.count("train") == 20 and given.count("test") == 10


def test_features_of_any_form_and_shards_without_any_are_read(tmp_path):
    features = FEATURES | {"captions": [{"dtype": "string", "_type": "Value"}]}  # a sequence
    path = tmp_path / "a"
    path.mkdir()
    captions = pa.array([["x"]] * 30)
    parquet.write_table(
        inside(30, features=features).append_column("captions", captions), path / "0.parquet"
    )
    named = inside(30, 30, features=None, label=lambda i: ("ant", "owl")[i % 2])
    parquet.write_table(named, path / "1.parquet")
    source = read(path)
    assert source.classes == ["ant", "bee", "owl"]
    assert [source.classes[i] for i in source.labels[28:32]] == ["ant", "bee", "ant", "owl"]


def test_columns_of_other_names_are_asked_for_by_name(tmp_path):
    columns = inside(30, features=None, label=lambda i: "xy"[i % 2])
    columns = columns.rename_columns(["photo", "species"])
    columns = columns.append_column("nest", pa.array([f"n{i // 3}" for i in range(30)]))
    parquet.write_table(columns, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="columns photo, species, nest, of which photo may be im"):
        read(tmp_path / "a.parquet")
    given = {"file": None, "path": "photo", "label": "species", "split": None, "group": "nest"}
    source = read(tmp_path / "a.parquet", table=given)
    assert source.classes == ["x", "y"] and source.groups.tolist()[:4] == ["n0", "n0", "n0", "n1"]
    with pytest.raises(ValueError, match=r"data\.table\.label: 'kind' is no column of the images"):
        read(tmp_path / "a.parquet", table=given | {"label": "kind"})


def test_several_labels_an_image_are_no_classes(tmp_path):
    columns = inside(30, features=None).rename_columns(["image", "first"])
    columns = columns.append_column(
        "labels", pa.array([[i % 2, 2][: 1 + i % 3] for i in range(30)])
    )
    parquet.write_table(columns, tmp_path / "a.parquet")
    said = (
        r"'labels' holds more than one label an image \(list<.*; name a column of text or numbers"
    )
    with pytest.raises(ValueError, match=said):
        read(tmp_path / "a.parquet")
    given = {"file": None, "path": "image", "label": "first", "split": None, "group": None}
    assert read(tmp_path / "a.parquet", table=given).classes == ["1", "2"]


def test_several_labels_a_row_of_a_parquet_table_are_no_classes(flat):
    path, rows = flat
    columns = {"file": [p for p, _ in rows], "species": [["a"], ["b", "a"]] * 10}
    parquet.write_table(pa.table(columns), path / "labels.parquet")
    with pytest.raises(ValueError, match=r"'species' holds more than one label an image"):
        find(path, file="labels.parquet")


@pytest.mark.parametrize("picture_at", ["banner.png", "assets/banner.png", "docs/a/b/1.png"])
@pytest.mark.parametrize("folders", [("data",), ("data/en", "data/de"), ("train", "test")])
def test_a_data_set_with_a_picture_beside_it_says_which_folder_to_give(
    tmp_path, picture_at, folders
):
    path = unpacked(tmp_path / "a", {picture_at: picture(9), "README.md": b"x"})
    for start, folder in enumerate(folders):
        (path / folder).mkdir(parents=True)
        parquet.write_table(inside(10, 10 * start), path / folder / "0.parquet")
    with pytest.raises(
        ValueError, match=rf"has pictures \({picture_at}\) beside .*0\.parquet"
    ) as no:
        read(path)
    if "train" in folders:
        assert "if these hold the images, take the pictures out" in str(no.value)
        (path / picture_at).unlink()
    else:
        path = Path(re.search(r"if these hold the images, give (\S+) instead", str(no.value))[1])
        assert path == tmp_path / "a/data"
    assert len(read(path).labels) == 10 * len(folders)


def test_a_parquet_file_beside_class_folders_is_no_fault(tmp_path):
    path = unpacked(tmp_path / "a", images("ant", "bee"))
    parquet.write_table(pa.table({"x": [1]}), path / "about.parquet")
    assert read(path).classes == ["ant", "bee"]


@pytest.mark.parametrize("hidden", [".cache/train-0.parquet", "__MACOSX/._train-0.parquet"])
def test_files_that_are_hidden_hold_no_images(tmp_path, hidden):
    place = tmp_path / "a" / hidden
    place.parent.mkdir(parents=True)
    parquet.write_table(inside(10), place)
    with pytest.raises(ValueError, match=r"at least two folders"):
        read(tmp_path / "a")
    parquet.write_table(inside(20), tmp_path / "a/train-0.parquet")
    assert len(read(tmp_path / "a").labels) == 20
    place.write_bytes(b"\0\5\x16\7 of a Mac")
    assert len(read(tmp_path / "a").labels) == 20


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_files_of_images_in_an_archive_are_to_be_unpacked(tmp_path, kind):
    (tmp_path / "a").mkdir()
    parquet.write_table(inside(20), tmp_path / "a/train.parquet")
    packed = Path(shutil.make_archive(tmp_path / "b", kind, tmp_path / "a"))
    for given in (None, table(file=None, path="image", label="label")):
        with pytest.raises(ValueError, match=r"b\..*from a folder alone; unpack it into one"):
            read(packed, table=given)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("photos.zip", "photos.zip"),
        ("train.parquet", "train.parquet"),
        ("train.parquet", ""),
        ("ant/0.png", ""),
        ("labels.csv", ""),
    ],
)
def test_a_clone_without_its_large_files_says_what_fetches_them(tmp_path, name, given):
    others = images("ant", "bee") if name.startswith("ant") else {}
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    clone = unpacked(tmp_path / "a", {**others, name: pointer})
    with pytest.raises(ValueError, match=r"a pointer of Git LFS.*`git lfs pull`"):
        prepared(clone / given, table=TABLE if name.endswith("csv") else None)


@pytest.mark.parametrize("cell", [[[0] * 300] * 3, "photos/1.png"])
def test_columns_that_hold_no_image_files_are_refused_by_their_kind(tmp_path, cell):
    columns = pa.table({"image": [cell] * 9, "label": [0, 1, 2] * 3})
    parquet.write_table(columns, tmp_path / "a.parquet")
    kind = "list" if isinstance(cell, list) else "string"
    wanted = rf"no image files in .*image.* \({kind}.*bytes.*save_to_disk.*--table a\.parquet"
    for given in (None, table(file=None, path="image", label="label")):
        with pytest.raises(ValueError, match=wanted) as told:
            read(tmp_path / "a.parquet", table=given)
        assert len(str(told.value)) < 600


def test_labels_that_are_missing_and_images_that_are_elsewhere_are_skipped(tmp_path):
    columns = inside(40, label=lambda i: -1 if i == 5 else i % 2 + 1)
    kind = columns.schema.field("image").type
    pictures = columns["image"].to_pylist()
    pictures[7] = {"bytes": None, "path": "/data/7.png"}
    columns = columns.set_column(0, "image", pa.array(pictures, kind))
    parquet.write_table(columns, tmp_path / "a.parquet")
    made, _ = prepared(tmp_path / "a.parquet", most_skipped=0.1)
    assert sum(made.info.counts.values()) == 38
    assert {why: sum(c.values()) for why, c in made.read.skipped.items()} == {
        "a row without a label": 1,
        "not a readable image": 1,
    }
    with pytest.raises(ValueError, match=r"1 a row without a label .*most_skipped"):
        prepared(tmp_path / "a.parquet")


def test_a_row_without_an_image_says_so(tmp_path):
    columns = inside(9)
    pictures = pa.array([None, *columns["image"].to_pylist()[1:]], columns.schema.field(0).type)
    parquet.write_table(columns.set_column(0, "image", pictures), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet#0: .*its row holds no image"):
        prepared(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10.0", "2.0", "nan"], ["2", "10"]),  # as pandas writes them after astype(str)
        (["10", "2.5", "None"], ["2.5", "10"]),
        (["ant", "NA"], ["NA", "ant"]),
    ],
)
def test_labels_beside_images_are_read_as_those_of_a_table(tmp_path, labels, classes):
    columns = inside(20, features=None, label=lambda i: labels[i % len(labels)])
    parquet.write_table(columns, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", most_skipped=1).classes == classes


def test_names_that_a_data_set_gives_its_classes_stay_as_they_are(tmp_path):
    features = {**FEATURES, "label": {"names": ["10.0", "2.0", "nan"], "_type": "ClassLabel"}}
    columns = inside(20, features=features, label=lambda i: i % 3)
    parquet.write_table(columns, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").classes == ["10.0", "2.0", "nan"]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_damaged_file_of_images_is_named(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(b"PAR1 nothing" * 9)
    with pytest.raises(ValueError, match=rf"a\.{kind} cannot be read to its end"):
        read(path)


def test_a_machine_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    parquet.write_table(inside(10), tmp_path / "a.parquet")
    monkeypatch.delitem(sys.modules, "scalenet.data.arrow", raising=False)
    monkeypatch.delattr("scalenet.data.arrow", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pyarrow, which is not installed; `pip install pyarrow`"):
        read(tmp_path / "a.parquet")


def test_a_table_without_a_file_where_no_images_are_inside_is_refused(tmp_path):
    path = unpacked(tmp_path / "a", images("ant", "bee"))
    with pytest.raises(ValueError, match=r"table\.file: null was given, but .*name the table"):
        find(path, file=None)
