"""The model registry: versions that load anywhere, once each, under aliases and searchable
numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
import torch
from families import INFO, LARGE, SMALL, SMALLER, publish, train
from mlflow.models import Model
from mlflow.pytorch import _pickle_globals

from scalenet.nets import child
from scalenet.nets.deployed import Deployed
from scalenet.pipeline.models import deployment, generations, program, registry
from scalenet.pipeline.remember import stores
from scalenet.records.paths import Paths
from scalenet.space.network import Network, Task


@pytest.fixture(scope="module")
def params(make_params):
    return make_params({"data": {"name": "x"}})


@pytest.fixture(scope="module")
def built(tmp_path_factory, params):
    """Return a project with two registered members: (folder, members, versions)."""
    root = tmp_path_factory.mktemp("a project")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert generations.versions(root, params) == {} and list(root.iterdir()) == []
        INFO.write(Paths(root).data / "info.json")
        members = [train(Paths(root), "S0", SMALL, 0), train(Paths(root), "S1", LARGE, 1)]
        publish(root, members)
        assert generations.versions(root, params) == {}
        deployment.enter(root, params)
        yield root, members, generations.versions(root, params)


def aliases(root):
    found = stores.connect(root).get_registered_model("scalenet-x").aliases
    return {name: str(version) for name, version in found.items()}


LOAD = """
import sys
import numpy as np
sys.modules |= {"scalenet": None}  # importing it fails, wherever it is installed
import mlflow, torch
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_registry_uri(sys.argv[1])
images = np.load("images.npy")
program = mlflow.pytorch.load_model("models:/scalenet-x@s0")
model = mlflow.pyfunc.load_model("models:/scalenet-x@s0")
for n in (1, 2, 7):
    np.save(f"torch{n}.npy", program(torch.from_numpy(images[:n])).detach().numpy())
    said = [[row[name] for name in "abc"] for row in model.predict(images[:n])["probabilities"]]
    np.save(f"pyfunc{n}.npy", said)
"""


def test_member_loads_by_alias_without_this_code(built, tmp_path):
    root, *_ = built
    images = np.random.default_rng(1).integers(0, 256, (7, 1, 8, 8)).astype(np.float32) / 255
    np.save(tmp_path / "images.npy", images)
    quiet = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "MLFLOW"))
    }
    command = [sys.executable, "-I", "-c", LOAD, stores.uri(root)]
    done = subprocess.run(command, cwd=tmp_path, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    net = child.read(Paths(root).member("S0") / "weights.pt", Network.parse(SMALL), INFO.task)
    with torch.no_grad():
        logits = Deployed(net, INFO.mean, INFO.std)(torch.from_numpy(images))
    for way, expected in {"torch": logits, "pyfunc": logits.softmax(1)}.items():
        for n in (1, 2, 7):
            said = np.load(tmp_path / f"{way}{n}.npy")
            assert said == pytest.approx(expected.numpy()[:n], abs=1e-5)


def test_versions_say_what_they_are(built, params):
    root, members, versions = built
    client = stores.connect(root)
    assert versions == {"S0": "1", "S1": "2"} == generations.versions(root, params)
    assert aliases(root) == {"s0": "1", "s1": "2"}
    version = client.get_model_version_by_alias("scalenet-x", "s0")
    expected = {
        "member": "S0",
        "network": SMALL,
        "base": "k3e1-3e2",
        "scaling": "d1-w1-r8",
        "data": "d1",
    }
    expected |= {"weights": members[0].weights, "interval": "0.450000 to 0.940000 at 0.95"}
    expected |= {"select": "0.750000", "balanced": "0.750000"}
    assert expected.items() <= version.tags.items()
    assert version.description == (
        "77.8 % of 9 test images right (95% interval 45.0 to 94.0), "
        "mean recall of the classes 75.0 %; 75.0 % of select"
    )
    assert client.get_run(version.run_id).data.tags["weights"] == members[0].weights


def test_members_are_found_by_their_numbers(built):
    root, members, _ = built
    client = stores.connect(root)
    experiment = client.get_experiment_by_name("x").experiment_id
    small, large = sorted(members, key=lambda trained: trained.member.flops)
    budget = (small.member.flops + large.member.flops) // 2
    [model] = client.search_logged_models(
        [experiment], f"metrics.flops <= {budget} AND metrics.accuracy > 0.7"
    )
    assert model.tags["member"] == small.member.name and model.status.name == "READY"
    numbers = {metric.key: metric.value for metric in model.metrics}
    assert set(numbers) == {
        "accuracy",
        "low",
        "high",
        "balanced",
        "select",
        "flops",
        "params",
        "resolution",
        "latency_ms",
    }
    assert numbers["flops"] == small.member.flops and 0 < numbers["latency_ms"] < 1000
    assert len(client.search_logged_models([experiment], "metrics.resolution = 10")) == 1


def model_folder(root, member):
    client = stores.connect(root)
    experiment = client.get_experiment_by_name("x").experiment_id
    [model] = client.search_logged_models([experiment], f"tags.member = '{member}'")
    return Path(unquote(urlparse(model.artifact_location).path))


def test_a_latency_is_the_members_own_time_however_busy_the_machine(built, monkeypatch):
    root, members, _ = built

    def interrupted(images):
        time.sleep(0.02)  # as while other processes have the core

    monkeypatch.setattr(program, "deployed", lambda *_: interrupted)
    assert program.latency(Paths(root), members[0]) < 5


def test_files_hold_no_pickled_class_and_stay_in_the_project(built):
    root, *_ = built
    folder = model_folder(root, "S0")
    assert folder.is_relative_to(root / "mlruns")
    assert not list(folder.rglob("*.pkl")) and not list(folder.rglob("*.pth"))
    pickles, allowed = (
        0,
        ("torch._utils._rebuild_tensor_v2", "collections.OrderedDict", "torch.FloatStorage"),
    )
    with zipfile.ZipFile(folder / "data" / "model.pt2") as archive:
        for name in archive.namelist():
            content = archive.read(name)
            named = b"scalenet.nets" in content  # where a layer was written: in text alone
            assert not named or name.endswith(".json"), name
            if content[:2] == b"PK":  # example inputs, as torch.save writes them
                with zipfile.ZipFile(archive.open(name)) as inner:
                    for part in (part for part in inner.namelist() if part.endswith(".pkl")):
                        pickles += 1
                        assert _pickle_globals(inner.read(part)) <= set(allowed)
    assert pickles <= 2


def test_model_declares_its_signature_and_packages(built):
    root, *_ = built
    folder = model_folder(root, "S1")
    signature = Model.load(str(folder)).signature
    assert signature.inputs is None  # MLflow would refuse all but one shape of one type
    assert signature.outputs.input_names() == ["class", "probability", "probabilities"]
    wanted = [
        line.partition("==")[0] for line in (folder / "requirements.txt").read_text().splitlines()
    ]
    assert wanted == ["torch", "mlflow", "numpy", "pillow", "pi-heif", "pandas"]
    about = Model.load(str(folder)).metadata
    assert about["classes"] == INFO.classes and "8 px" in about["preprocessing"]
    assert (folder / "input_example.json").stat().st_size < 5000


def test_same_weights_make_no_new_program(built, params, monkeypatch):
    root, members, versions = built
    made = []
    export = program.export
    monkeypatch.setattr(program, "export", lambda *given: made.append(given) or export(*given))
    assert generations.register(root, params).numbers == versions and not made
    first = train(Paths(root), "S0", SMALLER, 2)
    publish(root, [first, members[1]])  # S0 changed
    assert generations.versions(root, params) == {}
    assert generations.register(root, params).numbers == {"S0": "3", "S1": "4"}
    assert len(made) == 1 and aliases(root) == {"s0": "1", "s1": "2"}
    client = stores.connect(root)
    old, new = (client.get_model_version("scalenet-x", number) for number in ("2", "4"))
    assert old.source == new.source and old.tags["generation"] != new.tags["generation"]
    train(Paths(root), "S0", SMALL, 0)
    publish(root, members)
    assert generations.register(root, params).numbers == versions and len(made) == 1


def test_a_version_of_before_stays_and_the_member_is_registered_anew(tmp_path, params, monkeypatch):
    """Versions that take stored images alone have no tag that says what they take."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    INFO.write(Paths(tmp_path).data / "info.json")
    publish(tmp_path, [train(Paths(tmp_path), "S0", SMALL, 0)])
    with monkeypatch.context() as patch:
        tags = registry.tags
        patch.setattr(registry, "tags", lambda *given: tags(*given) | {"takes": "before"})
        deployment.enter(tmp_path, params)
    assert "which stays deployed" in deployment.enter(tmp_path, params)
    assert generations.versions(tmp_path, params) == {"S0": "2"}
    assert aliases(tmp_path) == {"s0": "1"}
    client = stores.connect(tmp_path)
    assert client.get_model_version("scalenet-x", "1").status == "READY"


