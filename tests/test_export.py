"""A member leaves as one file, and names photographs: as its users meet it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from scalenet.data import photos, store
from scalenet.export import card, program
from scalenet.export import files as exports
from scalenet.export.served import Served, Stored
from scalenet.pipeline import cli
from scalenet.pipeline.cli import predict
from scalenet.records.paths import Paths
from scalenet.records.written import percent

onnxruntime = pytest.importorskip("onnxruntime")


def scalenet(*arguments, cwd, code=0):
    """Run the command here; return what it printed, once it ended with ``code``."""
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(cli.scalenet, list(map(str, arguments)))
    refused = done.exception if isinstance(done.exception, ValueError) else ""
    assert (2 if refused else done.exit_code) == code, done.output
    return f"{done.output}{refused}"


@pytest.fixture(scope="module")
def member(built):
    return program.read(built, "S0")


@pytest.fixture(scope="module")
def photographs(built, tmp_path_factory):
    """Every test image as a PNG, in the order of the split."""
    folder = tmp_path_factory.mktemp("photos")
    pixels, labels = store.read(Paths(built).data / "test.npz")
    for i, image in enumerate(np.asarray(pixels)[:, 0]):
        Image.fromarray(image).save(folder / f"{i:04}.png")
    return folder, labels


# --- one file -------------------------------------------------------------------------------------


def test_the_command_writes_a_model_that_needs_nothing_of_ours(built, member, tmp_path):
    path = tmp_path / "digits.onnx"
    said = scalenet("export", "s0", "--onnx", "--out", path, cwd=built)
    assert f"top-1 {percent(member.trained.accuracy)}" in said and "100.0 %" in said
    session = onnxruntime.InferenceSession(path)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["labels"]) == list("0123456789") and "8 px" in about["preprocessing"]
    pixels, labels = member.split("test")
    for count in (1, 3, len(pixels)):  # the batch size is free
        [said] = session.run(None, {"images": pixels[:count]})
        assert said.shape == (count, 10) and said.sum(1) == pytest.approx(np.ones(count), abs=1e-4)
    assert (said.argmax(1) == labels).sum() == member.trained.correct
    text = path.with_name(f"{path.name}.md").read_text()
    assert "digits.onnx" in text and "0. 0" in text and percent(member.trained.accuracy) in text


def test_a_torch_program_is_the_same_function(member, tmp_path):
    path = tmp_path / "s0.pt2"
    run = exports.torch_program(member, path)
    found = exports.check(member, run)
    assert found.agreement == 1 and found.accuracy == pytest.approx(member.trained.accuracy)
    about = {"labels": "", "preprocessing": ""}
    model = torch.export.load(path, extra_files=about).module()
    assert json.loads(about["labels"]) == list("0123456789")
    assert model(torch.zeros(5, 1, 8, 8, dtype=torch.uint8)).shape == (5, 10)
    text = card.text(member, path, found)
    counts = ", ".join(f"{n:,} {split}" for split, n in member.info.counts.items())
    assert f"| images | {counts}; trained on train alone (data" in text
    both = member._replace(trained=member.trained.model_copy(update={"select": None}))
    assert "; trained on train and select alone (data" in card.text(both, path, found)
    timed = member.trained.member.model_copy(update={"latency": 12.345})
    timed = member._replace(trained=member.trained.model_copy(update={"member": timed}))
    assert "\n| device ms | 12.3 an image, by its layers" in card.text(timed, path, found)
    assert "device ms" not in text
    code = text.split("```python")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.strip() in list("0123456789"), done.stderr


def test_a_card_shows_classes_of_any_name_as_they_are():
    names = {
        "cat": "cat",
        "<b>x</b>": r"&lt;b\>x&lt;/b\>",
        "*": r"\*",
        "a_b_": r"a\_b\_",
        "two\nlines": r"two\\nlines",
        "-rf": r"\-rf",
        "1. one": r"1\. one",
        "3.5 V": r"3\.5 V",
        "écru 火": "écru 火",
    }
    assert {name: card.escaped(name) for name in names} == names


def test_eight_bits_say_what_they_cost(member, tmp_path):
    whole, small = tmp_path / "s0.onnx", tmp_path / "s0-int8.onnx"
    exports.onnx_model(member, whole)
    found = exports.compare(member, exports.int8(member, whole, small))
    assert found.difference > 0 and found.accuracy > 0.5 * member.trained.accuracy
    assert json.loads(
        onnxruntime.InferenceSession(small).get_modelmeta().custom_metadata_map["labels"]
    ) == list("0123456789")


def test_a_file_that_computes_something_else_is_refused(member):
    with torch.no_grad():

        def run(pixels):
            return member.program(torch.from_numpy(pixels)).numpy()[:, ::-1]

        with pytest.raises(ValueError, match=r"probabilities differ.*not kept"):
            exports.check(member, run)


def test_wrong_wishes_are_one_message(built):
    assert "there are S0, S1" in scalenet("export", "s9", cwd=built, code=2)
    assert "only ONNX" in scalenet("export", "s0", "--torch", "--int8", cwd=built, code=2)
    assert "ends in .pt2" in scalenet(
        "export", "s0", "--torch", "--out", "x.onnx", cwd=built, code=2
    )


# --- photographs ----------------------------------------------------------------------------------


def test_the_original_files_give_exactly_the_published_accuracy(
    built, member, photographs, tmp_path
):
    folder, labels = photographs
    said = scalenet("predict", "s0", folder, "--top", 1, "--csv", tmp_path / "out.csv", cwd=built)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["class"] == str(label) for row, label in zip(rows, labels, strict=True))
    assert right == member.trained.correct
    assert len(said.splitlines()) == len(labels)


def test_top_three_of_a_file(built, photographs):
    folder, _ = photographs
    said = scalenet("predict", "S1", folder / "0000.png", cwd=built)
    assert said.startswith(str(folder / "0000.png")) and said.count("%") == 3


def test_of_equal_classes_the_first_is_named_as_elsewhere(monkeypatch):
    classes = list("abcdefghijklmnopqrstuvwxyz")
    chances = np.full((1, 26), 1 / 26, np.float32)
    monkeypatch.setattr("scalenet.predict", lambda net, images: chances)
    photo = photos.Photo(Path("x.png"), np.zeros((1, 8, 8), np.uint8))
    named = [row[2] for row in predict._said(None, [photo], classes, 3)]
    first = Served(None, Stored(1, 8, classes)).named(chances[0])["class"]
    assert named == ["a", "b", "c"] and named[0] == first == classes[chances[0].argmax()]


def test_what_cannot_be_read_is_said_and_the_rest_is_named(built, photographs, tmp_path):
    folder, _ = photographs
    (tmp_path / "bad.png").write_bytes((folder / "0001.png").read_bytes()[:40])
    (tmp_path / "good.png").write_bytes((folder / "0001.png").read_bytes())
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes((folder / "0001.png").read_bytes())
    said = scalenet("predict", "s0", tmp_path, "--csv", tmp_path / "x.csv", cwd=built, code=2)
    assert "/caf\xe9.png,1," in (tmp_path / "x.csv").read_text()
    assert "bad.png  cannot be read" in said and "good.png" in said and "1 of 3 images" in said
    assert "BytesIO" not in said
    alone = scalenet("predict", "s0", tmp_path / "bad.png", cwd=built, code=2)
    assert alone.endswith("1 of 1 image could not be read"), "there are no others"


def test_a_photograph_is_named_on_one_line(built, photographs, tmp_path):
    shutil.copy(photographs[0] / "0000.png", tmp_path / "two\nlines.png")
    [said] = scalenet("predict", "s0", tmp_path, cwd=built).splitlines()
    assert r"/two\nlines.png  " in said
    said = scalenet("predict", "s0", tmp_path, "--csv", "-", cwd=built, code=2)
    assert "--csv - was given; give the name of a file" in said and not (built / "-").exists()


def test_files_of_no_known_kind_are_said(built, photographs, tmp_path):
    """As the films of a telephone; what lies beside images is nobody's loss."""
    shutil.copy(photographs[0] / "0000.png", tmp_path / "one.png")
    assert "left out" not in scalenet("predict", "s0", tmp_path, cwd=built)
    (tmp_path / "deep").mkdir()
    for name in ("deep/MOV_1.MP4", "drawing.svg", "notes.txt", ".DS_Store"):
        (tmp_path / name).write_bytes(b"no image")
    said = scalenet("predict", "s0", tmp_path, cwd=built)
    assert "left out, of no known kind: MOV_1.MP4, drawing.svg; save images as JPEG" in said
    assert "one.png" in said


