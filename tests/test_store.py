"""The store: images by index from a file, taken in by many processes, read ahead of training."""

import io
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from test_sources import data, find, images, picture, unpacked
from test_training import network_of

from scalenet.data import ahead, intake, readers, store
from scalenet.data import images as module
from scalenet.data.batches import Batches, Order
from scalenet.data.images import Filed, join, on_device
from scalenet.nets import child
from scalenet.records import files
from scalenet.records.paths import Paths
from scalenet.space.network import Task
from scalenet.stages import prepare
from scalenet.training import fixed, loop

FORM = {"channels": 3, "size": 16}
CPU = torch.device("cpu")


def photograph(seed: int, side: int = 16) -> bytes:
    """Return a JPEG that is smaller than its pixels."""
    rough = np.random.default_rng(seed).integers(0, 255, (2, 2, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(rough).resize((side, side)).save(content, "jpeg", quality=30)
    return content.getvalue()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Sixty photographs of two classes, some smaller as JPEGs than as pixels, some larger."""
    files = {f"{c}/{i}.jpg": photograph(i + 30 * (c == "bee"), (16, 64)[i % 2])
             for c in ("ant", "bee") for i in range(30)}  # fmt: skip
    return unpacked(tmp_path_factory.mktemp("photographs") / "a", files)


def prepared(path, root, **changes):
    """Run the stage on a source; return the folder of what it wrote."""
    section, paths = data(source=str(path), **FORM | changes), Paths(root)
    prepare.main(SimpleNamespace(data=section), paths, loop.ignore)
    return paths.data


# --- the file -------------------------------------------------------------------------------------


def test_a_split_is_read_by_index_and_by_numpy(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (50, 3, 4, 4), dtype=np.uint8)
    store.write(tmp_path / "a.npz", pixels, np.arange(50))
    stored, labels = store.read(tmp_path / "a.npz")
    assert stored.raw and stored.shape == pixels.shape and labels.tolist() == list(range(50))
    mask = labels % 3 == 0
    some = [7, 7, 49], np.array([3, 0]), np.array([2, -1], np.int32), mask, 5, -1
    for index in (slice(None), slice(10, 2, -3), *some):
        assert np.array_equal(stored[index], pixels[index])
    assert stored[[]].shape == (0, 3, 4, 4)
    assert np.array_equal(np.asarray(stored), np.load(tmp_path / "a.npz")["pixels"])
    for index in (50, [3, 50], [-51]):
        with pytest.raises(IndexError):
            stored[index]
    both = store.JoinedPixels(stored, pixels[:9])
    whole = np.concatenate([pixels, pixels[:9]])
    for index in (slice(40, 55), [58, 0, 50, 49], 52):
        assert np.array_equal(both[index], whole[index])


def test_an_index_costs_by_its_own_length_not_by_the_splits(tmp_path):
    (tmp_path / "pixels").write_bytes(bytes(range(48)))
    starts = range(0, 12 * 10**14, 12)  # of so many, not even their numbers fit the memory
    stored = store.FilePixels(tmp_path / "pixels", store.Square(3, 2), starts, starts[1:])
    assert stored[[3, 0]].reshape(2, 12)[:, 0].tolist() == [36, 0]
    both = store.JoinedPixels(stored, np.zeros((5, 3, 2, 2), np.uint8))
    assert both[[1, 10**14 + 4]].reshape(2, 12)[:, 0].tolist() == [12, 0]


def test_a_split_keeps_its_groups_where_it_has_some(tmp_path):
    pixels = np.zeros((50, 3, 4, 4), np.uint8)
    for name, groups in (("train", None), ("select", None), ("test", np.arange(50) // 2)):
        store.write(tmp_path / f"{name}.npz", pixels, np.arange(50), groups)
    assert set(found := store.groups(tmp_path)) == {"test"}
    assert found["test"].tolist() == [i // 2 for i in range(50)]
    (tmp_path / "select.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"select\.npz: cannot be read as a split"):
        store.groups(tmp_path)


def test_encoded_images_are_the_same_pixels_in_fewer_bytes(photographs, tmp_path):
    raw, encoded = (prepared(photographs, tmp_path / s, store=s) for s in ("raw", "encoded"))
    assert (raw / "info.json").read_bytes() == (encoded / "info.json").read_bytes()
    for name in ("train", "select", "test"):
        (first, labels), (second, others) = (store.read(f / f"{name}.npz") for f in (raw, encoded))
        assert np.array_equal(first[:], second[:]) and np.array_equal(labels, others)
        assert first.raw and not second.raw
    entries = [second.entry(i) for i in range(len(second))]
    kept = [entry for entry in entries if entry.startswith(b"\xff\xd8")]
    assert len(kept) > 0 and all(len(entry) <= 16 * 16 * 3 for entry in entries)
    sources = {file.read_bytes() for file in photographs.rglob("*.jpg")}
    assert set(kept) <= sources, "a file is kept as it was"


@pytest.mark.parametrize("kind", ["raw", "encoded"])
@pytest.mark.parametrize("place", [0, 300, -40])
def test_a_damaged_split_is_named(photographs, tmp_path, kind, place):
    file = prepared(photographs, tmp_path, store=kind) / "train.npz"
    content = file.read_bytes()
    file.write_bytes(content[:place])
    with pytest.raises(ValueError, match=r"train\.npz: cannot be read as a split.*dvc pull"):
        store.read(file)


def test_a_split_that_is_cut_while_it_is_open_is_named(photographs, tmp_path):
    file = prepared(photographs, tmp_path) / "train.npz"
    stored, _ = store.read(file)
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"train\.npz: .*ends too early"):
        stored[:]


def test_a_split_of_an_earlier_version_is_named(tmp_path):
    pixels, labels = np.zeros((4, 1, 2, 2), np.uint8), np.arange(4)
    np.savez_compressed(tmp_path / "train.npz", pixels=pixels, labels=labels)
    with pytest.raises(ValueError, match=r"an earlier version wrote it.*dvc repro"):
        store.read(tmp_path / "train.npz")


# --- many processes -------------------------------------------------------------------------------


@pytest.fixture
def many(monkeypatch):
    """Let two processes take in images from the second batch on, four images a batch."""
    monkeypatch.setattr(intake, "ALONE", -1.0)
    monkeypatch.setattr(intake, "IMAGES", 4)
    monkeypatch.setattr(intake, "cores", lambda: 2)


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)
            if "resource_tracker" not in " ".join(child.cmdline())}  # fmt: skip


@pytest.mark.parametrize("kind", ["raw", "encoded"])
def test_splits_do_not_depend_on_how_many_processes_took_them_in(
    photographs, tmp_path, monkeypatch, kind
):
    alone = prepared(photographs, tmp_path / "one", store=kind)
    before, there = children(), set()
    monkeypatch.setattr(intake, "ALONE", -1.0)
    monkeypatch.setattr(intake, "IMAGES", 4)
    monkeypatch.setattr(intake, "cores", lambda: 2)
    result = intake._result
    monkeypatch.setattr(intake, "_result", lambda wait: (there.update(children()), result(wait))[1])
    together = prepared(photographs, tmp_path / "two", store=kind)
    for name in ("train.npz", "select.npz", "test.npz", "info.json", "read.json", "contact.png"):
        assert (alone / name).read_bytes() == (together / name).read_bytes()
    assert len(there - before) == 2 and children() <= before, "two processes, which have ended"


def test_an_image_that_another_process_cannot_decode_is_named(tmp_path, many):
    files = images("ant", "bee", count=12) | {"bee/7.png": picture(7)[:40]}
    source = find(unpacked(tmp_path / "a", files))
    before = children()
    with pytest.raises(ValueError, match=r"bee/7\.png: not a readable image .*take it out"):
        intake.take(data(), source)
    assert children() <= before
    section = data(most_skipped=0.1)
    source = readers.find(section.model_copy(update={"source": "a"}), tmp_path)
    taken = intake.take(section, source)
    assert list(source.faults) == ["bee/7.png"] and (taken.facts.lengths == 0).sum() == 1


def test_an_interrupt_waits_for_nothing_that_processes_are_at(tmp_path):
    before, began = children(), time.monotonic()
    with pytest.raises(KeyboardInterrupt), intake._pool(2, intake.Shelf(tmp_path)) as pool:
        pool.submit(os.getpid).result()
        pool.submit(time.sleep, 100)
        raise KeyboardInterrupt
    assert children() <= before and time.monotonic() < began + 50


def test_processes_end_with_the_one_that_is_killed(photographs, tmp_path):
    """As a cancelled run, or a machine's out-of-memory killer, ends a stage."""
    script = tmp_path / "script.py"
    script.write_text(f"""
import sys, time
from test_store import data, FORM
from scalenet.data import intake, readers
intake.ALONE, intake.IMAGES, intake.cores = -1.0, 4, lambda: 2
def slow(wait):
    wait()
    print("works", flush=True)
    time.sleep(60)
intake._result = slow
if __name__ == "__main__":
    section = data(source={str(photographs)!r}, **FORM)
    source = readers.find(section, __import__("pathlib").Path("/"))
    intake.take(section, source)
""")
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    ran = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=env, text=True)
    try:
        assert ran.stdout.readline() == "works\n"
        begun = psutil.Process(ran.pid).children(recursive=True)
    finally:
        ran.kill()
        ran.wait()
    assert len(begun) >= 2
    _, alive = psutil.wait_procs(begun, timeout=20)
    assert not alive


# --- reading ahead --------------------------------------------------------------------------------


@pytest.fixture
def filed(photographs, tmp_path, monkeypatch):
    """Return a split's images, in memory and in an encoded file that is read ahead."""
    file = prepared(photographs, tmp_path, store="encoded") / "train.npz"
    pixels, labels = store.read(file)
    constants = ([0.5] * 3, [0.25] * 3, CPU)
    held = on_device((pixels, labels), *constants)
    monkeypatch.setattr(module, "HELD", 0)
    monkeypatch.setattr(module, "MANY", 1)
    monkeypatch.setattr(ahead, "processes", lambda: 2)
    far = on_device((pixels, labels), *constants)
    assert isinstance(held, module.Arrays) and isinstance(far, Filed)
    return held, far


def test_the_first_images_are_held_wherever_they_lie(filed):
    for split in filed:
        for count in (5, 10**6):
            held = split.held(count)
            assert len(held) == min(count, len(split)) < 10**6
            assert torch.equal(held.labels, split.labels[:count])
            index = torch.arange(len(held))
            assert torch.equal(held.pixels(index), split.pixels(index))
    memory, _ = filed
    assert memory.held(5).array.data_ptr() == memory.array.data_ptr(), "no copy of what is there"


def test_steps_read_ahead_are_those_that_are_asked_for(filed):
    held, far = filed
    order, before = Order(len(held), 7, seed=1), children()
    state = torch.get_rng_state()
    with Batches(far, Order(len(held), 7, seed=1), 20) as batches:
        for step in (0, 1, 2, 3, 9, 10, 2):  # and after a jump, as after a resumption
            images, index = batches.at(step)
            assert torch.equal(images.pixels(index), held.pixels(order.at(step)))
            assert torch.equal(images.labels[index], held.labels[order.at(step)])
    assert torch.equal(torch.get_rng_state(), state), "nobody else's draws change"
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in children() - before], timeout=10)
    assert not alive


