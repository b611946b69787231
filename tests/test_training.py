"""Training, on toys in milliseconds: it learns, resumes to the same bits, its parts do as told."""

import csv
import math
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import TINY
from torch import nn

from scalenet.config.recipe import Augment, Recipe
from scalenet.data import store
from scalenet.data.augmentation import (
    Targets,
    affine,
    augment,
    class_weights,
    draw,
    draw_mixing,
    erase,
    grid,
    mix,
    reading_side,
)
from scalenet.data.batches import Order
from scalenet.data.images import Arrays, Images, join, resize
from scalenet.data.randaugment import COLOURS, compose, drawn, moved, places, recoloured
from scalenet.nets import child, elastic, inherit
from scalenet.records import files
from scalenet.records import tensors as tensorfile
from scalenet.records.documents import Member
from scalenet.records.paths import Paths
from scalenet.space import cost
from scalenet.space.network import Task
from scalenet.space.scale import largest, scale, smallest
from scalenet.space.scaling import BaseModel, Scaling
from scalenet.stages import declared, work_key
from scalenet.stages import supernet as stage_supernet
from scalenet.training import fixed, loop, member, supernet, watch

TASK = Task(1, 3)
QUICK = {
    "stages": [
        {"width": 4, "depth": 1, "stride": 1, "expands": [1], "kernels": [3]},
        {"width": 8, "depth": 2, "stride": 2, "expands": [2], "kernels": [3, 5]},
    ]
}


class Interruption(Exception):
    """What a test raises inside a step, as a power cut would."""


def recipe_of(params, **changes) -> Recipe:
    return Recipe.model_validate(params.retrain.recipe.model_dump() | changes)


def network_of(params, resolution=9):
    base = BaseModel.parse("k3e1-3.5e2-7e3")
    return scale(params.space, base, Scaling(1.0, 1.0, resolution))


