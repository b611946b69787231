"""params.yaml: complete, typed, explained; and every mistake named with what is allowed."""

import hashlib
import re
from copy import deepcopy

import pytest
import yaml
from conftest import ROOT, verb

from scalenet.config.explain import _section_of
from scalenet.config.params import Params, load, parse, read_yaml
from scalenet.pipeline import settings, yamltext
from scalenet.records.paths import Paths
from scalenet.stages import check_counts, run_stage

COMMITTED = read_yaml(ROOT / "params.yaml")
ABSENT = object()


def changed(path: str, value):
    """Return the committed params with one dotted key set, or taken out."""
    content = deepcopy(COMMITTED)
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = content
    for part in way:
        place = place[part]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return content


def refusal(path: str, value) -> str:
    with pytest.raises(ValueError) as caught:
        parse(changed(path, value), "my.yaml")
    assert type(caught.value) is ValueError
    return str(caught.value)


# --- the committed file ---------------------------------------------------------------------------


@pytest.mark.parametrize("section", Params.model_fields)
def test_every_section_of_the_committed_file_validates(section):
    whole = load(ROOT / "params.yaml")
    assert set(COMMITTED) == set(Params.model_fields)
    given, read = COMMITTED[section], getattr(whole, section)
    assert set(given) == set(read if isinstance(read, dict) else read.model_dump())


def test_params_read_back_to_themselves():
    whole = load(ROOT / "params.yaml")
    assert parse(whole.model_dump(mode="json")) == whole


def test_params_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load(ROOT / "params.yaml").search.population = 3


def test_no_section_has_a_default():
    def sections(model):
        yield model
        for field in model.model_fields.values():
            inner = _section_of(field.annotation)
            if inner:
                yield from sections(inner)

    for section in sections(Params):
        assert all(field.is_required() for field in section.model_fields.values()), section.__name__


def test_every_number_has_a_comment():
    """A value on a line of its own says what it means, or a comment above has named its key."""
    explained, silent = set(), []
    for number, line in enumerate((ROOT / "params.yaml").read_text().splitlines(), start=1):
        code, _, comment = line.partition("#")
        explained |= set(re.findall(r"\w+", comment))
        scalar = re.match(r"\s*(\w+): +[^\s{]", code)
        if scalar and comment.strip():
            explained.add(scalar[1])
        if scalar and scalar[1] not in explained:
            silent.append(f"{number}: {scalar[1]}")
    assert not silent, silent


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("serach", "search"),
        ("search.poplation", "population"),
        ("supernet.recipe.warmpu", "warmup"),
        ("supernet.recipe.augment.rotat", "rotate"),
        ("space.stages.1.strides", "stride"),
        ("scaling.stages.2.tolerence", "tolerance"),
        ("family.S2.multipel", "multiple"),
        ("space.stem.kernels", "kernel"),
    ],
)
def test_a_misspelt_key_gets_a_suggestion(path, meant):
    message = refusal(path, 1)
    assert f"my.yaml: {path}: unknown key; did you mean {meant!r}?" in message
    assert "allowed here: " in message and meant in message.partition("allowed here: ")[2]


def test_an_unknown_key_lists_what_is_allowed():
    message = refusal("extrapolate.zzz", 1)
    allowed = "allowed here: confidence, draws, law, resolution_step, seed, tolerance"
    assert message == f"my.yaml: extrapolate.zzz: unknown key; {allowed}"


@pytest.mark.parametrize(
    "path", ["data", "search.seed", "retrain.recipe.augment.flip", "space.stages.0.expands"]
)
def test_a_missing_key_is_named(path):
    adds = "add it in the file" if ".0." in path else "`scalenet params` adds it with its default"
    assert f"my.yaml: {path}: missing; {adds}" in refusal(path, ABSENT)


