"""Processes that train one network together, begun here by torchrun's own launcher."""

from __future__ import annotations

import logging
import signal
import tempfile
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from scalenet.config.interrupts import end_with_parent
from scalenet.nets import group
from scalenet.records.emit import Emit

Part = Callable[..., None]  # takes ``Emit`` and its arguments, in each process


def together(count: int, part: Part, arguments: tuple, emit: Emit) -> None:
    """Have so many processes of one group do their part; ``emit`` is told what the first tells.

    ``ValueError`` of any of them is raised here, and if one is killed.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # an error says it
    ours, theirs = get_context("spawn").Pipe(duplex=False)
    refused = []
    with ThreadPoolExecutor(1) as pool, ours, theirs:
        running = pool.submit(_launch, count, theirs, part, arguments)
        while (record := ours.recv()) is not None:
            refused.append(record["text"]) if record["event"] == "refused" else emit(record)
        try:
            running.result()
        except ChildFailedError as error:
            if refused:
                raise ValueError(refused[0]) from error
            rank, failure = error.get_first_failure()
            if failure.exitcode >= 0:
                raise
            raise ValueError(
                f"process {rank} of {count} was killed ({signal.Signals(-failure.exitcode).name}); "
                "run it again, and the training goes on from its last checkpoint"
            ) from error


def _launch(count: int, records: Connection, part: Part, arguments: tuple) -> None:
    """Begin the processes and wait for their end; then say that no more records come."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=count,
                logs_specs=DefaultLogsSpecs(log_dir=folder),
                run_id=uuid.uuid4().hex,
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                local_addr="127.0.0.1",  # else the host's own name, which may not resolve
                max_restarts=0,
            )
            elastic_launch(config, _begin)(records, part, arguments)
    finally:
        records.send(None)


# --- in each of them ------------------------------------------------------------------------------


def _begin(records: Connection, part: Part, arguments: tuple) -> None:
    """Join the group and do this process's part of the work."""
    end_with_parent()  # PyTorch sends SIGINT then, which is ignored where a script's `&` began it

    def emit(record: Mapping[str, Any]) -> None:
        if group.is_first():
            records.send(record)

    try:
        with group.joined():
            part(emit, *arguments)
    except ValueError as error:
        records.send({"event": "refused", "text": str(error)})
        raise
