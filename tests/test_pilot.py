"""A pilot says what an experiment costs and whether it can tell networks apart, before a run."""

import json
import re
import shlex
from argparse import Namespace

import numpy as np
import pytest

from bench.method import (
    family,
    noise,
    pilot,
    plan,
    prices,
    rank,
    rankreport,
    report,
    scripts,
    statistics,
)
from bench.method.lab import Lab
from scalenet.records import files
from scalenet.space.budget import Budget
from scalenet.space.network import Task


@pytest.fixture
def lab(make_params, info, tmp_path):
    """Return a lab with prepared (imaginary) images."""
    sizes = {f"S{i}": {"multiple": 2**i, "seed": 0} for i in range(4)}
    made = Lab(make_params({"family": sizes, "data": {"name": "toy"}}), tmp_path / "lab")
    info.write(made.paths.data / "info.json")
    return made


def measured(networks, true, noise, seed, trainings=3):
    """Return accuracies of random networks, each trained several times."""
    generator = np.random.default_rng(seed)
    means = generator.normal(60, true, (networks, 1))
    return means + generator.normal(0, noise, (networks, trainings))


def test_noise_and_spread_are_told_apart():
    found = statistics.repeated(measured(2000, 1.0, 0.5, 0), [1] * 2000)
    assert found["noise"]["noise"] == pytest.approx(0.5, rel=0.05)
    assert found["true"] == pytest.approx(1.0, rel=0.05)
    for count, share in (("1", 4 / 5), ("2", 8 / 9), ("3", 12 / 13)):  # of the variance of means
        best = found["best"][count]
        assert best["tau"] == pytest.approx(2 / np.pi * np.arcsin(share**0.5), abs=0.02)
        assert best["low"] < best["tau"] < best["high"]


def test_networks_that_differ_by_noise_alone_cannot_be_ranked():
    found = statistics.repeated([[60, 61, 62], [62, 60, 61], [61, 62, 60]], [0, 0, 0])
    assert found["true"] == found["best"]["1"]["tau"] == found["best"]["3"]["tau"] == 0


def test_sizes_are_not_compared_with_one_another():
    rows = measured(8, 1.0, 0.5, 1)
    apart = rows + np.array([0, 0, 0, 0, 10, 10, 10, 10])[:, None]
    sizes = [2] * 4 + [3] * 4
    [one, other] = (statistics.repeated(values, sizes)["best"]["1"] for values in (rows, apart))
    assert one == pytest.approx(other)


def test_the_interval_of_the_best_tau_holds_it_as_often_as_it_says():
    best = 2 / np.pi * np.arcsin((1 / 1.25) ** 0.5)
    found = (statistics.repeated(measured(6, 1.0, 0.5, seed), [0] * 6) for seed in range(400))
    inside = sum(own["best"]["1"]["low"] <= best <= own["best"]["1"]["high"] for own in found)
    assert 0.92 < inside / 400 < 0.98


def test_a_network_alone_tells_no_spread():
    rows = [{"stage": stage, "accuracies": [0.5, 0.51]} for stage in (0, 1, 1)]
    rows[2]["accuracies"] = [0.6, 0.62]
    found = pilot.found(rows)
    assert found["0"] is None and found["1"]["networks"] == 2
    assert "| 0 | – | – | – | – | – |" in pilot.summary(found)
    assert pilot.found(rows[:2])["pooled"] is None and "| – |" in pilot.summary({"0": None})
    known = {"noise": 0.01, "low": 0.007, "high": 0.02, "dof": 9}
    assert statistics.ceiling([0.5], known) is None
    ranked = {"networks": [row | {"trained": row["accuracies"][0]} for row in rows]}
    [spreads, best] = rankreport.ceilings(ranked | {"noise": known})
    assert spreads[1] == best[1] == "–" and "2 networks" in spreads[2] and "[" in best[2]