@pytest.mark.parametrize(
    "paths",
    [
        ["data.duplicates"],
        ["search.finetune.lr"],
        ["publish.prior"],
        ["data.duplicates", "baselines", "publish.prior.short"],
        [f"search.finetune.{key}" for key in COMMITTED["search"]["finetune"]][1:],
        [*COMMITTED],
    ],
)
def test_what_a_file_of_an_older_version_lacks_is_added_by_the_command_that_is_named(
    tmp_path, paths
):
    """It comes as the default has it, with its comment; what the file has stays."""
    whole = (ROOT / "params.yaml").read_text()
    old = yamltext.load(ROOT / "params.yaml")
    for path in paths:
        *way, last = path.split(".")
        place = old
        for part in way:
            place = place[part]
        del place[last]
    (tmp_path / "params.yaml").write_text(yamltext.dump(old))
    with pytest.raises(ValueError) as caught:
        load(tmp_path / "params.yaml")
    [line] = str(caught.value).splitlines()
    assert ", ".join(paths[:10]) in line and "`scalenet params` adds " in line
    code, _, err = verb(tmp_path, "params")
    assert code == 0, err
    assert load(tmp_path / "params.yaml").model_dump() == Params(**COMMITTED).model_dump()
    if len(paths) == 1 and paths != ["publish.prior"]:
        lines = (tmp_path / "params.yaml").read_text().splitlines()
        assert sorted(lines) == sorted(whole.splitlines())


def test_a_member_that_lacks_a_key_is_to_be_mended_in_the_file():
    """The defaults say nothing of a member that a user named."""
    assert refusal("family.S5.seed", ABSENT) == (
        "my.yaml: family.S5.seed: missing; add it in the file, as its neighbours have it"
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("search.population", "many"),
        ("search.population", 2.5),
        ("search.population", 0),
        ("search.population", None),
        ("search.population", [8]),
        ("search.population", True),
        ("scaling.budget", False),
        ("scaling.budget", float("nan")),
        ("scaling.budget", "inf"),
        ("scaling.budget", "-1e5"),
        ("scaling.stages.0.tolerance", 1.0),
        ("scaling.stages.0.depths", []),
        ("scaling.stages.0.depths", 1.0),
        ("scaling.stages.1.depths.0", True),
        ("data.channels", 2),
        ("data.name", "a b"),
        ("data.name", "../x"),
        ("data.source", ""),
        ("compute.device", "gpu"),
        ("compute.workers", 0),
        ("compute.workers", "many"),
        ("compute.workers", None),
        ("compute.scoring", "8786"),
        ("compute.scoring", "http://127.0.0.1:8786"),
        ("compute.scoring", "tcp://me:secret@127.0.0.1:8786"),
        ("space.se_from", "output"),
        ("supernet.coupling", "right"),
        ("supernet.recipe.momentum", 1.0),
        ("supernet.recipe.augment.flip", "maybe"),
        ("supernet.recipe.augment.scale", 1.0),
        ("supernet.recipe.augment.crop.0", 0.0),
        ("supernet.recipe.augment.aspect", 0.5),
        ("retrain.recipe.precision", "float16"),
        ("search.seed", -1),
        ("search.seed", 2**31),
        ("family", {}),
        ("family", {"big": {"multiple": 1, "seed": 0}}),
        ("search", 3),
        ("space.stages", {}),
    ],
)
def test_a_wrong_value_is_named_with_what_was_given(path, value):
    message = refusal(path, value)
    assert message.startswith(f"my.yaml: {path}") and len(message.splitlines()) == 1
    if not isinstance(value, dict):
        assert str(value) in message or repr(value) in message


@pytest.mark.parametrize("text", ["1e-5", "4e-5", "1E-5", " 0.5 ", "3e0"])
def test_numbers_that_yaml_reads_as_strings_are_numbers(text):
    content = changed("supernet.recipe.weight_decay", text)
    assert parse(content).supernet.recipe.weight_decay == float(text)
    assert isinstance(yaml.safe_load("x: 1e-5")["x"], str), "the reason for this test"


def test_whole_numbers_may_be_written_as_floats():
    steps = parse(changed("search.population", "3e1")).search.population
    assert steps == 30 and type(steps) is int


@pytest.mark.parametrize(("path", "value"), [("space.stem.kernel", 4), ("data.channels", True)])
def test_values_that_other_modules_assume_away_are_refused(path, value):
    # an even kernel's padding makes other sizes than space/cost.py counts
    assert path in refusal(path, value)


# --- values that must agree -----------------------------------------------------------------------


@pytest.mark.parametrize("section", ["supernet", "search"])
@pytest.mark.parametrize("weights", [[1.0], [0, 0, 0, 0], [1, 1, 1, 1, 1]])
def test_weights_are_one_per_size(section, weights):
    message = refusal(f"{section}.stage_weights", weights)
    assert (
        message.startswith(f"my.yaml: {section}.stage_weights is ")
        and "each of the 4 entries of scaling.stages" in message
    )


def test_kernels_are_odd_and_named_once():
    assert "space.stages.1.kernels.1: 4 was given; should be odd" in refusal(
        "space.stages.1.kernels", [3, 4]
    )
    assert "kernels [3, 3] should each be named once" in refusal("space.stages.1.kernels", [3, 3])


