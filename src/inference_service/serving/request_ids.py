"""Names of single requests, for logs: the client's own, or made here."""

import os
import re
from itertools import count

HEADER = "X-Request-Id"
LONGEST = 128
"""Characters; a longer name is ignored."""
_ALLOWED = re.compile(rb"[A-Za-z0-9._~:+/=@-]{1,%d}" % LONGEST)

_process = os.urandom(6).hex()
_numbers = count(1)


def read_id(value: bytes) -> str:
    """The name in a header; "" where it is too long, or has characters that a log should not."""
    return value.decode("ascii") if _ALLOWED.fullmatch(value) else ""


def new_id() -> str:
    """A name that no other request has."""
    return f"{_process}-{next(_numbers):x}"
