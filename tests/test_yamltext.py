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


def test_a_mapping_that_is_set_keeps_what_is_said_of_the_keys_that_stay(root):
    text = (root / "params.yaml").read_text()
    said = text.replace("  S1: {multiple: 2, seed: 0}\n", "  S1: {multiple: 2, seed: 0}  # mine\n")
    (root / "params.yaml").write_text(said)
    family = {name: {"multiple": 2**i, "seed": 0} for i, name in enumerate(("S0", "S1", "S2"))}
    gone, came = change(root, None, {"family": family | {"S9": {"multiple": 64, "seed": 1}}})
    assert [line.split(":")[0].strip() for line in gone] == ["S3", "S4", "S5"]
    assert [line.strip() for line in came] == ["S9: {multiple: 64, seed: 1}"]


def test_a_preset_leaves_what_is_said_of_images_and_machine(root):
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("  seed: 1 ", "  # ours\n  seed: 1 "))
    settings.apply(root, "tiny", {})
    data = (root / "params.yaml").read_text().partition("\ndata:")[2].partition("\nspace:")[0]
    assert "  # ours\n  seed: 1" in data


def test_a_tab_that_dvc_does_not_take_is_named_with_its_line(root):
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("  divisor: 4 ", "  divisor: 4\t"))
    with pytest.raises(ValueError, match=r"not valid YAML: .*'\\t'.* line \d+"):
        settings.apply(root, None, {"search.seed": 3})


def test_a_row_that_changes_is_named_by_its_place():
    one, other = ([{"depths": [1.0]}, {"depths": [1.0, n]}] for n in (1.2, 1.4))
    [found] = settings.changed({"stages": one}, {"stages": other})
    assert found == ("stages.1.depths", [1.0, 1.2], [1.0, 1.4])


@pytest.mark.parametrize("preset", ["tiny", "cifar10", "imagenet"])
def test_what_a_preset_makes_has_short_lines_and_is_written_as_it_stands(root, preset):
    settings.apply(root, preset, {})
    text = (root / "params.yaml").read_text()
    assert max(map(len, text.splitlines())) <= 104
    assert all(line == line.rstrip() for line in text.splitlines())
    assert all(f"\n\n{section}:" in text for section in [*yaml.safe_load(text)][1:])
    assert yamltext.dump(yamltext.load(root / "params.yaml")) == text