def test_a_list_whose_one_entry_is_refused_is_not_said_to_be_too_short():
    """It was: that at least 1 item should be in it, and so of each list around it."""
    block = {"width": 8, "depth": 1, "stride": 1, "expands": [1], "kernels": [4]}
    message = refusal("space.stages", [block])
    assert message == "my.yaml: space.stages.0.kernels.0: 4 was given; should be odd"


def test_expansion_ratios_are_whole_and_named_once():
    key = "space.stages.1.expands"
    assert f"{key}.1: 0 was given; input should be greater than or equal to 1" in refusal(
        key, [3, 0]
    )
    assert "expands [3, 3] should each be named once" in refusal(key, [3, 3])
    assert f"{key}: [] was given" in refusal(key, [])
    assert "did you mean 'expands'?" in refusal("space.stages.1.expand", 3)


def test_cross_checks_say_what_to_change():
    message = refusal("data.select_fraction", 0.8)
    assert "select_fraction + test_fraction leave nothing to train on" in message
    assert "set sandwich: true or distill: false" in refusal("supernet.distill", True)
    assert "multiple of log" in refusal("supernet.recipe.checkpoint", 7)
    why = (
        r"supernet\.recipe: warmup \(50\) should be less than steps \(40\).*; lower warmup .* raise"
    )
    assert re.search(why, refusal("supernet.recipe.steps", 40))
    both = changed("supernet.distill", True)
    both["supernet"]["sandwich"] = True
    assert parse(both).supernet.distill


def test_all_mistakes_are_told_at_once():
    content = changed("search.population", 0)
    content["data"]["sise"] = content["data"].pop("size")
    with pytest.raises(ValueError) as caught:
        parse(content, "my.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 and all(line.startswith("my.yaml: ") for line in lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "not valid YAML"),
        ("- 1\n- 2", "holds list, not sections"),
        ("", "holds NoneType, not sections"),
        ("a: \tb: c", "not valid YAML"),
        ("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n", "two versions from line 2 on"),
    ],
)
def test_a_file_that_is_no_mapping_is_named(tmp_path, text, said):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"broken\.yaml: .*{said}"):
        load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"broken\.yaml: not valid YAML"):
        load(path)
    with pytest.raises(
        ValueError, match=r"none\.yaml: cannot be read .*give an existing params file"
    ):
        load(tmp_path / "none.yaml")


def test_targets_double(params):
    assert [params.scaling.target(size) for size in range(3)] == [25e3, 50e3, 100e3]


# --- keys that a command sets ---------------------------------------------------------------------


def test_a_file_to_start_from_is_set_with_its_digest(tmp_path):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "weights.pt").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    made = settings.apply(tmp_path, None, {"supernet.init": "weights.pt"}).supernet.init
    assert (made.file, made.sha256) == ("weights.pt", digest)
    written = (tmp_path / "params.yaml").read_text()
    assert digest in written and "to start from" in written, "comments stay"
    with pytest.raises(ValueError, match=r"nowhere\.pt: cannot be read"):
        settings.apply(tmp_path, None, {"supernet.init": "nowhere.pt"})
    assert (tmp_path / "params.yaml").read_text() == written
    assert settings.apply(tmp_path, None, {"supernet.init": None}).supernet.init is None


def test_a_member_can_be_added_by_its_key_alone(tmp_path):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    made = settings.apply(tmp_path, None, {"family.S6": {"multiple": 64, "seed": 0}})
    assert list(made.family)[-1] == "S6" and made.family["S6"].multiple == 64
    for key in ("family.S7.multiple", "search.speed"):
        with pytest.raises(ValueError, match=f"{key}: unknown key"):
            settings.apply(tmp_path, None, {key: 1})