def test_nothing_to_look_at_is_one_message(built, tmp_path):
    assert "does not exist" in scalenet("predict", "s0", tmp_path / "x.jpg", cwd=built, code=2)
    assert "holds no image" in scalenet("predict", "s0", tmp_path, cwd=built, code=2)
    assert "give 1 or more" in scalenet("predict", "s0", tmp_path, "--top", 0, cwd=built, code=2)


def test_many_photographs_are_named_as_each_alone(built, photographs, tmp_path):
    """They are computed 64 at a time; what cannot be read among them moves nobody's answer."""
    folder, _ = photographs
    for i in range(70):
        shutil.copy(folder / f"{i:04}.png", tmp_path / f"{i:04}.png")
    (tmp_path / "0003.png").write_bytes(b"no image")
    said = scalenet("predict", "s0", tmp_path, cwd=built, code=2).splitlines()
    for i in (0, 2, 4, 65, 69):
        assert said[i] == scalenet("predict", "s0", tmp_path / f"{i:04}.png", cwd=built).strip()
    assert "cannot be read" in said[3]


def test_photographs_labelled_by_their_folders_are_counted(built, member, photographs, tmp_path):
    folder, labels = photographs
    for i, label in enumerate(labels):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        shutil.copy(folder / f"{i:04}.png", tmp_path / str(label))
    said = scalenet("predict", "s0", tmp_path, "--labelled", cwd=built).splitlines()[-1]
    share = f"{percent(member.trained.accuracy)} of {len(labels)} right ({member.trained.correct})"
    assert said == f"labelled by folder: {share}"
    (tmp_path / "eleven").mkdir()
    shutil.copy(folder / "0000.png", tmp_path / "eleven")
    said = scalenet("predict", "s0", tmp_path, "--labelled", cwd=built, code=2)
    assert "eleven is no class; the member knows 0, 1, 2, 3, 4 and 5 more" in said