@contextmanager
def interrupted(after: int):
    """Let ``after`` gradient computations pass, expect the next one to raise."""
    calls, backward = 0, torch.Tensor.backward

    def counted(self, *args, **kwargs):
        nonlocal calls
        calls += 1
        if calls > after:
            raise Interruption
        return backward(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(torch.Tensor, "backward", counted)
        yield


def assert_same(first, second):
    assert set(first) == set(second)
    for name in first:
        assert torch.equal(first[name], second[name]), name


# --- the whole ------------------------------------------------------------------------------------


def train_member(params, images, state=None, seed=0):
    net = child.build(network_of(params), TASK, torch.Generator().manual_seed(seed))
    return net, member.train(params.retrain, net, images, seed, state, loop.ignore)


def train_supernet(params, images, state=None):
    generator = torch.Generator().manual_seed(params.supernet.seed)
    coupling = params.supernet.coupling
    net = elastic.build(params.space, params.scaling, TASK, coupling, generator)
    return net, supernet.train(params, net, images, state, loop.ignore)


def test_a_child_learns(params, toy):
    net, history = train_member(params, toy(96))
    assert history[-1][1] < 0.6 * history[0][1] and not net.training
    fresh = toy(60, seed=1)
    said = fixed.predict(net, fresh, 32)
    assert said.right.sum() > 0.9 * 60 and (said.labels == fresh.labels.numpy()).all()
    assert said.probability[said.right] == pytest.approx(said.true[said.right])
    assert (said.true[~said.right] <= said.probability[~said.right]).all()
    for name, array in fixed.predict(net, fresh, 7)._asdict().items():
        assert array == pytest.approx(getattr(said, name), abs=1e-6), name


def test_outputs_that_are_not_finite_are_no_class(params, toy):
    """The largest of numbers of which one is NaN is that one, which would count as an answer."""
    net, images = child.build(network_of(params), TASK, torch.Generator().manual_seed(0)), toy(20)
    fixed.calibrate(net, images, 20, 0)
    fixed.predict(net, images, 8)
    with torch.no_grad():
        next(iter(net.weights.values())).fill_(float("nan"))
    with pytest.raises(ValueError, match=r"diverged: of 20 of 20 images .* not finite; lower"):
        fixed.predict(net, images, 8)
    judge = member.judge(params.retrain, net, images, images)
    assert judge(net.weights) == [0.0]


@pytest.mark.parametrize(
    "section", [{}, {"sandwich": True, "distill": True, "coupling": "bilateral", "sampled": 1}]
)
def test_the_supernet_learns(make_params, toy, still, section):
    recipe = {"steps": 40, "lr": 0.4, "log": 8, "augment": still}
    params = make_params({"space": QUICK, "supernet": section | {"recipe": recipe}})
    net, history = train_supernet(params, toy(96))
    assert history[-1][1] < 0.8 * history[0][1]
    network = scale(params.space, BaseModel.parse("k3e1-3.5e2"), Scaling(1.0, 1.0, 9))
    fresh = toy(60, seed=1)
    logits = net.evaluator(network, list(toy(96).resized(9, 96)))(next(fresh.resized(9, 60)))
    assert (logits.argmax(1) == fresh.labels).float().mean() > 0.6


def test_a_teacher_that_computes_in_bfloat16_says_probabilities_in_float32(
    make_params, toy, monkeypatch
):
    """In 8 bits they are wrong by up to 0.4 %, and do not sum to 1."""
    heard, soft = [], supernet._soft
    monkeypatch.setattr(supernet, "_soft", lambda x, said: heard.append(said) or soft(x, said))
    recipe = {"precision": "bfloat16", "steps": 2, "warmup": 0, "log": 1, "checkpoint": 2}
    section = {"sandwich": True, "distill": True, "sampled": 1, "recipe": recipe}
    train_supernet(make_params({"space": QUICK, "supernet": section}), toy(96))
    assert heard and all((said.double().sum(1) - 1).abs().max() < 1e-6 for said in heard)


def planned(params, strategy, multiple=64):
    """Return the plan of a member: the largest base model, scaled by a strategy."""
    base = BaseModel.parse("k3e1-3.5.3e2-7.5e3")
    network = scale(params.space, base, strategy)
    return Member(
        name="S6",
        multiple=multiple,
        budget=multiple * params.scaling.budget,
        origin="extrapolated",
        base=base,
        scaling=strategy,
        network=network,
        flops=cost.flops(network, TASK),
        params=cost.parameters(network, TASK),
    )


def test_a_member_beyond_the_supernet_starts_where_its_slice_is(make_params, toy, still):
    """Larger than the super-supernet, and as good as its largest slice before any training."""
    recipe = {"steps": 40, "lr": 0.4, "log": 8, "augment": still}
    params, images = make_params({"supernet": {"recipe": recipe}}), toy(96)
    trained, _ = train_supernet(params, images)
    reached = []
    for strategy in (Scaling(2.0, 2.0, 9), Scaling(3.0, 3.0, 9)):
        generator = torch.Generator().manual_seed(5)
        net = member.initial(planned(params, strategy), TASK, trained, generator)
        fixed.calibrate(net, images, 96, 0)
        fresh = toy(60, seed=1)
        seen = net(next(fresh.resized(9, 60))).argmax(1)
        reached.append(((seen == fresh.labels).sum().item(), net.network.depth))
    assert reached[0][0] == reached[1][0] > 0.6 * 60 and reached[0][1] < reached[1][1]


def test_a_member_that_cannot_start_from_the_supernet_says_why(params, make_params):
    stages = [block.model_dump() for block in params.space.stages]
    stages[1] |= {"kernels": [3, 7]}
    space = make_params({"space": {"stages": stages}}).space
    net = elastic.build(space, params.scaling, TASK, "left", generator())
    with pytest.raises(ValueError, match=r"S6 \(r9-.* block 1 has a kernel of 5.*init: scratch"):
        member.initial(planned(params, Scaling(1.0, 1.0, 9)), TASK, net, generator())


@pytest.mark.parametrize(
    ("growth", "multiple", "steps", "warmup"),
    [
        (1.0, 32, 20, 3),
        (1.15, 1, 20, 3),
        (1.5, 2, 30, 4),
        (2.0, 8, 160, 24),
        (0.5, 1024, 1, 0),
    ],
)
def test_a_larger_member_is_trained_for_longer(make_params, growth, multiple, steps, warmup):
    params = make_params({"retrain": {"growth": growth}}).retrain
    longer = member.lengthened(params, multiple).recipe
    assert (longer.steps, longer.warmup) == (steps, warmup)
    assert longer.model_dump(exclude={"steps", "warmup"}) == params.recipe.model_dump(
        exclude={"steps", "warmup"}
    )


def test_a_length_that_is_no_multiple_of_anything_resumes_too(make_params, toy, tmp_path):
    """A log entry and no checkpoint ends a training, wherever its last step is."""
    params = make_params({"retrain": {"growth": 1.1}}).retrain
    longer = member.lengthened(params, 2)
    assert longer.recipe.steps == 22
    nets, histories = [], []
    for state in (None, tmp_path):
        net = child.build(network_of(make_params()), TASK, torch.Generator().manual_seed(0))
        if state:
            with interrupted(after=18):
                member.train(longer, net, toy(96), 0, state, loop.ignore)
        histories.append(member.train(longer, net, toy(96), 0, state, loop.ignore))
        nets.append(net)
    assert [step for step, *_ in histories[0]] == [4, 8, 12, 16, 20, 22]
    assert histories[0] == histories[1]
    assert_same(nets[0].state_dict(), nets[1].state_dict())


# --- a super-supernet that starts from another ----------------------------------------------------


def other_supernet(params, task, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return elastic.build(params.space, params.scaling, task, "left", generator)


@pytest.mark.parametrize(
    ("task", "fresh"),
    [
        (TASK, set()),
        (Task(1, 7), {"classifier/weight", "classifier/bias"}),
        (Task(3, 3), {"stem/weight"}),
        (Task(3, 7), {"classifier/weight", "classifier/bias", "stem/weight"}),
    ],
)
def test_a_supernet_takes_over_what_the_task_leaves(params, task, fresh):
    net, source, before = (
        other_supernet(params, t, s) for t, s in ((TASK, 0), (task, 3), (TASK, 0))
    )
    with torch.no_grad():
        for tensor in source.weights.values():
            tensor += 0.1
    inherit.supernet(net, source)
    for name, tensor in net.weights.items():
        assert torch.equal(tensor, (before if name in fresh else source).weights[name]), name
    assert net.task == TASK


def test_a_supernet_takes_the_first_part_of_a_larger_one(make_params):
    """Of one with a size more; its networks then compute what they compute in that."""
    fewer = {"stages": TINY["scaling"]["stages"][:2]}
    small = make_params({"scaling": fewer, "search": {"stage_weights": [1, 1]}})
    net, source = other_supernet(small, TASK, 0), other_supernet(make_params(), TASK)
    assert len(net.weights) < len(source.weights)
    inherit.supernet(net, source)
    network, images = largest(small.space, small.scaling), torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(net(images, network), source(images, network))


def test_a_supernet_of_another_space_is_refused(params, make_params):
    wide, deep = make_params({"space": {"head": {"width": 20}}}), make_params({"space": QUICK})
    blocks = TINY["space"]["stages"]
    fewer = make_params({"space": {"stages": blocks[:2]}})
    kernels = make_params({"space": {"stages": [*blocks[:2], {**blocks[2], "kernels": [3, 5]}]}})
    stem = make_params({"space": {"stem": {"kernel": 5}}})
    coupled = elastic.build(params.space, params.scaling, TASK, "bilateral", generator())
    for ours, theirs, said in [
        (wide, params, r"classifier/weight is \(3, 16\), here \(3, 20\).*no smaller.*null"),
        (params, deep, "another space: .* is not there, here"),
        (fewer, params, r"stages/2/.* is \(.*\), here not there"),
        (params, kernels, "depth/weight/7 is not there, here"),
        (stem, params, r"stem/weight is \(8, 1, 3, 3\), here \(8, 1, 5, 5\)"),
    ]:
        with pytest.raises(ValueError, match=said):
            inherit.supernet(other_supernet(ours, TASK), other_supernet(theirs, TASK))
    with pytest.raises(ValueError, match=r"classifier/weight is \(3, 20\), here \(3, 16\)"):
        inherit.supernet(coupled, other_supernet(wide, TASK))


def supernet_project(root, info, images):
    """Lay what stage supernet reads in a folder; return its paths."""
    paths = Paths(root)
    info.write(paths.data / "info.json")
    for name in ("train", "select"):
        store.write(paths.data / f"{name}.npz", images.array.numpy(), images.labels.numpy())
    return paths


def test_the_stage_starts_from_the_file_that_params_name(make_params, info, toy, tmp_path):
    """With a rate of next to nothing the weights stay what they were at the start."""
    paths, file = supernet_project(tmp_path, info, toy(96)), "pretrained/weights.pt"
    still = {"lr": 1e-12, "steps": 2, "warmup": 0, "weight_decay": 0}
    source = other_supernet(make_params(), Task(1, 5))
    elastic.write(tmp_path / file, source, "left")
    right = files.sha256(tmp_path / file)
    for init in (None, {"file": file, "sha256": right}):
        params = make_params({"supernet": {"init": init, "recipe": still}})
        stage_supernet.main(declared(params, "supernet"), paths, loop.ignore)
        made = elastic.read(paths.supernet / "weights.pt")
        same = torch.allclose(made.weights["head/weight"], source.weights["head/weight"])
        assert same == (init is not None) and made.task == TASK

    def refusal(**init):
        params = make_params({"supernet": {"init": {"file": file, "sha256": right} | init}})
        with pytest.raises(ValueError) as error:
            stage_supernet.main(declared(params, "supernet"), paths, loop.ignore)
        return str(error.value)

    said = refusal(sha256="0" * 64)
    assert "0" * 64 in said and right in said, "it says the right one"
    assert "nowhere.pt: cannot be read" in refusal(file="nowhere.pt")
    child.write(tmp_path / "child.pt", child.build(network_of(make_params()), TASK, generator()))
    said = refusal(file="child.pt", sha256=files.sha256(tmp_path / "child.pt"))
    assert "holds a child, not a super-supernet" in said


# --- interruption ---------------------------------------------------------------------------------

SUPERNETS = [
    {},
    {
        "coupling": "bilateral",
        "sampling": "uniform",
        "recipe": {"precision": "bfloat16", "drop_path": 0.2},
    },
    {"sandwich": True, "distill": True, "sampled": 1, "recipe": {"ema": 0}},
]


def resumed_from(state) -> int:
    return tensorfile.read(state / loop.CHECKPOINT)[0]["step"]


@pytest.mark.parametrize("section", SUPERNETS)
def test_an_interrupted_supernet_resumes_to_the_same_bits(make_params, toy, tmp_path, section):
    params, images = make_params({"space": QUICK, "supernet": section}), toy(96)
    whole, whole_history = train_supernet(params, images)
    per_step = len(drawn_at(params, 0))
    with interrupted(after=10 * per_step + 1):  # within step 10
        train_supernet(params, images, tmp_path)
    assert resumed_from(tmp_path) == 8
    with interrupted(after=9 * per_step):  # a second one: from step 8 to 17
        train_supernet(params, images, tmp_path)
    assert resumed_from(tmp_path) == 16
    with interrupted(after=0):  # a third one, before anything is done
        train_supernet(params, images, tmp_path)
    again, history = train_supernet(params, images, tmp_path)
    assert history == whole_history
    assert_same(dict(again.weights), dict(whole.weights))


@pytest.mark.parametrize(
    "recipe", [{}, {"drop_path": 0.3, "ema": 0}, {"precision": "bfloat16"}, {"momentum": 0}]
)
def test_an_interrupted_member_resumes_to_the_same_bits(make_params, toy, tmp_path, recipe):
    params = make_params({"retrain": {"recipe": recipe}})
    net, history = train_member(params, toy(96))
    with interrupted(after=18):
        train_member(params, toy(96), tmp_path)
    assert resumed_from(tmp_path) == 16
    again, its_history = train_member(params, toy(96), tmp_path)
    assert its_history == history
    assert_same(again.state_dict(), net.state_dict())  # weights and calibrated statistics


def test_a_resumed_run_repeats_no_finished_step(params, toy, tmp_path):
    with interrupted(after=18):
        train_member(params, toy(96), tmp_path)
    with interrupted(after=3):  # 4 of 20 steps are left
        train_member(params, toy(96), tmp_path)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"), interrupted(after=4):
        train_member(params, toy(96), tmp_path)


def test_a_checkpoint_that_vanishes_while_it_is_read_is_none(params, toy, tmp_path, monkeypatch):
    whole, _ = train_member(params, toy(64))
    read = tensorfile.read
    (tmp_path / loop.CHECKPOINT).write_bytes(b"")
    monkeypatch.setattr(tensorfile, "read", lambda path: path.unlink() or read(path))
    again, _ = train_member(params, toy(64), tmp_path)
    assert_same(whole.state_dict(), again.state_dict())


def test_the_state_of_other_work_is_not_resumed(params, make_params, tmp_path):
    """A state's folder is named by what the work depends on: other params, another folder."""
    more = make_params({"retrain": {"recipe": {"steps": 24}}})
    paths, other = Paths(tmp_path), declared(make_params({"search": {"seed": 7}}), "retrain", "S0")
    retrain = declared(params, "retrain", "S0")
    key = work_key(retrain, "retrain", "inputs")
    assert key == work_key(other, "retrain", "inputs"), "what it does not read changes nothing"
    spread = declared(make_params({"compute": {"scoring": "local"}}), "retrain", "S0")
    assert key == work_key(spread, "retrain", "inputs"), "who scores changes no score"
    keys = {
        key,
        work_key(declared(more, "retrain", "S0"), "retrain", "inputs"),
        work_key(declared(params, "retrain", "S1"), "retrain", "inputs"),
        work_key(retrain, "retrain", "other inputs"),
        work_key(retrain, "supernet", "inputs"),
    }
    assert len({paths.state("S0", key) for key in keys}) == 5


def test_runs_repeat_and_seeds_differ(params, toy):
    (first, _), (second, _), (other, _) = (
        train_member(params, toy(96), seed=seed) for seed in (0, 0, 1)
    )
    assert_same(first.state_dict(), second.state_dict())
    assert not torch.equal(first.weights["head/weight"], other.weights["head/weight"])


# --- a training watched ---------------------------------------------------------------------------


def watched_member(params, images, select, state=None, emit=loop.ignore):
    """Train a member as stage retrain does; return it, its watched curve."""
    net = child.build(network_of(params), TASK, torch.Generator().manual_seed(0))
    judge = member.judge(params.retrain, net, images, select)
    seen = watch.Watch(member.WATCHED, judge, state, emit)
    history = member.train(params.retrain, net, images, 0, state, seen)
    return net, seen.joined(history)


HELD_BACK = {"use_select": False, "watch": 48}


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"a": 1}'])
def test_a_damaged_record_of_what_was_judged_has_training_begin_anew(
    make_params, toy, tmp_path, damage
):
    """Gone on from its checkpoint, the curve would lack what was judged before."""
    params, images, select = make_params({"retrain": HELD_BACK}), toy(96), toy(60, seed=1)
    _, whole = watched_member(params, images, select)

    class Cut(Exception):
        pass

    def cut(record):
        if record["event"] == "step" and record["step"] > 16:
            raise Cut

    with pytest.raises(Cut):
        watched_member(params, images, select, tmp_path, cut)
    (tmp_path / "watched.json").write_bytes(damage)
    told = []
    _, curve = watched_member(params, images, select, tmp_path, told.append)
    assert curve == whole and "watched.json is damaged" in told[0]["text"]
    assert (tmp_path / "watched.json.damaged").read_bytes() == damage


def test_a_member_is_judged_at_each_checkpoint_and_at_the_end(make_params, toy):
    params, images, select, told = make_params({"retrain": HELD_BACK}), toy(96), toy(60, seed=1), []
    net, curve = watched_member(params, images, select, emit=told.append)
    plain, history = train_member(params, images)
    assert_same(net.state_dict(), plain.state_dict())
    assert [row[:3] for row in curve] == history, "watching changes nothing"
    assert [row[0] for row in curve if row[3] is not None] == [8, 16, 20]
    first = next(select.resized(9, 48, 48)), select.labels[:48]
    fixed.calibrate(net, images, 96, 0)
    seen = elastic.calibrated(net.network, net.weights, list(images.resized(9, 48, 48)))(first[0])
    assert curve[-1][3] == (seen.argmax(1) == first[1]).float().mean().item() > 0.6
    judged = [record for record in told if record["event"] == "judged"]
    assert [(r["step"], r["steps"], r["select"]) for r in judged] == [
        (row[0], 20, row[3]) for row in curve if row[3] is not None
    ]
    assert not any("weights" in record for record in told), "tensors stay inside"


@pytest.mark.parametrize("section", [{"use_select": True, "watch": 48}, HELD_BACK | {"watch": 0}])
def test_no_member_is_judged_by_what_it_learns_from(make_params, toy, section):
    params = make_params({"retrain": section})
    _, curve = watched_member(params, toy(96), toy(60, seed=1))
    assert all(row[3] is None for row in curve)


def test_what_was_judged_survives_an_interruption(make_params, toy, tmp_path):
    params, images, select = make_params({"retrain": HELD_BACK}), toy(96), toy(60, seed=1)
    _, whole = watched_member(params, images, select)
    with interrupted(after=18):
        watched_member(params, images, select, tmp_path)
    told = []
    _, again = watched_member(params, images, select, tmp_path, told.append)
    assert again == whole
    assert [r["step"] for r in told if r["event"] == "judged"] == [20], "nothing is judged twice"


def test_a_supernet_is_judged_by_a_small_and_a_large_network(make_params, info, toy, tmp_path):
    images = toy(96)
    paths = supernet_project(tmp_path, info, images)
    recipe = {"steps": 40, "lr": 0.4, "checkpoint": 16}
    params = make_params({"supernet": {"watch": 64, "recipe": recipe}})
    told = []
    stage_supernet.main(declared(params, "supernet"), paths, told.append)
    with (paths.supernet / "training.csv").open() as file:
        rows = list(csv.DictReader(file))
    judged = {int(row["step"]): row for row in rows if row["select_first"]}
    assert list(judged) == [16, 32, 40] and len(rows) == 10
    assert 0.3 < float(judged[40]["select_last"]) <= 1
    assert [r["select_last"] for r in told if r["event"] == "judged"] == [
        float(row["select_last"]) for row in judged.values()
    ]
    net = elastic.read(paths.supernet / "weights.pt")
    judge = supernet.judge(params, net, images, images)
    reached = [float(judged[40][name]) for name in supernet.WATCHED]
    assert judge(dict(net.weights)) == reached, "the weights at the end are those judged last"


# --- the loop -------------------------------------------------------------------------------------


def toy_loop(recipe, losses, state=None):
    """Train one number whose loss at each step is given."""
    tensors = nn.ParameterDict({"x/weight": nn.Parameter(torch.zeros(2, 2))})

    def backward(step):
        tensors["x/weight"].grad = torch.ones(2, 2)
        return torch.tensor(float(losses(step)))

    return loop.train(tensors, recipe, backward, state), tensors


def test_the_loss_curve_is_the_mean_between_entries(params):
    recipe = recipe_of(params, steps=12, log=5, checkpoint=5)
    history, _ = toy_loop(recipe, float)
    assert [(step, loss) for step, loss, _ in history] == [(5, 2.0), (10, 7.0), (12, 10.5)]
    assert [rate for _, _, rate in history] == [
        loop.learning_rate(recipe, step) for step in (4, 9, 11)
    ]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_divergence_says_what_to_change(params, tmp_path, bad):
    with pytest.raises(ValueError, match=r"diverged by step 16.*lower recipe\.lr"):
        toy_loop(recipe_of(params), lambda step: bad if step == 12 else 1.0, tmp_path)
    assert resumed_from(tmp_path) == 8


def test_the_recipe_is_nesterov_sgd_with_clipping_and_averaging(params):
    """Every number of the recipe, against the rule written out (Sutskever's form, PyTorch's)."""
    given = {
        "steps": 8,
        "warmup": 2,
        "lr": 0.3,
        "momentum": 0.8,
        "weight_decay": 0.05,
        "clip": 1.5,
        "ema": 0.7,
    }
    recipe = recipe_of(params, log=1, checkpoint=1, **given)
    tensors = nn.ParameterDict(
        {"a/weight": nn.Parameter(torch.ones(1, 1)), "a/bias": nn.Parameter(torch.ones(1))}
    )
    gradients = np.random.default_rng(0).normal(0, 2, (8, 2))

    def backward(step):
        for name, value in zip(("a/weight", "a/bias"), gradients[step], strict=True):
            tensors[name].grad = torch.full_like(tensors[name], value)
        return torch.tensor(0.0)

    loop.train(tensors, recipe, backward)
    w, velocity, average = np.ones(2), np.zeros(2), np.ones(2)
    for step, g in enumerate(gradients):
        g = g * min(1, 1.5 / np.linalg.norm(g)) + np.array([0.05, 0]) * w
        velocity = 0.8 * velocity + g
        w = w - loop.learning_rate(recipe, step) * (g + 0.8 * velocity)
        keep = min(0.7, (1 + step) / (10 + step))
        average = keep * average + (1 - keep) * w
    assert [tensors[name].item() for name in ("a/weight", "a/bias")] == pytest.approx(
        list(average), rel=1e-4
    )


def test_the_average_follows_at_once_when_young_or_turned_off():
    start, moved = {"w": torch.zeros(3)}, {"w": torch.ones(3)}
    for decay, step, value in ((0.0, 500, 1.0), (0.99, 0, 0.9), (0.99, 10**6, 0.01)):
        average = loop.Average(start, decay)
        average.update(moved, step)
        assert average.tensors["w"].tolist() == pytest.approx([value] * 3)
    assert start["w"].tolist() == [0, 0, 0]


def test_learning_rate_warms_up_and_falls_to_0(params):
    recipe = recipe_of(params, steps=100, warmup=10, lr=0.4)
    rates = [loop.learning_rate(recipe, step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.04 * (step + 1) for step in range(10)])
    assert max(rates) == rates[10] == pytest.approx(0.4) and rates[55] == pytest.approx(0.2)
    assert all(a > b for a, b in pairwise(rates[10:])) and 0 < rates[-1] < 2e-4
    assert loop.learning_rate(recipe, 100) == pytest.approx(0, abs=1e-12)
    cold = recipe_of(params, steps=10, warmup=0, lr=0.4)
    assert loop.learning_rate(cold, 0) == pytest.approx(0.4)
    long = cold.model_copy(update={"steps": 5, "warmup": 50, "lr": 0.5})
    assert [loop.learning_rate(long, step) for step in range(5)] == pytest.approx(
        [0.01, 0.02, 0.03, 0.04, 0.05]
    )


def test_step_generators_are_independent_of_the_past():
    draws = {
        (seed, step): torch.rand(4, generator=loop.step_generator(seed, step))
        for seed in (0, 1)
        for step in (0, 1)
    }
    assert len({tuple(value.tolist()) for value in draws.values()}) == 4
    assert torch.equal(draws[1, 1], torch.rand(4, generator=loop.step_generator(1, 1)))


def test_gradients_are_reduced_once_a_step_before_anything_uses_them(params, monkeypatch):
    """Two halves of a batch, averaged by a reducer, take the steps of the whole batch."""
    recipe = recipe_of(params, steps=6, warmup=0, clip=0.5, log=1, checkpoint=1)
    inputs = torch.randn(16, 4, generator=generator())
    outputs = torch.randn(16, generator=generator(1))

    def gradient_of(weight, rows):
        loss = ((inputs[rows] @ weight)[:, 0] - outputs[rows]).square().mean()
        return torch.autograd.grad(loss, weight)[0]

    def trained(rows, reduce=lambda weight, gradient: None):
        tensors = {"a/weight": torch.ones(4, 1), "unused/bias": torch.ones(2)}
        tensors = nn.ParameterDict({name: nn.Parameter(t) for name, t in tensors.items()})
        calls = []

        def backward(step):
            tensors["a/weight"].grad = gradient_of(tensors["a/weight"], rows)
            return torch.tensor(1.0)

        def counted(gradients):
            calls.append(len(gradients))
            reduce(tensors["a/weight"], gradients[0])

        with monkeypatch.context() as patch:
            patch.setattr(loop.group, "add_up", counted)
            loop.train(tensors, recipe, backward)
        assert calls == [1] * 6, "once a step, and no gradient that this process does not have"
        return tensors["a/weight"].detach()

    def with_the_other_half(weight, gradient):
        gradient.add_(gradient_of(weight, slice(8, 16))).div_(2)

    whole, half = trained(slice(0, 16)), trained(slice(0, 8))
    torch.testing.assert_close(trained(slice(0, 8), with_the_other_half), whole)
    assert not torch.allclose(half, whole, atol=1e-3)


# --- what a step sees -----------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "batch"), [(96, 16), (50, 16), (10, 10), (7, 100)])
def test_order_covers_every_image_each_epoch(size, batch):
    order, batch = Order(size, batch, seed=3), min(batch, size)
    per_epoch, epochs = size // batch, []
    for epoch in range(3):
        seen = torch.cat([order.at(epoch * per_epoch + i) for i in range(per_epoch)]).tolist()
        assert len(seen) == len(set(seen)) == size - size % batch and set(seen) <= set(range(size))
        epochs.append(tuple(seen))
    assert len(set(epochs)) == 3
    everything = {i for step in range(20 * per_epoch) for i in order.at(step).tolist()}
    assert everything == set(range(size)), "images left over from an epoch must come in others"


def test_order_depends_on_seed_and_step_alone():
    straight, jumping = Order(50, 16, 0), Order(50, 16, 0)
    steps = [straight.at(step) for step in range(12)]
    for step in (11, 0, 7, 3, 4):
        assert torch.equal(jumping.at(step), steps[step])
    assert not torch.equal(Order(50, 16, 1).at(0), steps[0])


def drawn_at(params, step):
    """Return the networks and sizes of a step."""
    return supernet.draws(params, supernet.sampler(params, TASK, params.supernet.sampling), step)


@pytest.mark.parametrize("sampling", supernet.SAMPLINGS)
def test_draws_are_a_function_of_seed_and_step(make_params, sampling):
    params = make_params({"supernet": {"sampled": 3, "sampling": sampling}})
    assert drawn_at(params, 5) == drawn_at(params, 5) != drawn_at(params, 6)
    assert len(drawn_at(params, 5)) == 3
    sandwich = make_params({"supernet": {"sampled": 3, "sampling": sampling, "sandwich": True}})
    ends = [
        largest(params.space, params.scaling),
        smallest(params.space, params.scaling),
    ]
    drawn = drawn_at(sandwich, 5)
    assert [network for network, _ in drawn[:2]] == ends and drawn[2:] == drawn_at(params, 5)


@pytest.mark.parametrize("sampling", supernet.SAMPLINGS)
def test_the_histogram_counts_what_training_draws_and_what_the_other_samplings_would(
    make_params, sampling
):
    params = make_params({"supernet": {"sampling": sampling}})
    drawn = [
        pair for step in range(params.supernet.recipe.steps) for pair in drawn_at(params, step)
    ]
    flops = [(sampling, size, cost.flops(network, TASK)) for network, size in drawn]
    ways = {way: supernet.sampled_flops(params, TASK, way, 10**6) for way in supernet.SAMPLINGS}
    assert ways[sampling] == flops and {len(rows) for rows in ways.values()} == {len(flops)}
    assert len({tuple(row[1:] for row in rows) for rows in ways.values()}) == 3
    assert supernet.sampled_flops(params, TASK, sampling, 2) == flops[: 2 * params.supernet.sampled]


def test_a_histogram_that_finds_no_network_ends_no_training(make_params, info, monkeypatch):
    """It draws for every way of sampling, so it comes before the hours that it could cost."""

    def nothing(*_):
        raise ValueError("none found")

    monkeypatch.setattr(supernet, "histogram", nothing)
    monkeypatch.setattr(supernet, "train", lambda *_: pytest.fail("trained before it"))
    split = np.zeros((20, 1, 8, 8), np.uint8), np.arange(20) % 3
    inputs = stage_supernet.SupernetInputs(info, split, split)
    with pytest.raises(ValueError, match="none found"):
        stage_supernet.run(
            make_params(),
            inputs,
            state=None,
            generator=generator(),
            device=torch.device("cpu"),
            emit=loop.ignore,
        )


def test_budgeted_sampling_draws_what_a_search_may_choose(make_params):
    params = make_params({"supernet": {"sampling": "budgeted", "stage_weights": [1, 2, 1]}})
    draw, generator = supernet.sampler(params, TASK, "budgeted"), np.random.default_rng(0)
    drawn = [draw(generator) for _ in range(200)]
    for sample in drawn:
        tolerance = params.scaling.stages[sample.size].tolerance
        target = params.scaling.target(sample.size)
        miss = abs(cost.flops(sample.network, TASK) - target)
        assert miss <= tolerance * target * (1 + 1e-9)
        assert sample.network == scale(params.space, sample.base, sample.scaling)
    counts = np.bincount([sample.size for sample in drawn])
    assert 70 < counts[1] < 130 and len({sample.base for sample in drawn}) > 20
    assert len({sample.scaling for sample in drawn}) > 4


def test_budgeted_sampling_refuses_a_stage_that_nothing_reaches(make_params):
    stages = make_params().model_dump(mode="json")["scaling"]["stages"]
    stages[2] |= {"depths": [1.0], "widths": [1.0], "resolutions": [8]}
    params = make_params({"scaling": {"stages": stages}, "supernet": {"stage_weights": [0, 0, 1]}})
    with pytest.raises(ValueError, match=r"scaling\.stages\[2\]: no strategy comes within"):
        supernet.sampler(params, TASK, "budgeted")(np.random.default_rng(0))


def test_images_that_shrink_along_either_side_are_antialiased():
    stripes = (torch.arange(32) % 2).float().view(1, 1, 32, 1).expand(1, 1, 32, 8)
    tall, wide = resize(stripes, 8), resize(stripes.mT, 8)
    torch.testing.assert_close(tall, wide.mT)
    assert (tall - 0.5).abs().max() < 0.1, "fine stripes become their mean"


def test_images_are_resized_normalised_and_batched(toy):
    images = toy(20)
    batches = list(images.resized(11, batch=8))
    assert [tuple(b.shape) for b in batches] == [(8, 1, 11, 11), (8, 1, 11, 11), (4, 1, 11, 11)]
    torch.testing.assert_close(torch.cat(batches), torch.cat(list(images.resized(11, batch=3))))
    assert (
        sum(len(b) for b in images.resized(8, 8, count=10)) == 10
        and len(next(images.resized(8, 50, count=30))) == 20
    )
    whole = torch.cat(list(images.resized(8, 8)))
    torch.testing.assert_close(whole * 0.3 + 0.4, images.pixels(torch.arange(20)) / 255)
    both, index = join(images, toy(5)), torch.tensor([24, 3, 20, 19, 0])
    expected = torch.cat([images.pixels(torch.arange(20)), toy(5).pixels(torch.arange(5))])
    assert len(both) == 25 and torch.equal(both.pixels(index), expected[index])
    assert torch.equal(both.labels[:20], images.labels)
    assert torch.equal(both.labels[20:], toy(5).labels)
    assert torch.equal(both.pixels(torch.arange(3)), expected[:3]), "none of the second"


class Mapped(Images):
    """Another store: bytes in a file, read when they are asked for."""

    def __init__(self, path, images):
        everything = images.pixels(torch.arange(len(images))).numpy()
        self.file = np.memmap(path, np.uint8, "w+", shape=everything.shape)
        self.file[:] = everything
        self.labels, self.mean, self.std = images.labels, images.mean, images.std
        self.read = set()

    def pixels(self, index):
        self.read |= set(index.tolist())
        return torch.from_numpy(np.array(self.file[index.numpy()]))


@pytest.mark.parametrize("randaugment", [{"ops": 0, "magnitude": 0}, {"ops": 2, "magnitude": 9}])
def test_images_of_another_store_train_to_the_same_bits(make_params, toy, tmp_path, randaugment):
    recipe = {"augment": {"randaugment": randaugment}}
    params = make_params({"retrain": {"recipe": recipe}, "supernet": {"recipe": recipe}})
    arrays, mapped = toy(96), Mapped(tmp_path / "images", toy(96))
    for train in (train_member, train_supernet):
        mapped.read.clear()
        (net, history), (other, its_history) = train(params, arrays), train(params, mapped)
        assert history == its_history and mapped.read == set(range(96))
        assert_same(net.state_dict(), other.state_dict())
    more = Mapped(tmp_path / "more", toy(40, seed=2))
    whole, _ = train_member(params, join(arrays, toy(40, seed=2)))
    assert_same(train_member(params, join(mapped, more))[0].state_dict(), whole.state_dict())
    for count in (None, 50):
        batches = [images.resized(11, 32, count) for images in (arrays, mapped)]
        assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


# --- augmentation ---------------------------------------------------------------------------------


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=4, size=8, channels=2):
    return torch.rand(count, channels, size, size, generator=generator(1))


