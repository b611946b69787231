"""MLflow's SQLite files: where an address has them; the project's own is made whole or not at all,
and mended where the folder was moved."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote

from filelock import FileLock
from mlflow import MlflowClient
from sqlalchemy import make_url

from scalenet.pipeline import made_state

AS_URI = "?uri=true"  # ends an address whose file is a URI
PLACES = {  # columns in which MLflow's database keeps absolute paths
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


def address(database: Path) -> str:
    """Return the URI of an SQLite file, whatever its folders are called."""
    plain = f"sqlite:///{database}"
    if make_url(plain).database == str(database):
        return plain
    # as SQLite's own URI; with the driver's name MLflow makes no folder that is called as it
    return f"sqlite+pysqlite:///file:{quote(str(database))}{AS_URI}"


def file_of(given: str) -> Path | None:
    """Return the SQLite file of an address; None if it is another store's."""
    named = make_url(given).database if re.match(r"sqlite(\+\w+)?:///", given) else None
    if named and named.startswith("file:/") and given.endswith(AS_URI):
        return Path(unquote(named.removeprefix("file:")))
    return None if not named or named.startswith((":memory:", "file:")) else Path(named)


def absolute(given: str, folder: Path) -> str:
    """Return an address; of an SQLite file whose path is relative, that below a folder."""
    file = file_of(given)
    if file is None or file.is_absolute():
        return given
    _, mark, query = given.partition("?")
    return f"{address(folder / file)}{mark}{query}"


def ready(database: Path) -> None:
    """Make the database if there is none, and mend its paths if the project's folder was moved."""
    with FileLock(made_state(database.parent) / "mlflow.lock"):
        if not database.exists():
            _create(database)
        with closing(sqlite3.connect(database, timeout=20)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")  # a fifth quicker; readers do not wait
            _relocate(connection, database.parent)


def _create(database: Path) -> None:
    """Make the database beside its place and rename it: one that is half made never opens again.

    Not in ``.state``, which may lead to another disk.
    """
    begun = database.with_name(f"{database.name}.tmp")
    begun.unlink(missing_ok=True)
    MlflowClient(address(begun)).search_experiments(max_results=1)
    with closing(sqlite3.connect(begun)) as connection:
        default = (database.parent / "mlruns" / "0").as_uri()
        connection.execute("UPDATE experiments SET artifact_location = ?", (default,))
        connection.commit()
    begun.chmod(begun.stat().st_mode & ~0o007)  # results are for who may, whatever the umask
    begun.replace(database)


def _relocate(connection: sqlite3.Connection, folder: Path) -> None:
    """Point the paths of a project that was moved or copied at where it lies now."""
    here = folder.as_uri()
    found = connection.execute(
        "SELECT artifact_location FROM experiments WHERE experiment_id = 0"  # the default's
        " AND artifact_location LIKE 'file://%/mlruns/0'"
    ).fetchall()
    for there in {location.removesuffix("/mlruns/0") for (location,) in found}:
        if there != here:
            for table, column in PLACES.items():
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                    f" WHERE substr({column}, 1, ?) = ?",
                    (here, len(there) + 1, len(there) + 8, f"{there}/mlruns/"),
                )
    connection.commit()
