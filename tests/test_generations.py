"""Generations: registered beside one another, deployed if not worse, undone exactly, freed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import shutil
from collections import OrderedDict
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from conftest import dvc
from families import INFO, LABELS, answers, build, publish
from mlflow.cli import cli as mlflow_cli
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service import utils as mlflow_places

from scalenet.config import params as config
from scalenet.pipeline import clean, doctor
from scalenet.pipeline.cli import scalenet as verbs
from scalenet.pipeline.cli.promote import deploy
from scalenet.pipeline.models import deployment, generations, registry, retired
from scalenet.pipeline.remember import stores
from scalenet.pipeline.runs import workspaces
from scalenet.pipeline.runs.alone import alone, key_of
from scalenet.pipeline.status import Standing
from scalenet.records import files, predictions
from scalenet.records.paths import Paths

GOOD = {"S0": answers(150), "S1": answers(170), "S2": answers(180)}
BETTER = {"S0": answers(155), "S1": answers(180), "S2": answers(190)}
BEST = BETTER | {"S0": answers(157)}
ALONE = {"S0": answers(150)}
ONE_CLASS = answers(200)._replace(predicted=np.zeros(200, dtype=np.int32))
MODEL = "scalenet-x"


@pytest.fixture(scope="module")
def params(make_params):
    return make_params({"data": {"name": "x"}})


@pytest.fixture(scope="module")
def first(tmp_path_factory, params):
    """Return a project whose first generation, of three sizes, is deployed."""
    root = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        build(root, GOOD)
        assert "is deployed: versions 1 to 3" in deployment.enter(root, params)
    return root


@pytest.fixture
def root(first, tmp_path, monkeypatch):
    """Return a copy of that project."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Path(shutil.copytree(first, tmp_path / "project"))


def aliases(root: Path) -> dict[str, str]:
    found = stores.connect(root).get_registered_model(MODEL).aliases
    return {name: str(version) for name, version in found.items()}


def shown(root: Path) -> tuple[str, list[str]]:
    """Return what the model's page says is deployed, and what lies beside it."""
    page = stores.connect(root).get_registered_model(MODEL).description
    [deployed] = re.findall(r"Generation (\w+) is deployed", page)
    return deployed, re.findall(r"Generation (\w+) is there too", page)


def program_folder(client, version) -> Path:
    model = client.get_logged_model(registry.model_id(version))
    return Path(model.artifact_location.removeprefix("file://"))


def promoted(root, params, capsys, name=None, yes=False, insist=False) -> str:
    """Deploy a generation as the command does; return what it printed."""
    deploy(root, params, name, yes, insist)
    return capsys.readouterr().out


FIRST = {"s0": "1", "s1": "2", "s2": "3"}


def test_a_good_generation_stays_beside_the_old_until_all_aliases_move_to_it(root, params, capsys):
    old = generations.here(root)
    build(root, {"S0": answers(155), "S2": answers(190)})  # S1 left
    line = deployment.enter(root, params)
    assert f"(versions 4, 5 of {MODEL}) beside {old}, which stays deployed" in line
    assert aliases(root) == FIRST
    assert shown(root) == (old, [generations.here(root)])
    said = promoted(root, params, capsys)
    assert aliases(root) == {"s0": "4", "s2": "5"}
    assert shown(root) == (generations.here(root), [old])
    lines = {line.split()[0]: line for line in said.splitlines()}
    assert "version 1 → 4" in lines["S0"] and "select 75.0 → 77.5 %" in lines["S0"]
    assert "+2.5 points" in lines["S0"] and "FLOPs" in lines["S0"]
    assert "version 2" in lines["S1"] and "leaves" in lines["S1"]
    assert "is deployed: versions 4, 5" in deployment.standing(root, params)
    assert "deployed already" in promoted(root, params, capsys)


