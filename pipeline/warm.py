"""Commands start in milliseconds: a warm process, which has imported the libraries, forks a child for each.

Importing Prefect, MLflow and torch takes longer than most stages compute on small data (docs/performance.md).
The first command starts the warm process of its project and environment; it ends once it has been idle for a
while. The libraries are all that is kept: a child imports this project's own code anew, so an edited file counts.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from scalenet.pipeline import server

LIBRARIES = (
    "prefect.client.orchestration",
    "prefect.flow_engine",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.pytorch",
    "torch.export._trace",
    "sklearn.datasets",
    "sklearn.linear_model",
    "matplotlib.pyplot",
    "ruamel.yaml",
)
OWN = ("scalenet",)  # imported anew by every child
IDLE_SECONDS = 60
GRACE_SECONDS = 10  # between asking a child to end and ending it
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 128 + signal.SIGINT  # the shell's exit code for it
# variables that no library reads while it is imported; any other makes another warm process
PASSING = re.compile(
    r"PWD|OLDPWD|SHLVL|_|COLUMNS|LINES|MFLAGS|MAKE\w*|DVC_\w+|PREFECT__\w+|SCALENET_\w+"
    r"|MLFLOW_(TRACKING|REGISTRY|HTTP)_\w+|PYTEST_\w+"
)


# --- in the command's process ---------------------------------------------------------------------


def run(home: Path, arguments: Sequence[str], serving: bool) -> int:
    """Run ``python -m pipeline`` with these arguments in a child of the warm process; return its exit code.

    The child has this process's standard streams, environment and folder, gets its signals, and ends with it.
    ``serving`` tells that the command will need a Prefect server, which can start while libraries are imported.
    """
    folder, key = home / ".state" / "warm", _key()
    with _connected(folder, key, serving) as link:
        for number in FORWARDED:
            signal.signal(number, lambda number, _: link.send(bytes([number])))
        request = {"arguments": list(arguments), "environment": dict(os.environ), "folder": str(Path.cwd())}
        content = json.dumps(request).encode()
        said = b""
        with suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(link, [len(content).to_bytes(8)], [0, 1, 2])
            link.sendall(content)
            while heard := link.recv(1):  # the exit code, then nothing once the child has ended
                said += heard
    if not said:
        print(f"{' '.join(arguments)}: its process was killed or could not start; {folder / key}.log", file=sys.stderr)
    return said[0] if said else 1


def _key() -> str:
    """Name what a warm process hands down: interpreter, libraries, environment, share of the machine."""
    environment = {name: value for name, value in os.environ.items() if not PASSING.fullmatch(name)}
    libraries = Path(sysconfig.get_path("purelib"))
    share = [os.nice(0), sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None]
    content = [sys.version, sys.executable, str(libraries), libraries.stat().st_mtime_ns, share, environment]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _connected(folder: Path, key: str, serving: bool) -> socket.socket:
    """Return a connection to the warm process, which is started if there is none."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    link, root = socket.socket(socket.AF_UNIX), Path.cwd()
    with (folder / "starting").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        os.chdir(folder)  # the path of a socket may have about 100 characters only
        try:
            if not _answered(link, key):
                Path(key).unlink(missing_ok=True)
                with socket.socket(socket.AF_UNIX) as listener:
                    listener.bind(key)
                    listener.listen()
                    _start(folder, key, listener.fileno(), root, serving)
                link.connect(key)  # waits in line until the libraries are imported
        finally:
            os.chdir(root)
    return link


def _answered(link: socket.socket, key: str) -> bool:
    try:
        link.connect(key)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def _start(folder: Path, key: str, listener: int, root: Path, serving: bool) -> None:
    with Path(f"{key}.log").open("w") as log:
        subprocess.Popen(
            [sys.executable, "-m", "scalenet.pipeline.warm", str(folder), key, str(listener), "serving" * serving],
            cwd=root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[listener], start_new_session=True,
        )  # fmt: skip


# --- in the warm process --------------------------------------------------------------------------


def serve(folder: Path, key: str, listener: socket.socket) -> socket.socket | None:
    """Fork a child per connection until idle; return the connection in a child, None in the warm process."""
    listener.settimeout(1)
    children, busy = 0, time.monotonic()
    while True:
        with suppress(TimeoutError):
            link, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                return link
            link.close()
            children += 1
        while children and os.waitpid(-1, os.WNOHANG)[0]:
            children -= 1
        if children:
            busy = time.monotonic()
        elif time.monotonic() - busy > IDLE_SECONDS and _withdrawn(folder, key, listener):
            return None


def _withdrawn(folder: Path, key: str, listener: socket.socket) -> bool:
    """Take the address back, unless somebody has just connected to it."""
    if not folder.exists():
        return True
    with (folder / "starting").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if select.select([listener], [], [], 0)[0]:
            return False
        (folder / key).unlink(missing_ok=True)
        return True


# --- in a child -----------------------------------------------------------------------------------


def obey(link: socket.socket) -> int:
    """Do what a connection asks for, as if it had been started by hand; return the exit code."""
    header, streams, *_ = socket.recv_fds(link, 8, 3)
    request = json.loads(link.recv(int.from_bytes(header), socket.MSG_WAITALL))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout.reconfigure(line_buffering=True)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv, sys.path[0] = ["pipeline", *request["arguments"]], request["folder"]
    for name in [name for name in sys.modules if name.partition(".")[0] in OWN]:
        del sys.modules[name]
    signal.signal(signal.SIGINT, _interrupt)
    threading.Thread(target=_listen, args=(link,), daemon=True).start()
    command = import_module("scalenet.pipeline.__main__")
    return command.execute(command.parser().parse_args(request["arguments"]))


def _interrupt(*_: object) -> NoReturn:
    """Interrupt whatever runs: with Python's own handler, a flow would go on until the second Ctrl-C."""
    raise KeyboardInterrupt


def _listen(link: socket.socket) -> None:
    """Pass on the signals that the command's process gets, and end when that has gone."""
    with suppress(ConnectionResetError):
        while heard := link.recv(1):
            os.kill(os.getpid(), heard[0])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _end(link: socket.socket, code: int) -> NoReturn:
    """End as the interpreter does, but leave its objects to the kernel: freeing them one by one takes 3 s."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    with suppress(OSError):  # nobody waits any more
        link.send(bytes([code]))
    os._exit(code)


def main(folder: Path, key: str, listener: socket.socket, serving: bool) -> int:
    """Be the warm process, and in each of its forks a child."""
    if serving:
        server.begin(folder.parents[1])
    for name in LIBRARIES:
        import_module(name)
    link = serve(folder, key, listener)
    if link is None:
        return 0
    code = 1
    try:
        code = obey(link)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:
        traceback.print_exc()
    _end(link, code)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2], socket.socket(fileno=int(sys.argv[3])), bool(sys.argv[4])))
