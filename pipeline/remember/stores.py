"""Where MLflow keeps what it is told: a server that the user names, or SQLite and files in the
project."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from requests import RequestException
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from scalenet.config.away import Unavailable, masked
from scalenet.config.params import Params
from scalenet.pipeline import STATE, environment, home
from scalenet.pipeline.address import ENCODE, credentials, hidden, network_fault
from scalenet.pipeline.remember import database
from scalenet.pipeline.runs.alone import place

T = TypeVar("T")
OWN = (MlflowException, SQLAlchemyError, sqlite3.Error, RequestException)  # faults of MLflow alone
AWAY = (*OWN, OSError)  # what an absent store raises
MISSING = "RESOURCE_DOES_NOT_EXIST"
NEVER = (MISSING, "INVALID_PARAMETER_VALUE")  # answers of a store that is there, to one report
REFUSALS = ("UNAUTHENTICATED", "PERMISSION_DENIED")  # of a server that does not take our secret
OWN_FILE = "mlflow.db"  # in the project's folder
PATIENCE = {  # of the first contact with a server, so that a wrong address is told in seconds
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "PGCONNECT_TIMEOUT": "4",
}
DRIVERS = {  # what is lacking -> what to do: a package may have another name, or be none to take
    "psycopg": "write postgresql+psycopg2://…, and `pip install 'scalenet-pipeline[servers]'`",
    "psycopg2": "`pip install 'scalenet-pipeline[servers]'`",
    "MySQLdb": "write mysql+pymysql://…, and `pip install pymysql`",
}
CONNECTING = Lock()  # one thread at a time: MLflow's address and patience are the process's


def local_database(root: Path) -> Path | None:
    """Return the project's own SQLite file, or None if MLFLOW_TRACKING_URI names another store."""
    own = home(root) / OWN_FILE
    return own if database.file_of(uri(root)) == own else None


def is_there(root: Path) -> bool:
    """Tell whether MLflow has a store for this project; asking makes none."""
    own = local_database(root)
    return own is None or own.exists()


def uri(root: Path) -> str:
    """Return MLFLOW_TRACKING_URI, or the URI of the project's own SQLite file.

    Relative paths are the project's: a scheduled run works in a folder that is removed.
    """
    own = database.address(home(root) / OWN_FILE)
    return database.absolute(os.environ.get("MLFLOW_TRACKING_URI") or own, home(root))


def connect(root: Path) -> MlflowClient:
    """Return a client of the project's store; ``Unavailable`` within seconds if it cannot be
    reached."""
    with CONNECTING:
        return _connect(root)


def _connect(root: Path) -> MlflowClient:
    address, own = uri(root), local_database(root)
    if address.startswith("http"):
        _sendable(os.environ.get("MLFLOW_TRACKING_TOKEN", ""))
    try:
        if own:
            database.ready(own)
        with environment(PATIENCE):
            _reach(address)
            use(address)
            client = MlflowClient(address, address)
            client.search_experiments(max_results=1)
    except ModuleNotFoundError as error:
        advice = DRIVERS.get(error.name, f"`pip install {error.name}`")
        raise ValueError(
            f"MLFLOW_TRACKING_URI {hidden(address)} needs a database's driver that is not here, "
            f"{error.name}; {advice}, or give another address"
        ) from error
    except (*AWAY, ValueError) as error:
        raise _refusal(address, own, error) from error
    return client


def _sendable(token: str) -> None:
    """Refuse a secret that no header holds: the client's own fault would show it."""
    if not re.fullmatch(r"[ -~\xa0-\xff]*", token):
        raise ValueError(
            "MLFLOW_TRACKING_TOKEN has a sign that HTTP cannot carry, such as the end of a line or "
            "a letter beyond Latin-1; give the secret without it, to the server too if it has it"
        )


def _refusal(address: str, own: Path | None, error: Exception) -> ValueError:
    """Say why MLflow cannot be used, and what to change: what its address is taken for may hold a
    part of a password, and is not shown."""
    reason = _cleaned(str(error)).splitlines()[0][:300]
    if own:
        return Unavailable(f"{own}: {reason}; {_remedy(own, reason)}")
    if _is_folder(address):
        return ValueError(
            f"MLFLOW_TRACKING_URI {hidden(address)} is taken for a folder, where MLflow keeps "
            "nothing any more; give http://HOST:PORT of a server, or sqlite:///FILE"
        )
    if _is_misread(address) or not isinstance(error, AWAY):
        return ValueError(
            f"MLFLOW_TRACKING_URI {hidden(address)} is no address that can be read; give "
            f"SCHEME://USER:PASSWORD@HOST:PORT, and {ENCODE}"
        )
    if "Host header" in reason:
        return ValueError(
            f"the MLflow server at {hidden(address)} does not take that name for its own (Invalid "
            "Host header); start it with the name among its --allowed-hosts (for compose.yaml: "
            "MLFLOW_PUBLIC_HOST), or have the proxy before it send a name that is"
        )
    if getattr(error, "error_code", None) in REFUSALS:
        return ValueError(
            f"the MLflow server at {hidden(address)} refuses MLFLOW_TRACKING_TOKEN; give it "
            "the secret that the server was started with, or MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD"
        )
    start = "start it" if address.startswith("http") else "see that it runs and takes that user"
    return Unavailable(
        f"MLflow cannot be reached at {hidden(address)} ({why(error, 300)}); {start}, give another "
        "MLFLOW_TRACKING_URI, or unset it to use mlflow.db in the project's folder"
    )


