"""Nobody sees the pages without the secret: MLflow's and Prefect's servers behind one small
door."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from starlette.requests import cookie_parser

TOKEN = "SCALENET_UI_TOKEN"  # the environment variable that hands the secret to a server
COOKIE = "scalenet"
UNKNOWN = b"open the link that scalenet printed, or send its secret: Authorization: Bearer SECRET\n"


def guarded(app: Callable, token: str) -> Callable:
    """Wrap an ASGI app: requests need the cookie, an ``Authorization`` header, or ``?token=``,
    which sets it."""

    async def door(scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        if scope["type"] not in ("http", "websocket") or _known(scope, token):
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif _asked(scope, token):
            await _answer(send, 303, _cookie(scope, token))
        else:
            await _answer(send, 401, [], UNKNOWN)

    return door


def _headers(scope: dict[str, Any]) -> dict[str, str]:
    return {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _known(scope: dict[str, Any], token: str) -> bool:
    """Tell whether a request carries the secret as a cookie or as a header (Bearer, or Basic's
    password)."""
    headers = _headers(scope)
    cookie = unquote(cookie_parser(headers.get("cookie", "")).get(_cookie_name(scope), ""))
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        given = _password(given)
    return any(said and _same(said, token) for said in (cookie, given))


def _password(given: str) -> str:
    """Return the password of Basic's credentials, "" where they are none."""
    try:
        return base64.b64decode(given + "===").decode(errors="replace").partition(":")[2]
    except binascii.Error:
        return ""


def _asked(scope: dict[str, Any], token: str) -> bool:
    query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    return _same(query.get("token", ""), token)


def _cookie_name(scope: dict[str, Any]) -> str:
    """Name the cookie of one port: browsers share cookies among a host's ports."""
    return f"{COOKIE}-{(scope.get('server') or ('', 0))[1]}"


def _cookie(scope: dict[str, Any], token: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that set the cookie and go on to the same page without the secret in
    its address."""
    rest = [(k, v) for k, v in parse_qsl(scope["query_string"].decode("latin-1")) if k != "token"]
    path = "/" + quote(scope["path"].lstrip("/"))  # never another host, never a line of its own
    place = path + (f"?{urlencode(rest)}" if rest else "")
    said = quote(token, safe="")  # a ; would end it
    cookie = f"{_cookie_name(scope)}={said}; Path=/; HttpOnly; SameSite=Strict"
    return [(b"set-cookie", cookie.encode()), (b"location", place.encode())]


async def _answer(
    send: Callable, status: int, headers: list[tuple[bytes, bytes]], body: bytes = b""
) -> None:
    kind = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [kind, *headers]})
    await send({"type": "http.response.body", "body": body})


def mlflow_app() -> Callable:
    """Return MLflow's server behind the door (the MLflow app ``scalenet``)."""
    from mlflow.server.fastapi_app import app

    return guarded(app, os.environ[TOKEN])


def prefect_app() -> Callable:
    """Return Prefect's server behind the door."""
    from prefect.server.api.server import create_app

    return guarded(create_app(), os.environ[TOKEN])
