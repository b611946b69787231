"""Addresses of servers, as users give them, told without their secrets."""

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
