"""What a step shows: as it ever was for one process, and of several to each its own part."""

import json
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from scalenet.config.recipe import Augment
from scalenet.data import ahead, images, store
from scalenet.data.augmentation import augment, draw
from scalenet.data.batches import Order
from scalenet.data.images import Arrays
from scalenet.data.shrunk import Shrunk
from scalenet.nets import child, group
from scalenet.space.network import Network, Task
from scalenet.training import fixed, launch, loop, views

GOLDEN = json.loads((Path(__file__).parent / "golden" / "views.json").read_text())
NETWORK = Network.parse("r8-stem_k3_s1_c4-ir_k3_s2_e3_c8-head_c16-se0.25e-hard_swish")
COUNT = 6


def by(name, still):
    return Augment.model_validate(still | GOLDEN[name]["augment"])


def generator():
    return torch.Generator().manual_seed(5)


@pytest.fixture
def six():
    """Six colour images of 8 px."""
    pixels = (torch.arange(COUNT * 3 * 64).square() * 37 % 251).to(torch.uint8).view(-1, 3, 8, 8)
    mean, std = (torch.full((1, 3, 1, 1), value) for value in (0.4, 0.3))
    return Arrays(pixels, torch.arange(COUNT), mean, std)


@pytest.mark.parametrize("name", GOLDEN)
def test_views_are_those_of_every_version_before(name, six, still):
    """A training that is repeated is the same: what is drawn, and in which order, stays."""
    for before in GOLDEN[name]["views"]:
        draws = draw(COUNT, 3, by(name, still), generator())
        index = torch.arange(COUNT)
        view, targets = augment(six, index, before["resolution"], by(name, still), draws)
        torch.testing.assert_close(
            view[:, :, 1, 3], torch.tensor(before["pixel"]), rtol=0, atol=2e-4
        )
        partners = None if targets.partners is None else targets.partners.tolist()
        assert partners == before["partners"]
        assert targets.share == pytest.approx(before["share"], abs=1e-6)


def part_of(monkeypatch, rank, count):
    """Be one of ``count`` processes."""
    monkeypatch.setattr(group, "size", lambda: count)
    monkeypatch.setattr(group, "is_first", lambda: rank == 0)
    monkeypatch.setattr(dist, "get_rank", lambda: rank)


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", GOLDEN)
def test_a_process_reads_its_own_images_and_their_partners_for_its_part_of_the_view(
    name, count, six, params, still, monkeypatch
):
    augmented = params.retrain.recipe.model_copy(
        update={"batch": COUNT, "augment": by(name, still)}
    )
    order = Order(COUNT, COUNT, 3)
    whole = draw(COUNT, 3, augmented.augment, loop.step_generator(3, 1))
    view, targets = augment(six, order.at(1), 11, augmented.augment, whole)
    parts = []
    for rank in range(count):
        part_of(monkeypatch, rank, count)
        mine = group.part(COUNT)
        seen, index = views.batches(six, augmented, 3).at(1)
        needed = set(range(COUNT)[mine])
        if whole.mixing:
            needed |= set(whole.mixing.partner[mine].tolist())
        assert index.tolist() == order.at(1)[sorted(needed)].tolist(), "no others are read"
        random = loop.step_generator(3, 1)
        parts.append(views.of_step(seen, index, COUNT, 11, augmented.augment, random))
    torch.testing.assert_close(torch.cat([part for part, _ in parts]), view)
    assert torch.equal(torch.cat([said.labels for _, said in parts]), targets.labels)
    assert {said.share for _, said in parts} == {targets.share}
    if targets.partners is not None:
        assert torch.equal(torch.cat([said.partners for _, said in parts]), targets.partners)


