"""Prefect's server: the one that is configured, or one of our own for as long as this process
lives."""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Event

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_DATABASE_CONNECTION_URL,
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_HOME,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_UI_URL,
    get_current_settings,
    temporary_settings,
)

from scalenet.config.away import Unavailable
from scalenet.config.interrupts import kept_from_children
from scalenet.pipeline import environment, project
from scalenet.pipeline.address import ENCODE, hidden
from scalenet.pipeline.runs import children

PATIENCE = 30  # seconds that a configured server has for its first answer: it may be busy


def configured() -> str | None:
    """Return the Prefect server that the user configured, by environment or profile; None for
    our own."""
    project.prefect_profiles()  # Prefect does not name the file that it cannot read
    return get_current_settings().api.url


REST = ExitStack()  # of this process's life
GONE = Event()  # the server went away, and Prefect's threads have things to tell it
DATABASE = tuple(f"PREFECT_{of}_DATABASE_CONNECTION_URL" for of in ("SERVER", "API"))  # old: API
GLANCE = 5  # seconds that a server has when it is only asked whether it is still there


@contextmanager
def prefect() -> Iterator[None]:
    """Have a Prefect server while the body runs; ``Unavailable`` if the configured one does not
    answer."""
    if url := configured():
        check(url)
    server = nullcontext({}) if url else _own()
    with server as settings, temporary_settings(settings):
        try:
            yield
        finally:
            _deliver()


def check(url: str) -> None:
    """Refuse a server that does not answer as Prefect's API does, naming where its address
    comes from."""
    where = (
        "PREFECT_API_URL" if os.environ.get("PREFECT_API_URL") else "the Prefect profile's API URL"
    )
    mend = f"start that server, or unset {where} to use a local one"
    shown = hidden(url)
    try:
        answer = _health(url, PATIENCE)
    except httpx.InvalidURL as error:  # which may name a part of a password
        raise ValueError(f"{where} {shown} is no address that can be read; {ENCODE}") from error
    except httpx.HTTPError as error:
        raise Unavailable(f"{where} {shown} does not answer ({error}); {mend}") from error
    if answer.status_code != 200 or answer.text.strip() != "true":
        hint = (
            "" if url.rstrip("/").endswith("/api") else f"; did you mean {shown.rstrip('/')}/api?"
        )
        raise Unavailable(
            f"{where} {shown} is no Prefect API (it answered {answer.status_code})"
            f"{hint or '; ' + mend}"
        )
    _admit(url, f"{where} {shown}")


def _health(url: str, patience: float) -> httpx.Response:
    """Ask a server how it is, once, with Prefect's settings of TLS and headers."""
    settings = {PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: patience}
    with (
        temporary_settings({PREFECT_API_URL: url, **settings}),
        get_client(sync_client=True) as client,
    ):
        try:
            return client.request("GET", "/health")
        except PrefectHTTPStatusError as error:
            return error.response


def _admit(url: str, server: str) -> None:
    """Refuse a server that does not take our credentials, or that has no database."""
    try:
        with (
            temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True) as client,
        ):
            client.read_flows(limit=1)
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise ValueError(
                f"{server} refuses PREFECT_API_AUTH_STRING (it answered {status}); give the "
                "USER:SECRET that it was started with as PREFECT_SERVER_API_AUTH_STRING"
            ) from error
        if not (PREFECT_API_AUTH_STRING.value() or "").isascii():
            raise ValueError(
                f"{server} cannot compare PREFECT_API_AUTH_STRING (it answered {status}): it has a "
                "letter beyond ASCII; start the server with another secret, and give that"
            ) from error
        raise Unavailable(
            f"{server} answers, but cannot work (it answered {status}): its database is away, full "
            "or refuses it, as its log says; mend that and run it again"
        ) from error
    except httpx.HTTPError as error:
        raise Unavailable(
            f"{server} stopped answering ({error!r}); see that it runs, and run it again"
        ) from error