def seen(images, resolution, by, random=None):
    """Return a view of images given in 0…1, as the networks get them."""
    source = Arrays(images * 255, torch.arange(len(images)), torch.zeros(1), torch.ones(1))
    draws = draw(*images.shape[:2], by, random or generator())
    return augment(source, torch.arange(len(images)), resolution, by, draws)[0]


@pytest.mark.parametrize("resolution", [3, 5, 8, 9, 13, 16, 24])
def test_no_augmentation_is_resizing(still, resolution):
    by = Augment.model_validate(still)
    expected = resize(pictures(), resolution)
    torch.testing.assert_close(seen(pictures(), resolution, by), expected, rtol=1e-4, atol=1e-5)


def test_augmentation_is_a_function_of_its_generator(params):
    by = params.retrain.recipe.augment
    first, second, other = (seen(pictures(), 11, by, generator(seed)) for seed in (0, 0, 1))
    assert (
        first.shape == (4, 2, 11, 11)
        and torch.equal(first, second)
        and not torch.allclose(first, other)
    )
    alike = seen(pictures()[:1].expand(4, -1, -1, -1), 11, by)
    assert not torch.allclose(alike[0], alike[1]), "each image needs a map of its own"


def test_flip_mirrors_half_of_the_images(still):
    by = Augment.model_validate(still | {"flip": True})
    images = pictures(200)
    out = seen(images, 8, by)
    kept = [torch.allclose(a, b, atol=1e-5) for a, b in zip(out, images, strict=True)]
    mirrored = [torch.allclose(a, b.flip(-1), atol=1e-5) for a, b in zip(out, images, strict=True)]
    assert all(a != b for a, b in zip(kept, mirrored, strict=True)) and 70 < sum(kept) < 130


