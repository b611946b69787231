"""The registered model takes what people have, anywhere MLflow is: files and arrays of any kind."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from fastapi.testclient import TestClient
from mlflow.pyfunc import scoring_server
from PIL import Image

from scalenet.config import params as config
from scalenet.data import store
from scalenet.data.pixels import image_array
from scalenet.export.served import Served, Stored
from scalenet.pipeline.cli import serve
from scalenet.pipeline.models import deployment
from scalenet.pipeline.remember import stores
from scalenet.records.documents import Trained
from scalenet.records.paths import Paths

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (5, 12, 16, 3), dtype=np.uint8)  # wider than high, not of its size


def means(images: torch.Tensor) -> torch.Tensor:
    """Stand for a network: logits that tell colours and places apart."""
    return torch.cat([images.mean((2, 3)), images[:, :1, :2, 0].flatten(1)], 1) * 4


@pytest.fixture
def colour():
    return Served(means, Stored(3, 8, list("abcde")))


@pytest.fixture
def grey():
    return Served(means, Stored(1, 8, list("abc")))


def png(array: np.ndarray, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, kind)
    return content.getvalue()


# --- one image in every dress ---------------------------------------------------------------------


def test_layouts_types_and_files_of_the_same_pixels_are_one_answer(colour, tmp_path):
    image, stack = COLOURS[0], COLOURS
    expected = colour.probabilities(png(image))
    (tmp_path / "a.png").write_bytes(png(image))
    text = base64.b64encode(png(image)).decode()
    same = [
        image, image.transpose(2, 0, 1), image[None], image[None].transpose(0, 3, 1, 2),
        image / 255, (image / 255).astype(np.float32), image.astype(np.int64), image.tolist(),
        (image / 255).tolist(), [image], [png(image)], (png(image),), tmp_path / "a.png", text,
        f"data:image/png;base64,{text}", [text], np.array([text]), {"b64": np.array([text])},
        Image.fromarray(image), torch.from_numpy(image), image[:, ::-1][:, ::-1],
        pd.DataFrame({"image": [text]}), pd.Series([png(image)]),
        np.dstack([image, np.full((12, 16), 255, np.uint8)]),
    ]  # fmt: skip
    for given in same:
        assert colour.probabilities(given) == pytest.approx(expected, abs=1e-6), type(given)
    many = colour.probabilities(stack)
    assert many.shape == (5, 5) and many.sum(1) == pytest.approx(np.ones(5), abs=1e-5)
    for given in (stack.transpose(0, 3, 1, 2), list(stack), [png(one) for one in stack]):
        assert np.array_equal(colour.probabilities(given), many)
    sizes = [stack[0], stack[1][:9, :9], png(stack[2][:8])]  # a list may mix them
    assert colour.probabilities(sizes).shape == (3, 5)


def test_grey_and_colour_stand_for_each_other(colour, grey):
    level = COLOURS[0, :, :, 0]
    threefold = np.dstack([level] * 3)
    assert np.array_equal(colour.probabilities(level), colour.probabilities(threefold))
    assert np.array_equal(colour.probabilities(level[..., None]), colour.probabilities(level))
    luma = np.asarray(Image.fromarray(COLOURS[0]).convert("L"))
    assert np.array_equal(grey.probabilities(COLOURS[0]), grey.probabilities(luma))
    hidden = np.dstack([threefold, np.zeros_like(level)])  # wholly transparent: white
    assert np.array_equal(colour.probabilities(hidden), colour.probabilities(level | 255))


def test_ambiguous_shapes_follow_one_rule():
    cube = RNG.integers(0, 256, (3, 3, 3), dtype=np.uint8)
    last = cube.transpose(1, 2, 0)  # the same image with its channels last
    stored, other = Served(means, Stored(3, 3, "abcde")), Served(means, Stored(3, 4, "abcde"))
    assert np.array_equal(stored.probabilities(cube), stored.compute(cube[None]))  # as stored
    assert np.array_equal(other.probabilities(cube), other.probabilities(png(cube)))  # else last
    assert not np.array_equal(other.probabilities(cube), other.probabilities(png(last)))
    three = RNG.integers(0, 256, (3, 3, 9, 7), dtype=np.uint8)  # N = 3 and H = 3 mislead nothing
    expected = [png(one.transpose(1, 2, 0)) for one in three]
    assert np.array_equal(other.probabilities(three), other.probabilities(expected))


@pytest.mark.parametrize(
    "given, said",
    [
        (
            COLOURS.astype(np.float32),
            "floats from 0 to 255 were given; give uint8 in",
        ),
        (COLOURS[0] / 127.5 - 1, "floats from -1 to 1 were given"),
        (np.full((8, 8), np.nan), "floats from nan to nan"),
        (np.full((8, 8), 1e3), "floats from 1000 to 1000"),
        (COLOURS.astype(int) - 300, "whole numbers from -300 to"),
        (np.eye(8, dtype=int), "bytes or shares"),
        (np.eye(8, dtype=bool), "an array of bool was given"),
        (np.zeros((8, 8), complex), "an array of complex128 was given"),
        (COLOURS[..., 0], r"an array of shape \(5, 12, 16\) was given; give image files"),
        (np.zeros((4, 8, 8, 2), np.uint8), r"image 1 of 4: an array of shape \(8, 8, 2\)"),
        (np.zeros(8, np.uint8), r"an array of shape \(8,\)"),
        (np.uint8(3), r"an array of shape \(\)"),
        (np.zeros((1, 1, 1, 8, 8), np.uint8), r"an array of shape \(1, 1, 1, 8, 8\)"),
        (np.zeros((8, 0, 3), np.uint8), r"an array of shape \(8, 0, 3\)"),
        (np.zeros((0, 3, 8, 8)), "no image was given"),
        ([], "no image was given"),
        (pd.DataFrame({"image": []}), "no image was given"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), "2 columns were given"),
        ([[1, 2], [3]], "a list was given that makes no array"),
        (None, "an array of object was given; give image files"),
        (b"no image", "not an image file of a known kind"),
        (png(COLOURS[0])[:60], "."),
        ([png(COLOURS[0]), b""], "image 2 of 2: not an image file"),
        ("photos/cat.jpg", "a text that is no base64"),
        (Path("no/such.jpg"), "No such file"),
        (np.zeros((1, 3000), np.uint8), "more than 100 times"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(colour, given, said):
    with pytest.raises(ValueError, match=said) as refused:
        colour.probabilities(given)
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 400


# --- in MLflow ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registered(built, tmp_path_factory):
    """Return a project whose two members are registered as scalenet-digits."""
    root = tmp_path_factory.mktemp("registered")
    shutil.copytree(built / "artifacts", root / "artifacts")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        deployment.enter(root, config.load(built / "params.yaml"))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.setenv(name, stores.uri(root))  # MLflow sets them, too, and leaves them so
        mlflow.set_tracking_uri(stores.uri(root))
        mlflow.set_registry_uri(stores.uri(root))
        yield root


@pytest.fixture(scope="module")
def model(registered):
    return mlflow.pyfunc.load_model("models:/scalenet-digits@s0")


@pytest.fixture(scope="module")
def test_split(built):
    pixels, labels = store.read(Paths(built).data / "test.npz")
    return np.asarray(pixels), labels


ELSEWHERE = """
import json, sys
from pathlib import Path
sys.modules |= {"scalenet": None}  # importing it fails, wherever it is installed
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_registry_uri(sys.argv[1])
said = {}
for alias in ("s0", "s1"):
    model = mlflow.pyfunc.load_model(f"models:/scalenet-digits@{alias}")
    files = sorted(Path("photos").iterdir())
    said[alias] = list(model.predict(files)["class"])
    assert list(model.predict(np.load("test.npy"))["class"]) == said[alias]
