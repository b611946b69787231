"""params.yaml written again: all stands as it stood but what was set."""

import difflib
import shutil

import pytest
import yaml
from conftest import ROOT

from scalenet.config.params import read_yaml
from scalenet.pipeline import settings, yamltext


@pytest.fixture
def root(tmp_path):
    shutil.copy2(ROOT / "params.yaml", tmp_path)
    return tmp_path


def change(root, preset, overrides):
    """Return the lines that went from params.yaml and those that came."""
    before = (root / "params.yaml").read_text().splitlines()
    settings.apply(root, preset, overrides)
    after = (root / "params.yaml").read_text().splitlines()
    lines = [*difflib.unified_diff(before, after, n=0)][2:]
    gone = [line[1:] for line in lines if line[0] == "-"]
    return gone, [line[1:] for line in lines if line[0] == "+"]


def test_the_committed_file_is_written_as_it_stands():
    text = yamltext.dump(yamltext.load(ROOT / "params.yaml"))
    assert text == (ROOT / "params.yaml").read_text()


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("search.population", 16, "  population: 16          # base models per generation"),
        ("data.per_class", 7, "  per_class: 7            # most images of a class"),
        ("space.stages.0.width", 4, "    - {width: 4, depth: 1, stride: 1, expands: [1]"),
        ("scaling.stages.1.depths", [1.0, 1.3], "      depths: [1.0, 1.3]"),
        ("retrain.recipe.augment.scale", [0.5, 1.0], "      scale: [0.5, 1.0]"),
        ("data.name", "other", "  name: other "),
    ],
)
def test_what_is_set_is_the_one_line_that_changes(root, key, value, line):
    [gone], [came] = change(root, None, {key: value})
    assert came.startswith(line)
    back = read_yaml(ROOT / "params.yaml")
    for part in key.split("."):
        back = back[int(part) if part.isdigit() else part]
    assert change(root, None, {key: back}) == ([came], [gone])


def test_a_word_that_is_read_as_something_else_is_quoted(root):
    [_], [came] = change(root, None, {"data.name": "no"})
    assert came.startswith('  name: "no"')


def test_a_mapping_comes_below_its_comment_and_null_is_a_word(root):
    file = "supernet/weights.pt"
    (root / file).parent.mkdir()
    (root / file).write_bytes(b"weights")
    gone, came = change(root, None, {"supernet.init": file})
    assert [line.split("#")[0].split() for line in gone] == [["init:", "null"]]
    assert [line.split("#")[0].split()[0] for line in came] == ["init:", "file:", "sha256:"]
    assert change(root, None, {"supernet.init": None}) == (came, gone)


@pytest.mark.parametrize("preset", ["tiny", "cifar10", "imagenet"])
def test_what_a_preset_makes_has_short_lines_and_is_written_as_it_stands(root, preset):
    settings.apply(root, preset, {})
    text = (root / "params.yaml").read_text()
    assert max(map(len, text.splitlines())) <= 104
    assert all(line == line.rstrip() for line in text.splitlines())
    assert all(f"\n\n{section}:" in text for section in [*yaml.safe_load(text)][1:])
    assert yamltext.dump(yamltext.load(root / "params.yaml")) == text
