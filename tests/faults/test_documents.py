"""Documents that no params file is: one line within two seconds, whatever they hold."""

from __future__ import annotations

import time

import pytest
from ruamel.yaml import YAML

from scalenet.config import yamlfile
from scalenet.config.params import load
from scalenet.records import files
from scalenet.report import confusion

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: !!timestamp x", "tag"),
        ("a: !!set [1]", "tag"),
        ("a: !!python/object/apply:os.system [ls]", "tag"),
        ("a: " + "[" * 900 + "]" * 900, "nested deeper"),
        ("a: " + "{a: " * 900 + "1" + "}" * 900, "nested deeper"),
        (BOMB, "more than 10,000 values"),
        ("".join(f"k{i}: 1\n" for i in range(20_000)), "more than 10,000 values"),
        ("a: " + "9" * 5_000, "5,000 letters"),
        ("a: 2001-99-99", "month"),
        ("? [a, b]\n: 1", "a key should be a word"),
        ("a: &a [*a]", "stands for nothing"),
        ("a: *b", "stands for nothing"),
        ("a: 1\na: 2", "given twice"),
        ("\x00", "not valid YAML"),
        ("a: \x07", "not valid YAML"),
        ("--- 1\n--- 2", "not valid YAML"),
        ("", "holds NoneType"),
    ],
)
def test_a_document_is_refused_in_a_line(tmp_path, text, told):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    start = time.process_time()
    with pytest.raises(ValueError, match=told) as refused:
        load(path)
    assert time.process_time() - start < 2
    assert str(path) in str(refused.value) and len(str(refused.value)) < 1_000


def test_anchors_are_taken_as_what_they_stand_for():
    assert yamlfile.parse("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}") == {
        "a": {"b": 1},
        "c": {"b": 1},
        "d": {"b": 1, "e": 2},
    }


def test_numbers_are_those_that_dvc_reads():
    """DVC reads YAML 1.2 by ruamel."""
    text = "[1e-6, 2e5, +2.E+5, -1.5e3, 4.0e-5, 1_0, .5, e5, 1e, 1.2.3e4, 1e5x, '1e5']"
    known = YAML(typ="safe").load(text.replace("1_0", "10"))
    assert yamlfile.parse(text) == known and known[:4] == [1e-6, 2e5, 2e5, -1500.0]


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8"):
        load(path)


@pytest.mark.parametrize("name", ["a\rb", "\r", "a\r\nb", "a\nb", 'a"b,c', " a ", "null", "é漢"])
def test_a_class_of_any_name_is_read_from_a_table_as_it_was_written(tmp_path, name):
    path = tmp_path / "confusion.csv"
    files.write_table(path, ("member", "true", "predicted", "count"), [("S0", name, "b", 3)])
    assert confusion.read(path) == [("S0", name, "b", 3)]
    assert [row["true"] for row in files.read_table(path)] == [name]


def test_a_table_of_other_names_has_the_same_bytes_as_ever(tmp_path):
    rows = [["S0", None, 0.25], ["a,b", 'q"', "x\ny"], ["", "", ""]]
    files.write_table(tmp_path / "a.csv", iter(["one", "two", "three"]), iter(map(iter, rows)))
    told = 'one,two,three\nS0,,0.25\n"a,b","q""","x\ny"\n,,\n'
    assert (tmp_path / "a.csv").read_bytes() == told.encode()
