"""What MLflow's pages show: descriptions, columns, data sets, figures; also in a real browser."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from urllib.parse import parse_qs, urlsplit

import httpx
import psutil
import pytest
from mlflow.artifacts import load_text

from scalenet.config import params as config
from scalenet.pipeline.models import generations, page, registry
from scalenet.pipeline.remember import notes, stores, views
from scalenet.pipeline.remember.post import Post
from scalenet.records import files
from scalenet.records.documents import Candidate, Family, Found, Trained
from scalenet.records.paths import Paths
from scalenet.space import cost, scale

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def measured(paths):
    """Write candidates.csv: what was found, at every size, and as many others."""
    found, task = Found.read(paths.search / "found.json"), paths.info().task
    space, rows = config.load(paths.root / "params.yaml").space, []
    for size, scaling in enumerate(found.strategies * 2):
        network = scale.scale(space, found.base, scaling)
        numbers = {"flops": cost.flops(network, task), "params": cost.parameters(network, task)}
        rows.append(
            Candidate(
                number=size, network=network, base=found.base, scaling=scaling, accuracy=0.5,
                size=size % len(found.strategies), depth=scaling.depth, width=scaling.width,
                resolution=network.resolution, probability=0.4, score=0.4, predicted=None,
                phase="bases", iteration=1, generation=1, **numbers,
            ).plain()
        )  # fmt: skip
    files.write_table(paths.search / "candidates.csv", list(rows[0]), [r.values() for r in rows])


@pytest.fixture(scope="module")
def told(built, tmp_path_factory):
    """Return a project whose stages MLflow remembers, its family registered: (folder, params)."""
    root = tmp_path_factory.mktemp("a project") / "family"
    shutil.copytree(built, root)
    params, paths = config.load(root / "params.yaml"), Paths(root)
    measured(paths)
    files.write_json(paths.supernet / "metrics.json", {"loss": 1.5, "parameters": 12345})
    files.write_json(paths.search / "metrics.json", {"score": 0.4, "measured": 6})
    members = [("retrain", name) for name in params.family]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        stages = ("prepare", "supernet", "search", "extrapolate", "baselines")
        works = [*((stage, None) for stage in stages), *members, ("publish", None)]
        with Post(root, print) as post:
            for work in works:
                with post.stage(params, *work, {"key": ""}) as report:
                    pass
                post.send(report)
            post.finish()
        yield root, params


def run_of(told, work):
    root, params = told
    client = stores.connect(root)
    experiment = stores.experiment_id(client, root, stores.stage_experiment(params))
    name = f"{params.data.name} · {work}"
    return next(r for r in client.search_runs([experiment]) if r.info.run_name == name)


def note(told, work):
    return run_of(told, work).data.tags[notes.NOTE]


@pytest.mark.parametrize(
    "work, said",
    [
        ("prepare", ["1,797 images of 10 classes", "| 7&emsp; |", "contact.png"]),
        ("supernet", ["12,345 weights"]),
        ("search", ["0 networks, measured", "| S2&emsp; |", "50.0 %", "candidates.svg"]),
        ("extrapolate", ["2 sizes", "| S1&emsp; | 2 x"]),
        ("retrain S1", ["S1 labels", "test images right", "The network: `r"]),
        ("baselines", ["majority class", "residual network"]),
        ("publish", ["S0…S1", "| S1&emsp; |", "family.svg", "confusion.svg"]),
    ],
)
def test_a_run_says_what_came_out(told, work, said):
    text = note(told, work)
    assert not [part for part in said if part not in text], text
    run = run_of(told, work).info.run_id
    shown = {found.path for found in stores.connect(told[0]).list_artifacts(run)}
    assert set(re.findall(r"path=([\w.]+)&run_uuid=" + run, text)) <= shown
    assert run_of(told, work).data.tags["mlflow.source.name"] == f"scalenet stage {work}"


def test_a_finalist_that_shared_weights_did_not_measure_is_told_too(told, tmp_path):
    found = Paths(told[0]).search / "found.json"
    first, *rest = Candidate.read_all(found.with_name("candidates.csv"))
    final = first.model_copy(update={"phase": "finetuned", "accuracy": 0.75})
    others = [c for c in rest if c.network != first.network]
    paths, rows = Paths(tmp_path), [c.plain() for c in (*others, final)]
    files.write_bytes(paths.search / "found.json", found.read_bytes())
    files.write_table(paths.search / "candidates.csv", rows[0], [r.values() for r in rows])
    said = notes._search(notes.Place(paths, None, "run"))
    assert "weights, and finalists after fine-tuning, chose" in said
    cells = [line.split("&emsp; | ") for line in said.splitlines() if line.startswith("| S")]
    assert [row[0] for row in cells] == ["| S0", "| S1", "| S2"]
    assert [row[4:] for row in cells] == [["–", "75.0 % |"], *[["50.0 %", "– |"]] * 2]


def test_the_experiments_page_shows_the_family_and_leads_on(told):
    root, params = told
    client = stores.connect(root)
    publish, name = run_of(told, "publish").info, registry.model_name(params)
    home = client.get_experiment(publish.experiment_id).tags[notes.NOTE]
    candidates = client.get_experiment_by_name(stores.candidate_experiment(params))
    assert home.startswith("digits, S0…S1: ") and "| S1&emsp; |" in home
    assert views.runs(candidates.experiment_id) in home and publish.run_id in home
    assert views.model(name) in home
    assert "candidates.svg" in candidates.tags[notes.NOTE]
    assert views.TAG in candidates.tags


def test_the_registered_model_shows_what_is_deployed_and_leads_on(told):
    root, params = told
    client, publish = stores.connect(root), run_of(told, "publish").info
    model = client.get_registered_model(registry.model_name(params)).description
    assert model.startswith(f"Generation {generations.here(root)} is deployed")
    member = Trained.read(Paths(root).member("S1") / "trained.json").member
    assert f"| S1&emsp; | 2&emsp; | {member.flops:,}&emsp; |" in model
    assert notes.figure("family.svg", publish.run_id) in model
    candidates = client.get_experiment_by_name(stores.candidate_experiment(params))
    for page_of in (publish.experiment_id, candidates.experiment_id):
        assert views.runs(page_of) in model
    warned = Family.read(Paths(root).family / "family.json").warnings
    assert warned and model.count(notes.WARNING) == len(warned)


def test_a_logged_model_knows_its_versions(told):
    root, params = told
    client, name = stores.connect(root), registry.model_name(params)
    for version in client.search_model_versions(f"name = '{name}'"):
        logged = client.get_logged_model(version.source.removeprefix("models:/"))
        listed = json.loads(logged.tags[page.REGISTERED])
        assert listed == [{"name": name, "version": str(version.version)}]
        assert "test images right" in logged.tags[notes.NOTE]


def test_the_splits_are_inputs_by_the_digest_of_all_images(told):
    root, _ = told
    digest = Paths(root).info().digest
    sets = run_of(told, "search").inputs.dataset_inputs
    assert {(s.dataset.name, s.tags[0].value) for s in sets} == {
        ("digits/train", "train"),
        ("digits/select", "select"),
    }
    assert {s.dataset.digest for s in sets} == {digest}
    assert len(run_of(told, "retrain S0").inputs.dataset_inputs) == 3
    counted = {s.dataset.name: json.loads(s.dataset.profile)["num_rows"] for s in sets}
    assert counted["digits/train"] == Paths(root).info().counts["train"]


def test_a_familys_numbers_are_curves_over_flops_and_few_bars(told):
    client, publish = stores.connect(told[0]), run_of(told, "publish")
    assert set(publish.data.metrics) == {"family/test_accuracy", "family/select_accuracy"}
    points = client.get_metric_history(publish.info.run_id, "family/test_accuracy")
    members = [run_of(told, f"retrain {name}").data.metrics for name in ("S0", "S1")]
    assert [(m.step, m.value) for m in points] == [(m["flops"], m["accuracy"]) for m in members]
    assert set(run_of(told, "extrapolate").data.metrics) == {
        *("strategy/depth", "strategy/width", "strategy/resolution"),
    }
    curves = {name for name in members[0] if "/" in name}
    assert curves == {f"training/{n}" for n in ("loss", "learning_rate", "select_accuracy")}


def test_the_figure_of_the_candidates_has_all_of_them_and_needs_no_network(told):
    uri = run_of(told, "search").info.artifact_uri
    page, picture = load_text(f"{uri}/candidates.html"), load_text(f"{uri}/candidates.svg")
    assert "all 6 candidates" in picture and "logarithmic" in picture
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)


def test_a_class_may_have_any_name():
    text = notes.table(("class",), [("<b>a|b</b> & c",), ("_a_ *b* [c](d) `e` @f",)])
    assert text.splitlines()[2:] == [
        r"| &lt;b\>a\|b&lt;/b\> &amp; c |",
        r"| \_a\_ \*b\* \[c\](d) \`e\` \@f |",
    ]
    long = notes.cut("\n".join(["a line"] * 2000), "run")
    assert len(long) < 8000 and long.endswith("a line\n\n…")


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def links(told):
    """Return the links that `scalenet ui` prints, by their word; its servers run."""
    root, _ = told
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        ports = [str(one.getsockname()[1]), str(other.getsockname()[1])]
    command = [sys.executable, "-m", "scalenet.pipeline", "ui"]
    command += ["--mlflow-port", ports[0], "--prefect-port", ports[1]]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as served:
        try:
            found = dict(served.stdout.readline().split() for _ in range(5))
            deadline = time.monotonic() + 90
            while True:
                try:
                    for port in ports:
                        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
                    break
                except httpx.TransportError:
                    assert time.monotonic() < deadline, "no answer within 90 s"
                    time.sleep(0.3)
            yield found
        finally:
            served.terminate()
            served.stdout.close()
            served.wait(20)
    with pytest.raises(httpx.TransportError):  # the servers have ended, too
        httpx.get(f"http://127.0.0.1:{ports[0]}/", trust_env=False)


ASKED = {  # of each server: pages, data, a file, a program that would be run
    "mlflow": """GET /
        GET /health
        GET /version
        GET /ajax-api/2.0/mlflow/experiments/get?experiment_id=0
        GET /get-artifact?path=x&run_uuid=y
        POST /api/2.0/mlflow/runs/create
        POST /graphql""",
    "prefect": """GET /
        GET /docs
        GET /api/health
        GET /api/admin/settings
        GET /api/logs/out?token=guess
        POST /api/flows/filter
        POST /api/deployments/""",
}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_gets_401_from_both_servers(told, links):
    token = parse_qs(urlsplit(links["mlflow"]).query)["token"][0]
    ports = {name: urlsplit(links[name]).port for name in ASKED}

    def stranger(command: str) -> str:
        """Run a command as nobody; return what it says."""
        done = subprocess.run(
            ["bash", "-c", command], user=65534, group=65534, extra_groups=[], cwd="/",
            capture_output=True, timeout=30,
        )  # fmt: skip
        return done.stdout.decode(errors="replace")

    for name, asked in ASKED.items():
        for what in map(str.strip, asked.splitlines()):
            request = f"{what} HTTP/1.0\\r\\nCookie: scalenet=guess\\r\\n\\r\\n"
            port = ports[name]
            said = stranger(f"exec 3<>/dev/tcp/127.0.0.1/{port}; printf '{request}' >&3; cat <&3")
            assert said.startswith("HTTP/1.1 401") and token not in said, (name, what)
    served = [process.pid for process in psutil.process_iter() if _serves(process, ports)]
    assert len(served) >= 2
    for pid in served:
        said = stranger(f"cat /proc/{pid}/cmdline; cat /proc/{pid}/environ")
        assert said and token not in said
    database = told[0] / "mlflow.db"
    assert database.stat().st_mode & 0o007 == 0 or not stranger(f"cat {database}")


def _serves(process: psutil.Process, ports: dict[str, int]) -> bool:
    """Tell whether a process listens where somebody else would ask."""
    with contextlib.suppress(psutil.Error):
        return any(
            found.status == psutil.CONN_LISTEN and found.laddr.port in ports.values()
            for found in process.net_connections("tcp")
        )
    return False


def test_the_links_open_the_training_view_and_its_pages_show_it(told, links):
    if not CHROMIUM:
        pytest.skip("no Chromium on the PATH")
    playwright = pytest.importorskip("playwright.sync_api")
    assert set(links) == {"mlflow", "family", "candidates", "registry", "prefect"}
    model = stores.connect(told[0]).search_logged_models(
        [run_of(told, "publish").info.experiment_id]
    )[0]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(30000)
        page.goto(links["mlflow"])  # the secret goes into a cookie, the rest of the link stays
        page.get_by_text("digits/candidates").first.wait_for()
        assert page.get_by_text("Prompts", exact=True).count() == 0  # of language models
        opened(page, links["family"])
        page.get_by_text("digits · retrain S1").first.wait_for()
        for column in ("accuracy", "flops", "params", "select"):
            page.get_by_role("columnheader", name=column).first.wait_for()
        opened(page, links["registry"])
        page.get_by_text("is deployed; an alias").first.wait_for()
        image = page.locator("img[src*='family.svg']")
        image.wait_for()
        assert image.evaluate("async at => { await at.decode(); return at.naturalWidth }") > 300
        home = links["mlflow"].partition("?")[0]
        opened(page, f"{home}#/experiments/{model.experiment_id}/models/{model.model_id}")
        page.get_by_text("Model versions").first.wait_for()
        page.get_by_role("link", name=registry.model_name(told[1])).first.wait_for()
        assert page.get_by_text("Not registered").count() == 0
        browser.close()


def opened(page, link):
    """Open a link as one that is clicked in a terminal: not as a jump within the same page."""
    page.goto("about:blank")
    page.goto(link)
