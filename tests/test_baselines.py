"""Baselines and the verdict: what a family is compared with, and what is said of a bad one."""

from __future__ import annotations

import sys
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.utils.flop_counter import FlopCounterMode

from scalenet.baselines import features, residual, simple, transfer
from scalenet.config.baselines import Checkpoint
from scalenet.data import store
from scalenet.laws import choice, scores, verdict
from scalenet.laws.intervals import mcnemar, paired
from scalenet.nets import weights
from scalenet.records import predictions
from scalenet.records.documents import Baseline, Member, Trained
from scalenet.records.predictions import Predictions, answers
from scalenet.space.network import Task
from scalenet.stages import baselines, declared
from scalenet.training.loop import ignore


@pytest.fixture(scope="module")
def splits(info):
    """Return bytes of three classes that differ by the place of a bright bar."""
    return {name: bars(count, seed) for seed, (name, count) in enumerate(info.counts.items())}


def bars(count, seed, channels=1, side=8):
    rng = np.random.default_rng(seed)
    labels, pixels = np.arange(count) % 3, rng.integers(0, 90, (count, channels, side, side))
    for i, label in enumerate(labels):
        pixels[i, :, 1 + 2 * label : 3 + 2 * label] += 150
    return pixels.astype(np.uint8), labels


# --- features -------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [1, 2, 5, 8, 33, 200])
def test_images_of_any_size_have_features_of_one_length(channels, side, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (5, channels, side, side)).astype(np.uint8)
    found = features.describe(pixels)
    assert found.dtype == np.float32 and len(found) == 5 and np.isfinite(found).all()
    monkeypatch.setattr(features, "CHUNK", 1)
    assert features.describe(pixels) == pytest.approx(found, abs=1e-6), "images are independent"


def test_gradients_tell_directions_and_ignore_brightness():
    side = np.linspace(0, 0.5, 16, dtype=np.float32)
    across, down = np.broadcast_to(side, (1, 1, 16, 16)), np.broadcast_to(side[:, None], (16, 16))
    strongest = [
        features.gradients(picture.reshape(1, 1, 16, 16)).reshape(4, features.DIRECTIONS, -1)
        .sum((0, 2)).argmax() for picture in (across, down)
    ]  # fmt: skip
    assert strongest[0] == 0 and strongest[1] in (4, 5), "0 and 90 of 180 degrees, in nine bins"
    assert features.gradients(across + 0.4) == pytest.approx(features.gradients(across), abs=1e-3)


def test_colours_are_told_apart_where_the_outlines_are_the_same():
    red, blue = np.zeros((2, 1, 3, 16, 16), np.float32)
    red[:, 0], blue[:, 2] = 1, 1
    assert (features.gradients(red) == features.gradients(blue)).all()
    assert np.abs(features.colours(red) - features.colours(blue)).max() == 1


# --- the cheap baselines --------------------------------------------------------------------------


def test_the_majority_is_trains_whatever_is_asked(splits):
    train = (np.zeros((5, 1, 8, 8), np.uint8), np.array([2, 0, 2, 1, 2]))
    said = simple.majority(train, {"test": splits["test"]}).answers["test"]
    assert set(said.predicted) == {2} and (said.labels == splits["test"][1]).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_svm_learns_and_repeats(channels):
    train, test = bars(90, 0, channels), bars(45, 1, channels)
    first, again = (simple.svm(train, {"test": test}, 60, seed=0) for _ in range(2))
    assert first.images == 60 and first.answers["test"].right.mean() > 0.9
    assert (first.answers["test"].predicted == again.answers["test"].predicted).all()


def test_at_most_so_many_images_are_drawn_and_every_class_keeps_its_share():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    pixels = np.arange(1000)[:, None, None, None] * np.ones((1, 1, 2, 2))
    kept, chosen = simple.drawn((pixels, labels), 100, seed=0)
    assert np.bincount(chosen) == pytest.approx([60, 30, 10], abs=1)
    assert (labels[kept[:, 0, 0, 0].astype(int)] == chosen).all()
    other, _ = simple.drawn((pixels, labels), 100, seed=1)
    assert (kept != other).any()
    assert simple.drawn((pixels, labels), 1000, seed=0)[0] is pixels


