"""Images that look alike: copies that were saved anew, mirrored or turned are found in other
splits, and named."""

from __future__ import annotations

import io
from shutil import copytree
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import DATA
from PIL import Image
from scipy.fft import dctn

from scalenet.config.params import Data
from scalenet.data import readers
from scalenet.data.likeness import BITS, NEAR, SIDE, alike, looks
from scalenet.data.summary import warnings
from scalenet.stages import prepare
from scalenet.training.loop import ignore


def photograph(seed, side=48):
    """Return a picture, uint8 (side, side, 3): soft shapes, as photographs have, and grain."""
    generator = np.random.default_rng(seed)
    shapes = Image.fromarray(generator.integers(30, 220, (12, 12, 3), dtype=np.uint8))
    soft = np.asarray(shapes.resize((side, side), Image.Resampling.BICUBIC))
    return (soft + generator.normal(0, 6, soft.shape)).clip(0, 255).astype(np.uint8)


def saved(picture, scale=1.0, quality=90, form="JPEG"):
    file, side = io.BytesIO(), round(scale * len(picture))
    Image.fromarray(picture).resize((side, side)).save(file, form, quality=quality)
    return file.getvalue()


def seen(content, side=48):
    image = Image.open(io.BytesIO(content)).convert("RGB").resize((side, side))
    return np.asarray(image).transpose(2, 0, 1)


def test_copies_that_were_saved_anew_look_the_same_and_others_do_not():
    pictures = [photograph(seed) for seed in range(60)]
    first = looks(np.stack([seen(saved(p, form="PNG")) for p in pictures]))
    again = looks(np.stack([seen(saved(p, 1.4, 60)) for p in pictures]))
    found = alike(first, again)
    assert (found == np.arange(60)).sum() >= 57 and set(found[found != np.arange(60)]) <= {-1}
    darker = looks(np.stack([seen(saved((0.7 * p).astype(np.uint8))) for p in pictures]))
    assert (alike(first, darker) == np.arange(60)).sum() >= 57
    cut = looks(np.stack([seen(saved(p[6:-6, 6:-6])) for p in pictures]))
    assert (alike(first, cut) == -1).all()


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_mirrored_and_turned_copies_look_the_same(turns, mirrored):
    pictures = [photograph(seed) for seed in range(60)]
    first = looks(np.stack([seen(saved(p, form="PNG")) for p in pictures]))
    flipped = [np.rot90(p[:, ::-1] if mirrored else p, turns).copy() for p in pictures]
    found = alike(first, looks(np.stack([seen(saved(p, 1.4, 80)) for p in flipped])))
    assert (found == np.arange(60)).sum() >= 50 and set(found[found != np.arange(60)]) <= {-1}


@pytest.mark.parametrize("seed", range(3))
def test_alike_are_those_of_few_other_bits(seed):
    generator = np.random.default_rng(seed)
    first = generator.integers(1, 2**63, 40, dtype=np.uint64)
    second = []
    for n in range(200):
        flipped = generator.permutation(BITS)[: n % 5].tolist()
        second.append(int(first[n % 40]) ^ sum(1 << bit for bit in flipped))
    second = np.array(second, np.uint64)
    found = alike(first, second)
    distance = np.bitwise_count(first[None] ^ second[:, None])
    near = distance.min(1) <= NEAR
    assert ((found >= 0) == near).all() and near.sum() >= 100
    assert (distance[near, found[near]] == distance.min(1)[near]).all(), "the nearest of them"


@pytest.mark.parametrize("kept", [0, 40, 56])
def test_alike_are_found_among_many_that_share_bits(kept):
    """However many bits all have in common: those that are compared with are told by the others."""
    generator = np.random.default_rng(kept)
    looks = generator.integers(1, 2**63, 3000, dtype=np.uint64)
    looks = looks >> np.uint64(kept) << np.uint64(kept) | np.uint64(2**kept - 1)
    first, second = looks[:2000], looks[2000:]
    # of each: by how many bits it differs from the nearest, without those that are turned
    away = np.bitwise_count(first[None] ^ second[:, None])
    found = alike(first, second)
    near = away.min(1) <= NEAR
    assert (found[near] >= 0).all() and near.any() == (kept > 0)
    assert (away[near, found[near]] == away[near].min(1)).all()