def test_images_that_it_was_trained_on_are_counted_apart(built, member, photographs, tmp_path):
    """More of them are right than of others: all together would pass for an accuracy."""
    test, labels = photographs
    for i, label in enumerate(labels):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        shutil.copy(test / f"{i:04}.png", tmp_path / str(label))
    pixels, classes = store.read(Paths(built).data / "train.npz")
    for i in range(40):
        Image.fromarray(pixels[i][0]).save(tmp_path / str(classes[i]) / f"train-{i}.png")
    said = scalenet("predict", "s0", tmp_path, "--labelled", cwd=built).splitlines()[-1]
    whole, _, rest = said.partition("; ")
    share = f"{percent(member.trained.accuracy)} of {len(labels)} right ({member.trained.correct})"
    assert f" of {len(labels) + 40} right (" in whole
    assert rest == f"it was trained on 40 of them, of the others {share}"


def test_images_that_are_kept_as_files_are_known_again(tmp_path):
    """A split may hold an image's file instead of its pixels."""
    dots = np.random.default_rng(0).integers(0, 255, (3, 64, 64), dtype=np.uint8)
    info = SimpleNamespace(channels=1, size=64)
    for i, image in enumerate(dots):
        Image.fromarray(image // 64 * 64).save(tmp_path / f"{i}.png")
    read = list(photos.read(sorted(tmp_path.glob("*.png")), info))
    starts = np.cumsum([0] + [photo.path.stat().st_size for photo in read[:2]])
    (tmp_path / "all").write_bytes(b"".join(photo.path.read_bytes() for photo in read[:2]))
    kept = store.FilePixels(tmp_path / "all", store.Square(1, 64), starts[:-1], starts[1:])
    store.write(tmp_path / "train.npz", kept, np.zeros(2, int))
    known = photos.contents(tmp_path, ("train", "select"))
    assert [photos.among(photo, known) for photo in read] == [True, True, False]


def test_folders_within_classes_are_labelled_as_they_are_to_train_on(
    built, member, photographs, tmp_path
):
    """The first level below the folder that is given counts, whatever lies deeper."""
    folder, labels = photographs
    for i, label in enumerate(labels):
        deeper = tmp_path / "set" / str(label) / ("2023" if i % 2 else "1")
        deeper.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / f"{i:04}.png", deeper)
    said = scalenet("predict", "s0", tmp_path / "set", "--labelled", cwd=built).splitlines()[-1]
    share = f"{percent(member.trained.accuracy)} of {len(labels)} right ({member.trained.correct})"
    assert said == f"labelled by folder: {share}"
    photo = tmp_path / "set" / str(labels[1]) / "2023" / "0001.png"  # the nearest above it counts
    said = scalenet("predict", "s0", photo, "--top", 1, "--labelled", cwd=built)
    assert f"{percent(f'  {labels[1]} ' in said)} of 1 right" in said


def test_a_folder_is_listed_as_prepare_lists_it(built, photographs, tmp_path):
    """What network disks and desktops leave, notes and pages of text are no photographs."""
    photo = (photographs[0] / "0000.png").read_bytes()
    (tmp_path / "a.png").write_bytes(photo)
    (tmp_path / "without a suffix").write_bytes(photo)
    for name in ("@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", ".hidden.png", "notes.txt", "paper.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(photo)
    said = scalenet("predict", "s0", tmp_path, cwd=built)
    assert len(said.splitlines()) == 2 and "a.png" in said and "without a suffix" in said