def test_zoom_enlarges_the_centre(still):
    by = Augment.model_validate(still | {"scale": [2, 2]})
    torch.testing.assert_close(
        seen(pictures(), 4, by), pictures()[..., 2:6, 2:6], rtol=1e-4, atol=1e-5
    )


def test_affine_maps_stay_in_their_ranges(still):
    rotated = affine(2000, Augment.model_validate(still | {"rotate": 30}), generator())[:, :, :2]
    torch.testing.assert_close(
        rotated @ rotated.transpose(1, 2), torch.eye(2).expand(2000, 2, 2), rtol=0, atol=1e-5
    )
    angles = torch.rad2deg(torch.atan2(rotated[:, 1, 0], rotated[:, 0, 0]))
    assert (
        29 < angles.max() <= 30.001 and -30.001 <= angles.min() < -29 and abs(angles.mean()) < 1.5
    )
    shifted = affine(2000, Augment.model_validate(still | {"shift": 0.1}), generator())
    assert torch.equal(shifted[:, :, :2], torch.eye(2).expand(2000, 2, 2))
    moves = shifted[:, :, 2] / 2  # coordinates run from -1 to 1: a side is 2
    assert 0.099 < moves.max() <= 0.1001 and -0.1001 <= moves.min() < -0.099
    assert abs(np.corrcoef(moves.T)[0, 1]) < 0.1
    zoom = (
        1
        / affine(2000, Augment.model_validate(still | {"scale": [0.8, 1.3]}), generator())[:, 0, 0]
    )
    assert 0.8 <= zoom.min() < 0.805 and 1.295 < zoom.max() <= 1.3001


