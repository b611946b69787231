"""Candidates scored by the workers of a Dask cluster: of this machine, or one that is there.

Dask knows which worker is free and scores a lost one's candidates again. A worker is told names
alone: it reads the project itself, once a search, so all see its folder at one path.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from scalenet.config.away import Unavailable
from scalenet.records.emit import Emit
from scalenet.records.written import counted
from scalenet.search.scoring import Measurement, Measures
from scalenet.space.network import Network

if TYPE_CHECKING:
    from distributed import Client, Future, SpecCluster

LOCAL = "local"  # a cluster of this machine, for as long as the search lasts
PATIENCE = 10  # seconds that a scheduler has for its first answer
NOBODY = "{place} has no workers; the search waits for one: `dask worker {place}`"
SILENT = "the scheduler at {place} does not answer; the search waits until it does"
LIBRARIES = ("torch", "numpy")  # what a score's last digits depend on
KEY = "compute.scoring"
# what Dask makes of a server that speaks first and is no scheduler: its greeting, read as lengths
GARBLED = (MemoryError, struct.error, LookupError, AssertionError)


class NamedCall(NamedTuple):
    """A function of a module, called in another process: it takes text and returns ``Measures``."""

    module: str
    function: str
    arguments: tuple[str, ...]

    def made(self) -> Measures:
        """Make the call: read what networks are measured with."""
        return getattr(import_module(self.module), self.function)(*self.arguments)


@contextmanager
def connected(place: str, processes: Sequence[str | None]) -> Iterator[Client]:
    """Be a client while the body runs: of the scheduler at an address, or, for ``local``, of one
    with these processes on this machine's loopback.

    Each is given as the CUDA devices that it sees (CUDA_VISIBLE_DEVICES); None: those that this one
    does. ``Unavailable`` if no scheduler answers.
    """
    check(place)
    from distributed import Client

    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what it logs, an error says
    if place == LOCAL:
        with _begun(processes) as cluster, Client(cluster, set_as_default=False) as client:
            yield client
        return
    with Client(place, timeout=PATIENCE, set_as_default=False) as client:
        yield client


def _begun(processes: Sequence[str | None]) -> SpecCluster:
    """Begin a scheduler and workers that nobody else on this machine can reach: Dask runs whatever
    it is sent. They end with this process."""
    from distributed import Nanny, Scheduler, Security, SpecCluster

    keys = Security.temporary()  # of their own
    both = {"host": "127.0.0.1", "protocol": "tls://", "security": keys, "dashboard": False}
    # without a limit of memory: a stage's process has none, either
    worker = {**both, "nthreads": 1, "memory_limit": 0, "silence_logs": logging.CRITICAL}
    seen = [{} if devices is None else {"CUDA_VISIBLE_DEVICES": devices} for devices in processes]
    return SpecCluster(
        workers={i: {"cls": Nanny, "options": worker | {"env": env}} for i, env in enumerate(seen)},
        scheduler={"cls": Scheduler, "options": both | {"dashboard_address": "127.0.0.1:0"}},
        security=keys,
        silence_logs=logging.CRITICAL,
    )


def check(place: str) -> None:
    """Refuse an address at which no scheduler of Dask's answers; its client would wait for ever
    for some other server there. ``ValueError`` if Dask is not installed."""
    try:
        from distributed import Security
        from distributed.core import connect
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{KEY} is {place!r}, which needs Dask: pip install 'scalenet-pipeline[dask]', "
            "or set it to null"
        ) from error
    if place == LOCAL:
        return

    async def reach() -> None:
        connection = Security().get_connection_args("client")
        (await asyncio.wait_for(connect(place, **connection), PATIENCE)).abort()

    try:
        asyncio.run(reach())
    except TypeError as error:  # what Dask makes of tls:// without a key
        raise ValueError(f"{KEY} is {place!r}, but Dask's configuration names no keys") from error
    except (OSError, TimeoutError, *GARBLED) as error:
        raise Unavailable(
            f"{KEY}: no Dask scheduler answers at {place}; start it with `dask scheduler`, give "
            "another's address, or set it to null"
        ) from error


def standing(client: Client, place: str) -> str:
    """Say who scores."""
    count = len(client.nthreads())
    if place == LOCAL:
        return f"candidates are scored by {counted(count, 'process', 'processes')}"
    if not count:
        return NOBODY.format(place=place)
    return f"candidates are scored by {counted(count, 'worker')} of {place}"


def measures(client: Client, place: str, reading: NamedCall, finals: bool, emit: Emit) -> Measures:
    """Return what has networks measured by a cluster, in their order; ``emit`` is told if nobody
    is left there who does it.

    Results are those of this process, if processors and libraries round alike. ``Unavailable`` if
    the scheduler is gone, ``ValueError`` if a worker cannot do what this process could.
    """
    asked = partial(_measure, client, place, emit, reading)
    return Measures(partial(asked, False), partial(asked, True) if finals else None)


def _measure(
    client: Client,
    place: str,
    emit: Emit,
    reading: NamedCall,
    final: bool,
    networks: Sequence[Network],
) -> Iterator[Measurement]:
    """Have networks measured, all at once; yield their results in order as soon as they are
    there."""
    arguments = (tuple(reading), final, {name: version(name) for name in LIBRARIES})
    names = [str(network) for network in networks]
    if client.status != "running":
        raise _gone(place)
    futures = client.map(partial(_called_by_name(), __name__, *arguments), names, pure=False)
    try:
        for name, future in zip(names, futures, strict=True):
            yield Measurement(*_result(client, place, name, future, emit))
    finally:
        if client.status == "running":
            client.cancel(futures)  # a search that ends early leaves the workers free


def _awaited(client: Client, place: str, future: Future, emit: Emit) -> Sequence[float]:
    """Return what a candidate's measurement is, or raise what it failed with; tell what it waits
    for each time that this changes, but of this machine's processes, which are begun anew."""
    lacks = ""
    while True:
        try:
            if future.exception(timeout=PATIENCE) is None:
                return future.result(timeout=PATIENCE)  # by way of the scheduler
            break
        except TimeoutError:
            before, lacks = lacks, _lacks(client, place) if place != LOCAL else ""
        except OSError as error:  # of the connection: the candidate's own is raised below
            raise _gone(place) from error
        if lacks and lacks != before:
            emit({"event": "notice", "text": lacks})
    return future.result()  # raises


