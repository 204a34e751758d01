"""The parent's side of the helper process that holds a framework: see `importing.frameworks`."""

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import numpy as np

import inference_service
from inference_service.core.errors import InvalidModel, clipped
from inference_service.core.tensors import Array
from inference_service.importing.extras import how_to_install
from inference_service.importing.source import Source

_LAST_LINES = 12
_LARGEST_REPLY = 16 * 2**20
_ERROR = 2000


class Helper:
    """A process that has a framework. Use it as a context manager: it ends with the block.

    ``python`` is the interpreter of an environment with the framework, by default this one.
    ``seconds`` bound each command.
    """

    def __init__(self, source: Source, work: Path, python: str | None, seconds: float) -> None:
        self._source = source
        self._work = work
        self._python = python
        self._seconds = seconds
        self._runs = 0

    def __enter__(self) -> Self:
        self._packages = tempfile.TemporaryDirectory(prefix="inference-service-import-")
        # Of this environment, another interpreter may see this package alone.
        link = Path(self._packages.name) / "inference_service"
        link.symlink_to(Path(inference_service.__file__).parent)
        self._log = (self._work / "helper.log").open("w+")
        own, others = os.pipe()
        self._replies = own
        path = os.pathsep.join(filter(None, [self._packages.name, os.environ.get("PYTHONPATH")]))
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        try:
            self._process = subprocess.Popen(
                [self._python or sys.executable, "-m", "inference_service.importing.frameworks",
                 str(others)],
                stdin=subprocess.PIPE, stdout=self._log, stderr=self._log, pass_fds=[others],
                env={**os.environ, **quiet, "PYTHONPATH": path},
            )  # fmt: skip
        except OSError as error:
            self._clean_up()
            raise InvalidModel(f"{self._python} can't be run: {error.strerror}") from None
        finally:
            os.close(others)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._clean_up()

    def _clean_up(self) -> None:
        os.close(self._replies)
        self._log.close()
        self._packages.cleanup()

    def convert(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of `Converted`. Raises InvalidModel."""
        return self._ask(
            {
                "do": "convert",
                "framework": self._source.framework,
                "format": self._source.format,
                "source": self._source.text
                if self._source.format == "factory"
                else str(self._source.path.absolute()),
                "work": str(self._work),
                "options": dict(options),
            }
        )

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The original's answers, in the order of the graph's outputs. Raises InvalidModel."""
        from inference_service.importing.frameworks.common import read_arrays, write_arrays

        self._runs += 1
        given, got = (self._work / f"{what}-{self._runs}.npz" for what in ("in", "out"))
        write_arrays(str(given), list(inputs))
        self._ask({"do": "run", "inputs": str(given), "outputs": str(got)})
        return [np.asarray(one) for one in read_arrays(str(got))]

    def _ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None  # noqa: S101 - for mypy
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        reply = json.loads(self._line())
        if not isinstance(reply, dict):
            raise self._ended()
        if "error" in reply:
            missing = str(reply.get("missing", ""))
            if missing:
                raise InvalidModel(how_to_install(self._source.framework, missing))
            raise InvalidModel(clipped(str(reply["error"]), _ERROR))
        return reply

    def _line(self) -> bytes:
        """One line of the replies, within the time."""
        until = monotonic() + self._seconds
        found = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            while not found.endswith(b"\n"):
                if not selector.select(max(0.0, until - monotonic())):
                    raise InvalidModel(
                        f"the framework has not answered within {self._seconds:g} seconds "
                        "(--timeout)"
                    )
                part = os.read(self._replies, 65_536)
                if not part or len(found) > _LARGEST_REPLY:
                    raise self._ended()
                found += part
        return bytes(found)

    def _ended(self) -> InvalidModel:
        """The process has ended: the end of its log says why."""
        status = self._process.wait(10)
        self._log.seek(0)
        last = "\n".join(self._log.read().splitlines()[-_LAST_LINES:])
        return InvalidModel(f"the helper process ended with status {status}:\n{last}")