print(json.dumps(said))
"""


def test_the_original_files_give_the_published_accuracy_where_our_code_is_unknown(
    registered, test_split, tmp_path
):
    pixels, labels = test_split
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(pixels[:, 0]):
        (tmp_path / "photos" / f"{i:04}.png").write_bytes(png(image))
    np.save(tmp_path / "test.npy", pixels)
    quiet = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MLFLOW"))}
    command = [sys.executable, "-I", "-c", ELSEWHERE, stores.uri(registered)]
    done = subprocess.run(command, cwd=tmp_path, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for alias, said in json.loads(done.stdout).items():
        trained = Trained.read(Paths(registered).member(alias.upper()) / "trained.json")
        right = sum(name == str(label) for name, label in zip(said, labels, strict=True))
        assert right == trained.correct


def test_answers_name_classes_and_say_how_likely_each_is(model, test_split):
    pixels, _ = test_split
    said = model.predict(pixels[:70])
    assert list(said.columns) == ["class", "probability", "probabilities"] and len(said) == 70
    for row in said.itertuples():
        assert sorted(row.probabilities) == list("0123456789")
        assert sum(row.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert list(row.probabilities.values()) == sorted(row.probabilities.values(), reverse=True)
        assert next(iter(row.probabilities.items()))[:2] == (row[1], row.probability)
    assert model.predict(pixels[3])["class"][0] == said["class"][3]
    program = mlflow.pytorch.load_model("models:/scalenet-digits@s0")  # stored images to logits
    logits = program(torch.from_numpy(pixels[:70]).float() / 255)
    assert [str(i.item()) for i in logits.argmax(1)] == list(said["class"])


def test_the_model_says_what_goes_in_and_out_and_needs_few_packages(model, registered):
    about = model.metadata.metadata
    assert about["classes"] == list("0123456789") and "(C, 8, 8)" in about["input"]
    assert "bicubic" in about["preprocessing"] and "probabilities" in about["output"]
    assert model.metadata.signature.outputs.input_names() == list(
        model.predict(np.zeros((8, 8))).columns
    )
    [folder] = {f.parent for f in registered.rglob("requirements.txt") if model.model_id in str(f)}
    names = [line.partition("==")[0] for line in (folder / "requirements.txt").read_text().split()]
    assert names == ["torch", "mlflow", "numpy", "pillow", "pi-heif", "pandas"]
    code = "".join(file.read_text() for file in folder.glob("code/*/*.py"))
    assert "import scalenet" not in code and "from scalenet" not in code
    assert not list(folder.rglob("*.pkl"))


def test_an_alias_is_served_from_the_registry(registered, built, model, test_split, monkeypatch):
    shutil.copy(built / "params.yaml", registered)
    monkeypatch.chdir(registered)
    answer, about = serve.registered("s0")
    content = png(test_split[0][0, 0])
    [row] = model.predict(content).to_dict("records")
    assert answer(content) == row and about["classes"] == list("0123456789")
    assert about["member"].startswith("S0 (alias s0, version ")
    with pytest.raises(ValueError, match=r"has s0, s1; set it with `scalenet pick --alias prod`"):
        serve.registered("prod")
    for member in ("s9", "S0"):  # which pick sets for nobody
        with pytest.raises(ValueError, match=r"has s0, s1; s0, s1, … are set to .*`scalenet promo"):
            serve.registered(member)
    client = stores.connect(registered)
    version = client.get_model_version_by_alias("scalenet-digits", "s1").version
    client.delete_model_version_tag("scalenet-digits", version, "takes")  # as earlier versions are
    with pytest.raises(ValueError, match=r"an earlier scalenet registered.*`scalenet register`"):
        serve.registered("s1")
    client.delete_model_version_tag("scalenet-digits", version, "weights")  # as MLflow makes them
    with pytest.raises(ValueError, match=r"no member of a generation.*`scalenet promote`"):
        serve.registered("s1")


# --- through MLflow's scoring server --------------------------------------------------------------


@pytest.fixture(scope="module")
def server(model):
    return TestClient(scoring_server.init(model))


def ask(server, content):
    answer = server.post("/invocations", json=content)
    return answer.status_code, answer.json()


def test_the_scoring_server_takes_files_and_arrays(server, model, test_split):
    pixels, _ = test_split
    expected = list(model.predict(pixels[:2])["class"])
    texts = [base64.b64encode(png(image)).decode() for image in pixels[:2, 0]]
    for content in (
        {"inputs": texts},
        {"instances": texts},
        {"instances": [{"b64": text} for text in texts]},
        {"dataframe_split": {"columns": ["image"], "data": [[text] for text in texts]}},
        {"dataframe_records": [{"image": text} for text in texts]},
        {"inputs": pixels[:2].tolist()},
        {"inputs": (pixels[:2] / 255).tolist()},
        {"inputs": {"images": pixels[:2, 0, :, :, None].tolist()}},
    ):
        status, said = ask(server, content)
        assert status == 200, said
        assert [row["class"] for row in said["predictions"]] == expected
        assert len(said["predictions"][0]["probabilities"]) == 10
    assert ask(server, {"inputs": texts[0]})[1]["predictions"][0]["class"] == expected[0]


@pytest.mark.parametrize(
    "content, said",
    [
        ({"inputs": (COLOURS / 2.0).tolist()}, "floats from 0 to 127.5 were given"),
        ({"inputs": [["aGVsbG8="]]}, "not an image file of a known kind"),
        ({"inputs": ["x, " * 5000]}, "a text that is no base64"),
        ({"inputs": ["/etc/passwd"]}, "was given|not an image"),
        ({"inputs": np.zeros((2, 3, 4, 5, 6)).tolist()}, r"shape \(2, 3, 4, 5, 6\)"),
        ({"inputs": []}, "no image was given"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}, "2 columns"),
    ],
)
def test_the_scoring_server_refuses_in_one_line(server, content, said):
    status, answer = ask(server, content)
    assert status == 400 and re.search(said, answer["message"])
    assert "\n" not in answer["message"] and len(answer["message"]) < 400
    assert "stack_trace" not in answer


def test_files_of_this_test_are_read_as_prepare_reads_them(colour):
    """The code that a model carries is the code that read its training images."""
    content = png(COLOURS[0], "JPEG")
    stored = image_array(colour.stored, content)
    assert np.array_equal(colour.compute(stored[None]), colour.probabilities(content))