def test_back_restores_the_aliases_exactly_and_goes_further_back_each_time(root, params, capsys):
    names = [generations.here(root)]
    for said in ({"S0": answers(155), "S2": answers(190)}, BETTER):
        build(root, said)
        deployment.enter(root, params)
        promoted(root, params, capsys)
        names.append(generations.here(root))
    assert aliases(root) == {"s0": "6", "s1": "7", "s2": "8"}
    client = stores.connect(root)
    deployment.back(root, params)
    assert aliases(root) == {"s0": "4", "s2": "5"} and deployment.current(client, MODEL) == names[1]
    assert shown(root) == (names[1], [names[0], names[2]])
    deployment.back(root, params)
    assert aliases(root) == FIRST and deployment.current(client, MODEL) == names[0]
    with pytest.raises(ValueError, match="nothing was deployed before"):
        deployment.back(root, params)
    promoted(root, params, capsys, names[2])
    deployment.back(root, params)
    assert aliases(root) == FIRST
    assert [entry["generation"] for entry in deployment.history(client, MODEL)] == [
        *names,
        names[2],
    ]


@pytest.mark.parametrize(
    "said, why",
    [
        (ONE_CLASS, "S1 predicts one and the same class for every image of select"),
        (answers(72), "S1 36.0 % of select is not above the largest class's 33.5 % beyond noise"),
        (
            answers(170)._replace(probability=np.full(200, np.nan, dtype=np.float32)),
            "S1 its outputs are not finite",
        ),
    ],
)
def test_a_member_that_is_no_good_keeps_its_generation_from_being_deployed(
    root, params, capsys, said, why
):
    build(root, GOOD | {"S1": said})
    deployment.enter(root, params)
    with pytest.raises(ValueError, match="is refused; the aliases stay") as refused:
        promoted(root, params, capsys, yes=True, insist=True)
    assert why in str(refused.value) and "S0" not in str(refused.value)
    assert aliases(root) == FIRST


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (ONE_CLASS, "S0 predicts one and the same class for every image of test"),
        (answers(72), "S0 36.0 % of test is not above the largest class's 33.5 % beyond noise"),
        (answers(150), ""),
    ],
)
def test_a_member_that_was_trained_on_select_is_judged_by_its_answers_to_test(
    root, params, capsys, said, why
):
    """Its answers to select, which it has learnt, say nothing of it."""
    (trained,) = build(root, {"S0": answers(199)})
    trained = trained.model_copy(update={"select": None})
    trained.write(Paths(root).member("S0") / "trained.json")
    both = {"S0": {"select": ONE_CLASS if not why else answers(200), "test": said}}
    predictions.write(Paths(root).member("S0") / "predictions.npz", both)
    publish(root, [trained])
    deployment.enter(root, params)
    if why:
        with pytest.raises(ValueError, match=f"(?s)is refused; the aliases stay.*{why}"):
            promoted(root, params, capsys, yes=True, insist=True)
    else:
        assert "deployed    s0" in promoted(root, params, capsys, yes=True)


def test_weights_that_were_not_tested_are_refused(root, params, capsys):
    build(root, BETTER)
    deployment.enter(root, params)
    with (Paths(root).member("S2") / "weights.pt").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="S2 its weights have another digest"):
        promoted(root, params, capsys, yes=True)


