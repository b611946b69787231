"""``scalenet init``: what it sees, what it chooses and why, what it refuses; without timing."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy.stats import binom

from scalenet.config import params as config
from scalenet.data import readers
from scalenet.data.splits import cut
from scalenet.pipeline import yamltext
from scalenet.pipeline.cli import scalenet
from scalenet.pipeline.init import begin, plan, write
from scalenet.pipeline.init.design import Designer
from scalenet.pipeline.init.drafts import Drafts, Wish
from scalenet.pipeline.init.estimate import Rates
from scalenet.pipeline.init.frame import frame_of
from scalenet.pipeline.init.look import Seen, look
from scalenet.pipeline.init.probe import probe
from scalenet.pipeline.init.shares import Shares
from scalenet.space.budget import Budget
from scalenet.space.network import Task
from scalenet.space.scaling import all_strategies

# of one core: a step 9 ms and 6 G multiply-accumulates a second
RATES = Rates(
    step=0.009,
    trained=6e9,
    shared=0.004,
    image=1e-4,
    judged=2e10,
    draw=2e-4,
    decode=7e-4,
    residual=(0.06, 0.12, 0.23),
    busy=1.0,
)
KINDS = {  # images, classes, shorter side px, channels, given splits
    "photographs": (2527, 6, 160, 3, {}),
    "grey photographs": (1200, 4, 300, 1, {}),
    "many classes": (12000, 150, 64, 3, {}),
    "32 px": (60000, 10, 32, 3, {"test": 10000}),
    "glyphs": (5000, 26, 28, 1, {}),
    "digits": (1797, 10, 8, 1, {}),
    "few": (90, 3, 40, 3, {}),
}


def _even(images: int, classes: int) -> list[int]:
    return np.bincount(np.arange(images) % classes).tolist()


def seen(kind: str, **changes) -> Seen:
    images, classes, side, channels, given = KINDS[kind]
    counts, given = _even(images, classes), {k: _even(n, classes) for k, n in given.items()}
    sample = np.full((8, channels, min(side, 96), min(side, 96)), 128, np.uint8)
    names = [f"c{i:03d}" for i in range(classes)]
    sides, labels = np.full(50, side), np.arange(8) % classes
    return replace(Seen(names, counts, given, sides, sample, labels, 7e-4), **changes)


@cache
def designed(kind: str, minutes: float = 30, rates: Rates = RATES, **wish):
    designer = Designer(seen(kind), "images", Wish("mine", minutes, **wish))
    return designer.design(rates)


def write_images(folder: Path, classes: dict[str, int], px: tuple[int, int], colour: bool) -> Path:
    generator = np.random.default_rng(0)
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            grey = generator.integers(0, 120, (px[1], px[0]), dtype=np.uint8)
            grey[:: number + 2] += 100
            pixels = np.stack([grey, grey // 2, grey // 3], 2) if colour else grey
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


# --- what is seen ---------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [False, True])
def test_it_sees_sides_classes_and_colour(tmp_path, colour):
    folder = write_images(tmp_path / "data", {"a": 7, "b": 9}, (30, 20), colour)
    found = look(str(folder))
    assert (found.images, found.classes, found.side) == (16, ["a", "b"], 20)
    assert found.channels == (3 if colour else 1) and found.sample.shape == (
        16, found.channels, 20, 20,
    )  # fmt: skip
    assert found.counts == [7, 9] and found.decode > 0


def test_grey_images_saved_in_colour_are_seen_as_grey(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        pixels = np.random.default_rng(0).integers(0, 255, (24, 24), dtype=np.uint8)
        for i in range(4):
            Image.fromarray(pixels).convert("RGB").save(tmp_path / name / f"{i}.jpg")
    assert look(str(tmp_path)).channels == 1


def test_a_coloured_dot_makes_grey_images_colour_images(tmp_path):
    """A lamp on a grey panel is what the image shows, though on the whole it is grey."""
    for name, colour in {"red": (255, 60, 60), "blue": (110, 110, 255)}.items():
        (tmp_path / name).mkdir()
        pixels = np.random.default_rng(0).integers(60, 180, (128, 128, 1), dtype=np.uint8)
        pixels = pixels.repeat(3, 2)
        pixels[50:60, 50:60] = colour
        for i in range(4):
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.jpg")
    assert look(str(tmp_path)).channels == 3


def test_splits_of_the_source_are_kept(tmp_path):
    write_images(tmp_path / "train", {"a": 20, "b": 20}, (16, 16), True)
    write_images(tmp_path / "test", {"a": 3, "b": 4}, (16, 16), True)
    assert look(str(tmp_path)).splits(0.1, 0.2) == {"train": 36, "select": 4, "test": 7}


# --- what is chosen -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_size_is_within_reach_and_every_number_fits_the_images(kind):
    made = designed(kind)
    params, images = made.params, seen(kind)
    budget = Budget(params.space, params.scaling, Task(images.channels, len(images.classes)))
    generator = np.random.default_rng(0)
    budget.check(generator)
    bases = [budget.draw(generator) for _ in range(20)]
    offered = [[len(budget.feasible(b, i)) for i in range(len(params.family))] for b in bases]
    assert (np.array(offered) > 0).mean() > 0.9
    resolutions = {s.resolution for s in all_strategies(params.scaling)}
    assert max(resolutions) <= max(params.data.size, 16)
    assert params.search.calibration <= made.shares.counts["train"]
    assert params.retrain.calibration <= made.shares.counts["train"]
    assert params.retrain.recipe.batch <= made.shares.counts["train"]
    assert params.data.channels == images.channels


@pytest.mark.parametrize("kind, size, base", [("photographs", 96, 48), ("32 px", 32, 16)])
def test_stored_size_and_resolutions_go_together(kind, size, base):
    params = designed(kind).params
    assert params.data.size == size and params.scaling.stages[0].resolutions == (base,)


def test_half_an_hour_of_photographs_is_six_sizes_and_dozens_of_epochs():
    made = designed("photographs")
    assert list(made.params.family) == ["S0", "S1", "S2", "S3", "S4", "S5"]
    recipe = made.params.retrain.recipe
    assert recipe.steps * recipe.batch / made.shares.counts["train"] > 50
    assert recipe.augment.crop[0] == 0.35 and recipe.augment.flip
    assert 0.8 * 30 <= made.wall / 60 <= 30


@pytest.mark.parametrize("images", [60, 120, 480, 3000])
def test_no_draw_of_the_splits_leaves_fewer_images_than_are_asked_for(images):
    made = Designer(seen("few", counts=[images // 3] * 3), "images", Wish("mine", 30)).design(RATES)
    data = made.params.data
    share = 1 - data.select_fraction - data.test_fraction
    fewest = binom.ppf(1e-5, images, share)  # of train: each image draws its split
    assert fewest < made.shares.counts["train"]
    assert 1 <= made.params.search.calibration <= fewest
    assert 1 <= made.params.retrain.calibration <= fewest


def grouped(folder: Path, groups: list[str]) -> dict:
    """Write a table that has the images of a folder in groups; return its columns."""
    files = sorted(folder.rglob("*.png"))
    each = -(-len(files) // 2 // (len(groups) // 2))
    rows = [
        f"{p.relative_to(folder)},{p.parent.name},{groups[i // each]}" for i, p in enumerate(files)
    ]
    (folder / "l.csv").write_text("\n".join(["file,kind,who", *rows]))
    return {"file": "l.csv", "path": "file", "label": "kind", "split": None, "group": "who"}


def test_a_plan_for_few_groups_is_what_prepare_makes(tmp_path):
    folder = write_images(tmp_path / "set", {"a": 40, "b": 40}, (12, 12), False)
    seeds = set()
    for name in "pqrstuv":
        table = grouped(folder, [f"{name}{i}" for i in range(8)])
        designer = Designer(
            look(str(folder), table=table), str(folder), Wish("mine", 30, reading={"table": table})
        )
        needs = designer.drafts.draft(3, 1)
        params = designer.params(needs, 100)[1]
        done = cut(params.data, readers.find(params.data, tmp_path))
        counts = {split: len(part["labels"]) for split, part in done.splits.items()}
        assert counts == designer.drafts.shares.counts and counts["train"] >= 40, "planned and made"
        assert all(set(part["labels"].tolist()) == {0, 1} for part in done.splits.values())
        assert max(params.search.calibration, params.retrain.calibration) <= counts["train"]
        seeds.add(params.data.seed)
        said = list(plan.about(designer.seen, designer.drafts.shares))
        planned = ", ".join(f"{split} {count}" for split, count in counts.items())
        assert said[-2].strip() == planned and "groups: train" in said[-1]
    assert len(seeds) > 1, "another where the first does not serve"


def test_too_few_groups_are_refused(tmp_path):
    folder = write_images(tmp_path / "set", {"a": 40, "b": 40}, (12, 12), False)
    found = look(str(folder), table=grouped(folder, ["p", "q"]))
    with pytest.raises(ValueError, match=r"with its 2 groups no draw leaves every class .*more gr"):
        Designer(found, "set", Wish("mine", 30)).first()


def test_fractions_are_lowered_for_rare_classes_and_hopeless_ones_are_refused():
    def splits(each: int) -> Shares:
        rare = seen("many classes", classes=[f"c{i}" for i in range(300)], counts=[each] * 300)
        return Drafts(rare, Wish("mine", 30)).shares

    assert splits(20).select == 0.15 and splits(20).test == 0.2, "no need"
    low = splits(4)
    assert low.select + low.test < 0.2 and 0.5 < low.every < 0.95
    with pytest.raises(ValueError, match=r"300 of 300 classes have fewer than 5 .*up to 5"):
        splits(2)
    assert splits(5).every >= 0.95, "the advice helps"


def test_classes_that_are_rare_in_train_alone_are_seen_as_rare():
    """A long tail to train on and a test with as many of each, as ImageNet-LT and others have."""

    def looked_at(tail: int) -> Seen:
        names, counts = [f"c{i:03d}" for i in range(300)], [700] * 4 + [50 + tail] * 296
        given = {"test": [0, *[50] * 299]}
        return seen("many classes", classes=names, counts=counts, given=given)

    long = looked_at(3)
    assert long.free == [700, *[650] * 3, *[3] * 296]
    shares = Drafts(long, Wish("mine", 30)).shares
    assert shares.select == 0.06 and shares.every < 0.95, "the least, and not sure"
    said = [*plan._scarce(long, 0.94), *plan._drawn(long, shares)]
    assert said[0].startswith(
        "296 of 300 classes (c004, c005, c006 and 293 more) have from about 3"
    )
    assert said[1].startswith("some class may have no image in train by chance")
    assert said[2] == "1 of 300 classes will have no image in test: nothing will be known of them"
    with pytest.raises(ValueError, match="have fewer than 4 images to draw from"):
        Designer(looked_at(1), "images", Wish("mine", 30)).first()


def test_too_few_images_are_refused_with_how_many_are_enough():
    with pytest.raises(ValueError, match=r"12 images are too few.* 8 would be to train.* 19 at le"):
        Designer(seen("few", counts=[6, 6]), "images", Wish("mine", 30)).first()
    for count in (19, 20):
        few = seen("few", counts=[count // 2, count - count // 2])
        assert Designer(few, "images", Wish("mine", 30)).design(RATES).params.search.calibration > 1


def test_grey_images_are_not_mirrored():
    for kind in ("grey photographs", "glyphs", "digits"):
        assert not designed(kind).params.retrain.recipe.augment.flip


@pytest.mark.parametrize("kind", KINDS)
def test_no_plan_takes_longer_than_the_minutes(kind):
    assert designed(kind).wall <= 30 * 60


@pytest.mark.parametrize("minutes", [5, 120])
def test_nor_where_there_is_little_time_or_much(minutes):
    assert designed("photographs", minutes).wall <= minutes * 60


def test_more_time_or_a_faster_machine_is_used():
    short, long = designed("photographs", 5), designed("photographs")
    assert len(short.params.family) < len(long.params.family)
    fast = designed("photographs", 30, replace(RATES, step=0.002, trained=2e11))
    assert fast.params.scaling.budget > designed("photographs").params.scaling.budget


def test_other_work_makes_minutes_longer_and_baselines_no_longer_beside_the_family():
    def share(rates: Rates) -> float:
        took = designed("photographs", 60, rates).seconds
        return took["baselines"] / sum(took.values())

    assert share(replace(RATES, busy=3.0)) == pytest.approx(share(RATES), abs=0.1)


def test_the_largest_member_is_as_small_as_asked():
    params = designed("photographs", max_flops=2e6).params
    last = params.scaling.stages[-1]
    assert params.scaling.target(len(params.family) - 1) * (1 + last.tolerance) <= 2e6


def test_another_stored_side_changes_the_resolutions():
    params = designed("photographs", size=64).params
    assert params.data.size == 64 and params.scaling.stages[0].resolutions == (32,)


def test_of_too_many_images_a_part_of_each_class_is_used():
    counts = [1300] * 1000
    many = seen("many classes", classes=[f"c{i}" for i in range(1000)], counts=counts)
    made = Designer(many, "images", Wish("mine", 60)).design(RATES)
    assert 20 <= made.params.data.per_class < 1300
    assert made.seconds["prepare"] >= 1.3e6 * RATES.decode, "all of them are read"
    assert any("15.2 of the minutes" in w for w in plan.warnings(many, 60, made, RATES))
    assert sum(made.shares.counts.values()) == 1000 * made.params.data.per_class


def test_the_head_is_no_bottleneck_before_many_classes():
    assert designed("many classes").params.space.head.width >= 150


# --- what is refused ------------------------------------------------------------------------------


def test_too_few_flops_name_the_range_that_is_in_reach():
    with pytest.raises(ValueError, match=r"out of reach.* 96 px .* to .* FLOPs.*--size"):
        designed("photographs", max_flops=10e3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_least_flops_that_are_named_are_in_reach(kind):
    with pytest.raises(ValueError, match="out of reach") as refused:
        designed(kind, max_flops=10)
    least = re.search(r"may have ([\d,]+) to", str(refused.value))[1]
    designed(kind, max_flops=int(least.replace(",", "")))


def test_too_few_minutes_name_the_least_that_works():
    with pytest.raises(ValueError, match=r"--minutes 0.2 is too short.*about \d+\.\d minutes"):
        designed("photographs", 0.2)
    with pytest.raises(ValueError, match=r"other work slows everything 3.0 times"):
        designed("photographs", 0.2, replace(RATES, busy=3.0))


def test_calibrations_leave_room_for_the_files_that_may_be_skipped():
    few = {"counts": [500] * 2, "classes": ["a", "b"]}
    plain, lenient = (
        Drafts(seen("photographs", **few, most_skipped=share), Wish("mine", 30)).shares
        for share in (0.01, 0.25)
    )
    assert lenient.train == plain.train and 0 < lenient.sure < 0.75 * plain.train < plain.sure


def test_reading_that_takes_longer_than_the_minutes_is_refused():
    slow = seen("photographs", counts=[500_000] * 2, classes=["a", "b"], decode=0.01)
    with pytest.raises(ValueError, match=r"--minutes 30 .* 1,000,000 images takes about 167 min"):
        Designer(slow, "images", Wish("mine", 30)).first()


def test_a_budget_out_of_the_spaces_reach_names_what_it_reaches(params):
    scaling = params.scaling.model_copy(update={"budget": 5e6, "tries": 50})
    budget = Budget(params.space, scaling, Task(1, 10))
    with pytest.raises(
        ValueError, match=r"scaling.budget, 5,000,000 FLOPs .* have [\d,]+ to [\d,]+ FLOPs"
    ):
        budget.check(np.random.default_rng(0))


def test_images_of_one_class_are_refused_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "data", {"a": 5}, (16, 16), True)
    root = begin.folder("data", "mine")
    with pytest.raises(ValueError, match="at least two folders"):
        list(begin.project(root, "data", Wish("mine", 30)))
    assert not root.exists()


def test_a_folder_that_holds_other_things_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    begin.folder("data.tar", "mine")
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(ValueError, match="is not empty"):
        begin.folder("data.tar", "mine")


@pytest.mark.parametrize(
    ("where", "data", "name", "helps"),
    [
        (".", "my photos", "my photos/mine", "my-photos-family"),
        ("my photos", ".", None, "../my-photos-family"),
        ("my photos", ".", "mine", "../my-photos-family"),
        ("my photos/a", "..", "mine", "../../my-photos-family"),
    ],
)
def test_a_project_in_the_folder_of_its_images_is_refused(
    tmp_path, monkeypatch, where, data, name, helps
):
    """It was planned, and then DVC refused every command in it."""
    (tmp_path / "my photos" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / where)
    with pytest.raises(ValueError, match="would be in the folder of its images") as refused:
        begin.folder(data, name)
    command = str(refused.value).split("`")[1]
    assert shlex.split(command) == ["scalenet", "init", data, helps]
    assert begin.folder(data, helps) == Path(helps)


def test_a_folder_whose_name_cannot_be_the_models_is_named(tmp_path, monkeypatch):
    """`scalenet init photos .` said that '' cannot be NAME."""
    (tmp_path / "my family").mkdir()
    monkeypatch.chdir(tmp_path / "my family")
    with pytest.raises(ValueError, match=r"'my family' cannot be NAME.* such as my-family"):
        begin.folder("photos.tar", ".")


def test_what_comes_next_may_be_pasted_where_a_folder_has_a_space(tmp_path, monkeypatch):
    (tmp_path / "my work").mkdir()
    write_images(tmp_path / "photos", {"a": 4, "b": 4}, (14, 12), False)
    monkeypatch.setattr(begin, "project", lambda *_: iter(()))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(scalenet, ["init", "photos", "my work/mine"])
    assert done.exit_code == 0 and "cd 'my work/mine' && scalenet run" in done.output


# --- what is written and said ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_params_yaml_is_valid_keeps_its_comments_and_says_why(kind, tmp_path):
    made = designed(kind)
    text = write.params_text(made.choices, plan.title(seen(kind), Wish("mine", 30)))
    (tmp_path / "params.yaml").write_text(text)
    assert config.load(tmp_path / "params.yaml") == made.params
    assert max(map(len, text.splitlines())) <= 100
    assert yamltext.dump(yamltext.load(tmp_path / "params.yaml")) == text
    assert "# stored height and width, px" in text and "init: the images' shorter sides" in text
    assert "\n\nsupernet:" in text and "\n\nretrain:" in text


def the_plan(kind: str) -> list[str]:
    made = designed(kind)
    about = plan.about(seen(kind), made.shares)
    return [*about, *plan.lines(seen(kind), Wish("mine", 30), made, RATES)]


def test_the_plan_is_plain_text_and_warns():
    said = {kind: "\n".join(the_plan(kind)) for kind in ("photographs", "digits", "few")}
    assert all(text.isascii() and "Minutes" in text for text in said.values())
    assert all(len(line) <= 80 for line in said["photographs"].splitlines())
    assert "30 images a class" in said["few"] and "30 to 30" not in said["few"]
    assert "exceeds what the images hold (8 px)" in said["digits"]
    assert "exceeds" not in said["photographs"]
    assert "data.seed" not in said["photographs"] and "no image in test" not in said["few"]
    assert "may not tell members apart" in said["few"] and "a few more" in said["few"]


def test_large_budgets_are_said_in_their_unit():
    params = designed("photographs").params
    scaling = params.scaling.model_copy(update={"budget": 7.4e8})
    large = params.model_copy(update={"scaling": scaling})
    said = [plan._budget(large, size) for size in (0, 1, 2)]
    assert said == ["740 M FLOPs", "1.48 G FLOPs", "2.96 G FLOPs"]


@pytest.mark.parametrize(
    "data, name",
    [
        ("trashnet.tar", "trashnet"),
        ("a/my photos.tar.gz", "my-photos"),
        ("x/set.v2", "set"),
        ("Mes photos d'été.zip", "Mes-photos-d-ete"),
        ("写真", "family"),
        ("x" * 200, "x" * 60),
    ],
)
def test_a_project_is_called_as_its_data(data, name):
    assert write.name_of(data) == name


def test_a_source_beside_the_project_is_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.tar").touch()
    assert write.source_of("data.tar", Path("mine")) == "../data.tar"
    assert write.source_of("/elsewhere/data.tar", Path("mine")) == "/elsewhere/data.tar"
    assert write.source_of("digits", Path("mine")) == "data/digits"


def test_the_probe_measures_every_rate():
    images = look("data/digits")
    designer = Designer(images, "data/digits", Wish("digits", 5))
    measured = probe(designer.params(designer.first(), 1000)[1], images)
    assert 1e-4 < measured.step < 1 and min(measured.trained, measured.judged) > 1e7
    assert measured.shared >= 0 and measured.draw > 0 and measured.busy >= 1


def test_one_command_makes_a_project_that_a_second_would_run(tmp_path, monkeypatch):
    data = write_images(tmp_path / "photos", {"a": 40, "b": 40}, (14, 12), False)
    command = [sys.executable, "-m", "scalenet.pipeline", "init", "photos", "--minutes", "90"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "cd photos-family && scalenet run" in done.stdout
    root = tmp_path / "photos-family"
    params = config.load(root / "params.yaml")
    assert params.data.name == "photos-family" and (root / params.data.source).samefile(data)
    assert (root / "dvc.yaml").exists() and (root / ".scalenet/supernet.json").exists()
    monkeypatch.chdir(tmp_path)
    assert begin.folder("photos", None).name == "photos-family", "as init left it: begun anew"
    with (root / "params.yaml").open("a") as file:
        file.write("# mine\n")
    with pytest.raises(ValueError, match="is not empty"):
        begin.folder("photos", None)


def test_frames_hold_together():
    for side in range(8, 400):
        frame = frame_of(side, None)
        assert frame.base <= frame.largest <= max(frame.size, 2 * frame.base)
        assert frame.size <= max(side, 8) and frame.base >= 8


def test_weights_to_compare_with_are_written_and_must_exist(tmp_path):
    wish = {"pretrained": ("/weights/resnet18.pth", "resnet18")}
    pretrained = designed("photographs", **wish).params.baselines.pretrained
    assert (pretrained.file, pretrained.model) == wish["pretrained"]
    data = write_images(tmp_path / "photos", {"a": 4, "b": 4}, (14, 12), False)
    arguments = ["init", str(data), "--pretrained", "nowhere.pth", "resnet18"]
    with pytest.raises(ValueError, match=r"nowhere\.pth: no such file"):
        scalenet.main(arguments, standalone_mode=False)


def test_without_residual_networks_members_have_their_time():
    usual, without = designed("photographs"), designed("photographs", residual=False)
    assert usual.params.baselines.residual and without.params.baselines.residual is None
    assert without.wall <= 30 * 60
    small = without.seconds["baselines"]
    assert small < 0.1 * usual.seconds["baselines"]
    members = [sum(d.seconds[name] for name in d.params.family) for d in (usual, without)]
    assert members[1] > 1.7 * members[0]


def test_a_table_is_looked_at_and_written(tmp_path):
    photos = write_images(tmp_path / "set", {"a": 30, "b": 20}, (30, 20), False)
    rows = [f"{p.relative_to(photos)},{p.parent.name}x,g{p.stem}" for p in photos.rglob("*.png")]
    (photos / "labels.csv").write_text("\n".join(["file,kind,who", *rows]))
    names = {"file": "labels.csv", "path": "file", "label": "kind", "split": None, "group": "who"}
    found = look(str(photos), table=names)
    assert found.classes == ["ax", "bx"] and found.counts == [30, 20] and found.side == 20
    made = Designer(found, "set", Wish("mine", 30, reading={"table": names})).design(RATES)
    assert made.params.data.table.model_dump() == names
    with pytest.raises(ValueError, match="give --table too"):
        scalenet.main(["init", str(photos), "--split", "set"], standalone_mode=False)


def test_parquet_with_the_images_inside_is_looked_at(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    photos = write_images(tmp_path / "set", {"a": 12, "b": 9}, (30, 20), False)
    files = sorted(photos.rglob("*.png"))
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    table = pyarrow.table({"image": images, "label": [file.parent.name for file in files]})
    parquet.write_table(table, tmp_path / "all.parquet")
    found = look(str(tmp_path / "all.parquet"))
    assert found.classes == ["a", "b"] and found.counts == [12, 9] and found.side == 20


def test_classes_are_named_and_doubted_where_all_hold_the_same_folders(tmp_path):
    def said(*names: str) -> str:
        folder = write_images(tmp_path / str(len(names)), dict.fromkeys(names, 10), (12, 12), False)
        found, wish = look(str(folder)), Wish("mine", 30)
        designer = Designer(found, "set", wish)
        made = designer.design(RATES)
        return "\n".join([*plan.about(found, made.shares), *plan.lines(found, wish, made, RATES)])

    folds = said(*(f"fold{i}/{kind}" for i in range(7) for kind in ("cat", "dog")))
    assert "fold0, fold1, fold2, fold3, fold4 and 2 more" in folds
    assert "every class holds the same folders (cat, dog): if these are the classes" in folds
    animals = said("cat/left", "cat/right", "dog/left", "dog/above", "emu")
    assert "cat, dog, emu" in animals and "folders" not in animals
    kinds = said("pet/cat", *(f"bird/{name}" for name in ("emu", "owl", "jay", "wren", "kite")))
    assert "classes hold folders (bird: emu, jay, kite and 2 more; pet: cat), whose" in kinds
    assert "keep it in one split: --group '^([^/]+/[^/]+)/'" in kinds
    tops = [f"{split}/{kind}" for split in ("train", "test") for kind in ("cat", "dog")]
    views = said(*(f"{top}/{view}" for top in tops for view in ("front", "back")))
    assert "classes hold folders (cat: back, front; dog: back, front), whose images" in views
    assert "one level up" in views and "splits" not in views and "--group" not in views


@pytest.mark.parametrize("tops", [("trn", "tst"), ("Dev", "EVAL"), ("trn", "val", "tst")])
def test_folders_that_may_be_splits_are_told_what_to_be_called(tmp_path, tops):
    """What they were told to do, a table with them as groups, would have made two groups."""
    names = [f"{top}/{kind}" for top in tops for kind in ("cat", "dog")]
    folder = write_images(tmp_path / "set", dict.fromkeys(names, 20), (12, 12), False)
    [said] = plan._source(look(str(folder)), 30)
    top = ", ".join(sorted(tops))
    assert f"on top now ({top}) are splits, call those train, val and test; else" in said
    for old, new in zip(tops, ("train", "val", "test"), strict=False):
        (folder / old).rename(folder / new)
    found = look(str(folder))
    assert found.classes == ["cat", "dog"] and len(found.given) == len(tops) - 1
    assert not found.inner and not list(plan._source(found, 30))


@pytest.mark.parametrize(
    ("shape", "told"), [((14, 100), True), ((100, 14), True), ((27, 48), False)]
)
def test_images_of_which_little_is_seen_are_told_before_the_run(tmp_path, shape, told):
    """Of a panorama its central square is cut, and nothing said so."""
    seen = look(str(write_images(tmp_path / "images", {"a": 20, "b": 20}, shape, False)))
    said = [line for line in plan._source(seen, 30) if "central square" in line]
    assert len(said) == told
    if told:
        assert "at least 7.1 times the other" in said[0] and " 14% of such" in said[0]


def test_images_that_are_almost_black_are_told_before_the_run(tmp_path):
    """Only the run's first stage said so."""
    for name in "ab":
        (tmp_path / name).mkdir()
        levels = np.random.default_rng(0).integers(0, 4096, (8, 24, 24)).astype(np.uint16)
        for i, image in enumerate(levels * (1 if i < 6 else 16) for i, levels in enumerate(levels)):
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")
    [said] = plan._source(look(str(tmp_path)), 30)
    assert "of those looked at, 12 of 16 images have no pixel brighter than 64 of 255" in said
    assert said.endswith("; 12 bits in 16 look so: scale them to 0…65535")
    assert not list(plan._source(look("data/digits"), 30))


