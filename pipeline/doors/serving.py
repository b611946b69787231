"""A member behind HTTP: a page to drop photographs on, and the same answers as JSON."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import secrets
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from scalenet.pipeline.doors.guard import guarded

TOKEN = "SCALENET_SERVE_TOKEN"  # a secret of the user's own; else a new one each time
SHORTEST = 16  # characters of such a secret
MOST_BYTES = 2**25  # of a request
MOST_FILES = 256  # of a request
MOST_PIXELS = 2**26  # that are decoded of an image; a bomb says so in its first bytes
AT_A_TIME = 4  # requests whose photographs are in memory
PAGE = Path(__file__).with_name("page.html")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; img-src blob: data:; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
Answer = Callable[[bytes], dict[str, Any]]  # a file -> its class and probabilities, or ValueError


def application(answer: Answer, about: dict[str, Any]) -> FastAPI:
    """Return the pages: ``/``, ``/health`` (what ``about`` says) and ``/predict``."""
    app = FastAPI(openapi_url=None)  # its pages would load scripts from elsewhere
    in_hand, computing = asyncio.Semaphore(AT_A_TIME), asyncio.Semaphore(1)
    page = PAGE.read_text(encoding="utf-8")
    limits = {"most_bytes": MOST_BYTES, "most_pixels": MOST_PIXELS}

    @app.middleware("http")
    async def headers(request: Request, proceed: Callable) -> Any:
        response = await proceed(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code)

    @app.get("/")
    async def root() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", **about, **limits}

    @app.post("/predict")
    async def predict(request: Request) -> JSONResponse:
        async with in_hand:
            said = []
            for name, content in await _files(request):
                async with computing:  # one image is decoded at a time: that bounds memory
                    said.append(await run_in_threadpool(_said, answer, name, content))
        return _response(said)

    return app


async def _files(request: Request) -> list[tuple[str, bytes]]:
    """Return the photographs of a request, by name: those of a form, or its whole body."""
    length = request.headers.get("content-length")
    if length is None:
        raise HTTPException(411, "a request without a length was given; send Content-Length")
    if int(length) > MOST_BYTES:
        most = MOST_BYTES >> 20
        raise HTTPException(413, f"{int(length):,} bytes were given; a request has {most} MiB")
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        found = [("", await request.body())]
    else:
        async with request.form(max_files=MOST_FILES, max_fields=MOST_FILES) as form:
            parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            found = [(part.filename or "", await part.read()) for part in parts]
    if not any(name or content for name, content in found):
        raise HTTPException(400, "no image was given; send a file as the body, or files as a form")
    return found


def _said(answer: Answer, name: str, content: bytes) -> dict[str, Any]:
    try:
        return {"file": name, **answer(content)}
    except ValueError as error:
        return {"file": name, "error": str(error)}


def _response(said: list[dict[str, Any]]) -> JSONResponse:
    """Return all answers, and 400 with one line if a file has none."""
    faults = [of_one for of_one in said if "error" in of_one]
    if not faults:
        return JSONResponse({"predictions": said})
    name, line = faults[0]["file"], faults[0]["error"]
    line = f"{name}: {line}" if name else line
    if len(faults) > 1:
        line = f"{len(faults)} of {len(said)} files cannot be read; {line}"
    return JSONResponse({"error": line, "predictions": said}, 400)


# --- the server -----------------------------------------------------------------------------------


def token_for(host: str) -> str:
    """Return the secret of this server; ``ValueError`` for a place where a new one will not do."""
    own = os.environ.get(TOKEN, "")
    if own and not re.fullmatch(rf"[\w.~-]{{{SHORTEST},}}", own, re.ASCII):
        raise ValueError(
            f"{TOKEN} has {len(own)} characters; give {SHORTEST} or more, of letters, digits and "
            "-._~ alone: it is part of a link"
        )
    if not own and not is_loopback(host):
        raise ValueError(
            f"--host {host} was given: others would reach this server. Set {TOKEN} to a secret of "
            f"{SHORTEST} or more characters, and put a proxy with TLS before it; or drop --host"
        )
    return own or secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Tell whether an address reaches this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; ``ValueError`` if the place is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ValueError(
            f"cannot listen on {host}, port {port} ({error.strerror or error}); give another "
            "--port (0 takes a free one) or --host"
        ) from error


def run(app: FastAPI, listener: socket.socket, token: str) -> NoReturn:
    """Serve, until Ctrl-C ends this process, to those who know the secret."""
    # Pillow refuses above twice it, before an icon is decoded; a JPEG is read in parts all the same
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2
    torch.set_num_threads(1)  # of one image at a time, more threads wait for each other
    settings = {"log_level": "warning", "access_log": False, "timeout_graceful_shutdown": 1}
    server = uvicorn.Server(uvicorn.Config(guarded(app, token), lifespan="off", **settings))
    with suppress(KeyboardInterrupt):  # as it should end
        server.run(sockets=[listener])
    sys.stdout.flush()
    os._exit(0)  # nothing is left to save, and taking PyTorch and MLflow apart takes seconds
