"""Addresses of servers, as users give them, told without their secrets, and why they fail."""

from __future__ import annotations

from scalenet.config.away import masked

ENCODE = "write @ : / ? # [ in a password as %40 %3A %2F %3F %23 %5B"


def credentials(address: str) -> str:
    """Return the user and the password of an address, whatever signs they have: all until its last
    ``@``. In a text, where nobody knows what belongs to an address, ``masked`` has to guess."""
    rest = address.partition("://")[2]
    return "" if rest.startswith("/") else rest.rpartition("@")[0]  # sqlite:////work/a@b/m.db


def hidden(address: str) -> str:
    """Return an address without its credentials: ``http://***@host/``."""
    secret = credentials(address)
    return masked(address.replace(f"://{secret}@", "://***@", 1) if secret else address)


def network_fault(error: BaseException) -> str | None:
    """Return what the system said of a connection, such as *Connection refused*, if an error came
    from one: clients wrap it in texts of their own, each in another's."""
    while inner := error.__cause__ or error.__context__ or _told(error):
        error = inner
    if isinstance(error, OSError) and error.filename is None:
        return error.strerror or str(error)
    return None


def _told(error: BaseException) -> BaseException | None:
    return next((given for given in error.args if isinstance(given, BaseException)), None)
