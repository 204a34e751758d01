"""Lines that native code writes to standard error: those of ONNX Runtime become log records."""

import contextlib
import fcntl
import logging
import os
import re
import threading
from collections.abc import Iterator

_LINE = re.compile(
    rb"(?:\x1b\[[0-9;]*m)*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ "
    rb"\[([VIWEF]):([\w.-]*):([^,\]]*), ([^\]]*)\] (.*?)(?:\x1b\[[0-9;]*m)*\s*"
)
"""[severity:category:logger id, file:line function] message; see ONNX Runtime's
core/platform/posix/logging and core/common/logging/sinks/ostream_sink.cc."""
_OF_HELPER = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) ([\w.]+): (.*)")
"""Lines of this service's helper processes (runtime.helper, processes.inside)."""
_LEVELS = {
    b"V": logging.DEBUG, b"I": logging.INFO, b"W": logging.WARNING, b"E": logging.ERROR,
    b"F": logging.CRITICAL,
}  # fmt: skip
_LONGEST = 64 * 1024
_PIPE = 1024 * 1024


def record_of(line: bytes) -> logging.LogRecord | None:
    """The record of a line of ONNX Runtime or of a helper process; None: it is something else."""
    match = _LINE.fullmatch(line)
    if match is None:
        return _of_helper(line)
    severity, category, _, place, message = match.groups()
    record = logging.makeLogRecord({
        "name": category.decode("utf-8", "replace") or "onnxruntime",
        "levelno": _LEVELS[severity],
        "levelname": logging.getLevelName(_LEVELS[severity]),
        "msg": message.decode("utf-8", "replace"),
    })  # fmt: skip
    record.fields = {"place": place.decode("utf-8", "replace")}
    return record


def _of_helper(line: bytes) -> logging.LogRecord | None:
    match = _OF_HELPER.fullmatch(line)
    if match is None:
        return None
    level, name, message = (part.decode("utf-8", "replace") for part in match.groups())
    number = logging.getLevelNamesMapping().get(level)
    if number is None:
        return None
    return logging.makeLogRecord(
        {"name": name, "levelno": number, "levelname": level, "msg": message}
    )


@contextlib.contextmanager
def native_lines(stderr: int, keep: int) -> Iterator[None]:
    """Read what is written to the descriptor ``stderr``; ``keep`` is where it went before.

    What isn't ONNX Runtime's goes on there, byte for byte. Writing never waits: while nothing reads
    and a megabyte waits, lines are lost. What a process writes right before it is killed is lost.
    """
    reader, writer = os.pipe()
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE)
    os.set_blocking(writer, False)
    os.dup2(writer, stderr)
    os.close(writer)
    thread = threading.Thread(target=_read, args=(reader, keep), name="stderr", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.dup2(keep, stderr)  # closes the pipe: what waits is read to its end
        thread.join(1.0)


def _read(reader: int, keep: int) -> None:
    rest = b""
    while data := os.read(reader, _LONGEST):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            _pass_on(line, keep)
        if len(rest) > _LONGEST:
            _write(keep, rest)
            rest = b""
    if rest:
        _write(keep, rest)
    os.close(reader)


def _pass_on(line: bytes, keep: int) -> None:
    record = record_of(line)
    if record is None:
        _write(keep, line + b"\n")
        return
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _write(descriptor: int, data: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, data)