def test_the_first_generation_is_deployed_at_once_and_its_faults_are_said(
    tmp_path, params, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    build(tmp_path, {"S0": ONE_CLASS})
    said = deployment.enter(tmp_path, params)
    assert "is deployed: version 1 of" in said and "S0 predicts one and the same class" in said
    assert aliases(tmp_path) == {"s0": "1"}


def test_what_is_worse_beyond_noise_is_refused_unless_one_insists(root, params, capsys):
    build(root, GOOD | {"S2": answers(150)})
    deployment.enter(root, params)
    name = generations.here(root)
    with pytest.raises(ValueError, match=r"S2 -15\.0 points .*--even-if-worse` insists"):
        promoted(root, params, capsys, yes=True)
    assert aliases(root) == FIRST
    promoted(root, params, capsys, insist=True)
    assert aliases(root)["s2"] == generations.known(stores.connect(root), MODEL)[name].numbers["S2"]


def test_what_seems_worse_within_noise_is_asked_about(root, params, capsys):
    build(root, GOOD | {"S0": answers(150), "S1": answers(167)})
    deployment.enter(root, params)
    with pytest.raises(ValueError, match=r"S1 seems worse, within noise.*give --yes"):
        promoted(root, params, capsys)
    with pytest.raises(
        ValueError, match=r"S1 seems worse, within noise; `scalenet promote \w+` asks"
    ):
        deployment.promote(root, params)
    promoted(root, params, capsys, yes=True)
    assert aliases(root) == {"s0": "4", "s1": "5", "s2": "6"}


@pytest.mark.parametrize(
    "change, said",
    [
        ({"digest": "d2", "classes": ["a", "b", "d"]}, "the classes changed (gone: c; new: d)"),
        ({"digest": "d2"}, "the data changed, and the old members may have been trained on images"),
    ],
)
def test_other_data_and_other_classes_ask(root, params, capsys, change, said):
    build(root, ALONE, info=INFO.model_copy(update=change))
    deployment.enter(root, params)
    with pytest.raises(ValueError, match="this is no terminal to ask in: give --yes") as asked:
        promoted(root, params, capsys)
    assert said in str(asked.value) and aliases(root) == FIRST
    assert said in promoted(root, params, capsys, yes=True)
    assert aliases(root) == {"s0": "4"}


def test_a_class_of_another_name_is_another_generation(root, params, capsys):
    """Pixels, labels and weights are the same; what is deployed answers with the old name."""
    old = generations.here(root)
    renamed = INFO.model_copy(update={"classes": ["a", "b", "crane"]})
    build(root, GOOD, info=renamed)
    assert "registered generation" in deployment.enter(root, params) and aliases(root) == FIRST
    assert generations.here(root) != old
    said = promoted(root, params, capsys, yes=True)
    assert "the classes changed (gone: c; new: crane)" in said
    assert aliases(root) == {"s0": "4", "s1": "5", "s2": "6"}
    many = [f"class {i} of a thousand" for i in range(1000)]  # a tag holds some of them
    last = INFO.model_copy(update={"classes": [*many, "z"]})
    other = INFO.model_copy(update={"classes": [*many, "y"]})
    made = build(root, ALONE)
    tags = [registry.tags(made[0], info) for info in (last, other)]
    assert tags[0]["classes"] == tags[1]["classes"]
    assert registry.identity(tags[0]) != registry.identity(tags[1])


def test_a_class_of_another_name_is_seen_beyond_those_that_a_tag_holds(
    root, params, capsys, monkeypatch
):
    monkeypatch.setattr(registry, "LONGEST", 8)  # characters: the first name alone
    for last in ("crane", "crow"):
        build(root, GOOD, info=INFO.model_copy(update={"classes": ["a", "b", last]}))
        deployment.enter(root, params)
        said = promoted(root, params, capsys, yes=True)
    assert "the classes changed (gone: none of those shown; new: none of those shown)" in said


def test_a_terminal_is_asked_and_no_leaves_everything(root, params, capsys, monkeypatch):
    build(root, ALONE, info=INFO.model_copy(update={"digest": "d2"}))
    deployment.enter(root, params)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked = []
    monkeypatch.setattr("click.confirm", lambda question: len(asked) or asked.append(question))
    with pytest.raises(ValueError, match="stay as they are"):
        promoted(root, params, capsys)
    assert aliases(root) == FIRST and "the data changed" in asked[0]
    promoted(root, params, capsys)
    assert aliases(root) == {"s0": "4"}


def test_ctrl_c_at_the_question_leaves_everything(root, params, monkeypatch):
    """It ends the command as anywhere else: with 130, and without a word of Python's."""
    build(root, ALONE, info=INFO.model_copy(update={"digest": "d2"}))
    deployment.enter(root, params)
    asking = click.Command("ask", callback=lambda: deploy(root, params, None, False, False))
    monkeypatch.setattr(type(verbs), "get_command", lambda *_: asking)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("click.termui.visible_prompt_func", interrupted)
    done = CliRunner().invoke(verbs, ["ask"])
    assert done.exit_code == 130 and done.output.startswith("generation ")
    assert aliases(root) == FIRST


def test_a_family_is_registered_under_the_name_that_it_was_published_with(
    root, params, make_params
):
    """params.yaml may have been edited since, or be another branch's."""
    other = make_params({"data": {"name": "y"}})
    with pytest.raises(ValueError, match=r"was published as x, and params.yaml has data.name: y; "):
        deployment.enter(root, other)
    client = stores.connect(root)
    assert [model.name for model in client.search_registered_models()] == [MODEL]
    assert client.get_experiment_by_name("y") is None


def test_an_alias_of_the_users_stays_and_the_way_to_move_it_is_told(root, params, capsys):
    generations.point(root, params, "S1", "production")
    build(root, BETTER)
    deployment.enter(root, params)
    said = promoted(root, params, capsys)
    assert aliases(root)["production"] == "2"
    assert "production stays at version 2, S1 of generation" in said and "`scalenet pick" in said
    assert "--alias production` moves it" in said


def test_what_was_registered_before_there_were_generations_is_compared_by_its_programs(
    root, params, capsys
):
    """Its answers were not recorded: the program is asked about the images that lie here."""
    client = stores.connect(root)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (200, 1, 8, 8)).astype(np.uint8)
    np.savez(Paths(root).data / "select.npz", pixels=pixels, labels=LABELS)
    for version in registry.all_versions(client, MODEL):
        for tag in ("generation", "family"):
            client.delete_model_version_tag(MODEL, version.version, tag)
        (program_folder(client, version) / "predictions.npz").unlink()
    build(root, BETTER)
    deployment.enter(root, params)
    assert aliases(root) == FIRST
    older = "What is deployed is no generation: `s0` is version 1, from before there were"
    page = client.get_registered_model(MODEL).description
    assert page.startswith(older) and f"Generation {generations.here(root)} is there too" in page
    said = promoted(root, params, capsys)
    assert shown(root) == (generations.here(root), [])
    assert "points" in said and aliases(root) == {"s0": "4", "s1": "5", "s2": "6"}
    deployment.back(root, params)
    assert aliases(root) == FIRST
    assert client.get_registered_model(MODEL).description.startswith(older)
    build(root, GOOD)  # it comes to lie here again, and becomes a generation
    assert "is deployed: versions 1 to 3" in deployment.enter(root, params)


