"""A password inside an address reaches no terminal, log or database."""

from __future__ import annotations

import socket

import pytest

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


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("at http://ann:a@b@host:1/x?y=1 (no)", "at http://***@host:1/x?y=1 (no)"),
        ("s3://key:secret@bucket", "s3://***@bucket"),
        ("postgresql://h/db?user=a&password=b&x=1", "postgresql://h/db?user=a&password=***&x=1"),
        ("http://127.0.0.1:1/?token=abc", "http://127.0.0.1:1/?token=***"),
        ("mail ann@host about http://host/a@b", "mail ann@host about http://host/a@b"),
        ("sqlite:////work/a@b/mlflow.db", "sqlite:////work/a@b/mlflow.db"),
    ],
)
def test_masking(given, shown):
    assert masked(given) == shown