def test_the_frequencies_are_those_of_the_cosine_transform():
    pictures = np.stack([photograph(seed, 24).transpose(2, 0, 1) for seed in range(50)])
    waves = dctn(pictures.mean(1), axes=(1, 2), norm="ortho")[:, :SIDE, :SIDE].reshape(50, BITS)
    told = np.unpackbits(looks(pictures).astype(">u8").view(np.uint8)).reshape(50, BITS)
    plain = (np.abs(waves) > 0.1) & (np.arange(BITS) > 0)
    assert plain.mean() > 0.9 and ((waves > 0) == told)[plain].all()


def test_what_shows_nothing_is_like_nothing():
    none, some = np.zeros(3, np.uint64), np.array([0, 1, 5], np.uint64)
    assert (alike(some, none) == -1).all() and (alike(none, some) == -1).all()
    assert (alike(none[:0], some) == -1).all() and not len(alike(some, none[:0]))
    assert not looks(np.full((2, 1, 7, 7), 200, np.uint8)).any(), "too few pixels to tell"
    levels = np.arange(48, dtype=np.uint8).reshape(16, 3, 1, 1)
    assert not looks(np.tile(levels, (1, 1, 16, 16))).any(), "one colour each"


@pytest.fixture
def folder(tmp_path):
    """Return how a folder is made of two classes of pictures, each saved so many times."""

    def make(count, copies):
        for number in range(count):
            place = tmp_path / "photos" / ("ant", "bee")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            for copy in range(copies):
                content = saved(photograph(number), 1 + copy / 5, 95 - 10 * copy)
                (place / f"{number}-{copy}.jpg").write_bytes(content)
        return tmp_path / "photos"

    return make


def read(root, **changes):
    """Take in a folder and return what was read of it."""
    given = {"name": "photos", "source": str(root), "channels": 3, "size": 48}
    given |= {"select_fraction": 0.2, "test_fraction": 0.2}
    section = Data.model_validate(DATA | given | changes)
    source, params = readers.find(section, root.parent), SimpleNamespace(data=section)
    return prepare.run(params, source, state=None, generator=None, device=None, emit=ignore).read


def test_copies_across_splits_are_counted_named_and_warned_of(folder):
    found = read(folder(40, 3))
    [said] = found.warnings
    assert said.startswith("images of two splits look alike: ") and "give them a group" in said
    assert found.alike["test in train"] > 5 and len(found.pairs) == 3
    for pair in found.pairs:
        one, other = (name.split("/")[-1].split("-")[0] for name in pair.split(" and "))
        assert one == other and pair in said, "two savings of one photograph"


def test_images_that_were_augmented_before_are_warned_of(tmp_path):
    """As tools for labelling export them: each mirrored and turned as well."""
    for number in range(60):
        place = tmp_path / "photos" / ("ant", "bee")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        picture = photograph(number)
        for copy, one in enumerate((picture, picture[:, ::-1].copy(), np.rot90(picture).copy())):
            (place / f"{number}-{copy}.jpg").write_bytes(saved(one))
    found = read(tmp_path / "photos")
    assert found.alike["test in train"] > 10 and "look alike" in found.warnings[0]


def test_images_that_differ_are_not_warned_of(folder):
    found = read(folder(120, 1))
    assert sum(found.alike.values()) == 0 and not found.warnings and not found.pairs


@pytest.mark.parametrize(("count", "said"), [(2, False), (3, True)])
def test_a_pair_or_two_of_few_images_are_chance(folder, count, said):
    found = read(folder(40, 1)).model_copy(update={"alike": {"test in train": count}})
    assert any("look alike" in one for one in warnings(found)) == said


def test_copies_of_a_group_are_in_one_split(folder):
    found = read(folder(40, 3), group=r"/(\d+)-\d\.jpg")
    assert sum(found.alike.values()) == 0 and not any("look alike" in one for one in found.warnings)


def test_equal_images_are_duplicates_and_not_alike_as_well(folder, tmp_path):
    root = folder(40, 1)
    for split in ("train", "test"):
        copytree(root, tmp_path / "own" / split)
    found = read(tmp_path / "own")
    assert found.duplicates["test in train"] > 20 and found.alike["test in train"] == 0