def test_every_class_is_drawn_once_or_the_largest_are():
    labels = np.array([0] * 500 + [1] * 10 + [2] * 40)
    pixels = np.zeros((550, 1, 8, 8), np.uint8)
    counts = {n: np.bincount(simple.drawn((pixels, labels), n, 0)[1]).tolist() for n in (2, 3, 20)}
    assert counts == {2: [1, 0, 1], 3: [1, 1, 1], 20: [18, 1, 1]}


def test_an_svm_of_one_image_is_refused(make_params):
    with pytest.raises(
        ValueError, match=r"baselines\.svm: 1 was given; should be 0, .* at least 2"
    ):
        make_params({"baselines": {"svm": 1}})


def test_classes_of_one_image_are_no_obstacle():
    pixels, labels = bars(12, 0)
    few = simple.svm((pixels[:3], labels[:3]), {"test": (pixels, labels)}, 10, seed=0)
    assert len(few.answers["test"].predicted) == 12
    some = simple.svm((pixels[:7], labels[:7]), {"test": (pixels, labels)}, 10, seed=0)
    assert some.images == 7


@pytest.mark.parametrize("counts", [(15, 1), (15, 1, 1), (2, 1), (3, 2), (12, 2, 1)])
def test_cross_validation_chooses_only_where_every_fold_has_two_classes(counts, recwarn):
    """Folds with one class alone printed tracebacks, and the first value was taken as the best."""
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 1, 8, 8)).astype(np.uint8)
    pixels[labels == 0] //= 2
    for seed in range(3):
        found = simple.svm((pixels, labels), {"test": (pixels, labels)}, 1000, seed)
        assert "C = 10)" in found.about or sorted(counts)[-2] > 1  # the middle value
    assert not recwarn.list