def _lacks(client: Client, place: str) -> str:
    """Say what keeps a cluster from scoring; "" if nothing does."""
    try:
        count = len(client.sync(client.scheduler.ncores, workers=None, callback_timeout=PATIENCE))
    except TimeoutError:
        return SILENT.format(place=place)
    except OSError as error:
        raise _gone(place) from error
    return "" if count else NOBODY.format(place=place)


def _called_by_name() -> Callable:
    """Return what workers are sent: a function that needs nothing of what they may lack, so that
    one that lacks it says so. (One that cannot read what it is sent ends without a word.)"""

    def call(module: str, *arguments: Any) -> Any:
        from importlib import import_module

        return import_module(module).measured(*arguments)

    return call


def _gone(place: str) -> Unavailable:
    return Unavailable(
        f"{KEY}: the scheduler at {place} is gone; run it again when it is back, and the search "
        "goes on from what was measured"
    )


def _result(client: Client, place: str, name: str, future: Future, emit: Emit) -> Sequence[float]:
    from distributed import CancelledError, KilledWorker

    try:
        return _awaited(client, place, future, emit)
    except CancelledError as error:
        raise _gone(place) from error
    except KilledWorker as error:
        raise ValueError(
            f"{error.allowed_failures + 1} workers died while they scored {name}; if memory ran "
            "out, start fewer on a machine"
        ) from error
    except ImportError as error:
        raise ValueError(
            f"a worker of {place} cannot score ({error}); start workers in an environment like "
            "this one"
        ) from error


# --- in a worker ----------------------------------------------------------------------------------

_READ: dict[NamedCall, Measures] = {}  # what it measures with, of the last search that asked
_READING = Lock()


def measured(
    reading: tuple, final: bool, versions: Mapping[str, str], name: str
) -> tuple[float, float, float]:
    """Measure a network, with what this process reads once a search; return a ``Measurement``."""
    with _READING:  # a worker may have several threads
        measures = _READ.get(NamedCall(*reading)) or _read(NamedCall(*reading), versions)
    [result] = (measures.finals if final else measures.shared)([Network.parse(name)])
    return (result.accuracy, result.probability, result.seconds)


def _read(reading: NamedCall, versions: Mapping[str, str]) -> Measures:
    """Read what networks are measured with, if this process would measure as the search's does."""
    from distributed import get_worker

    where = f"worker {get_worker().address}"
    for library, wanted in versions.items():
        if (found := version(library)) != wanted:
            raise ValueError(f"{where} has {library} {found}, the search {wanted}; use one version")
    _READ.clear()
    try:
        _READ[reading] = reading.made()
    except (ValueError, OSError) as error:
        raise ValueError(f"{where}: {error}") from error
    return _READ[reading]
