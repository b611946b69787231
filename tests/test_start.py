"""A project that starts from the super-supernet of another: ``scalenet init --start``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import verb
from test_init import RATES, seen, write_images

from scalenet.config import params as config
from scalenet.nets import elastic, inherit
from scalenet.pipeline.init import plan, start
from scalenet.pipeline.init.design import Designer
from scalenet.pipeline.init.drafts import Wish
from scalenet.records import files
from scalenet.records.documents import DataInfo
from scalenet.records.paths import Paths
from scalenet.space.network import Task
from scalenet.stages import run_stage
from scalenet.training.loop import ignore

GENERATOR = torch.Generator().manual_seed(0)


def net_of(params: config.Params, task: Task) -> elastic.Elastic:
    return elastic.build(params.space, params.scaling, task, params.supernet.coupling, GENERATOR)


@pytest.fixture
def other(tmp_path) -> Path:
    """Return a project on more photographs, whose super-supernet is as it began."""
    wish = Wish("other", 60, size=64)
    params = Designer(seen("photographs"), "images", wish).design(RATES).params
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    paths, task = Paths(folder), Task(3, 10)
    elastic.write(paths.supernet / "weights.pt", net_of(params, task), "left")
    counts = {"train": 9000, "select": 500, "test": 500}
    classes = [f"c{i}" for i in range(task.classes)]
    moments = {"mean": [0.5] * 3, "std": [0.2] * 3}
    info = DataInfo(channels=3, size=64, classes=classes, counts=counts, **moments, digest="0")
    info.write(paths.data / "info.json")
    return folder


@pytest.mark.parametrize(("minutes", "sizes"), [(60, 6), (2, 3)])
def test_its_super_supernet_begins_as_the_first_part_of_the_other(other, tmp_path, minutes, sizes):
    there = config.load(other / "params.yaml")
    begun = start.read(str(other), tmp_path / "mine")
    wish = Wish("mine", minutes, start=begun)
    made = Designer(seen("photographs"), "images", wish).design(RATES)
    assert made.params.space == there.space and made.params.data.size == 64
    assert made.params.scaling.stages == there.scaling.stages[:sizes]
    assert list(made.params.family) == [f"S{i}" for i in range(sizes)]
    init = made.params.supernet.init
    assert init.file == "../other/artifacts/supernet/weights.pt", "both may be moved together"
    (tmp_path / "mine").mkdir()
    source = inherit.read(init, tmp_path / "mine")
    inherit.supernet(net_of(made.params, Task(3, 6)), source)
    lines = list(plan.lines(seen("photographs"), wish, made, RATES))
    assert any(f"from {other}, which saw 9,000 images of 10 classes" in line for line in lines)


def test_too_few_minutes_and_too_many_classes_say_what_to_do(other, tmp_path):
    begun = start.read(str(other), tmp_path / "mine")
    with pytest.raises(ValueError, match=r"the smallest family, 3 sizes .*; give more$"):
        Designer(seen("photographs"), "images", Wish("mine", 0.1, start=begun)).design(RATES)
    names = [f"c{i}" for i in range(20_000)]
    many = seen("photographs", classes=names, counts=[50] * len(names))
    with pytest.raises(ValueError, match=r"do not serve 20,000 classes .*; leave --start out$"):
        Designer(many, "images", Wish("mine", 30, start=begun)).first()


def test_what_cannot_be_started_from_is_refused(other, tmp_path):
    write_images(tmp_path / "photos", {"a": 30, "b": 30}, (70, 70), True)

    def refusal(*more: str) -> str:
        code, _, err = verb(tmp_path, "init", "photos", "mine", "--start", *more)
        assert code == 2 and not (tmp_path / "mine").exists()
        return err

    for option in (("--size", "96"), ("--max-flops", "1M"), ("--max-ms", "3")):
        assert f"{option[0]} was given with --start" in refusal("other", *option)
    assert "does not exist" in refusal("nowhere")
    assert "there is no params.yaml in it" in refusal("photos")
    params = yaml.safe_load((other / "params.yaml").read_text())
    params["space"]["head"]["width"] *= 2
    (other / "params.yaml").write_text(yaml.safe_dump(params))
    said = refusal("other")
    assert "was changed since its super-supernet was trained; run `" in said
    (other / "artifacts/supernet/weights.pt").unlink()
    assert "run `scalenet run --target supernet` there" in refusal("other")


def test_params_name_the_weights_and_say_why(other, tmp_path):
    write_images(tmp_path / "photos", {"a": 30, "b": 30}, (70, 70), True)
    code, out, err = verb(tmp_path, "init", "photos", "mine", "--start", "other")
    assert code == 0, err
    assert "starting from other, which saw 9,000 images of 10 classes" in out
    text = (tmp_path / "mine/params.yaml").read_text()
    assert "# init: from other, trained on 9,000 images of 10 classes; space and sizes" in text
    assert "\n    file: ../other/artifacts/supernet/weights.pt\n    sha256: " in text
    assert max(map(len, text.splitlines())) <= 120


def test_what_learnt_from_images_of_this_test_is_no_start(built, make_params, tmp_path):
    """The same images, split by other fractions."""
    other, mine = tmp_path / "other", tmp_path / "mine"
    shutil.copytree(built, other)
    weights = Paths(other).supernet / "weights.pt"
    params = config.load(built / "params.yaml")
    elastic.write(weights, net_of(params, Paths(other).info().task), "left")
    init = {"file": "../other/artifacts/supernet/weights.pt", "sha256": files.sha256(weights)}

    def supernet_of(**data) -> None:
        content = params.model_dump(mode="json")
        content["data"] |= data
        content["supernet"]["init"] = init
        shutil.rmtree(mine, ignore_errors=True)
        mine.mkdir()
        (mine / "params.yaml").write_text(yaml.safe_dump(content))
        for stage in ("prepare", "supernet"):
            run_stage(mine, stage, None, ignore)

    supernet_of()
    with pytest.raises(ValueError, match=r"[\d,]+ of the [\d,]+ images of select"):
        supernet_of(test_fraction=0.4)
    supernet_of(test_fraction=0.4, size=12)  # which images these are cannot be told
    (Paths(other).data / "train.npz").unlink()
    supernet_of(test_fraction=0.4)