@pytest.mark.parametrize("networks, seeds, named", [(1, 3, "networks"), (6, 1, "seeds")])
def test_a_pilot_without_a_spread_or_a_noise_is_refused(networks, seeds, named):
    with pytest.raises(SystemExit, match=f"--{named} is 1; give at least 2"):
        pilot.refuse_too_few(networks, seeds)


@pytest.mark.parametrize("text", ["4", "1,9", "one", "-1", "12"])
def test_a_pilot_of_what_is_no_size_is_refused(lab, text):
    with pytest.raises(SystemExit, match=r"--stages is .*; give sizes of 0 to 2, such as 0,2"):
        rank.sizes_of(text, lab)
    assert rank.sizes_of("2,1,2", lab) == [2, 1]


def start(monkeypatch, lab, tmp_path, *more):
    """Start a pilot of two networks and two seeds in a lab."""
    command = ["pilot", "--preset", "toy", "--networks", "2", "--seeds", "2", "--stages", "0,1"]
    monkeypatch.setattr("sys.argv", [*command, "--results", str(tmp_path), *more])
    monkeypatch.setattr(scripts, "open_lab", lambda chosen: lab)
    monkeypatch.setattr(prices, "speed", lambda lab, networks: 1e6)
    pilot.main()


def fake(lab, stop_after, log):
    """Return what takes the place of training: files of invented accuracies."""

    def train(one, jobs):
        jobs = list(jobs)
        log.append(sum(not lab.on_file(*job) for job in jobs))
        if len(log) > stop_after:
            raise KeyboardInterrupt
        for network, seed in jobs:
            accuracy = 0.5 + (network.resolution % 97) / 1000 + seed / 1000
            row = {"accuracy": accuracy, "seconds": 1.0}
            files.write_json(lab._file(network, seed), row)
        return {job: files.read_json(lab._file(*job)) for job in jobs}

    return train


def test_a_pilot_goes_on_where_it_was_stopped(lab, monkeypatch, tmp_path, capsys):
    log: list[int] = []
    monkeypatch.setattr(Lab, "trained", fake(lab, 1, log))
    with pytest.raises(KeyboardInterrupt):
        start(monkeypatch, lab, tmp_path)
    said = capsys.readouterr().out
    assert said.index("core-hours") < said.index("best τ"), "the price comes first"
    first = json.loads((tmp_path / "toy/pilot.json").read_text())
    assert {row["stage"] for row in first["networks"]} == {0}, "what is known is written"
    monkeypatch.setattr(Lab, "trained", fake(lab, 9, log))
    start(monkeypatch, lab, tmp_path)
    assert log == [4, 4, 0, 4]
    assert "| pilot | size 0 | 0 | 0 | 0.00 |" in capsys.readouterr().out, "it is paid for"
    both = json.loads((tmp_path / "toy/pilot.json").read_text())
    assert list(both["found"]) == ["0", "1", "pooled"] and both["found"]["pooled"]["networks"] == 4


def test_a_pilot_may_be_priced_alone(lab, monkeypatch, tmp_path, capsys):
    log: list[int] = []
    monkeypatch.setattr(Lab, "trained", fake(lab, 9, log))
    start(monkeypatch, lab, tmp_path, "--priced")
    assert "| all |  | 8 |" in capsys.readouterr().out and not log
    assert not (tmp_path / "toy").exists()


def test_what_a_training_costs_is_its_steps_images_and_passes(lab):
    recipe = lab.params.retrain.recipe
    assert prices.per_training(lab, 100) == 3 * recipe.steps * recipe.batch * 100


def test_the_experiment_that_can_tell_offers_what_it_says():
    params = scripts.params_of("cifar10-long")
    budget, generator = (
        Budget(params.space, params.scaling, Task(3, 10)), np.random.default_rng(0)
    )  # fmt: skip
    sizes = range(1, len(params.scaling.stages))
    for _ in range(20):
        base = budget.draw(generator)
        assert min(len(budget.feasible(base, size)) for size in sizes) >= 8
    searched = [max(stage.resolutions) for stage in params.scaling.stages]
    beyond = searched[0] * (searched[-1] / searched[0]) ** (5 / 3)
    law = family.law(Lab(params, None), 32).resolution
    assert max(*searched, beyond, law) <= params.data.size, "all of it inside the images"
    images = 10 * params.data.per_class
    recipe = params.retrain.recipe
    assert recipe.steps * recipe.batch / images == pytest.approx(7, abs=0.1)


