"""Budgets in milliseconds: what layers take is measured, adds up, and is what a family spends."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count, product
from time import thread_time

import families
import numpy as np
import pytest
import torch
import yaml
from conftest import merge, verb
from test_init import RATES, seen, write_images

from scalenet.config.params import load, parse
from scalenet.config.space import KINDS, Latency
from scalenet.data.cores import cores
from scalenet.laws import plan
from scalenet.laws.accuracy import law_of
from scalenet.laws.affordable import affordable
from scalenet.nets import child
from scalenet.nets.deployed import Deployed
from scalenet.pipeline import devices
from scalenet.pipeline.cli import pick
from scalenet.pipeline.init import begin, probe, timing
from scalenet.pipeline.init.design import Designer
from scalenet.pipeline.init.drafts import Wish
from scalenet.records.documents import Family, Found
from scalenet.report import figure, table
from scalenet.search.run import find
from scalenet.search.scoring import Measurement, Measures
from scalenet.space import cost
from scalenet.space.budget import Budget
from scalenet.space.measure import measure, on
from scalenet.space.network import Network, Task
from scalenet.space.sampling import sample_base
from scalenet.space.scale import scale
from scalenet.space.scaling import all_strategies
from scalenet.space.table import Table

HEAVY = "r64-stem_k3_s1_c16-ir_k3.3.3_s1_e1_c16-ir_k5_s1_e6_c64-ir_k3_s2_e1_c8-head_c8-se0e-relu"
RATE = {  # µs a layer, ns a value, ns a multiply-accumulate
    "dense": (50.0, 1.0, 0.5),
    "pointwise": (5.0, 0.7, 0.03),
    "depthwise": (40.0, 1.3, 0.11),
    "vector": (20.0, 0.0, 0.8),
}
PHONE = Latency(device="a phone", **RATE)
BUSY = Latency(  # where a layer takes long, whatever it computes: small budgets do not double
    device="a busy server",
    dense=(200, 1.0, 0.0),
    pointwise=(0, 0.8, 0.02),
    depthwise=(70, 1.2, 0.02),
    vector=(50, 0.0, 1.0),
)
TASK, BUDGET = Task(1, 3), 0.5  # ms of a base model


@pytest.fixture(scope="module")
def by_latency(make_params):
    """Return the tiny params with budgets in milliseconds, that their networks can meet."""
    given = {"measure": "latency", "latency": {"device": "a phone"} | RATE, "budget": BUDGET}
    stages = make_params().model_dump(mode="json")["scaling"]["stages"]
    for size, (depths, widths) in enumerate([([2, 3], [1, 2]), ([4, 5, 6], [1, 2, 3])], 1):
        stages[size] |= {"depths": depths, "widths": widths}
    return make_params({"scaling": given | {"stages": stages}})


# --- what networks spend --------------------------------------------------------------------------


def test_a_latency_is_the_sum_of_what_the_layers_take():
    network = Network.parse("r8-stem_k3_s1_c4-ir_k5_s2_e2_c8-head_c16-se0.25e-relu")
    dense = 50 + 4 * 64 * 1.0e-3 + 9 * 4 * 64 * 0.5e-3
    points = [(8, 64, 4 * 8 * 64), (8, 16, 8 * 8 * 16), (16, 16, 8 * 16 * 16)]
    pointwise = sum(5 + w * px * 0.7e-3 + macs * 0.03e-3 for w, px, macs in points)
    depthwise = 40 + 8 * 16 * 1.3e-3 + 25 * 8 * 16 * 0.11e-3
    vector = 3 * 20 + (8 * 2 + 2 * 8 + 16 * 3) * 0.8e-3
    expected = (dense + pointwise + depthwise + vector) / 1000
    assert on(PHONE).spent(network, TASK) == pytest.approx(expected, abs=1e-8)


def test_every_layer_is_of_one_kind(params):
    network = scale(
        params.space,
        sample_base(params.space, np.random.default_rng(0)),
        all_strategies(params.scaling)[-1],
    )
    kinds = [layer.kind for layer in cost.layers(network, TASK)]
    assert set(kinds) == set(KINDS) and kinds.count("dense") == 1


@pytest.mark.parametrize("ratio", [0, 0.25])
def test_a_table_of_prices_adds_up_exactly(params, ratio):
    space, rng = params.space.model_copy(update={"se_ratio": ratio}), np.random.default_rng(1)
    price, every = on(PHONE).price, all_strategies(params.scaling)
    pairs = list(product([sample_base(space, rng) for _ in range(8)], every))
    table = Table(space, every, TASK, price)
    expected = [cost.priced(scale(space, *pair), TASK, price) for pair in pairs]
    assert table.costs(table.encode(pairs))[:, 0].tolist() == expected


def test_only_what_meets_its_milliseconds_is_feasible(by_latency):
    budget, rng = Budget(by_latency.space, by_latency.scaling, TASK), np.random.default_rng(0)
    budget.check(rng)
    base, options = budget.draw_of(rng, 2)
    for by in options:
        took = on(PHONE).spent(scale(by_latency.space, base, by), TASK)
        assert abs(took / (4 * BUDGET) - 1) <= by_latency.scaling.stages[2].tolerance
    low, high = budget.reach
    assert low < BUDGET < high


def test_a_budget_out_of_reach_names_milliseconds(by_latency):
    scaling = by_latency.scaling.model_copy(update={"budget": 90.0, "tries": 20})
    with pytest.raises(ValueError, match=r"scaling.budget, 90 ms .* have 0\.\d+ to 0\.\d+ ms"):
        Budget(by_latency.space, scaling, TASK).check(np.random.default_rng(0))


def test_rates_that_are_too_large_are_named(by_latency):
    huge = Latency(device="x", **dict.fromkeys(KINDS, (1e9, 1e9, 1e9)))
    scaling = by_latency.scaling.model_copy(update={"latency": huge})
    space = by_latency.space
    wide = space.model_copy(update={"head": space.head.model_copy(update={"width": 2**16})})
    with pytest.raises(ValueError, match=r"more than .* counted; .*or the rates of scaling.lat"):
        Budget(wide, scaling, TASK).check(np.random.default_rng(0))


def test_milliseconds_without_a_device_are_refused(make_params):
    with pytest.raises(ValueError, match=r"scaling: measure: latency needs .*`scalenet latency`"):
        make_params({"scaling": {"measure": "latency"}})


# --- the family -----------------------------------------------------------------------------------


def test_a_family_spends_milliseconds_beyond_the_search_too(by_latency, info):
    family = {f"S{i}": {"multiple": 2**i, "seed": 0} for i in range(4)}
    params = parse(merge(by_latency.model_dump(mode="json"), {"family": family}))
    made, _ = find(params, TASK, np.random.default_rng(0), Measures(_wide), lambda *_: None)
    members, _ = plan.family(params, info, made, [], np.random.default_rng(0))
    for member in members:
        tolerance = params.scaling.tolerance
        if member.origin == "extrapolated":
            tolerance = params.extrapolate.tolerance
        took = on(PHONE).spent(member.network, TASK)
        assert member.latency == member.spent == took
        assert abs(took / (BUDGET * member.multiple) - 1) <= tolerance
    assert [member.origin for member in members] == ["searched"] * 3 + ["extrapolated"]


def _wide(networks):
    """Measure networks that nobody trained: wider ones are better."""
    return (Measurement(min(0.99, n.head_width / 99 + n.depth / 99), 0.5, 0.0) for n in networks)


def test_the_surfaces_options_spend_milliseconds(by_latency, info):
    base = sample_base(by_latency.space, np.random.default_rng(0))
    spending = measure(by_latency.scaling)
    found = affordable(by_latency, TASK, base, 8.0, info.size)
    for by in found:
        took = spending.spent(scale(by_latency.space, base, by), TASK)
        assert abs(took / (8 * BUDGET) - 1) <= by_latency.extrapolate.tolerance


def test_a_member_of_flops_spends_these(params, info):
    found, _ = find(params, TASK, np.random.default_rng(0), Measures(_wide), lambda *_: None)
    assert isinstance(found, Found)
    for member in plan.family(params, info, found, [], np.random.default_rng(0))[0]:
        assert member.latency is None and member.spent == member.flops


# --- what is measured -----------------------------------------------------------------------------


def passes_of(networks: list[Network], latency: Latency, rng: np.random.Generator) -> dict:
    """Return passes whose pieces take what a device's layers do, and noise, longer now and then."""
    price = on(latency).price
    found = {}
    for network in networks:
        pieces = [
            sum(a + b * part.k**2 for part in piece for a, b in [price(part)]) / 1e12
            for piece in timing.pieces(network, TASK)
        ]
        noisy = np.array(pieces) * rng.normal(1, 0.02, (40, len(pieces)))
        noisy[::5] *= 3
        found[network] = noisy.tolist()
    return found


