"""Log records as lines: JSON, or text for people. Pure."""

import json
import logging
import time
from typing import Any

_COLORS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}
_LONGEST = 16_384
"""Characters of a message; the rest is cut off."""
FIELDS = "fields"
"""The attribute of a record that holds a mapping of what is known besides the message."""


class JsonLines(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(record.getMessage()),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = _cut(self.formatException(record.exc_info))
        text = json.dumps(line, ensure_ascii=False, default=str)
        return text if text.isprintable() else "".join(map(_in_json, text))


class PrettyLines(logging.Formatter):
    """Text, with colours where they are wanted: fields behind the message as name=value."""

    def __init__(self, *, colors: bool = False) -> None:
        super().__init__()
        self._colors = colors

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        when = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = f"{record.levelname:<7}"
        if self._colors:
            level = f"\x1b[{_COLORS.get(record.levelname, '0')}m{level}\x1b[0m"
        text = " ".join(map(_shown, _cut(record.getMessage()).splitlines()))
        parts = [f"{when}.{int(record.msecs):03d} {level} {record.name}: {text}"]
        parts += [f"{name}={_plain(value)}" for name, value in getattr(record, FIELDS, {}).items()]
        line = " ".join(parts)
        if record.exc_info:
            trace = _cut(self.formatException(record.exc_info))
            line += "\n" + "\n".join(map(_shown, trace.splitlines()))
        return line


def _shown(text: str) -> str:
    """What a client has sent may hold sequences that a terminal obeys."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _in_json(character: str) -> str:
    """JSON lets DEL, the controls from U+0080 on and marks of direction stand as they are."""
    return character if character.isprintable() else json.dumps(character)[1:-1]


def _escaped(character: str) -> str:
    harmless = character.isprintable() or character == "\t"
    return character if harmless else character.encode("unicode_escape").decode()


def _plain(value: object) -> str:
    text = str(value)
    return json.dumps(text) if " " in text or not text.isprintable() else text


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