def _register(root, params, ready):
    ready.wait()
    generations.register(root, params)


@pytest.mark.long  # the short one: faults/test_at_once.py's two clones
def test_two_processes_register_a_family_once(root, params):
    build(root, {"S0": answers(150), "S1": answers(171)})
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(2)
    both = [context.Process(target=_register, args=(root, params, ready)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    versions = list(registry.all_versions(stores.connect(root), MODEL))
    assert [v.tags["member"] for v in versions] == ["S0", "S1", "S2", "S0", "S1"]
    assert len({registry.model_id(version) for version in versions}) == 4  # S0 is the same program


def test_a_twin_of_another_machines_process_is_withdrawn(root, params, monkeypatch):
    """No file's lock holds off a process elsewhere that uses the same server."""
    build(root, BETTER)
    create = registry.create_version

    def twice(store, trained, paths, belongs):
        create(store, trained, paths, belongs)  # the other process, a moment earlier
        return create(store, trained, paths, belongs)

    monkeypatch.setattr(registry, "create_version", twice)
    found = generations.register(root, params)
    client = stores.connect(root)
    mine = [v for v in registry.all_versions(client, MODEL) if v.tags["generation"] == found.name]
    assert {v.tags["member"]: str(v.version) for v in mine} == found.numbers and len(mine) == 3


def test_a_promotion_that_was_killed_halfway_is_finished_or_undone(
    root, params, capsys, monkeypatch
):
    build(root, BETTER)
    deployment.enter(root, params)
    client_type = type(stores.connect(root))
    move = client_type.set_registered_model_alias

    def killed(self, name, alias, version):
        if alias == "s1":
            raise KeyboardInterrupt
        move(self, name, alias, version)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(client_type, "set_registered_model_alias", killed)
        promoted(root, params, capsys)
    assert aliases(root) == {"s0": "4", "s1": "2", "s2": "3"}
    promoted(root, params, capsys)
    assert aliases(root) == {"s0": "4", "s1": "5", "s2": "6"}
    deployment.back(root, params)
    assert aliases(root) == FIRST


def test_a_program_that_somebody_deleted_is_in_nobodys_way(root, params, capsys):
    """One of an older generation: what is deployed, and what is registered next, is whole."""
    old = generations.here(root)
    build(root, BETTER)
    deployment.enter(root, params)
    promoted(root, params, capsys)
    client, deployed = stores.connect(root), aliases(root)
    version = client.get_model_version(MODEL, "3")
    client.delete_logged_model(registry.model_id(version))
    assert "is deployed" in deployment.enter(root, params)
    before = deployment.history(client, MODEL)
    with pytest.raises(ValueError, match=r"versions 3 of .* or their programs were deleted"):
        deployment.back(root, params)
    assert aliases(root) == deployed and deployment.history(client, MODEL) == before
    build(root, BEST)
    deployment.enter(root, params)
    assert old in shown(root)[1]
    assert f"generation {generations.here(root)} instead of" in promoted(root, params, capsys)


def test_a_program_that_somebody_deleted_is_stored_again_where_its_family_lies(
    root, params, capsys
):
    """Nothing gave a version another program, so that its family was never deployed again."""
    client = stores.connect(root)
    generations.point(root, params, "S1", "production")
    client.delete_logged_model(registry.model_id(client.get_model_version(MODEL, "2")))
    said = promoted(root, params, capsys)
    assert said.count("gone") + said.count("deleted") == 1
    assert "S1 cannot be judged: its program was deleted; `scalenet register` where that" in said
    assert "is deployed: versions 1, 3, 4" in deployment.enter(root, params)
    assert aliases(root) == {"production": "4", "s0": "1", "s1": "4", "s2": "3"}
    assert promoted(root, params, capsys).endswith("deployed already\n")
    assert [str(v.version) for v in registry.all_versions(client, MODEL)] == ["1", "3", "4"]


def test_runs_that_mlflow_gc_removed_are_in_nobodys_way(root, params, capsys, monkeypatch):
    old, client = generations.here(root), stores.connect(root)
    build(root, BETTER)
    registry.store(root, params, "S0")  # as a run does, stopped before its family was registered
    [experiment] = {run.info.experiment_id for run in client.search_runs(["1"])}
    for run in client.search_runs([experiment]):
        client.delete_run(run.info.run_id)
    gc = CliRunner().invoke(mlflow_cli, ["gc", "--backend-store-uri", stores.uri(root)])
    assert gc.exit_code == 0 and "permanently deleted" in gc.output, gc.output
    assert "which stays deployed" in deployment.enter(root, params)
    assert shown(root) == (old, [generations.here(root)])
    assert "deployed    s0 s1 s2" in promoted(root, params, capsys)
    deployment.back(root, params)
    assert aliases(root) == FIRST
    assert "all runs" not in client.get_registered_model(MODEL).description
    for version in generations.known(client, MODEL)[generations.here(root)].versions.values():
        assert client.get_run(version.run_id).info.lifecycle_stage == "active"


def test_an_alias_that_somebody_moved_is_told_and_asked_about(root, params, capsys):
    """To a version that was registered in MLflow's page, which no member is."""
    old, client = generations.here(root), stores.connect(root)
    client.create_model_version(MODEL, client.get_model_version(MODEL, "1").source)
    client.set_registered_model_alias(MODEL, "s1", "4")
    moved = "but s1 points at version 4"
    assert deployment.enter(root, params) == (
        f"generation {old} (versions 1 to 3 of {MODEL}) was deployed, {moved}; "
        f"`scalenet promote {old}` to deploy it"
    )
    page = client.get_registered_model(MODEL).description
    assert f"`s0` is version 1, of generation {old}; `s1` is version 4, which is no member" in page
    asked = "s1 points at version 4, which is no member of a generation"
    with pytest.raises(ValueError, match=f"^{asked}; this is no terminal"):
        promoted(root, params, capsys)
    build(root, BETTER)
    line = deployment.enter(root, params)
    assert f"beside {old}, which was deployed, {moved}; `scalenet promote" in line
    (root / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    assert f"versions 1 to 3  deployed, {moved}\n" in scalenet(root, "promote", "--list")
    assert f"yes         {asked}\n" in promoted(root, params, capsys, yes=True)
    assert "is deployed" in deployment.standing(root, params)
    deployment.back(root, params)
    assert aliases(root) == FIRST | {"s1": "4"}
    client.set_registered_model_alias(MODEL, "s7", "4")  # of a size that it has not, which leaves
    assert "s7 points at version 4" in promoted(root, params, capsys, yes=True)


def test_a_version_that_somebody_deleted_is_told_and_comes_back(root, params, capsys):
    """MLflow removes the aliases of a version with it."""
    stores.connect(root).delete_model_version(MODEL, "2")
    (root / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    assert "versions 1, 3  deployed, but s1 is gone, lies" in scalenet(root, "promote", "--list")
    assert "registry  without S1; `scalenet register` adds what" in scalenet(root, "family")
    assert "was deployed, but s1 is gone; `scalenet promote" in deployment.enter(root, params)
    promoted(root, params, capsys)
    assert aliases(root) == FIRST | {"s1": "4"}


def test_clean_leaves_a_version_that_somebody_registered_in_mlflow(root, params, capsys):
    client = stores.connect(root)
    client.create_model_version(MODEL, client.get_model_version(MODEL, "1").source)
    build(root, BETTER)
    deployment.enter(root, params)
    promoted(root, params, capsys)
    assert retired.found(root, params) == []  # 1 to 3 were replaced by the last promotion


def test_what_is_not_registered_has_no_address(root, params):
    """An alias of its size points at another family's member."""
    assert "models:/x@s0" not in generations.load_line(root, params, "S0")
    assert f"models:/{MODEL}@s0" in generations.load_line(root, params, "S0")
    build(root, BETTER)
    assert generations.load_line(root, params, "S0").endswith("S0 is not in the model registry")
    assert "`scalenet register`" in generations.load_line(root, params, "S0")


@pytest.mark.parametrize("alias", ["", "a b", "S9", "v1", "Latest", "ü", "x" * 256])
def test_an_alias_that_cannot_be_is_refused_before_anything_is_picked(root, params, alias):
    (root / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    assert scalenet(root, "pick", "--alias", alias, code=2).startswith("--alias")


# --- freeing --------------------------------------------------------------------------------------


def test_clean_shows_and_frees_what_was_replaced_and_nothing_that_is_pointed_at(
    root, params, capsys
):
    generations.point(root, params, "S1", "production")
    for said in (BETTER, BEST):
        build(root, said)
        deployment.enter(root, params)
        promoted(root, params, capsys)
    client = stores.connect(root)
    versions = {str(v.version): v for v in registry.all_versions(client, MODEL)}
    folders = {number: program_folder(client, version) for number, version in versions.items()}
    [old] = clean.retired.found(root, params)
    assert old.versions == ["1", "3"]  # 2 is the user's; 4 to 6 were deployed before 7 to 9
    before = aliases(root)
    assert clean.retired.free(root, params, old) == ""
    left = {str(v.version) for v in registry.all_versions(client, MODEL)}
    assert left == {"2", "4", "5", "6", "7", "8", "9"} and aliases(root) == before
    assert not folders["1"].exists() and not folders["3"].exists() and folders["2"].exists()
    with pytest.raises(MlflowException):
        client.get_logged_model(registry.model_id(versions["1"]))
    deployment.back(root, params)
    assert aliases(root) == {"production": "2", "s0": "4", "s1": "5", "s2": "6"}
    with pytest.raises(ValueError, match=r"versions 1, 3 of scalenet-x.*were freed"):
        deployment.back(root, params)
    assert clean.retired.found(root, params) == []


def test_clean_frees_states_that_no_stage_goes_on_from(built, tmp_path, monkeypatch):
    left_out = shutil.ignore_patterns(".state", "supernet")  # without what a search needs
    root = Path(shutil.copytree(built, tmp_path / "project", ignore=left_out))
    params = config.load(root / "params.yaml")
    kept = Paths(root).state("S0", key_of(root, params, "S0"))
    copy = workspaces.root_in(root, "a run that was cancelled")  # of the same family, other steps
    shutil.copytree(built, copy, ignore=left_out)
    other = params.model_dump(mode="json")
    other["retrain"]["recipe"]["steps"] += 1
    (copy / "params.yaml").write_text(yaml.safe_dump(other))
    wanted = Paths(root).state("S0", key_of(copy, config.load(copy / "params.yaml"), "S0"))
    others = {
        Paths(root).state("S0", "another"): "S0 has other params, code or inputs now",
        Paths(root).state("S1", "done"): "S1 is up to date",
        Paths(root).state("S9", "gone"): "S9 is no member of the family",
    }
    away = Paths(root).state("search", "unknown")  # its inputs are not there, and may come back
    foreign = Paths(root).state("workspaces", "mine")
    for folder in (kept, wanted, *others, away, foreign):
        folder.mkdir(parents=True)
        (folder / "checkpoint.pt").write_bytes(b"x" * 2048)
    stages = [Standing("retrain@S0", ["changed"], 1), Standing("retrain@S1", [], 1)]
    stages.append(Standing("search", ["changed"], 1))
    monkeypatch.setattr("scalenet.pipeline.status.standings", lambda root: iter(stages))
    found = {root / item.what.partition(":")[0]: item for item in clean.states(root)}
    assert {folder: item.what.partition(": ")[2] for folder, item in found.items()} == others
    assert all(item.size == 2048 for item in found.values())
    with alone(root, "S1", "done", print):
        said = {folder.parent.name: item.free() for folder, item in found.items()}
    assert said == {"S0": "", "S1": "S1 is computed now", "S9": ""}
    assert [folder.exists() for folder in others] == [False, True, False]
    assert all(folder.exists() for folder in (kept, wanted, away, foreign))


def test_clean_frees_what_killed_writes_left(root):
    left = root / "artifacts" / ".x.json.999999999.tmp"
    mine = root / "artifacts" / f".x.json.{os.getpid()}.tmp"
    left.write_bytes(b"x" * 3000)
    mine.write_bytes(b"x")
    [item] = clean.left_over(root)
    assert item.what == "artifacts/.x.json.999999999.tmp" and item.size == 3000
    assert item.free() == "" and not left.exists() and mine.exists()
    folder = root / "artifacts/x.damaged"
    folder.mkdir()
    (folder / "part").write_bytes(b"x" * 20)
    [item] = clean.left_over(root)
    assert item.size == 20 and item.free() == "" and not folder.exists()


def test_what_a_run_removes_while_it_is_looked_at_is_left_out(tmp_path, monkeypatch):
    """A stage's state and a workspace go when their run is done with them."""
    names = (".state/S0/key/going", ".state/workspaces/a-run/going", ".state/workspaces/going")
    for name in names:
        (tmp_path / name).mkdir(parents=True)

    def look(path, scandir=os.scandir):
        if Path(path).name == "going":
            Path(path).rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", look)
    assert not list(clean.left_files(tmp_path)) and not (tmp_path / names[0]).exists()
    assert clean.size(tmp_path / ".state/S0") == 0
    assert [kept.size for kept in workspaces.found(tmp_path)] == [0, 0]


def test_a_file_that_a_run_replaces_while_a_workspace_is_measured_is_left_out(
    tmp_path, monkeypatch
):
    (tmp_path / ".state/workspaces/a-run").mkdir(parents=True)
    (tmp_path / ".state/workspaces/a-run/there").write_bytes(b"x" * 20)

    def walk(folder):
        return [(str(folder), [], ["gone", "there"])]

    monkeypatch.setattr(os, "walk", walk)
    assert [kept.size for kept in workspaces.found(tmp_path)] == [20]


def test_clean_frees_what_dvc_could_not_use(tmp_path):
    there = [tmp_path / "dvc.lock", tmp_path / ".dvc/cache/files/md5/ab" / ("c" * 30)]
    aside = []
    for i, file in enumerate(there * 2):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{i}")
        aside.append(files.set_aside(file))
        file.write_text("whole")
    assert [file.read_text() for file in aside] == ["0", "1", "2", "3"], "nothing is lost"
    items = list(clean.left_over(tmp_path))
    assert {item.what for item in items} == {str(f.relative_to(tmp_path)) for f in aside}
    assert [item.free() for item in items] == [""] * 4
    assert not any(map(Path.exists, aside)) and all(map(Path.exists, there))


def scalenet(root: Path, *arguments: str, code: int = 0) -> str:
    """Run the command in a project; return what it said."""
    with contextlib.chdir(root):
        done = CliRunner().invoke(verbs, arguments)
    refused = isinstance(done.exception, ValueError)
    assert (2 if refused else done.exit_code) == code, done.output
    return str(done.exception) if refused else done.output


def test_the_commands_show_before_they_do(root, params):
    dvc(root, "init", "-q", "--no-scm")
    (root / "dvc.yaml").write_text("stages: {prepare: {cmd: 'true'}}\n")
    (root / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    said = scalenet(root, "promote", "--list")
    assert f"{generations.here(root)}" in said and "deployed, lies here" in said
    assert "nothing was deployed before" in scalenet(root, "promote", "--back", code=2)
    assert "give one of" in scalenet(root, "promote", "x", "--back", code=2)
    assert "generation 12345678 is not in the registry" in scalenet(
        root, "promote", "12345678", code=2
    )
    (root / "artifacts" / ".x.json.999999999.tmp").write_bytes(b"x" * 3000)
    assert "2.9 KiB in all; `scalenet clean --yes` frees it" in scalenet(root, "clean")
    assert scalenet(root, "clean", "--only", "workspaces", "--yes") == "nothing to free\n"
    assert "`scalenet clean --only leftovers --yes`" in scalenet(
        root, "clean", "--only", "leftovers"
    )
    assert "freed 2.9 KiB" in scalenet(root, "clean", "--yes")
    assert scalenet(root, "clean") == "nothing to free\n"


# --- programs whose files somebody removed --------------------------------------------------------


def lose(root: Path, *numbers: str) -> None:
    """Remove the files of versions' programs, as who clears `mlruns` does."""
    client = stores.connect(root)
    for number in numbers:
        shutil.rmtree(program_folder(client, client.get_model_version(MODEL, number)))


def test_no_alias_moves_back_to_a_program_whose_files_are_gone(root, params, capsys):
    old = generations.here(root)
    build(root, BETTER)
    deployment.enter(root, params)
    promoted(root, params, capsys)
    deployed = aliases(root)
    lose(root, "1")
    (root / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    listed = scalenet(root, "promote", "--list").splitlines()
    assert listed[0].endswith("versions 1 to 3  without the program of S0")
    assert listed[1].endswith("deployed, lies here")
    with pytest.raises(ValueError, match=r"versions 1 of .* or their programs were deleted"):
        deployment.back(root, params)
    with pytest.raises(ValueError, match="S0 cannot be judged: the files of its program are gone"):
        promoted(root, params, capsys, old, yes=True, insist=True)
    assert aliases(root) == deployed


def test_registering_stores_programs_again_whose_files_are_gone(root, params, capsys, monkeypatch):
    # MLflow knows in this process where the project's first copy has them
    monkeypatch.setattr(mlflow_places, "_artifact_repos_cache", OrderedDict())
    lose(root, "1", "3")
    said = promoted(root, params, capsys)
    assert "deployed already; S0 cannot be judged: the files of its program are gone from" in said
    (root / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    refused = scalenet(root, "serve", "--alias", "s0", code=2)
    assert "s0 is version 1, S0: the files of its program are gone" in refused
    [found] = [f for f in doctor.examine(root, False, False) if f.what.startswith("deployed")]
    assert "s0 (the files" in found.what and "s1" not in found.what and "register" in found.remedy
    deployment.enter(root, params)
    assert aliases(root) == FIRST and promoted(root, params, capsys).endswith("deployed already\n")
    assert not any(f.remedy for f in doctor.examine(root, False, False) if "deployed" in f.what)


def test_a_new_generation_takes_no_program_whose_files_are_gone(root, params, capsys):
    lose(root, "1")
    build(root, BETTER | {"S0": GOOD["S0"]})  # S0 stays as it was
    deployment.enter(root, params)
    promoted(root, params, capsys, yes=True)
    assert "deployed    s0 s1 s2" not in promoted(root, params, capsys)
    assert "cannot be judged" not in promoted(root, params, capsys)