def options(**more):
    """Return what the plan is asked for."""
    asked = {"preset": "toy", "workers": 1, "seeds": 2, "networks": 2, "trainings": 3,
             "set": ["data.seed=1"]}  # fmt: skip
    rest = {"stages": "1,2", "ranked": 5, "truth": 2, "principal": 4, "others": "S1,S3"}
    return Namespace(**asked | rest | more)


def test_a_whole_experiment_is_priced_before_it_is_run(lab, monkeypatch):
    monkeypatch.setattr(prices, "speed", lambda lab, networks: 1e6)
    rows = plan.experiment(lab, options())
    counts = {(row.command, row.what): row.trainings for row in rows}
    sizes, searched = len(lab.params.family), len(lab.params.scaling.stages)
    assert (sizes, searched) == (4, 3), "S3 lies beyond the search"
    assert counts["pilot", "size 1"] == counts["pilot", "size 2"] == 6
    assert counts["family", "ours"] == 4 * sizes
    assert counts["family", "EfficientNet's law (its S0 is ours)"] == 4 * (sizes - 1)
    assert counts["family", "random base"] == counts["family", "one-shot per size"] == 4
    assert counts["family", "random strategies"] == 2, "nothing offers them beyond the search"
    assert counts["rank", "size 1"] == counts["rank", "size 2"] == 6, "the pilot trains the others"
    budget = lab.params.scaling.budget
    [own] = [row for row in rows if row.what == "random strategies"]
    assert own.macs == 2 * prices.per_training(lab, 2 * budget)
    assert all(row.seconds == pytest.approx(row.macs / 1e6) for row in rows)


def test_a_search_is_priced_from_above(lab):
    search, select = lab.params.search, lab.info.counts["select"]
    bases = search.iterations * search.population * search.generations
    budgets = sum(lab.params.scaling.target(i) for i in range(len(lab.params.scaling.stages)))
    scored = search.images or select
    assert plan.search_macs(lab) > bases * budgets * (scored + search.calibration)


def test_the_plans_commands_are_those_of_the_scripts(lab, monkeypatch):
    theirs = {"pilot": pilot.OPTIONS, "family": family.OPTIONS, "rank": rank.OPTIONS}
    for line, (name, own) in zip(plan.commands(lab, options()), theirs.items(), strict=True):
        start, *words = shlex.split(line)[2:]
        assert start == f"bench.method.{name}"
        monkeypatch.setattr("sys.argv", [name, *words])
        chosen = scripts.options("", **own)
        assert chosen.preset == "toy" and chosen.workers == 1 and chosen.set == ["data.seed=1"]
    assert (chosen.networks, chosen.trainings, chosen.stages) == (5, 2, "1,2")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "0"], "argument --workers: '0' was given; give a whole number, 1 at least"),
        (["--networks", "-1"], "argument --networks: '-1' was given"),
        (["--networks", "1"], "--networks is 1; give at least 2: one has no order"),
        (["--preset", "none"], "preset 'none' is unknown; there are"),
        (["--set", "data.source=none"], "data.source: .*none does not exist"),
        (["--set", "data.seed"], "--set 'data.seed': expected KEY=VALUE"),
    ],
)
def test_a_script_ends_by_a_line_on_what_is_wrong(tmp_path, monkeypatch, capsys, options, said):
    folders = ["--work", f"{tmp_path}/work", "--results", f"{tmp_path}/results"]
    monkeypatch.setattr("sys.argv", ["rank", "--preset", "bench-smoke", *folders, *options])
    with pytest.raises(SystemExit) as ended:
        rank.main()
    assert re.search(said, f"{ended.value}{capsys.readouterr().err}")
    assert not (tmp_path / "results").exists()


