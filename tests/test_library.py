"""The library as its users meet it: a light import, a member of a built family, its predictions."""

from __future__ import annotations

import ast
import csv
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT

import scalenet
from scalenet import BaseModel, Network, Task
from scalenet.data import store
from scalenet.nets import child
from scalenet.records import files
from scalenet.records.documents import Candidate, Family, Found, State, Trained
from scalenet.records.paths import Paths
from scalenet.report import confusion, figure, table
from scalenet.stages import run_stage
from scalenet.training.loop import ignore

B0 = (
    "r224-stem_k3_s2_c32-ir_k3_s1_e1_c16-ir_k3.3_s2_e6_c24-ir_k5.5_s2_e6_c40-ir_k3.3.3_s2_e6_c80"
    "-ir_k5.5.5_s1_e6_c112-ir_k5.5.5.5_s2_e6_c192-ir_k3_s1_e6_c320-head_c1280-se0.25i-swish"
)
PACKAGE = Path(scalenet.__file__).parent


# --- the import -----------------------------------------------------------------------------------


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_an_import_is_light():
    heavy = {"torch", "prefect", "mlflow", "dvc", "sklearn", "altair"}
    assert not loaded_by("import scalenet; scalenet.flops; dir(scalenet)") & heavy
    assert loaded_by("from scalenet import load, predict") & heavy == {"torch"}