def test_rotation_turns_the_picture(still, monkeypatch):
    by = Augment.model_validate(still | {"rotate": 90})
    images = pictures()
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.ones(*shape))
    out = seen(images, 8, by)
    turned = [torch.rot90(images, turns, (2, 3)) for turns in (1, -1)]
    assert sum(torch.allclose(out, one, atol=1e-5) for one in turned) == 1


def test_the_grid_is_pytorchs(still):
    by = still | {"rotate": 20, "shift": 0.2, "scale": (0.7, 1.4), "flip": True}
    theta = affine(5, Augment.model_validate(by), generator())
    torch.testing.assert_close(
        grid(theta, 7), torch.nn.functional.affine_grid(theta, [5, 1, 7, 7], align_corners=False)
    )


def test_crops_lie_inside_and_have_the_areas_and_sides_that_are_asked_for(still):
    params = Augment.model_validate(still | {"crop": [0.3, 0.9], "aspect": 2.0, "flip": True})
    maps = affine(4000, params, generator())
    wide, tall = maps[:, 0, 0].abs(), maps[:, 1, 1]
    assert (wide + maps[:, 0, 2].abs()).max() <= 1 + 1e-6
    assert (tall + maps[:, 1, 2].abs()).max() <= 1 + 1e-6
    area, ratio = wide * tall, wide / tall
    assert 0.29 < area.min() < 0.32 and 0.85 < area.max() <= 0.9 + 1e-6
    assert 0.5 - 1e-6 <= ratio.min() < 0.55 and 1.9 < ratio.max() <= 2 + 1e-6
    assert 0.47 < (maps[:, 0, 0] < 0).float().mean() < 0.53
    corner = (maps[:, 0, 2] - wide)[wide < 0.99]  # crops reach each end of the image
    assert corner.min() < -0.98 and (maps[:, 0, 2] + wide).max() > 0.98