def test_a_plan_for_sizes_that_the_family_lacks_is_refused(lab):
    with pytest.raises(SystemExit, match="--others is 'S1,S9'; give sizes of S0, S1, S2, S3"):
        plan.experiment(lab, options(others="S1,S9"))


def test_a_script_can_do_a_preset_once_more_in_another_folder(tmp_path, monkeypatch):
    again = ["--set", "data.name=again", "--set", "data.seed=7"]
    folders = ["--work", f"{tmp_path}/work", "--results", f"{tmp_path}"]
    monkeypatch.setattr("sys.argv", ["pilot", "--preset", "bench-smoke", *again, *folders])
    chosen = scripts.options("")
    lab = scripts.open_lab(chosen)
    assert lab.params.data.seed == 7 and lab.root.name.startswith("again-")
    scripts.write(lab, chosen, "pilot", networks=[])
    assert (tmp_path / "again" / "pilot.json").exists()
    with pytest.raises(ValueError, match="nothing"):
        scripts.params_of("bench-smoke", ["nothing.such=1"])


def test_a_pilot_is_reported_and_gives_the_ranking_its_noise(tmp_path):
    accuracies = {"n1": [0.50, 0.51, 0.52], "n2": [0.54, 0.55, 0.56], "n3": [0.45, 0.46, 0.47]}
    rows = [
        {"stage": 2, "network": name, "flops": 1.5e6, "accuracies": own, "seconds": [1200.0] * 3}
        for name, own in accuracies.items()
    ]
    made = {"command": "python -m bench.method.pilot", "machine": {"processor": "cpu"},
            "versions": {"torch": "2"}, "date": "2026-01-01", "revision": "abc"}  # fmt: skip
    result = made | {"seeds": 3, "networks": rows, "found": pilot.found(rows)}
    files.write_json(tmp_path / "p/pilot.json", result)
    text = report.report(tmp_path, tmp_path)
    assert "## Preset p" in text and "`python -m bench.method.pilot`: cpu, torch 2" in text
    assert "| 2 | 3 networks × 3 | 1.00 [0.64, 2.20] | 4.47 | 0.86 [" in text
    assert "| 2 | `n2` | 1.50 | 54.00, 55.00, 56.00 |" in text and "took 3.0 hours" in text
    known = noise.of_trainings(None, result)
    assert known["noise"] == pytest.approx(0.01) and known["dof"] == 6
    assert noise.of_trainings({"arms": {}}) is None is noise.of_trainings(None)


def test_means_of_trainings_can_be_ranked_better(tmp_path):
    values = [[0.50, 0.51], [0.52, 0.53], [0.54, 0.55], [0.45, 0.46]]
    rows = [{"stage": 2, "network": f"n{i}", "trained": sum(own) / 2, "accuracies": own}
            for i, own in enumerate(values)]  # fmt: skip
    known = noise.of_trainings(None, None, {"networks": rows})
    single = {"networks": [rows[0] | {"accuracies": [0.5]}]}
    assert known["dof"] == 4 and noise.of_trainings(None, single) is None
    [once, means] = (
        noise.ceilings({"networks": rows, **more}, known | {"noise": 0.02})["2"]
        for more in ({}, {"trainings": 2})
    )
    assert once["spread"] == means["spread"]
    assert means["true"] == pytest.approx((once["spread"] ** 2 - 0.02**2 / 2) ** 0.5)
    assert means["tau"] > once["tau"]


def test_networks_are_ranked_by_the_mean_of_their_trainings(lab, monkeypatch):
    monkeypatch.setattr(Lab, "trained", lambda _, jobs: {j: {"accuracy": j[1] / 10} for j in jobs})
    drawn = rank.networks(lab, 2)
    assert rank.trainings(lab, drawn, 3) == [[0.0, 0.1, 0.2]] * len(drawn)
