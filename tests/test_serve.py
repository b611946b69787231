"""``scalenet serve``: a page and JSON for those who know the secret, and nothing for others."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from conftest import verb
from PIL import Image

import scalenet
from scalenet.data import store
from scalenet.pipeline.doors import serving
from scalenet.records.paths import Paths

NOBODY = 65534  # another user of this machine


def begin(folder: Path, *arguments: str, **variables: str) -> tuple[subprocess.Popen, str]:
    """Start a server; return it and the link that it printed."""
    command = [sys.executable, "-m", "scalenet.pipeline", "serve", *arguments]
    environment = os.environ | variables
    server = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    for line in server.stdout:
        if line.startswith("page"):
            return server, line.split()[1]
    raise AssertionError(f"no server: {server.wait()}")


def refused(folder: Path, *arguments: str, **variables: str) -> str:
    """Return what `scalenet serve` says when it does not begin."""
    code, _, said = verb(folder, "serve", *arguments, **variables)
    assert code == 2 and len(said.splitlines()) == 1, said
    return said


@pytest.fixture(scope="module")
def server(built):
    process, link = begin(built, "s0")
    yield process, link
    process.send_signal(signal.SIGINT)
    process.wait(10)


@pytest.fixture(scope="module")
def client(server):
    """Return a client that came by the link, as a browser does."""
    link = urlsplit(server[1])
    with httpx.Client(
        base_url=f"http://{link.netloc}", trust_env=False, follow_redirects=True, timeout=60
    ) as client:
        assert client.get(f"/?{link.query}").url.query == b""  # the secret leaves the address
        yield client


@pytest.fixture(scope="module")
def photos(built):
    """Return a few test images as files, and what the library says of each."""
    pixels, _ = store.read(Paths(built).data / "test.npz")
    chances = scalenet.predict(scalenet.load(built, "S0"), pixels[:24])
    return [png(Image.fromarray(image[0])) for image in pixels[:24]], chances


def png(image: Image.Image, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


# --- answers --------------------------------------------------------------------------------------


def test_a_file_is_answered_as_the_library_answers(client, photos):
    contents, chances = photos
    answer = client.post("/predict", content=contents[0])
    [said] = answer.json()["predictions"]
    assert answer.status_code == 200 and said["class"] == str(chances[0].argmax())
    for name, share in said["probabilities"].items():
        assert share == pytest.approx(chances[0][int(name)], abs=1e-6)


def test_many_files_come_as_a_form_and_a_wrong_one_is_named(client, photos):
    contents, chances = photos
    form = [("file", (f"{i}.png", content)) for i, content in enumerate(contents)]
    answer = client.post("/predict", files=form)
    said = answer.json()["predictions"]
    assert [row["file"] for row in said] == [f"{i}.png" for i in range(24)]
    assert [row["class"] for row in said] == [str(i) for i in chances.argmax(1)]
    answer = client.post("/predict", files=[*form[:2], ("file", ("notes.txt", b"no image"))])
    assert answer.status_code == 400
    assert answer.json()["error"] == "notes.txt: not an image file of a known kind"
    assert [row.get("class") for row in answer.json()["predictions"]][:2] == [
        row["class"] for row in said[:2]
    ]


def test_a_photograph_of_more_pixels_than_are_decoded_is_answered(client):
    answer = client.post("/predict", content=png(Image.new("L", (8300, 8300), 90), "JPEG"))
    assert answer.status_code == 200, answer.json()["error"]
    whole = png(Image.new("L", (83, 83), 90), "JPEG")
    assert answer.json() == client.post("/predict", content=whole).json()


def test_requests_side_by_side_do_not_mix(client, photos):
    contents, chances = photos
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda content: client.post("/predict", content=content), contents))
    said = [answer.json()["predictions"][0]["class"] for answer in answers]
    assert said == [str(i) for i in chances.argmax(1)]


@pytest.mark.parametrize(
    "content, headers, status, line",
    [
        (b"", {}, 400, "no image was given"),
        (b"GIF89a", {}, 400, "image"),
        (png(Image.new("1", (9000, 9000))), {}, 400, "exceeds limit of 67108864 pixels"),
        (png(Image.new("L", (3000, 1))), {}, 400, "more than 100 times"),
        (bytes(serving.MOST_BYTES + 1), {}, 413, "33,554,433 bytes were given"),
        (iter([b"pieces"]), {}, 411, "send Content-Length"),
        (b"x", {"content-type": "multipart/form-data"}, 400, "boundary"),
        (b"--a\r\n\r\n", {"content-type": "multipart/form-data; boundary=a"}, 400, ""),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(client, content, headers, status, line):
    answer = client.post("/predict", content=content, headers=headers)
    assert answer.status_code == status
    said = answer.json()["error"]
    assert line in said and "\n" not in said and len(said) < 300 and "BytesIO" not in said
    assert client.get("/health").json()["status"] == "ok"


def test_a_file_that_is_empty_is_told_by_its_name(client):
    answer = client.post("/predict", files={"file": ("empty.jpg", b"", "image/jpeg")})
    assert answer.status_code == 400
    assert answer.json()["error"] == "empty.jpg: not an image file of a known kind"
    unnamed = client.post("/predict", files={"file": ("", b"")})
    assert unnamed.status_code == 400 and "no image was given" in unnamed.json()["error"]


def test_other_pages_and_methods_are_refused(client):
    assert client.get("/nothing").status_code == 404 and client.get("/docs").status_code == 404
    assert client.get("/predict").json() == {"error": "Method Not Allowed"}
    about = client.get("/health").json()
    assert about["member"] == "S0" and about["classes"] == list("0123456789")


# --- nobody else ----------------------------------------------------------------------------------


def test_without_the_secret_nothing_is_answered(server):
    place = f"http://{urlsplit(server[1]).netloc}"
    with httpx.Client(base_url=place, trust_env=False) as stranger:
        asked = [
            stranger.get("/"), stranger.get("/health"), stranger.get("/?token=guess"),
            stranger.post("/predict", content=b"x"), stranger.get("/nothing"),
            stranger.get("/", headers={"Authorization": "Basic a"}),
            stranger.get("/", headers={"Cookie": "scalenet=x"}),
        ]  # fmt: skip
        assert {answer.status_code for answer in asked} == {401}
        token = urlsplit(server[1]).query.partition("=")[2]
        bearer = {"Authorization": f"Bearer {token}"}
        assert stranger.get("/health", headers=bearer).status_code == 200


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_gets_401_and_cannot_find_the_secret(server):
    process, link = server
    port, token = urlsplit(link).port, urlsplit(link).query.partition("=")[2]
    ask = f"exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    look = f"cat /proc/{process.pid}/cmdline /proc/{process.pid}/environ"
    for command, expected in ((ask, "HTTP/1.1 401"), (look, "serve")):
        done = subprocess.run(
            ["bash", "-c", command], user=NOBODY, group=NOBODY, cwd="/", capture_output=True
        )
        said = done.stdout.decode(errors="replace")
        assert expected in said and token not in said


def test_places_that_others_reach_need_a_secret_of_ones_own(built):
    assert "Set SCALENET_SERVE_TOKEN" in refused(built, "s0", "--host", "0.0.0.0")
    for bad in ("abc", "a secret of my own", "äääääääääääääääääää"):
        said = refused(built, "s0", SCALENET_SERVE_TOKEN=bad)
        assert f"has {len(bad)} characters; give 16 or more" in said
    for place in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert serving.is_loopback(place)
    for place in ("0.0.0.0", "::", "192.168.1.2", "example.org"):
        assert not serving.is_loopback(place)


def test_wrong_wishes_are_one_line(built, server):
    assert "give a member" in refused(built)
    assert "one of them" in refused(built, "s0", "--alias", "s0")
    assert "there are S0, S1" in refused(built, "s7")
    taken = str(urlsplit(server[1]).port)
    assert "give another --port" in refused(built, "s0", "--port", taken)


def test_ctrl_c_ends_it_within_a_second_though_a_page_is_open(built, photos):
    process, link = begin(built, "s0", SCALENET_SERVE_TOKEN="a-secret-of-my-own")
    with httpx.Client(trust_env=False, follow_redirects=True) as browser:
        assert link.endswith("?token=a-secret-of-my-own")
        assert browser.get(link).status_code == 200
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0 and time.monotonic() - start < 2


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
    with playwright.sync_playwright() as engine:
        if not (found or Path(engine.chromium.executable_path).exists()):
            pytest.skip("no Chromium was found; `playwright install chromium` brings one")
        chromium = engine.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width, scheme", [(1200, "light"), (360, "dark")])
def test_the_page_names_what_is_dropped_chosen_or_pasted(
    browser, server, photos, tmp_path, width, scheme
):
    contents, chances = photos
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(contents[i])
    (tmp_path / "<b>bold<b>.txt").write_text("no image")
    view = {"width": width, "height": 800}
    page = browser.new_page(viewport=view, color_scheme=scheme)
    asked, errors, choosers = [], [], []
    page.on("filechooser", lambda chooser: choosers.append(chooser))  # heard from now on
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server[1])
    page.get_by_role("heading", name="S0").wait_for()
    page.bring_to_front()
    page.keyboard.press("Tab")  # keys alone reach the only button
    page.locator("#drop:focus").wait_for()
    for _ in range(20):  # a busy browser may not hear the first
        page.keyboard.press("Enter")
        page.wait_for_timeout(500)
        if choosers:
            break
    choosers[0].set_files([tmp_path / "0.png", tmp_path / "1.png", tmp_path / "<b>bold<b>.txt"])
    page.get_by_text("3 of 3 looked at").wait_for()
    cards = page.locator("#said > li")
    for i in (0, 1):
        first = cards.nth(i).locator("ol li").first
        best = chances[i].argmax()
        assert first.locator("span").inner_text() == str(best)
        assert first.locator("b").inner_text() == f"{100 * chances[i][best]:.1f} %"
    assert (
        "not an image file" in cards.nth(2).inner_text() and "<b>bold" in cards.nth(2).inner_text()
    )
    _hand_over(page, "drop", contents[2])
    _hand_over(page, "paste", contents[2])
    page.get_by_text("5 of 5 looked at").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (np.mean([int(x) for x in dark[4:-1].split(",")]) < 60) == (scheme == "dark")
    place = f"http://{urlsplit(server[1]).netloc}/"
    assert all(url.startswith((place, "blob:", "data:")) for url in asked) and not errors
    page.close()


def test_the_page_says_what_is_no_file_and_shows_a_long_name_whole(browser, server, tmp_path):
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.goto(server[1])
    page.get_by_role("heading", name="S0").wait_for()
    empty, gone = tmp_path / "empty.jpg", tmp_path / "gone.jpg"
    empty.touch()
    gone.write_bytes(b"as good as a folder")
    page.evaluate("running = AT_A_TIME")  # nothing is read until that one is gone
    page.set_input_files("#files", [empty, gone])
    gone.unlink()
    page.evaluate("running = 0; next()")
    page.get_by_text("2 of 2 looked at").wait_for()
    assert (
        page.locator(".bad").all_inner_texts()
        == ["a folder, or a file that is empty or gone: give files"] * 2
    )
    page.evaluate(
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: new DataTransfer()}))"
    )  # a text
    assert "no file came" in page.locator("#state").inner_text()
    page.evaluate("show(get('said').firstChild, {['a name of many words '.repeat(9)]: 1})")
    name = page.locator("ol span")
    assert name.evaluate("made => made.scrollWidth <= made.clientWidth && made.clientHeight > 60")
    page.close()


def _hand_over(page, event, content):
    """Drop or paste a file as a browser tells its page of it."""
    page.evaluate(
        """([event, bytes]) => {
        const carried = new DataTransfer();
        carried.items.add(new File([new Uint8Array(bytes)], "handed.png", {type: "image/png"}));
        document.body.dispatchEvent(event === "drop"
          ? new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: carried})
          : new ClipboardEvent("paste", {bubbles: true, clipboardData: carried}));
        }""",
        [event, list(content)],
    )
