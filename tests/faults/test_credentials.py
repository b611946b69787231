"""A password inside an address reaches no terminal, log or database."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from prefect.settings import PREFECT_CLIENT_CUSTOM_HEADERS, temporary_settings

from scalenet.config.away import Unavailable, masked
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


def test_an_absent_prefect_server_is_named_without_its_password(nobody):
    with pytest.raises(Unavailable, match=r"\*\*\*@127\.0\.0\.1") as refused:
        servers.check(f"http{nobody}/api")
    assert "w0rd" not in str(refused.value)


def test_prefects_server_is_asked_with_the_headers_of_prefects_settings(monkeypatch):
    class Proxied(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(b"true")

        def do_POST(self):
            self._answer(b"[]")

        def _answer(self, body):
            self.send_response(200 if self.headers["X-Door"] == "open" else 403)
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
