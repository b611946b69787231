"""Prefect's own local server for a whole build: the first stage starts it, the last one leaves it to end.

Every process that needs it holds a shared lock on a lease file. The server's keeper ends it once nobody
has held the lease for a while, so a killed build leaves nothing behind. With ``PREFECT_API_URL`` (or a
Prefect profile that names a server) none of this happens.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scalenet.pipeline import Unavailable

START_SECONDS = 120  # a slow machine's first start migrates an empty database
IDLE_SECONDS = 60  # between two stages nobody holds the lease


def configured() -> str | None:
    """Return the Prefect server that the user configured, by environment or profile; None for our own."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


@contextmanager
def api(home: Path) -> Iterator[str]:
    """Yield the URL of a Prefect server; ``Unavailable`` if the configured one does not answer."""
    if url := configured():
        if not answers(url, 5):
            raise Unavailable(
                f"PREFECT_API_URL {url} does not answer; start that server, or unset it to use a local one"
            )
        yield url
        return
    from prefect.settings import PREFECT_API_URL, temporary_settings

    folder = _folder(home)
    with (folder / "lease").open("w") as lease:
        fcntl.flock(lease, fcntl.LOCK_SH)
        url = _local(folder)
        with temporary_settings({PREFECT_API_URL: url}):
            yield url


def begin(home: Path) -> None:
    """Start the local server, if it is wanted and not there, without waiting until it answers."""
    if configured() is None and not (_folder(home) / "url").exists():
        _start(_folder(home))


def _folder(home: Path) -> Path:
    folder = home / ".state" / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def answers(url: str, seconds: float = 10) -> bool:
    """Tell whether a Prefect API answers."""
    import httpx

    try:
        return httpx.get(f"{url.rstrip('/')}/health", timeout=seconds).status_code == 200
    except httpx.HTTPError:
        return False


def _local(folder: Path) -> str:
    """Return the local server's URL, starting it if there is none."""
    with (folder / "starting").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)  # one process at a time looks for it
        address, keeper = folder / "url", None
        if address.exists() and not answers(address.read_text()):
            address.unlink()  # its keeper was killed
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if address.exists():
                return address.read_text()
            if keeper and keeper.poll():
                break
            if _free(folder / "keeper") and (keeper is None or keeper.poll() == 0):
                keeper = _start(folder)
            time.sleep(0.1)
        raise Unavailable(f"Prefect's local server did not start; {folder / 'server.log'} says why")


def _start(folder: Path) -> subprocess.Popen:
    """Start a keeper; it ends at once if there is another one."""
    with (folder / "server.log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "scalenet.pipeline.server", str(folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def keep(folder: Path) -> int:
    """Run a server until nobody has held the lease for a while; do nothing if another keeper does."""
    with (folder / "keeper").open("w") as keeper:
        try:
            fcntl.flock(keeper, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        os.ftruncate(sys.stdout.fileno(), 0)  # the log of the server before
        return _run(folder)


def _run(folder: Path) -> int:
    """Run a server until nobody has held the lease for a while; 1 if it did not start, or ended by itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, env=os.environ | {"PREFECT_SERVER_UI_API_URL": "/api"})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server does not outlive its keeper
    try:
        while server.poll() is None and not answers(url, 2):
            time.sleep(0.2)
        if server.poll() is None:
            _publish(folder, url)
        while server.poll() is None:
            if _withdrawn(folder):
                return 0
            time.sleep(1)
        return 1
    finally:
        server.terminate()
        server.wait(30)


def _publish(folder: Path, url: str) -> None:
    temporary = folder / "url.tmp"
    temporary.write_text(url)
    temporary.replace(folder / "url")


def _withdrawn(folder: Path) -> bool:
    """Take the server's address back if nobody has held the lease for ``IDLE_SECONDS``; tell whether that is so.

    Whoever wants a server holds ``starting`` while reading the address, and so do we while we withdraw it.
    """
    since = time.monotonic()
    while time.monotonic() - since < IDLE_SECONDS:
        if not _free(folder / "lease"):
            return False
        time.sleep(1)
    with (folder / "starting").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if not _free(folder / "lease"):
            return False
        (folder / "url").unlink(missing_ok=True)
        return True


def _free(file: Path) -> bool:
    """Tell whether nobody holds a lock on this file now."""
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


if __name__ == "__main__":
    raise SystemExit(keep(Path(sys.argv[1])))