def begun(data: Path, *options: str) -> config.Params:
    """Begin a project by the command, with rates that are not timed; return its params."""
    root = data.parent / f"mine{len(options)}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scalenet.pipeline.init.probe.probe", lambda params, seen: RATES)
        scalenet.main(["init", str(data), str(root), *options], standalone_mode=False)
    return config.load(root / "params.yaml")


def test_of_several_columns_in_parquet_those_named_are_used(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow
    from pyarrow import parquet

    photos = write_images(tmp_path / "set", {"a": 12, "b": 9}, (30, 20), False)
    files = sorted(photos.rglob("*.png"))
    columns = {name: [{"bytes": f.read_bytes(), "path": None} for f in files] for name in "xy"}
    columns["kind"] = [file.parent.name for file in files]
    parquet.write_table(pyarrow.table(columns), tmp_path / "all.parquet")
    with pytest.raises(ValueError, match=r"`scalenet init --table - <images> <labels>`"):
        look(str(tmp_path / "all.parquet"))
    with pytest.raises(ValueError, match=r"'z' is no column of the images; its columns are x, y, "):
        begun(tmp_path / "all.parquet", "--table", "-", "z", "kind")
    assert begun(tmp_path / "all.parquet", "--table", "-", "x", "kind").data.table.model_dump() == {
        "file": None, "path": "x", "label": "kind", "split": None, "group": None,
    }  # fmt: skip
    with pytest.raises(ValueError, match="in the table, but not in the source") as refused:
        begun(tmp_path, "--table", "all.parquet", "x", "kind")
    assert len(str(refused.value)) < 1000, "no images in a message"


def test_names_that_are_empty_are_refused_in_a_line(tmp_path):
    for option in (["--table", "", "file", "kind"], ["--table", "l.csv", "file", "", "--yes"]):
        with pytest.raises(ValueError, match=r"^--table, --split, --group: '' was given; name"):
            begun(tmp_path, *option)


def test_more_files_that_cannot_be_read_may_be_left_out(tmp_path):
    folder = write_images(tmp_path / "set", {"a": 30, "b": 30}, (12, 12), False)
    for i in range(3):
        (folder / "a" / f"{i}.mp4").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"3 files could not be taken.*--most-skipped"):
        begun(folder)
    assert begun(folder, "--most-skipped", "0.1").data.most_skipped == 0.1