@pytest.fixture
def twenty():
    """Twenty noisy colour images of 17 px."""
    noise = torch.randint(256, (20, 3, 17, 17), dtype=torch.uint8, generator=generator())
    mean, std = (torch.full((1, 3, 1, 1), value) for value in (0.4, 0.3))
    return Arrays(noise, torch.arange(20) % 2, mean, std)


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("most", [2**28, 20 * 3 * 11**2 * 4, 0])
def test_copies_that_are_kept_change_no_bit_of_a_view(name, most, twenty, params, still):
    recipe = params.retrain.recipe.model_copy(update={"batch": 6, "augment": by(name, still)})
    kept = Shrunk(twenty, most)
    batches, order = views.batches(kept, recipe, 3), Order(20, 6, 3)
    for step in range(9):
        for resolution in (6, 9, 17):
            random = [loop.step_generator(3, step) for _ in range(2)]
            index, shown = order.at(step), batches.at(step)
            view, _ = views.of_step(*shown, 6, resolution, recipe.augment, random[0])
            plain, _ = views.of_step(twenty, index, 6, resolution, recipe.augment, random[1])
            assert torch.equal(view, plain), (step, resolution)
    taken = sum(copies[0].nbytes for copies in kept.copies.values() if copies)
    assert taken <= most and (taken > 0) == (most > 0 and not recipe.augment.randaugment.ops)


def test_an_image_is_shrunk_once_in_a_training(twenty, params, still, monkeypatch):
    recipe = params.retrain.recipe.model_copy(update={"batch": 5, "augment": Augment(**still)})
    batches, asked = views.batches(twenty, recipe, 0), []
    pixels = Arrays.pixels
    monkeypatch.setattr(Arrays, "pixels", lambda *a: asked.extend(a[1].tolist()) or pixels(*a))
    for step in range(12):  # three times over the images
        views.of_step(*batches.at(step), 5, 9, recipe.augment, generator())
    assert sorted(asked) == [0, *range(20)]  # the first tells its size


def test_those_of_a_machine_share_its_cores_for_reading_ahead(monkeypatch):
    monkeypatch.setattr(ahead, "cores", lambda: 128)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert ahead.processes() == ahead.MOST
    read = {}
    for count in (2, 8, 100):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(count))
        read[count] = ahead.processes()
    assert read == {2: 16, 8: 8, 100: 1}


# --- processes that train together ----------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    """A split of 32 noisy photographs, of which no batch of 20 shows all."""
    noise = torch.randint(256, (32, 3, 8, 8), dtype=torch.uint8, generator=generator())
    store.write(tmp_path / "train.npz", noise.numpy(), (torch.arange(32) % 2).numpy())
    return tmp_path / "train.npz"


def trained(file, recipe):
    """Train from a file that is read ahead, but here; return the losses and how many were read."""
    read = []

    def coming(self, indices):
        for index in indices:
            read.append(len(index))
            yield self.pixels(index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "HELD", 0)
        patch.setattr(images, "LARGE", 1)
        patch.setattr(images.Filed, "coming", coming)
        far = images.on_device(store.read(file), [0.5] * 3, [0.25] * 3, torch.device("cpu"))
        net = child.build(NETWORK, Task(3, 2), torch.Generator().manual_seed(0))
        history = fixed.train(net, far, recipe, 3)
    return [loss for _, loss, _ in history], read


def train_together(emit, file, recipe):
    torch.set_num_threads(1)
    losses, read = trained(file, recipe)
    emit(
        {
            "event": "trained",
            "losses": losses,
            "read": read,
            "beside": os.environ["LOCAL_WORLD_SIZE"],
        }
    )


def test_three_processes_train_as_one_and_each_reads_its_own(file, params, still):
    """A batch of 20 is no three equal parts."""
    update = {"batch": 20, "steps": 4, "log": 1, "augment": by("all, turned", still)}
    recipe = params.retrain.recipe.model_copy(update=update)
    losses, read = trained(file, recipe)
    assert set(read) == {20}
    told = []
    launch.together(3, train_together, (file, recipe), told.append)
    [first] = told
    assert first["losses"] == pytest.approx(losses, rel=1e-4)
    assert max(first["read"]) <= 12 and first["beside"] == "3", "its 6 and their partners"