def test_a_program_that_was_stored_before_is_the_one_that_is_registered(
    tmp_path, params, monkeypatch
):
    """As the family's flow does: a member's program is stored while the next one trains."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    INFO.write(Paths(tmp_path).data / "info.json")
    trained = train(Paths(tmp_path), "S0", SMALL, 0)
    registry.store(tmp_path, params, "S0")
    registry.store(tmp_path, params, "S0")
    monkeypatch.setattr(program, "export", None)  # nothing more is exported
    publish(tmp_path, [trained])
    assert generations.register(tmp_path, params).numbers == {"S0": "1"}


def test_aliases_stay_if_a_member_cannot_be_registered(built, params, monkeypatch):
    root, members, _ = built
    before = aliases(root)
    other = members[0].model_copy(update={"weights": "another"})
    publish(root, [members[1], other])
    with pytest.raises(ValueError, match=r"weights\.pt.*not the weights that were tested"):
        generations.register(root, params)
    assert aliases(root) == before
    publish(root, members)


def test_an_export_with_other_logits_is_refused(monkeypatch):
    net = child.build(Network.parse(SMALL), Task(1, 3), torch.Generator().manual_seed(0)).eval()
    deployed, images = Deployed(net, INFO.mean, INFO.std), program.example(INFO)
    stored = SimpleNamespace(get_raw_model=lambda: lambda images: deployed(images) * 1.001)
    monkeypatch.setattr(program.mlflow.pyfunc, "load_model", lambda uri: stored)
    with pytest.raises(ValueError, match=r"S0: the exported program's logits differ by 0\.001"):
        program.check(deployed, images, "m-1", "S0")


@pytest.mark.parametrize("count", [3, 2000])
def test_classes_with_commas_or_in_the_thousands_fit_a_tag(count):
    names = [f"crane, {i}" for i in range(count)]
    tag = registry.named(names)
    kept = json.loads(tag)
    assert len(tag) <= 5000 and kept[:3] == names[:3]
    assert kept == names or kept[-1] == f"and {count - len(kept) + 1:,} more"