def test_a_crop_shows_a_part_of_the_picture(still):
    """A view of a crop of a quarter is a window of the picture twice its size."""
    params = Augment.model_validate(still | {"crop": [0.25, 0.25]})
    ramp = torch.linspace(0, 1, 16).expand(64, 1, 16, 16)
    view = seen(ramp, 8, params)
    steps = view[..., 1:] - view[..., :-1]
    assert (steps - ramp[0, 0, 0, 1]).abs().max() < 0.02, "the picture's slope, not another zoom's"
    assert view.std(0).max() > 0.05, "places differ"


@pytest.mark.parametrize("mild", [{"crop": [0.8, 1.0]}, {"aspect": 1.05}])
def test_a_view_of_mild_crops_is_as_sharp_as_the_picture(still, mild):
    """Shrinking them below the view's side and enlarging them again would blur every view."""
    params = Augment.model_validate(still | mild)
    assert reading_side(32, params) == 32
    assert reading_side(32, Augment.model_validate(still | {"crop": [0.25, 1.0]})) == 52


# --- mixing, erasing, RandAugment -----------------------------------------------------------------


def mixed(still, count=64, **alpha):
    """Mix images that are each their own number; return the view, its targets and the labels."""
    images = torch.arange(count).float().view(-1, 1, 1, 1).expand(-1, 2, 8, 8)
    by = Augment.model_validate(still | alpha)
    draws, labels = draw(count, 2, by, generator()), torch.arange(count)
    view = mix(images, labels, draws.mixing) if draws.mixing else (images, Targets(labels))
    return *view, labels