def test_rates_that_networks_were_timed_with_are_found(params):
    """And what was slow in some passes does not matter."""
    rng = np.random.default_rng(0)
    networks = timing.drawn(params, 70)
    fitted, unseen = (passes_of(some, PHONE, rng) for some in (networks[30:], networks[:30]))
    latency = timing.fit(fitted, TASK, "found")
    trial = timing.tried(latency, TASK, unseen)
    trial.check()
    assert latency.device == "found" and trial.error < 0.02 and trial.tau > 0.95
    assert latency.depthwise[0] == pytest.approx(40, rel=0.2)
    assert trial.milliseconds[0] < trial.milliseconds[1]


def test_rates_that_do_not_tell_other_networks_are_refused(params):
    rng = np.random.default_rng(0)
    networks = timing.drawn(params, 70)
    latency = timing.fit(passes_of(networks[30:], PHONE, rng), TASK, "found")
    unseen = passes_of(networks[:30], PHONE, rng)
    slower = {network: (1.3 * np.array(passes)).tolist() for network, passes in unseen.items()}
    with pytest.raises(ValueError, match=r"milliseconds to 2[34]\.\d% .*nothing else runs"):
        timing.tried(latency, TASK, slower).check()
    others = dict(zip(unseen, [*unseen.values()][::-1], strict=True))
    with pytest.raises(ValueError, match=r"tau -?0\.\d+; 10% or less and 0.900 or more are needed"):
        replace(timing.tried(latency, TASK, others), error=0.0).check()