def answers() -> bool:
    """Tell whether the server that is in use answers at all."""
    try:
        _health(PREFECT_API_URL.value(), GLANCE)
    except httpx.HTTPError:
        return False
    return True


def stop_waiting() -> None:
    """Have Prefect's client give up at once for the rest of this process: its server is away."""
    GONE.set()
    settings = {PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: GLANCE}
    REST.enter_context(temporary_settings({**settings, PREFECT_LOGGING_TO_API_ENABLED: False}))


@contextmanager
def _own() -> Iterator[dict]:
    """Run Prefect's server on a free loopback port, behind a secret; yield the settings that
    reach it."""
    secret, spawned = f"scalenet:{secrets.token_urlsafe(24)}", get_context("spawn")
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = listener.getsockname()[1]
        said, say = spawned.Pipe(duplex=False)
        server = spawned.Process(target=_serve, args=(listener, say), daemon=True)
        settings = {"PREFECT_SERVER_API_AUTH_STRING": secret, "PREFECT_UI_ENABLED": "0"}
        settings["PREFECT_SERVER_API_BASE_PATH"] = "/api"  # the user's is for a server of theirs
        with environment(settings), kept_from_children():
            server.start()
        say.close()
    try:
        yield {
            PREFECT_API_URL: f"http://127.0.0.1:{port}/api",
            PREFECT_API_AUTH_STRING: secret,
            PREFECT_UI_URL: "",  # no links to what ends with this process
        }
    except (RuntimeError, httpx.TransportError) as error:  # of a client that reached nobody
        if server.is_alive() or GONE.is_set():
            raise
        raise Unavailable(_no_start(said)) from error
    finally:
        server.terminate()
        server.join(10)


def _deliver() -> None:
    """Wait until the server, if it is there, has what Prefect's threads still have to tell it."""
    if not answers():
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=PATIENCE, at_exit=False)


def _no_start(said: Connection) -> str:
    """Say why our own server did not start, or was there no more."""
    try:
        lines = said.recv().splitlines() if said.poll() else []
    except EOFError:  # a pipe that is closed has something to read: its end
        lines = []
    if not lines:
        return (
            "Prefect's own server ended without a word, as one does that is killed or has too "
            "little memory; run it again, or start one (`prefect server start`) and name it in "
            "PREFECT_API_URL"
        )
    told = [line for line in lines if re.match(r"[\w.]+: ", line)] or lines  # of a traceback
    why = f"Prefect's own server did not start ({told[-1][:200]}); its database is "
    address, file = PREFECT_API_DATABASE_CONNECTION_URL.value(), PREFECT_HOME.value() / "prefect.db"
    if not address.endswith(f":///{file}"):
        named = next(filter(os.environ.get, DATABASE), "the Prefect profile's connection URL")
        return (
            f"{why}{hidden(address)}, which {named} gives it: see that it is there and takes that "
            "user, or unset it to have a file"
        )
    return (
        f"{why}{file}: make room and the right to write there, or move it away and a new one is "
        "made; PREFECT_HOME names another folder"
    )


def no_others() -> int:
    """Return the umask of this process without any right for other users of the machine."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask | 0o007


def _serve(listener: socket.socket, say: Connection) -> None:
    """Be the server, until the process that wants it has gone."""
    children.belong_to_parent()
    os.umask(no_others())  # its database tells what was run, and with what
    import uvicorn
    from prefect.server.api.server import create_app

    app = _telling(create_app(ephemeral=True, final=True), say)
    uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listener])


def _telling(app: Callable, say: Connection) -> Callable:
    """Return an application that says why it cannot start, rather than to log it."""

    async def told(scope: dict, receive: Callable, send: Callable) -> None:
        async def start(message: dict) -> None:
            if message["type"] == "lifespan.startup.complete":
                logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
            elif message["type"] == "lifespan.startup.failed":
                say.send(message.pop("message", ""))
            await send(message)

        await app(scope, receive, start if scope["type"] == "lifespan" else send)

    return told