@pytest.mark.parametrize(
    "asked, said",
    [
        ((None, {}, "retrain@S9"), "--target retrain@S9 was given; there are prepare"),
        (("nope", {}, None), "preset 'nope' is unknown; there are"),
        ((None, {"data.source": "nowhere"}, None), "nowhere does not exist"),
        ((None, {"family.S6": 1}, None), "family.S6: 1 was given; give keys with values"),
    ],
)
def test_what_a_run_is_asked_for_is_refused_before_anything_is_written(tmp_path, asked, said):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "data" / "digits").mkdir(parents=True)
    settings.check(tmp_path, "tiny", {"search.seed": 7}, "retrain@S2")
    with pytest.raises(ValueError, match=re.escape(said)):
        settings.check(tmp_path, *asked)
    assert (tmp_path / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()


@pytest.mark.parametrize("word", ["off", "no", "Yes", "1e3", "12:30", "0x10", "null", "1_000", "~"])
def test_a_word_that_yaml_takes_for_something_else_is_written_in_quotes(tmp_path, word):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    for key in ("data.source", "data.table"):
        value = {"file": "t.csv", "path": word, "label": "b", "split": None, "group": None}
        value = word if key == "data.source" else value
        params = settings.apply(tmp_path, None, {key: value})
        assert load(tmp_path / "params.yaml") == params
    assert (params.data.source, params.data.table.path) == (word, word)


def test_a_member_that_no_law_can_plan_is_refused_before_anything_is_trained():
    two = deepcopy(COMMITTED)
    two["scaling"]["stages"] = two["scaling"]["stages"][:2]
    two["supernet"]["stage_weights"] = two["search"]["stage_weights"] = [1.0, 1.0]
    with pytest.raises(ValueError, match=r"S2, S3, S4, S5 lies beyond .* there are 2; search more"):
        parse(two)
    two["family"] = {name: two["family"][name] for name in ("S0", "S1")}
    assert len(parse(two).family) == 2


def test_a_preset_is_complete_whatever_was_there(tmp_path):
    """The same params.yaml from two that differ, but for the images and where they are computed."""
    default = (ROOT / "params.yaml").read_text()
    made = []
    for seed in (7, 8):
        (tmp_path / "params.yaml").write_text(default)
        own = {"search.seed": seed, "supernet.recipe.lr": seed / 100, "data.source": "mine"}
        settings.apply(tmp_path, None, own | {"compute.workers": 2})
        said: list[str] = []
        settings.apply(tmp_path, "tiny", {"search.population": 3}, said.append)
        made.append((tmp_path / "params.yaml").read_text())
        assert len(said) == 1 and said[0].startswith("preset tiny changes ")
        assert "data and compute stay as they are" in said[0]
    assert made[0] == made[1]
    params = load(tmp_path / "params.yaml")
    defaults = read_yaml(ROOT / "params.yaml")
    assert params.search.seed == defaults["search"]["seed"]
    assert (params.search.population, params.data.source, params.compute.workers) == (3, "mine", 2)


def test_a_preset_that_names_its_images_names_them_all(tmp_path):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    settings.apply(tmp_path, None, {"data.source": "mine", "data.per_class": 5})
    said: list[str] = []
    data = settings.apply(tmp_path, "photographs", {"data.name": "mine"}, said.append).data
    assert (data.source, data.per_class, data.name) == ("data/photographs", None, "mine")
    assert "stay" not in said[0] and "more" in said[0]
    settings.apply(tmp_path, "photographs", {"data.name": "mine"}, said.append)
    assert len(said) == 1, "nothing is said of what changes nothing"


# --- numbers that the images cannot give ----------------------------------------------------------


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"search": {"calibration": 97}}, "search.calibration: 97 was given, but train has 96 im"),
        (
            {"retrain": {"calibration": 150, "use_select": True}},
            "retrain.calibration: 150 .* and select have 149",
        ),
        (
            {"retrain": {"calibration": 97, "use_select": False}},
            "retrain.calibration: 97 was given, but train has 96 images; give that or less",
        ),
    ],
)
def test_more_images_than_there_are_is_refused_before_anything_is_trained(
    make_params, info, tmp_path, over, message
):
    params = make_params(over)
    with pytest.raises(ValueError, match=message):
        check_counts(params, info.counts)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    info.write(Paths(tmp_path).data / "info.json")
    for stage in ("supernet", "search", "extrapolate", "publish"):
        with pytest.raises(ValueError, match=message):  # the stage's own inputs are not there
            run_stage(tmp_path, stage, None, lambda record: None)


def test_as_many_images_as_there_are_will_do(make_params, info):
    check_counts(
        make_params(
            {"search": {"calibration": 96}, "retrain": {"calibration": 149, "use_select": True}}
        ),
        info.counts,
    )


@pytest.mark.parametrize("pattern", ["(", "no_group", "[a-z"])
def test_a_pattern_without_a_group_is_refused(make_params, pattern):
    with pytest.raises(ValueError, match=r"data\.group: .*should (be a regular expr|hold a part)"):
        make_params({"data": {"group": pattern}})