def test_nothing_is_mixed_unless_asked_for(still):
    view, targets, labels = mixed(still)
    assert (
        targets.partners is None
        and torch.equal(targets.labels, labels)
        and (view[:, 0, 0, 0] == labels).all()
    )


def test_mixup_blends_by_the_share_of_the_loss(still):
    view, targets, labels = mixed(still, mixup=1.0)
    expected = targets.share * labels + (1 - targets.share) * targets.partners
    assert 0 < targets.share < 1 and sorted(targets.partners.tolist()) == labels.tolist()
    torch.testing.assert_close(view[:, 1, 3, 5], expected)


@pytest.mark.parametrize("seed", range(6))
def test_cutmix_pastes_one_box_of_the_partner(still, seed):
    images = torch.arange(8).float().view(-1, 1, 1, 1).expand(-1, 1, 9, 9)
    by = Augment.model_validate(still | {"cutmix": 1.0})
    view, targets = mix(images, torch.arange(8), draw_mixing(8, by, generator(seed)))
    for picture, own, other in zip(view[:, 0], targets.labels, targets.partners, strict=True):
        pasted = picture == other
        if own != other:
            assert ((picture == own) | pasted).all() and (~pasted).float().mean() == pytest.approx(
                targets.share
            )
            rows, columns = pasted.any(1), pasted.any(0)
            assert torch.equal(pasted, rows[:, None] & columns[None]), "the box is a rectangle"


def test_with_both_each_step_takes_one(still):
    by = Augment.model_validate(still | {"mixup": 1.0, "cutmix": 1.0})
    images = torch.arange(8).float().view(-1, 1, 1, 1).expand(-1, 1, 9, 9)
    views = [
        mix(images, torch.arange(8), draw_mixing(8, by, generator(seed)))[0] for seed in range(30)
    ]
    blended = sum(bool((view != view.round()).any()) for view in views)
    assert 5 < blended < 25


def test_balance_makes_every_class_count_for_the_same():
    labels = torch.tensor([0] * 6 + [1] * 3 + [3])  # no image of class 2
    assert class_weights(labels, 0.0) is None
    for balance in (0.5, 1.0):
        weights = class_weights(labels, balance)
        assert weights[labels].mean().item() == pytest.approx(1)
        assert (weights[3] / weights[0]).item() == pytest.approx(6**balance)
    totals = torch.bincount(labels) * class_weights(labels, 1.0)
    assert totals[[0, 1, 3]].tolist() == pytest.approx([10 / 3] * 3)


def test_a_weighted_loss_is_the_mean_of_weighted_losses():
    logits, labels = torch.randn(6, 3, generator=generator()), torch.tensor([0, 1, 2, 0, 1, 2])
    partners, weights = torch.arange(6) % 2, torch.tensor([0.5, 1.0, 2.5])
    each = nn.functional.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(
        Targets(labels).loss(logits, 0.1, weights), (each * weights[labels]).mean()
    )
    even = torch.ones(3)
    torch.testing.assert_close(
        Targets(labels, partners, 0.3).loss(logits, 0.1, even),
        Targets(labels, partners, 0.3).loss(logits, 0.1),
    )


def test_balance_finds_a_rare_class(make_params, toy, still):
    """One class of three has 6 of 96 images: unweighted, a short training passes it over."""
    found, images, fresh = [], toy(192), toy(96, seed=1)
    rare = (images.labels == 2).nonzero()[:6, 0]
    index = torch.cat([(images.labels != 2).nonzero()[:90, 0], rare])
    few = Arrays(images.array[index], images.labels[index], images.mean, images.std)
    for balance in (0.0, 1.0):
        recipe = {"balance": balance, "augment": still, "steps": 24, "lr": 0.2}
        params = make_params({"retrain": {"recipe": recipe}})
        net, _ = train_member(params, few)
        seen = net(next(fresh.resized(net.network.resolution, 96))).argmax(1)
        found.append(((seen == 2) & (fresh.labels == 2)).sum().item())
    assert found[1] > found[0] + 5, found