def test_what_is_just_too_far_off_is_not_said_to_be_at_the_limit():
    near = timing.Trial(0.10002, 0.99, 0.03, 0.99, 0.7, (1.0, 2.0))
    with pytest.raises(ValueError, match=r"to 10\.1% .* 10% or less"):
        near.check()
    with pytest.raises(ValueError, match=r"tau 0\.899; .*0\.900 or more"):
        replace(near, error=0.03, tau=0.8988).check()
    with pytest.raises(ValueError, match=r"tau 0\.700; .*0\.850 or more .*--max-flops"):
        replace(near, error=0.03, tau=0.7, noise_tau=0.85).check()


def test_no_order_is_asked_for_that_the_machine_does_not_keep():
    trial = timing.Trial(0.05, 0.85, 0.06, 0.84, 0.7, (1.0, 2.0))
    trial.check()
    with pytest.raises(ValueError):
        replace(trial, noise_tau=0.95).check()


def test_networks_are_drawn_once_each(make_params):
    networks = timing.drawn(make_params(), 70)
    assert len(set(networks)) == 70
    block = {"width": 8, "depth": 1, "stride": 1, "expands": [1], "kernels": [3]}
    one = {"depths": [1.0], "widths": [1.0], "resolutions": [8]}
    over = {"space": {"stages": [block]}, "scaling": {"stages": [{"tolerance": 0.3} | one] * 3}}
    with pytest.raises(ValueError, match="about 1 different networks; 30 are timed"):
        timing.drawn(make_params(over), 30)


def deployed(text: str) -> Deployed:
    net = child.build(Network.parse(text), TASK, torch.Generator().manual_seed(0))
    return Deployed(net, [0.5], [0.25])


def test_a_pieces_time_is_its_own():
    net, images = deployed(HEAVY), torch.rand(1, 1, 64, 64)
    ticks = count()
    with torch.no_grad():
        passes = [timing.stamped(net, images, thread_time) for _ in range(9)]
        assert timing.stamped(net, images, lambda: next(ticks)) == [1] * 7
    pieces = timing.pieces(net.network, TASK)
    assert all(len(seconds) == len(pieces) == 7 for seconds in passes)
    heavy = int(np.argmax(np.median(passes, axis=0)))
    assert [layer.k for layer in pieces[heavy]] == [1, 5, 1]
    assert [layer for piece in pieces for layer in piece] == list(cost.layers(net.network, TASK))


# --- the verb, and a project that begins with its file --------------------------------------------