def _is_folder(address: str) -> bool:
    """Tell whether MLflow takes an address for a folder, as it does one without its ``http://``."""
    return address.startswith("file:") or not ("://" in address or address.startswith("databricks"))


def _is_misread(address: str) -> bool:
    """Tell whether a password has a sign that ends it too early."""
    ends = "@" if address.partition("://")[0].partition("+")[0] in DATABASE_ENGINES else "/?#\\"
    return any(sign in credentials(address) for sign in ends)


def _cleaned(text: str) -> str:
    """Return a text without the secrets of MLflow's address and of any other."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
    return masked(text.replace(address, hidden(address)) if address else text)


def _reach(address: str) -> None:
    """Connect once to a database given by its address: MLflow tries ten times, for minutes."""
    kind = address.partition("://")[0].partition("+")[0]
    if kind in DATABASE_ENGINES and kind != "sqlite":
        engine = create_engine(address)
        try:
            engine.connect().close()
        finally:
            engine.dispose()


def why(error: Exception, most: int = 200) -> str:
    """Say in a line why MLflow could not be told, without secrets.

    A server that takes runs, but not their files, answers 500 to what it should keep; it may close
    the connection before that was read.
    """
    if "/mlflow-artifacts/" in str(error) and re.search(r"\b500\b|Connection aborted", str(error)):
        return (
            "its server cannot keep files: the artifact store behind it is full, away or refuses "
            "it, as the server's log says"
        )
    return _cleaned(network_fault(error) or str(error)).splitlines()[0][:most]


def _remedy(database: Path, reason: str) -> str:
    """Say what to do about a database of the project's own that cannot be used."""
    if "locked" in reason:
        return "another process holds it: end that one, or wait for it, and run it again"
    if database.is_dir() or "not a database" in reason or "malformed" in reason:
        return "it is no database of MLflow's: move it away, and a new one is made"
    state = database.parent / STATE
    if state.is_file():
        return "remove the file .state, which should be a folder"
    if state.is_symlink() and not state.exists():
        return f"make the folder {state.resolve()}, to which .state leads, or remove that link"
    return "free space on that disk, and make the folder one that you may write; then run it again"


@contextmanager
def refusing() -> Iterator[None]:
    """Tell what MLflow takes as little later from a store that is away: ``ValueError``."""
    try:
        yield
    except MlflowException as error:
        if error.error_code not in NEVER:
            raise
        raise ValueError(f"MLflow refuses it ({why(error)})") from error


def insist(change: Callable[..., None], *what: Any) -> None:
    """Set a tag or an alias, twice if need be: MLflow inserts what it did not find, and fails if
    somebody else inserted it meanwhile."""
    try:
        change(*what)
    except MlflowException:
        change(*what)


def use(address: str) -> None:
    """Make an address MLflow's own for this process, and leave the environment as it was."""
    if mlflow.get_tracking_uri() == address == mlflow.get_registry_uri():
        return  # other threads may be reading the environment
    with environment({"MLFLOW_TRACKING_URI": address, "MLFLOW_REGISTRY_URI": address}):
        mlflow.set_tracking_uri(address)
        mlflow.set_registry_uri(address)


# --- experiments ----------------------------------------------------------------------------------


def stage_experiment(params: Params) -> str:
    """Name the experiment of the stages' runs."""
    return params.data.name


def candidate_experiment(params: Params) -> str:
    """Name the experiment of the candidates: flat runs of their own, so that MLflow charts them
    at once."""
    return candidates_beside(stage_experiment(params))


def candidates_beside(experiment: str) -> str:
    """Name the experiment of the candidates by that of the stages."""
    return f"{experiment}/candidates"


def own_runs(client: MlflowClient, root: Path, experiment: str, status: str) -> list[Run]:
    """Return the runs of a project's stages, the newest first.

    Its own database holds no other's, wherever it was moved from; a server may.
    """
    whose = "LIKE '%'" if local_database(root) else f"= '{place(root)}'"
    wanted = f"attributes.status = '{status}' and tags.place {whose}"
    return client.search_runs([experiment], wanted, order_by=["attributes.start_time DESC"])


def active_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run; None if it was deleted, or is another store's."""
    found = unless_gone(client.get_run, run_id)
    return found if found and found.info.lifecycle_stage == "active" else None


def unless_gone(ask: Callable[[str], T], name: str) -> T | None:
    """Ask MLflow for something, or to delete it; None if there is no such thing."""
    try:
        return ask(name)
    except MlflowException as error:
        if error.error_code != MISSING:
            raise
        return None


def experiment_id(client: MlflowClient, root: Path, name: str) -> str:
    """Return the id of an experiment, which is made if there is none; ``ValueError`` if it was
    deleted."""
    known = client.get_experiment_by_name(name)
    if known is None:
        file = database.file_of(uri(root))
        location = (file.parent / "mlruns" / name).as_uri() if file else None
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            known = client.get_experiment_by_name(name)  # another process was quicker
    if known.lifecycle_stage != "active":
        raise ValueError(
            f"the MLflow experiment {name!r} was deleted; run `mlflow experiments restore -x "
            f"{known.experiment_id}` or give data.name another value"
        )
    return known.experiment_id