def test_what_is_offered_is_there():
    assert all(hasattr(scalenet, name) for name in scalenet.__all__)
    assert re.match(r"\d+\.\d+", scalenet.__version__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = scalenet.nothing


def test_a_networks_cost_is_one_call():
    network, task = Network.parse(B0), Task(channels=3, classes=1000)
    golden = files.read_json(ROOT / "tests/golden/efficientnet.json")["members"]["B0"]
    assert scalenet.flops(network, task) == golden["flops"]
    assert scalenet.parameters(network, task) == golden["params"]


# --- the floors -----------------------------------------------------------------------------------


def test_floors_import_downwards():
    assert ", ".join(scalenet.FLOORS) in scalenet.__doc__
    assert set(scalenet.FLOORS) == {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    for number, floor in enumerate(scalenet.FLOORS):
        for file in (PACKAGE / floor).glob("*.py"):
            names = re.findall(r"^\s*(?:from|import) scalenet\.(\w+)", file.read_text(), re.M)
            assert set(names) <= set(scalenet.FLOORS[: number + 1]), file


def test_no_two_classes_have_one_name():
    places = defaultdict(list)
    for file in [*PACKAGE.rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(file.name)
    assert not {name: where for name, where in places.items() if len(where) > 1}


# --- a built family -------------------------------------------------------------------------------


def test_stages_search_the_expansion_ratios(make_params, tmp_path):
    """From images to a find, by the stages alone: both ratios are tried in trained networks."""
    content = make_params({"search": {"iterations": 1, "generations": 2}}).model_dump(mode="json")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    for stage in ("prepare", "supernet", "search"):
        run_stage(tmp_path, stage, None, ignore)
    with (Paths(tmp_path).search / "candidates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {BaseModel.parse(row["base"]).blocks[2].expand for row in rows} == {1, 3}
    assert {Network.parse(row["network"]).blocks[2].expand for row in rows} == {1, 3}


@pytest.mark.parametrize("member", ["S0", "S1"])
def test_predictions_are_as_good_as_what_was_published(built, member):
    paths, net = Paths(built), scalenet.load(str(built), member)
    pixels, labels = store.splits(paths.data)["test"]
    probabilities = scalenet.predict(net, pixels)
    assert probabilities.shape == (len(labels), 10) and probabilities.dtype == np.float32
    assert probabilities.sum(1) == pytest.approx(np.ones(len(labels)), abs=1e-5)
    [published] = [
        trained
        for trained in Family.read(paths.family / "family.json").members
        if trained.member.name == member
    ]
    assert int((probabilities.argmax(1) == labels).sum()) == published.correct
    assert published.correct > 0.2 * len(labels), "the test is blind if nothing was learnt"
    assert net.classes == list("0123456789") and not net.training
    assert net.network == published.member.network


def test_what_is_published_agrees_with_the_answers(built):
    paths = Paths(built)
    info, family = paths.info(), Family.read(paths.family / "family.json")
    assert [b.name for b in family.baselines] == [
        "majority", "svm", "residual-member", "residual-run"
    ]  # fmt: skip
    assert len(family.comparisons) == 2 * 4 and family.warnings, "20 steps make no good family"
    confused = list(csv.DictReader((paths.family / "confusion.csv").open()))
    recalls = list(csv.DictReader((paths.family / "recall.csv").open()))
    for trained in family.members:
        rows = [row for row in confused if row["member"] == trained.member.name]
        right = [int(row["count"]) for row in rows if row["true"] == row["predicted"]]
        assert sum(int(row["count"]) for row in rows) == trained.tested == info.counts["test"]
        assert sum(right) == trained.correct and trained.select.tested == info.counts["select"]
        shares = [float(r["recall"]) for r in recalls if r["member"] == trained.member.name]
        assert np.mean(shares) == pytest.approx(trained.balanced) and len(shares) == 10


def test_the_report_shows_members_baselines_and_warnings(built):
    paths = Paths(built)
    classes, family = paths.info().classes, Family.read(paths.family / "family.json")
    lines = table.text(family, {"S0": "3"}, {"S1": 0.5}).splitlines()
    assert len(lines) == 3 and lines[1].endswith(" v3") and " 0.5 " in lines[2]
    rows = table.baselines(family).splitlines()
    assert [row.split()[0] for row in rows] == [
        "baseline", "majority", "gradients", "residual", "residual"
    ]  # fmt: skip
    assert all(line.startswith("warning: S") for line in table.warnings(family))
    drawn = figure.svg(family)
    for baseline in family.baselines:
        assert all(word in drawn for word in baseline.about.split())
    counts = confusion.read(paths.family / "confusion.csv")
    picture = confusion.svg(family, classes, counts)
    best = max(family.members, key=lambda t: (t.select.accuracy, -t.member.multiple))
    assert f"test images of {best.member.name}" in picture
    assert confusion.svg(family, [str(i) for i in range(61)], counts) is None
    assert confusion.svg(family, ["a $b_$ <&>", *classes[1:]], [("S0", "1", "2", 3)])


def test_bytes_floats_arrays_and_tensors_are_one(built):
    net, pixels = scalenet.load(built, "S0"), np.asarray(store.splits(Paths(built).data)["test"][0])
    expected = scalenet.predict(net, pixels)
    for images in (
        torch.from_numpy(pixels),
        pixels / 255,
        (pixels / 255).astype(np.float32),
        torch.from_numpy(pixels) / 255,
        np.flip(np.flip(pixels, 3).copy(), 3),
    ):
        assert scalenet.predict(net, images) == pytest.approx(expected, abs=1e-5)
    assert scalenet.predict(net, pixels[:1]) == pytest.approx(expected[:1], abs=1e-5)
    larger = pixels.repeat(2, 2).repeat(2, 3)
    assert scalenet.predict(net, larger).shape == expected.shape


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((8, 8)), r"shape \(8, 8\) were given; give \(N, C, H, W\).*add an axis"),
        (np.zeros((0, 1, 8, 8)), "at least one of each"),
        (np.zeros((2, 3, 8, 8)), r"3 channels were given; this network takes 1"),
        (np.zeros((2, 1, 8, 8), np.int64), r"torch\.int64 were given; give uint8"),
        (np.full((2, 1, 8, 8), 255.0), r"floats from 255 to 255 were given; give 0…1 \(divide"),
        (np.full((2, 1, 8, 8), -0.5), r"floats from -0\.5 to -0\.5"),
        (np.full((2, 1, 8, 8), np.nan), "floats from nan"),
    ],
)
def test_other_images_are_refused(built, images, said):
    with pytest.raises(ValueError, match=said):
        scalenet.predict(scalenet.load(built, "S0"), images)


def test_what_was_not_built_is_named(built, tmp_path):
    with pytest.raises(ValueError, match=r"'S7' is no member in .*there are S0, S1: give"):
        scalenet.load(built, "S7")
    with pytest.raises(ValueError, match=r"none is built yet: give"):
        scalenet.load(tmp_path, "S0")


def test_what_was_not_tested_is_refused(built, tmp_path):
    shutil.copytree(built / "artifacts", tmp_path / "artifacts")
    paths = Paths(tmp_path)
    trained = Trained.read(paths.member("S1") / "trained.json")
    with pytest.raises(ValueError, match=r"holds r.*, not r.*run `dvc repro`"):
        child.read(paths.member("S0") / "weights.pt", trained.member.network, paths.info().task)
    shutil.copy(paths.member("S0") / "weights.pt", paths.member("S1") / "weights.pt")
    with pytest.raises(ValueError, match="not the weights that were tested"):
        scalenet.load(tmp_path, "S1")
    (paths.member("S1") / "weights.pt").unlink()
    with pytest.raises(ValueError, match=r"weights\.pt: cannot be read"):
        scalenet.load(tmp_path, "S1")
    info = paths.info().model_copy(update={"digest": "other"})
    info.write(paths.data / "info.json")
    with pytest.raises(ValueError, match=r"S0 was made from other data.*`scalenet run`"):
        scalenet.load(tmp_path, "S0")


# --- documents ------------------------------------------------------------------------------------


def test_documents_hold_values_and_files_hold_strings(built):
    paths = Paths(built)
    found = Found.read(paths.search / "found.json")
    assert found == Found.model_validate(found.plain())
    assert all(isinstance(strategy, scalenet.Scaling) for strategy in found.strategies)
    assert isinstance(found.base, scalenet.BaseModel)
    written = json.loads((paths.search / "found.json").read_text())
    assert written["base"] == str(found.base)
    assert written["strategies"] == [str(strategy) for strategy in found.strategies]
    state = State(iteration=1, base="k3e1-3e2", strategies=["d1-w1-r8"], score=1.0)
    assert state.base == scalenet.BaseModel.parse("k3e1-3e2")


def test_a_candidates_size_is_the_papers_stage_in_files():
    candidate = Candidate(
        number=0, network=B0, base="k3e2", scaling="d1-w1-r224", stage=2, depth=1, width=1,
        resolution=224, flops=1, params=1, accuracy=0, probability=0, score=0, predicted=None,
        phase="final", iteration=0, generation=0,
    )  # fmt: skip
    assert candidate.size == 2 and candidate.plain()["stage"] == 2
    assert "size" not in candidate.plain() and candidate.plain()["network"] == B0


def test_a_wrong_string_in_a_document_is_refused(built, tmp_path):
    content = json.loads((Paths(built).search / "found.json").read_text())
    files.write_json(tmp_path / "found.json", content | {"base": "nonsense"})
    with pytest.raises(ValueError, match=r"found\.json: not a Found of this version"):
        Found.read(tmp_path / "found.json")