def test_the_verb_measures_this_machine_and_init_takes_its_file(params, tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "ERROR", 9.0)  # other tests run on the same cores
    monkeypatch.setattr(timing, "TAU", -1.0)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    code, out, _ = verb(
        tmp_path, "latency", "--seconds", "0", "--name", "my phone", "--out", "phone.yaml"
    )
    assert code == 0 and "Device    my phone" in out
    # what milliseconds a family can have depends on its images, which `init` sees
    assert out.endswith("Next      scalenet init PHOTOS NAME --latency phone.yaml\n")
    latency = devices.read(tmp_path / "phone.yaml")
    assert latency.device == "my phone" and sum(each for each, _, _ in latency.kinds.values()) > 0


def test_a_project_takes_the_rates_of_a_devices_file(by_latency, tmp_path, monkeypatch):
    monkeypatch.setattr(
        devices, "measure", lambda *_: (latency, timing.Trial(0.02, 0.9, 0.02, 0.9, 0.5, (1, 2)))
    )
    path, latency = tmp_path / "params.yaml", PHONE.model_copy(update={"device": "a new phone"})
    path.write_text(yaml.safe_dump(by_latency.model_dump(mode="json")))
    code, out, _ = verb(tmp_path, "latency", "--out", "new.yaml")
    asked = "scalenet params --set scaling.latency=new.yaml"
    assert code == 0 and out.endswith(f"Next      {asked}\n")
    code, out, _ = verb(tmp_path, *asked.split()[1:])
    assert code == 0 and 'scaling.latency.device: "a phone" -> "a new phone"' in out
    assert load(path).scaling.latency == latency
    code, _, err = verb(tmp_path, "params", "--set", "scaling.latency=none.yaml")
    assert code == 2 and "none.yaml" in err and "`scalenet latency` writes such a file" in err
    assert load(path).scaling.latency == latency


def test_the_verb_writes_over_nothing_else_and_uses_the_cores_there_are(params, tmp_path):
    own = yaml.safe_dump(params.model_dump(mode="json"))
    (tmp_path / "params.yaml").write_text(own)
    code, _, err = verb(tmp_path, "latency", "--out", "params.yaml")
    assert code == 2 and "--out params.yaml: a file that is no device's lies there" in err
    assert (tmp_path / "params.yaml").read_text() == own
    code, _, err = verb(tmp_path, "latency", "--threads", str(cores() + 1))
    assert code == 2 and f"this process may use {cores()} at once" in err


def test_a_project_begins_with_budgets_in_milliseconds():
    wish = Wish("mine", 60, max_ms=40.0, device=PHONE)
    made = Designer(seen("photographs"), "images", wish).design(RATES)
    scaling = made.params.scaling
    assert (scaling.measure, scaling.latency) == ("latency", PHONE)
    last = len(scaling.stages) - 1
    assert scaling.target(last) * (1 + scaling.stages[-1].tolerance) <= 40
    Budget(made.params.space, scaling, Task(3, 6)).check(np.random.default_rng(0))


def test_without_a_file_the_machine_that_begins_is_measured(tmp_path, monkeypatch):
    """Here it is said to be a phone, and to train as fast as others."""
    write_images(tmp_path / "photos", {"a": 30, "b": 30}, (120, 100), True)
    trial = timing.Trial(0.02, 0.95, 0.01, 0.97, 0.6, (1.0, 9.0))
    monkeypatch.setattr(devices, "measure", lambda *_, **__: (PHONE, trial))
    monkeypatch.setattr(probe, "probe", lambda *_: RATES)
    wish = Wish("mine", 60, max_ms=40.0)
    lines = list(begin.project(tmp_path / "mine", str(tmp_path / "photos"), wish))
    assert any("what layers take on this machine" in line for line in lines)
    assert any("S0" in line and " ms, doubling" in line for line in lines)
    scaling = load(tmp_path / "mine/params.yaml").scaling
    assert (scaling.measure, scaling.latency) == ("latency", PHONE)


def test_a_wish_for_too_few_milliseconds_names_what_is_possible():
    with pytest.raises(ValueError, match=r"--max-ms 0.01 is out of reach.* to [\d.]+ ms; raise it"):
        Designer(seen("photographs"), "images", Wish("mine", 60, max_ms=0.01, device=PHONE)).first()


