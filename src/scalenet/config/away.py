"""What does not answer now and may later: a server that a user named, told without its secrets."""

from __future__ import annotations

import re

_USER = re.compile(  # a password may have a /; what follows HOST:PORT/ is none
    r"(://)(?:[^/\s'\"]*|[^/:\s'\"]+:(?!\d+/)[^\s'\"@]*)@"
)
_SECRET = re.compile(r"((?:password|passwd|token|secret)=)[^&\s'\"]+", re.IGNORECASE)


def masked(text: str) -> str:
    """Return a text with the credentials of its addresses hidden: ``http://***@host/``."""
    return _SECRET.sub(r"\1***", _USER.sub(r"\1***@", text))


class Unavailable(ValueError):
    """A server that a stage needs does not answer: worth another try, unlike wrong input."""

    def __init__(self, message: str):
        super().__init__(masked(message))  # it goes to the terminal, to logs and to databases