def test_reading_that_ends_early_is_ended_in_silence(tmp_path, capfd):
    form, many = store.Square(3, 224), 256
    (tmp_path / "pixels").write_bytes(bytes(many * form.bytes))
    starts = range(0, many * form.bytes, form.bytes)
    large = store.FilePixels(tmp_path / "pixels", form, starts, [n + form.bytes for n in starts])
    for _ in range(2):
        coming = ahead.read(large, (torch.arange(many) for _ in range(9)), CPU)
        next(coming)
        coming.close()
    assert capfd.readouterr().err == ""


def test_training_from_a_file_is_the_same_to_the_bit(filed, make_params):
    held, far = filed
    params = make_params({"retrain": {"recipe": {"steps": 6, "batch": 8}}})
    half = torch.arange(10)
    first = module.Arrays(held.pixels(half), held.labels[half], held.mean, held.std)
    nets = []
    for whole in (join(held, first), join(far, first)):
        task, generator = Task(3, 2), torch.Generator().manual_seed(0)
        net = child.build(network_of(params), task, generator)
        history = fixed.train(net, whole, params.retrain.recipe, 3)
        fixed.calibrate(net, whole, 8, 0)
        nets.append((history, net.state_dict(), fixed.predict(net, whole, 16)))
    (history, weights, said), (other, others, answers) = nets
    assert history == other
    assert all(torch.equal(a, b) for a, b in zip(weights.values(), others.values(), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(said, answers, strict=True))


def test_what_goes_wrong_ahead_is_said(filed):
    _, far = filed
    os.truncate(far.stored.file, far.stored.file.stat().st_size // 3)
    with (
        Batches(far, Order(len(far), 8, 0), 5) as batches,
        pytest.raises(ValueError, match=r"train\.npz: cannot be read as a split"),
    ):
        for step in range(5):
            batches.at(step)


@pytest.mark.parametrize("others", [0, 1], ids=["all", "one of two"])
def test_a_reading_process_that_is_killed_is_said_where_images_are_waited_for(filed, others):
    """As a machine's out-of-memory killer ends one while a step is computed."""
    _, far = filed
    before, told = children(), r"a process that reads images was ended .*its last checkpoint"
    with Batches(far, Order(len(far), 8, 0), 100) as batches:
        batches.at(0)
        killed = [psutil.Process(pid) for pid in children() - before][others:]
        for process in killed:
            process.kill()
        while any(process.status() != psutil.STATUS_ZOMBIE for process in killed):
            time.sleep(0.01)  # and is not waited for: their parent is told once
        sum(range(10**6))  # the step goes on
        with pytest.raises(ValueError, match=told):
            for step in range(1, 100):
                batches.at(step)


def test_a_split_has_no_part_that_pythons_write_in_their_own_way(tmp_path):
    """Zip64 has other bytes before Python 3.11.4, so that a clone on another machine was changed
    by the images that it had."""
    pixels, labels = np.zeros((5, 1, 8, 8), np.uint8), np.arange(5)
    store.write(tmp_path / "split.npz", pixels, labels, labels)
    files.write_arrays(tmp_path / "answers.npz", {"labels": labels, "pixels": pixels})
    for name in ("split", "answers"):
        with zipfile.ZipFile(tmp_path / f"{name}.npz") as archive:
            entries = archive.infolist()
        assert len(entries) >= 2 and {entry.extract_version for entry in entries} == {20}
    assert np.array_equal(np.load(tmp_path / "answers.npz")["pixels"], pixels)
