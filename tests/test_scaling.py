"""docs/scaling.md is walked through literally, on a few small photographs."""

from __future__ import annotations

import json
import re
import shlex
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import verb
from PIL import Image
from test_distributed import typed
from test_init import RATES
from test_latency import PHONE

from bench import smoke
from scalenet.config import params as config
from scalenet.pipeline import devices
from scalenet.pipeline.init import probe, timing
from scalenet.pipeline.init.timing import Trial

DOCUMENT = Path(__file__).parent.parent / "docs/scaling.md"
BLOCKS = re.findall(r"^```bash\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)


def block(naming: str) -> str:
    [found] = [text for text in BLOCKS if naming in text]
    return found


def photographs(folder: Path, classes: list[str], count: int) -> None:
    """Lay JPEGs of 96 x 64 pixels, smaller than their pixels at 64 px."""
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            rough = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
            Image.fromarray(rough).resize((96, 64)).save(folder / name / f"{i}.JPEG")


def sizes(data: Path) -> dict[str, int]:
    return {name: (data / f"{name}.npz").stat().st_size for name in ("train", "select", "test")}


def test_the_store_changes_under_what_was_trained(tmp_path):
    photographs(tmp_path / "photos", ["birch", "oak", "yew"], 40)
    begin = "--preset tiny --set data.source=photos --set data.channels=3 --set data.size=64"
    typed(tmp_path, f"scalenet params {begin}\ndvc repro --quiet supernet")
    data, weights = tmp_path / "artifacts/data", tmp_path / "artifacts/supernet/weights.pt"
    raw, before = sizes(data), (data / "info.json").read_bytes()
    typed(tmp_path, block("data.store").replace("--force", "--force supernet"))  # of two stages
    assert all(count < raw[name] / 2 for name, count in sizes(data).items()), "files, not pixels"
    assert (data / "info.json").read_bytes() == before
    said = typed(tmp_path, "scalenet status")
    assert re.findall(r"^(\S+) +up to date", said, re.MULTILINE) == ["prepare", "supernet"]
    trained = weights.read_bytes()
    typed(tmp_path, "dvc repro --force --single-item --quiet supernet")
    assert weights.read_bytes() == trained, "what is read is the same"


def test_imagenets_photographs_are_taken_in_from_nothing(tmp_path):
    given, classes = tmp_path / "datasets/imagenet", ["n01440764", "n01443537", "n02102040"]
    photographs(given / "train", classes, 100)  # of which the preset takes 2 % for select
    photographs(given / "val", classes, 4)
    said = typed(tmp_path, block("mkdir imagenet").replace("/datasets/imagenet", str(given)))
    assert "312 images of 3 classes" in said
    info = json.loads((tmp_path / "imagenet/artifacts/data/info.json").read_text())
    assert info["classes"] == classes and info["size"] == 352
    assert info["counts"]["test"] == 12 and sum(info["counts"].values()) == 312


def walked(folder: Path) -> config.Params:
    """Type what the document says of milliseconds; return the params of the project begun."""
    photographs(folder / "images", ["birch", "oak", "yew"], 100)
    with tarfile.open(folder / "photos.tar", "w") as archive:
        archive.add(folder / "images", "images")
    for line in (block("scalenet latency") + block("scalenet init")).splitlines():
        code, said, wrong = verb(folder, *shlex.split(line)[1:])
        assert code == 0, said + wrong
    return config.load(folder / "photos/params.yaml")


def test_a_budget_of_milliseconds_comes_from_another_machines_file(tmp_path, monkeypatch):
    """What takes time is given: the machines' rates. All else is as the document says."""
    named = []

    def measure(params, task, name, *rest):
        named.append(name)
        return PHONE.model_copy(update={"device": name}), Trial(0.03, 0.95, 0.01, 0.99, 0.8, (1, 9))

    monkeypatch.setattr(devices, "measure", measure)
    monkeypatch.setattr(probe, "probe", lambda *_: RATES)
    scaling = walked(tmp_path).scaling
    assert named == ["my phone"], "init takes the file, and measures nothing"
    assert scaling.measure == "latency" and scaling.latency.device == "my phone"
    assert scaling.target(len(scaling.stages) - 1) <= 30


@pytest.mark.long
def test_a_budget_of_milliseconds_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "ERROR", 9.0)  # other tests run on the same cores
    monkeypatch.setattr(timing, "TAU", -1.0)
    assert walked(tmp_path).scaling.latency.device == "my phone"


def test_benchmarks_that_the_document_has_one_type_are_run_by_make_bench_smoke():
    typed_there = [line for text in BLOCKS for line in text.splitlines() if "bench." in line]
    assert typed_there
    for line in typed_there:
        assert line.removeprefix("python -m ") in smoke.SPEED
