"""A password inside an address reaches no terminal, log or database."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_CLIENT_CUSTOM_HEADERS,
    temporary_settings,
)

from scalenet.config.away import Unavailable, masked
from scalenet.pipeline.address import hidden, network_fault
from scalenet.pipeline.doors import servers
from scalenet.pipeline.remember import stores

PLANTED = "pa55:w0rd%40plant"


@pytest.fixture
def nobody():
    """An address with a password where nothing listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"://ann:{PLANTED}@127.0.0.1:{closed.getsockname()[1]}"


def test_an_absent_mlflow_server_is_named_without_its_password(tmp_path, monkeypatch, nobody):
    for scheme in ("http", "postgresql+psycopg2"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}{nobody}/db")
        with pytest.raises(ValueError, match=r"\*\*\*@127\.0\.0\.1") as refused:
            stores.connect(tmp_path)
        assert PLANTED not in str(refused.value) and "w0rd" not in str(refused.value)


@pytest.mark.parametrize("token", ["w0rd\r", "a\nw0rd", "w0rd→"])
def test_a_secret_that_no_header_holds_is_named_and_not_shown(tmp_path, monkeypatch, token):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)
    with pytest.raises(ValueError, match="MLFLOW_TRACKING_TOKEN has a sign") as refused:
        stores.connect(tmp_path)
    assert "w0rd" not in str(refused.value) and not isinstance(refused.value, Unavailable)


def test_an_absent_prefect_server_is_named_without_its_password(nobody):
    with pytest.raises(Unavailable, match=r"\*\*\*@127\.0\.0\.1") as refused:
        servers.check(f"http{nobody}/api")
    assert "w0rd" not in str(refused.value)


def test_a_password_that_prefects_address_cannot_hold_is_not_shown():
    with pytest.raises(Unavailable, match=r"http://\*\*\*@127\.0\.0\.1:1/api does not") as refused:
        servers.check("http://u:1/'w0rd@127.0.0.1:1/api")
    assert "w0rd" not in str(refused.value)
    with pytest.raises(ValueError, match="write @ : / ") as refused:
        servers.check("http://u:w0rd#x@127.0.0.1:1/api")
    assert "w0rd" not in str(refused.value)