# --- the residual network -------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("px", [8, 13])
def test_the_residual_networks_cost_is_what_its_modules_compute(px, stride):
    task = Task(3, 5)
    net = residual.ResidualNet(8, stride, px, task)
    weights.initialise(net.weights, torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert net.eval()(torch.rand(2, 3, px, px)).shape == (2, 5)
    counted = list(residual.layers(8, stride, px, task))
    assert sum(layer.flops for layer in counted) == counter.get_total_flops() / 2 / 2
    assert sum(layer.parameters for layer in counted) == sum(p.numel() for p in net.parameters())


def setting_of(params, info, splits):
    section = declared(params, "baselines")
    inputs = baselines.BaselinesInputs(info, splits, None)
    return baselines.setting(section, inputs, torch.device("cpu"))


def test_the_residual_network_learns_by_the_members_recipe(params, info, splits):
    setting = setting_of(params, info, splits)
    _, curve = residual.trained(setting, 8, 20, setting.train, None, ignore)
    assert curve[-1][0] == 20 and curve[-1][1] < 0.6 * curve[0][1]
    member, run = residual.measure(setting, None, ignore)
    assert (member.name, run.name) == ("residual-member", "residual-run")
    assert run.answers["test"].right.mean() > 0.8
    section = params.baselines.residual
    best = section.widths.index(int(run.about.split()[2]))
    assert (member.steps, run.steps) == (section.member[best], section.run[best])
    assert set(member.curves) == {"trial-4", "trial-8", "member"} and set(run.curves) == {"run"}


def test_select_chooses_the_width(params, info, splits, monkeypatch):
    right = iter([3, 9])
    said = SimpleNamespace(right=np.zeros(1))

    def predict(net, images, batch):
        said.right = np.ones(next(right, 5))
        return said

    monkeypatch.setattr(residual.fixed, "predict", predict)
    made = residual.measure(setting_of(params, info, splits), None, ignore)
    assert all("8 channels" in one.about for one in made)


def test_an_interrupted_run_resumes_to_the_same_bits(params, info, splits, tmp_path):
    setting = setting_of(params, info, splits)
    whole = residual.measure(setting, None, ignore)

    def stop(record):
        if record.get("step") == 24:  # of the run, after its checkpoint at 16
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        residual.measure(setting, tmp_path, stop)
    assert (tmp_path / "run" / "checkpoint.pt").exists()
    resumed = residual.measure(setting, tmp_path, ignore)
    for one, other in zip(whole, resumed, strict=True):
        assert one.curves == other.curves
        assert (one.answers["test"].true == other.answers["test"].true).all()


# --- the stage ------------------------------------------------------------------------------------


def test_the_stage_measures_what_is_asked_for(make_params, info, splits):
    inputs, device = baselines.BaselinesInputs(info, splits, None), torch.device("cpu")
    run = {"state": None, "generator": None, "device": device, "emit": ignore}
    less = declared(make_params({"baselines": {"svm": 0, "residual": None}}), "baselines")
    assert [one.name for one in baselines.run(less, inputs, **run)] == ["majority"]
    use = make_params({"retrain": {"use_select": True}})
    made = baselines.run(declared(use, "baselines"), inputs, **run)
    names = ["majority", "svm", "residual-member", "residual-run"]
    assert [one.name for one in made] == names
    assert [one.images for one in made] == [149, 60, 149, 149], "as the members: train and select"
    assert baselines.described(declared(use, "baselines"), made[1]).select is None


def test_predictions_read_back(tmp_path, splits):
    said = {"a": {"test": answers(splits["test"][1], splits["test"][1])}}
    said["b"] = {"select": Predictions(*np.eye(4, dtype=np.float32))}
    predictions.write(tmp_path / "p.npz", said)
    found = predictions.read(tmp_path / "p.npz")
    assert found["a"]["test"].probability is None and found["a"]["test"].right.all()
    assert (found["b"]["select"].true == [0, 0, 0, 1]).all()
    (tmp_path / "p.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"p\.npz: cannot be read as predictions.*dvc repro"):
        predictions.read(tmp_path / "p.npz")


# --- transfer -------------------------------------------------------------------------------------


def test_transfer_without_timm_says_what_to_do(monkeypatch, tmp_path, splits):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"needs timm.*pip install timm.*pretrained: null"):
        checkpoint = Checkpoint(file="w.pth", model="resnet18")
        transfer.transfer(splits["train"], splits, checkpoint, tmp_path, 0)


@pytest.fixture(scope="module")
def timm():
    """Return timm; its torchvision need not be built for this torch."""
    if "torchvision" not in sys.modules:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        sys.modules["torchvision.stand-in"] = library  # as long as the tests
    return pytest.importorskip("timm", exc_type=(ImportError, RuntimeError))


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transfer_learns_from_weights_of_any_head(timm, tmp_path, kind, channels):
    net = timm.create_model("test_resnet", num_classes=7)
    if kind == "pth":
        torch.save({"state_dict": net.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    else:
        from safetensors.torch import save_file

        save_file(net.state_dict(), tmp_path / "w.safetensors")
    train, held = bars(60, 0, channels), {"test": bars(30, 1, channels)}
    checkpoint = Checkpoint(file=f"w.{kind}", model="test_resnet")
    made = transfer.transfer(train, held, checkpoint, tmp_path, seed=0)
    assert made.answers["test"].right.mean() > 0.8 and "test_resnet" in made.about


@pytest.mark.parametrize("use_select", [False, True])
def test_the_stage_learns_from_a_pretrained_network_with_images_in_files(
    timm, tmp_path, make_params, info, splits, use_select
):
    for name, split in splits.items():
        store.write(tmp_path / f"{name}.npz", *split)
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pth")
    pretrained = {"file": "w.pth", "model": "test_resnet"}
    section = {"svm": 0, "residual": None, "pretrained": pretrained}
    params = make_params({"baselines": section, "retrain": {"use_select": use_select}})
    inputs = baselines.BaselinesInputs(info, store.splits(tmp_path), tmp_path)
    run = {"state": None, "generator": None, "device": torch.device("cpu"), "emit": ignore}
    made = baselines.run(declared(params, "baselines"), inputs, **run)[-1]
    trained = info.counts["train"] + use_select * info.counts["select"]
    assert (made.name, made.images) == ("pretrained", trained)
    assert made.answers["test"].right.mean() > 0.8


def test_weights_of_another_network_are_refused(timm, tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for file, model, said in (
        ("w.pth", "nothing", "timm knows no 'nothing'"),
        ("w.pth", "test_resnet", "does not hold the weights of test_resnet"),
        ("text.pth", "test_resnet", "cannot be read as weights"),
        ("absent.pth", "test_resnet", "cannot be read as weights"),
    ):
        with pytest.raises(ValueError, match=said):
            transfer.features(Checkpoint(file=file, model=model), tmp_path / file)


# --- scores and the verdict -----------------------------------------------------------------------


def test_scores_count_by_class():
    said = answers(np.array([0, 0, 0, 0, 2, 2]), np.array([0, 0, 0, 1, 0, 2]))
    images, share = scores.recall(said, 4)
    assert images.tolist() == [4, 0, 2, 0] and share[[0, 2]].tolist() == [0.75, 0.5]
    assert np.isnan(share[[1, 3]]).all() and scores.balanced(said) == 0.625
    assert scores.confusion(said) == [(0, 0, 3), (0, 1, 1), (2, 0, 1), (2, 2, 1)]
    result = scores.tested(said, said, 0.95)
    assert (result["correct"], result["tested"]) == (4, 6) and result["select"].correct == 4


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_a_paired_interval_is_mcnemars_test_turned_round(gained, lost, both):
    tested = gained + lost + both
    if not tested:
        return
    found = paired(gained, lost, tested, 0.95)
    assert -1 <= found.low <= found.value <= found.high <= 1
    refused = gained + lost > 0 and abs(gained - lost) / (gained + lost) ** 0.5 > 1.959964
    assert refused == (not found.low <= 0 <= found.high)
    other = paired(lost, gained, tested, 0.95)
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low), abs=1e-6)


@pytest.mark.parametrize("confidence", [1e-15, 1e-9, 1 - 1e-12])
def test_a_paired_interval_is_found_at_any_confidence(confidence):
    """A run ended in its last stage with what the search for a root says."""
    found = paired(12, 3, 75, confidence)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert (found.high - found.low < 1e-6) == (confidence < 0.5)


@pytest.mark.parametrize(("gain", "loss"), [(0.2, 0.05), (0.6, 0.02), (0.1, 0.1)])
def test_a_paired_interval_covers_what_it_says(gain, loss):
    draws = np.random.default_rng(0).multinomial(200, [gain, loss, 1 - gain - loss], 400)
    found = [paired(int(b), int(c), 200, 0.9) for b, c, _ in draws]
    assert 0.86 < np.mean([p.low <= gain - loss <= p.high for p in found]) < 0.94


def test_few_images_are_noise_whatever_the_interval_says():
    assert single(0, 4) == pytest.approx(1 / 16) and single(0, 0) == 1
    assert single(10, 0) == pytest.approx(1 / 2**10) and 0.5 < single(3, 3) < 1


def single(gained, lost):
    return mcnemar(np.repeat([1, -1, 0], [gained, lost, 7]))


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_mcnemars_test_of_groups_counts_all_signs(sums):
    sums = np.array(sums)
    signs = np.array(list(product([1, -1], repeat=len(sums))))
    drawn, observed = signs @ sums, abs(sums.sum())
    share = np.mean(drawn > observed) + np.mean(drawn == observed) / 2  # of one side
    assert mcnemar(sums) == pytest.approx(2 * share)


def test_many_groups_of_many_images_are_counted_too():
    sums = np.random.default_rng(0).integers(-30, 32, 4000)
    z = abs(sums.sum()) / np.sqrt((sums**2).sum())
    assert mcnemar(sums) == pytest.approx(2 * stats.norm.sf(z), rel=0.02)
    assert 0 <= mcnemar(np.full(4000, 30)) < 1e-12


def test_equally_good_classifiers_are_told_apart_no_more_often_where_images_come_in_groups():
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(20), 25)
    truth, seen, inside, naive = np.zeros(500, int), 0, 0, 0
    for _ in range(200):
        odds = rng.normal(0, 0.7, 20)[groups]  # what is easy for one is hard for the other
        first, second = (
            answers(truth, (rng.random(500) < 1 / (1 + np.exp(1 + side * odds))).astype(int))
            for side in (1, -1)
        )
        naive += verdict.against(first, second, 0.95)[1] < 0.05
        differ, p = verdict.against(*(a._replace(groups=groups) for a in (first, second)), 0.95)
        seen, inside = seen + (p < 0.05), inside + (differ.low <= 0 <= differ.high)
    assert seen / 200 < 0.1 < 0.3 < naive / 200 and inside / 200 > 0.9


def test_the_stages_answers_know_their_groups(make_params, info, splits):
    groups = {"test": np.arange(info.counts["test"]) // 6}
    inputs = baselines.BaselinesInputs(info, splits, None, groups)
    less = make_params({"baselines": {"svm": 0, "residual": None}})
    run = {"state": None, "generator": None, "device": torch.device("cpu"), "emit": ignore}
    [made] = baselines.run(declared(less, "baselines"), inputs, **run)
    assert made.answers["select"].groups is None
    assert made.answers["test"].groups.tolist() == groups["test"].tolist()


def member_of(name, flops, said, select=True, latency=None):
    member = Member(
        name=name, multiple=flops, budget=flops, origin="searched", base="k3e4-3e4",
        scaling="d1-w1-r8", flops=flops, params=1, latency=latency,
        network="r8-stem_k3_s1_c4-ir_k5_s1_e2_c4-head_c8-se0.25e-hard_swish",
    )  # fmt: skip
    result = scores.tested(said["test"], said["select"] if select else None, 0.95)
    return Trained(member=member, data="", weights="", **result)


def right(count, of=100):
    """Return answers to images of two classes, the first ``count`` of them right."""
    labels = np.arange(of) % 2
    return answers(labels, np.where(np.arange(of) < count, labels, 1 - labels))


def judged(counts, baseline=50, select=True, law=None, latencies=None):
    """Return the warnings about members that label so many of 100 select and test images right.

    Of as many FLOPs as their number, or with latencies, milliseconds too.
    """
    said = {f"S{i}": {"select": right(s), "test": right(t)} for i, (s, t) in enumerate(counts)}
    took = latencies or [None] * len(said)
    members = [member_of(n, 1 + i, said[n], select, took[i]) for i, n in enumerate(said)]
    said["svm"] = {"select": right(baseline), "test": right(baseline)}
    about = {"name": "svm", "about": "an SVM", "images": 9}
    sizes = dict.fromkeys(("steps", "flops", "params"))
    known = [Baseline(**about, **sizes, **scores.tested(said["svm"]["test"], None, 0.95))]
    compared = verdict.comparisons(members, known, said)
    return verdict.warnings(members, known, compared, law, said)


def test_a_good_family_is_not_warned_of():
    assert judged([(80, 80), (85, 85), (90, 90)]) == []


def test_a_member_below_a_baseline_is_told_with_the_noise():
    [_, said] = judged([(40, 40)])
    assert "S0 is worse than a baseline on test: 40.0 %, and 50.0 % by an SVM" in said
    assert "-10.0 points, 95% interval -17.4 to -5.5, McNemar p 0.00098: beyond noise" in said
    [guessing, said] = judged([(49, 49)])
    assert guessing.startswith("S0 is not told apart from guessing on test: 49.0 %, and 50.0 % by")
    assert said.endswith("within noise")


def test_a_member_that_is_above_every_baseline_by_luck_alone_is_told_to_guess():
    """As of labels that were shuffled: nothing is above it, and it has learnt nothing."""
    [said] = judged([(54, 54)])
    assert said.startswith("S0 is not told apart from guessing on test: 54.0 %, and 50.0 % by call")
    labels = np.repeat([0, 1], [900, 100])  # all of the small class are found: no guesses
    found = answers(labels, np.where(np.arange(1000) < 100, 1, labels))
    shuffled = answers(labels, np.where(np.arange(1000) % 100 < 5, 1, 0))
    for test, count in ((found, 0), (shuffled, 1)):
        one = {"S0": {"select": right(90), "test": test}}
        assert len(verdict.warnings([member_of("S0", 1, one["S0"])], [], [], None, one)) == count


def test_a_member_below_a_smaller_one_on_select_is_dominated():
    [said] = judged([(60, 60), (90, 70), (70, 80)])
    assert "S2 is dominated by S1, which is smaller and better on select: 70.0 % and 90.0 %" in said
    assert said.endswith("beyond noise")


def test_the_smallest_member_that_is_as_good_as_the_best_is_named():
    [said] = judged([(60, 60), (88, 88), (89, 89), (90, 90)])
    assert said.startswith("S1, at 50% of the FLOPs of S3, is not told apart from it on select: ")
    assert "-2.0 points" in said and said.endswith("within noise")


def test_milliseconds_say_who_is_smaller_where_budgets_count_them():
    """As networks of many FLOPs at few pixels do: S1 has more than S0, and answers sooner."""
    [said] = judged([(70, 80), (90, 70)], latencies=[2.0, 1.0])
    assert "S0 is dominated by S1, which is quicker and better on select: 70.0 % and 90.0 %" in said
    [said] = judged([(90, 90), (89, 89)], latencies=[2.0, 0.5])
    assert said.startswith("S1, at 25% of the milliseconds of S0, is not told apart from it on ")
    assert judged([(89, 89), (90, 90)], latencies=[2.0, 0.5]) != judged([(89, 89), (90, 90)])
    said = judged([(95, 95), (60, 60)], law={"next": []}, latencies=[2.0, 1.0])
    assert not any("accuracy law" in one for one in said), "the quicker one is worse, as it expects"


def test_of_equally_good_members_the_quickest_leads():
    said = {"select": right(9), "test": right(9)}
    for took, first in (((None, None), "S0"), ((2.0, 1.0), "S1")):
        members = [member_of(f"S{i}", 1 + i, said, latency=ms) for i, ms in enumerate(took)]
        assert choice.leader(members).member.name == first


RISING = {"next": [{"multiple": 9, "value": 0.95}]}


def test_a_law_whose_members_grow_otherwise_is_doubted():
    assert judged([(70, 70), (80, 80), (90, 90)], law=RISING) == []
    [_, _, said] = judged([(90, 90), (80, 80), (70, 70)], law=RISING)
    assert said.startswith("S1 is worse than S0 on test beyond noise, and the accuracy law takes")
    assert judged([(70, 70), (80, 80), (97, 97)], law=RISING) == [], "of 100 images that is noise"
    lower = {"next": [{"multiple": 9, "value": 0.9}]}
    [said] = judged([(70, 70), (80, 80), (97, 97)], law=lower)
    assert "expects 90.0 % at 9 x the base budget, and S2 reached 97.0 %, beyond noise" in said
    passed = {"next": [{"multiple": 2, "value": 0.75}]}  # a budget that the family has
    assert judged([(70, 70), (80, 80), (97, 97)], law=passed) == []


def test_one_class_for_everything_is_told():
    labels = np.arange(100) % 2
    said = {"S0": {"select": right(90), "test": answers(labels, labels * 0)}}
    [warning] = verdict.warnings([member_of("S0", 1, said["S0"])], [], [], None, said)
    assert warning == "S0 predicts one and the same class for every test image"


def test_members_that_saw_select_are_not_compared_on_it():
    [said] = judged([(90, 90), (70, 90)], select=False)
    assert "trained on select too (retrain.use_select)" in said