def test_the_least_milliseconds_that_are_named_as_possible_are():
    wish = Wish("mine", 60, max_ms=0.01, device=BUSY)
    with pytest.raises(ValueError, match=r"out of reach.* to [\d.]+ ms; raise it$") as refused:
        Designer(seen("photographs"), "images", wish).first()
    least = float(re.search(r"may have ([\d.]+) to", str(refused.value))[1])
    wish = wish._replace(max_ms=least)
    assert Designer(seen("photographs"), "images", wish).first().scalings.stages


@pytest.mark.parametrize(("most", "had"), [(30.0, True), (6.0, False)])
def test_milliseconds_that_double_from_larger_ones_on_are_found(most, had):
    """Of a phone measured: at the usual budget what layers take whatever their size is the most."""
    rates = {
        "dense": (452.09, 0.0, 0.017951),
        "pointwise": (0.0, 1.6017, 0.034961),
        "depthwise": (138.89, 1.1145, 0.15204),
        "vector": (119.84, 0.0, 1.7781),
    }
    wish = Wish("mine", 60, max_ms=most, device=Latency(device="phone", **rates))
    designer = Designer(seen("photographs"), "images", wish)
    if had:
        assert len(designer.first().scalings.stages) == 3
        return
    with pytest.raises(ValueError, match=r"6 is out of reach.* to [\d.]+ ms; raise it") as refused:
        designer.first()
    least = float(re.search(r"may have ([\d.]+) to", str(refused.value))[1])
    wish = wish._replace(max_ms=least)
    assert Designer(seen("photographs"), "images", wish).first().scalings.stages


@pytest.mark.parametrize("most", [None, 0.001, 3.0])
def test_images_too_small_to_double_milliseconds_say_so(most):
    heavy = Latency(device="slow to begin", **dict.fromkeys(KINDS, (90, 0, 0)))
    wish = Wish("mine", 5, max_ms=most, device=heavy)
    with pytest.raises(ValueError, match="leave --latency and --max-ms out"):
        Designer(seen("digits"), "images", wish).first()


def rates_of(rate):
    return yaml.safe_dump({"device": "x"} | {kind: [rate] * 3 for kind in KINDS})


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("device: x\n", "dense: missing"),
        ("- 1\n", "holds no rates"),
        ("device: x\ndense: [-1, 0, 0]\n", "dense.0: -1.* was given"),
        (rates_of(0), "by these rates no network takes any time; give what layers take"),
        (rates_of(1e-9), "by these rates no network takes any time; give what layers take"),
    ],
)
def test_a_file_that_holds_no_rates_is_refused(tmp_path, text, wrong):
    (tmp_path / "phone.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"{wrong}[\s\S]*`scalenet latency` writes such a file"):
        devices.read(tmp_path / "phone.yaml")


def test_flops_and_milliseconds_do_not_go_together(tmp_path):
    code, _, err = verb(tmp_path, "init", "digits", "--max-flops", "2M", "--max-ms", "3")
    assert code == 2 and "--max-flops alone" in err and not list(tmp_path.iterdir())


# --- what is shown of it --------------------------------------------------------------------------


def test_the_accuracy_law_is_of_milliseconds_and_lies_on_no_figure_of_flops(params, tmp_path):
    """Members at 1, 2 and 4 ms on the device, and the FLOPs that their networks happen to have."""
    made = families.build(tmp_path, {f"S{i}": families.answers(60 + 30 * i) for i in range(3)})
    members = [
        trained.model_copy(update={"member": trained.member.model_copy(update={
            "latency": 2.0**i, "multiple": 2.0**i, "budget": 2.0**i})})
        for i, trained in enumerate(made)
    ]  # fmt: skip
    said = {t.member.name: {"test": families.answers(60 + 30 * i)} for i, t in enumerate(members)}
    law = law_of(members, said, params.publish, 1.0, np.random.default_rng(0))
    assert law["flops0"] == 1.0 and law["next"][0]["value"] > 0.5
    family = Family(name="x", members=members, law=law, baselines=[], comparisons=[], warnings=[])
    assert "× the base" not in figure.svg(family)
    head, first, *_ = table.text(family, {}, {}).splitlines()
    assert "device ms" in head and re.split("  +", first)[4] == "1"
    assert any("device ms" in line for line in table.key(family, {}))
    assert ", 2 device ms (my phone); test" in pick._why(members[1], 2, True, "my phone")
    plain = family.model_copy(update={"members": made})
    assert family.by_latency and not plain.by_latency
    assert "× the base" in figure.svg(plain) and "device ms" not in table.text(plain, {}, {})