def test_prefects_server_is_asked_with_the_headers_of_prefects_settings():
    asked = []

    class Proxied(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(b"true", 404 if "csrf-token" in self.path else 200)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(b"[]")

        def _answer(self, body, status=200):
            asked.append(self.path)
            self.send_response(status if self.headers["X-Door"] == "open" else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *what):
            return None

    headers = {PREFECT_CLIENT_CUSTOM_HEADERS: {"X-Door": "open"}}
    with HTTPServer(("127.0.0.1", 0), Proxied) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api"
        with pytest.raises(ValueError, match="it answered 403"):
            servers.check(url)
        with temporary_settings(headers):
            servers.check(url)
        server.shutdown()
    assert asked[-1] == "/api/flows/filter"  # not that of another server


def test_a_secret_that_prefects_server_cannot_compare_is_named_and_not_shown():
    class Prefect(BaseHTTPRequestHandler):
        def do_GET(self):
            health = self.path == "/api/health"
            self.send_response(200 if health else 500)  # as its hmac.compare_digest fails
            self.end_headers()
            self.wfile.write(b"true" if health else b"{}")

        def log_message(self, *what):
            return None

    with HTTPServer(("127.0.0.1", 0), Prefect) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api"
        with (
            temporary_settings({PREFECT_API_AUTH_STRING: "admin:w0rdé"}),
            pytest.raises(ValueError, match=r"PREFECT_API_AUTH_STRING .* beyond ASCII") as refused,
        ):
            servers.check(url)
        with pytest.raises(Unavailable, match="its database"):
            servers.check(url)
        server.shutdown()
    assert "w0rd" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("at http://ann:a@b@host:1/x?y=1 (no)", "at http://***@host:1/x?y=1 (no)"),
        ("s3://key:secret@bucket", "s3://***@bucket"),
        ("postgresql://u:a/b@h:5432/db (no)", "postgresql://***@h:5432/db (no)"),
        ("http://h:5000/#/models/m@s1", "http://h:5000/#/models/m@s1"),
        ("postgresql://h/db?user=a&password=b&x=1", "postgresql://h/db?user=a&password=***&x=1"),
        ("http://127.0.0.1:1/?token=abc", "http://127.0.0.1:1/?token=***"),
        ("mail ann@host about http://host/a@b", "mail ann@host about http://host/a@b"),
        ("sqlite:////work/a@b/mlflow.db", "sqlite:////work/a@b/mlflow.db"),
    ],
)
def test_masking(given, shown):
    assert masked(given) == shown


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg2://u:pla@nt:w0rd@127.0.0.1:1/db",  # of which SQLAlchemy reads a port
        "postgresql+psycopg2://u:pla@w0rd@127.0.0.1:1/db",  # … and a host
        "http://u:pla[w0rd@127.0.0.1:1",
        "http://u:12/w0rd@127.0.0.1:1",
        "http://u:pla#w0rd@127.0.0.1:1",
    ],
)
def test_a_password_that_no_address_can_hold_is_named_and_not_shown(tmp_path, monkeypatch, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(ValueError, match="write @ : / ") as refused:
        stores.connect(tmp_path)
    said = str(refused.value)
    scheme = address.partition(":")[0]
    assert said.startswith(f"MLFLOW_TRACKING_URI {scheme}://***@127.0.0.1:1") and "%40" in said
    assert "w0rd" not in said and "pla" not in said.replace("place", "") and "\n" not in said


@pytest.mark.parametrize(
    ("scheme", "advice"),
    [
        (
            "postgresql+psycopg",
            "write postgresql+psycopg2://…, and `pip install 'scalenet-pipeline[servers]'`",
        ),
        ("mysql", "write mysql+pymysql://…, and `pip install pymysql`"),
        ("mssql", "`pip install pyodbc`"),
    ],
)
def test_a_driver_that_is_not_here_is_named_with_what_to_install(
    tmp_path, monkeypatch, scheme, advice
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://me:hush@127.0.0.1:9/x")
    with pytest.raises(ValueError, match=re.escape(advice)) as told:
        stores.connect(tmp_path)
    assert "hush" not in str(told.value)


@pytest.mark.parametrize("address", ["127.0.0.1:5000", "mlruns", "file:///srv/mlruns"])
def test_an_address_that_mlflow_takes_for_a_folder_is_told_as_one(tmp_path, monkeypatch, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(ValueError, match=r"taken for a folder.* give http://HOST:PORT") as refused:
        stores.connect(tmp_path)
    assert not isinstance(refused.value, Unavailable)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg2://u:12/w0rd@127.0.0.1:1/db",
        'http://u:"w0rd@127.0.0.1:1',
        "http://u:' w0rd@127.0.0.1:1",
    ],
)
def test_a_password_with_signs_that_an_address_may_hold_is_not_shown(
    tmp_path, monkeypatch, address
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(Unavailable, match=r"cannot be reached at \w.*://\*\*\*@127") as refused:
        stores.connect(tmp_path)
    assert "w0rd" not in str(refused.value)
    assert "w0rd" not in stores.why(refused.value.__cause__)


def test_a_password_with_any_signs_is_read_if_it_is_percent_encoded(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://u:%40%3A%2F%5Bw0rd@127.0.0.1:1")
    with pytest.raises(Unavailable, match="cannot be reached"):
        stores.connect(tmp_path)


def closing(listener):
    """Close every connection at once, as a server does that is about to end."""
    listener.settimeout(0.1)
    while listener.fileno() >= 0:
        with suppress(OSError):
            listener.accept()[0].close()


@pytest.mark.parametrize(
    ("scheme", "kind", "said"),
    [
        ("http", "none", "Connection refused"),
        ("http", "silent", "timed out"),
        ("http", "closing", "Remote end closed connection without response"),
        ("https", "closing", "EOF occurred in violation of protocol"),
    ],
)
def test_why_a_server_is_away_is_told_in_the_systems_words(
    tmp_path, monkeypatch, scheme, kind, said
):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if kind == "closing":
            Thread(target=closing, args=(listener,), daemon=True).start()
        if kind == "none":
            listener.close()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://127.0.0.1:{port}")
        with pytest.raises(Unavailable) as refused:
            stores.connect(tmp_path)
    told = str(refused.value)
    assert told.startswith(f"MLflow cannot be reached at {scheme}://127.0.0.1:{port} (")
    assert said in told and "Pool" not in told and "retries" not in told
    assert said in stores.why(refused.value.__cause__)


def test_a_fault_of_a_file_is_none_of_the_network(tmp_path):
    try:
        (tmp_path / "none").read_text()
    except OSError as error:
        assert network_fault(error) is None


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("postgresql://u:12/ab@h:1/db", "postgresql://***@h:1/db"),
        ('http://u:a"b@c@h', "http://***@h"),
        ("http://h:5000/?token=a", "http://h:5000/?token=***"),
        ("sqlite:////work/a@b/mlflow.db", "sqlite:////work/a@b/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_what_is_before_its_last_at(given, shown):
    assert hidden(given) == shown