def test_the_loss_of_a_mixture_is_the_mixture_of_losses():
    logits, labels, partners = (
        torch.randn(6, 3, generator=generator()),
        torch.tensor([0, 1, 2, 0, 1, 2]),
        torch.arange(6) % 2,
    )
    soft = 0.3 * nn.functional.one_hot(labels, 3) + 0.7 * nn.functional.one_hot(partners, 3)
    expected = nn.functional.cross_entropy(logits, soft.float(), label_smoothing=0.1)
    torch.testing.assert_close(Targets(labels, partners, 0.3).loss(logits, 0.1), expected)


def test_erasing_fills_one_rectangle_of_some_images():
    images = torch.full((400, 3, 20, 20), 7.0)
    draws = torch.rand(400, 5, generator=generator()), torch.randn(400, 3, 1, 1)
    out = erase(images, *draws, 0.5)
    gone = (out != 7).all(1)
    hit = gone.flatten(1).any(1)
    assert 150 < hit.sum() < 250 and (images == 7).all(), "the images themselves stay as they are"
    for box, picture in zip(gone[hit], out[hit], strict=True):
        assert torch.equal(box, box.any(1)[:, None] & box.any(0)[None])
        assert len(picture[:, box].unique(dim=1)[0]) == 1, "one colour"
        assert 0 < box.float().mean() < 0.45
    assert gone[hit].float().mean() == pytest.approx(0.17, abs=0.04)
    assert torch.equal(erase(images, *draws, 0.0), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_operations_stay_in_range_and_move_with_strength(channels):
    images = torch.rand(5, channels, 12, 12, generator=generator())
    for operation in COLOURS:
        for sign in (-1, 1):
            out = operation(images, torch.full((5, 1, 1, 1), sign * 0.9))
            assert out.shape == images.shape and out.min() >= 0 and out.max() <= 1, operation
            weak = operation(images, torch.full((5, 1, 1, 1), sign * 1e-6))
            if operation.__name__ not in ("autocontrast", "equalize"):
                assert (weak - images).abs().max() < 0.004 < (
                    out - images
                ).abs().max() or operation.__name__ in (
                    "unchanged",
                    *(("colour",) if channels == 1 else ()),
                ), operation


def test_colour_operations_are_pillows():
    """The same operations in Pillow, on a large image: it equalises small ones coarsely."""
    from PIL import Image, ImageEnhance, ImageOps

    content = torch.randint(0, 200, (300, 300, 3), generator=generator()).to(torch.uint8).numpy()
    picture, images = (
        Image.fromarray(content),
        torch.from_numpy(content).permute(2, 0, 1)[None] / 255,
    )
    pillow = {
        "autocontrast": ImageOps.autocontrast(picture),
        "equalize": ImageOps.equalize(picture),
        "solarize": ImageOps.solarize(picture, 128),
        "posterize": ImageOps.posterize(picture, 6),
        "colour": ImageEnhance.Color(picture).enhance(1.45),
        "contrast": ImageEnhance.Contrast(picture).enhance(1.45),
        "brightness": ImageEnhance.Brightness(picture).enhance(1.45),
        "sharpness": ImageEnhance.Sharpness(picture).enhance(1.45),
    }
    ours = {
        operation.__name__: operation(images, torch.full((1, 1, 1, 1), 0.5))
        for operation in COLOURS
    }
    for name, expected in pillow.items():
        difference = (
            ours[name][0].permute(1, 2, 0) * 255 - torch.from_numpy(np.array(expected)).float()
        ).abs()
        difference = (
            difference[1:-1, 1:-1] if name == "sharpness" else difference
        )  # Pillow leaves the border
        assert difference.max() <= (5 if name == "equalize" else 2), (name, difference.max())


def test_place_operations_are_the_maps_they_are_named_after():
    strength = torch.full((5,), 1.0)
    rotate, shear_x, shear_y, shift_x, shift_y = places(torch.arange(5), strength)
    angle = torch.rad2deg(torch.atan2(rotate[1, 0], rotate[0, 0]))
    assert angle == pytest.approx(30, abs=1e-3) and torch.linalg.det(
        rotate[:, :2]
    ) == pytest.approx(1)
    assert shear_x.tolist() == [[1, pytest.approx(0.3), 0], [0, 1, 0]]
    assert shear_y.tolist() == [[1, 0, 0], [pytest.approx(0.3), 1, 0]]
    assert shift_x[:, 2].tolist() == [pytest.approx(0.9), 0] and shift_y[:, 2].tolist() == [
        0,
        pytest.approx(0.9),
    ]
    assert torch.equal(places(torch.tensor([-1]), strength[:1])[0], torch.eye(2, 3))


def test_maps_compose_as_functions():
    first, second = (
        torch.randn(4, 2, 3, generator=generator()),
        torch.randn(4, 2, 3, generator=generator(1)),
    )
    point = torch.randn(4, 2, 1, generator=generator(2))

    def apply(by, at):
        return by[:, :, :2] @ at + by[:, :, 2:]

    torch.testing.assert_close(
        apply(compose(first, second), point), apply(second, apply(first, point))
    )


def test_randaugment_draws_for_each_image_and_leaves_its_input(still):
    by = Augment.model_validate(still | {"randaugment": {"ops": 2, "magnitude": 9}}).randaugment
    images = torch.rand(1, 3, 16, 16, generator=generator()).expand(300, -1, -1, -1)
    before = images.clone()
    operations, again = (drawn(300, by, generator()) for _ in range(2))
    out, maps = recoloured(images, operations), moved(torch.eye(2, 3).expand(300, 2, 3), operations)
    assert torch.equal(images, before) and torch.equal(out, recoloured(images, again))
    changed = (out != images).flatten(1).any(1)
    shifted = (maps != torch.eye(2, 3)).flatten(1).any(1)
    assert changed.float().mean() == pytest.approx(
        1 - (6 / 14) ** 2, abs=0.1
    )  # 5 places and the identity do not
    assert shifted.float().mean() == pytest.approx(1 - (9 / 14) ** 2, abs=0.1)


def test_every_augmentation_together_is_a_function_of_its_generator(still):
    every = {
        "randaugment": {"ops": 2, "magnitude": 9},
        "erase": 0.5,
        "cutmix": 1.0,
        "mixup": 0.2,
        "flip": True,
    }
    by = Augment.model_validate(still | every)
    first, again = (seen(pictures(channels=3), 11, by, generator(4)) for _ in range(2))
    assert torch.equal(first, again) and torch.isfinite(first).all()
