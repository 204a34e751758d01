"""An engine in a process of its own, over a socket: ``python -m tests.web.engine_process MODELS``.

Only for the test that the HTTP side doesn't know where the engine lives. It prints its port; every
message is a length and a pickle.
"""

import asyncio
import pickle
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from inference_service.core.errors import ModelNotFound, Overloaded, quoted
from inference_service.core.requests import InferenceRequest, ModelRef
from inference_service.engine.awaiting import infer
from inference_service.engine.interfaces import ModelInfo, ModelStatus, OnDone
from inference_service.service import Service
from inference_service.settings import Settings
from inference_service.sources import version_sources
from tests.support import LONGEST_WAIT

_LENGTH = struct.Struct("!I")


async def receive(reader: asyncio.StreamReader) -> Any:
    """The next message."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return pickle.loads(await reader.readexactly(length))  # noqa: S301 - our own process


def send(writer: asyncio.StreamWriter, message: Any) -> None:
    """Post a message."""
    data = pickle.dumps(message)
    writer.write(_LENGTH.pack(len(data)) + data)


class RemoteModel:
    """The `ModelHandle` of a model in another process."""

    def __init__(self, engine: "RemoteEngine", info: ModelInfo) -> None:
        self._engine = engine
        self.info = info

    def refusal(self, deadline: float) -> Overloaded | None:
        return None

    def submit(self, request: InferenceRequest, on_done: OnDone) -> "RemoteTicket":
        return RemoteTicket(self._engine, self._engine.send(request, on_done))


class RemoteTicket:
    """The `Ticket` of a request to another process."""

    def __init__(self, engine: "RemoteEngine", number: int) -> None:
        self._engine = engine
        self._number = number

    def cancel(self) -> None:
        self._engine.cancel(self._number)


class RemoteEngine:
    """The `Engine` of a process that has none."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, infos: Sequence[ModelInfo]
    ) -> None:
        self._writer = writer
        self._infos = infos
        self._waiting: dict[int, OnDone] = {}
        self._count = 0
        self._listener = asyncio.create_task(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while True:
            number, answer = await receive(reader)
            on_done = self._waiting.pop(number, None)
            if on_done is not None:
                on_done(answer)

    def send(self, request: InferenceRequest, on_done: OnDone) -> int:
        self._count += 1
        self._waiting[self._count] = on_done
        send(self._writer, (self._count, request))
        return self._count

    def cancel(self, number: int) -> None:
        if self._waiting.pop(number, None) is not None:
            send(self._writer, (number, None))

    def resolve(self, model: ModelRef, client: str = "") -> RemoteModel:
        return RemoteModel(self, self.describe(model))

    def describe(self, model: ModelRef) -> ModelInfo:
        fitting = [
            info
            for info in self._infos
            if info.name == model.name and model.version in {None, info.version}
        ]
        if not fitting:
            loaded = quoted(sorted({info.name for info in self._infos}))
            text = f"Request for unknown model: '{model.name}' is not found; loaded are: {loaded}"
            raise ModelNotFound(text, model.name, model.version)
        return max(fitting, key=lambda info: info.version)

    def models(self) -> Sequence[ModelInfo]:
        return self._infos

    def statuses(self) -> Sequence[ModelStatus]:
        return []

    def queued(self) -> Mapping[ModelRef, int]:
        return {}

    def explain(self, model: ModelRef) -> Mapping[str, Any]:
        return {}

    def clock(self) -> float:
        """Monotonic time is one for all processes of a machine."""
        return asyncio.get_running_loop().time()

    def soon(self, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(callback)

    def close(self) -> None:
        self._listener.cancel()
        self._writer.close()


@asynccontextmanager
async def remote_engine(models: Path) -> Any:
    """Start the process and connect to it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.web.engine_process",
        str(models),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), LONGEST_WAIT))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        engine = RemoteEngine(reader, writer, await receive(reader))
        yield engine
        engine.close()
    finally:
        process.kill()
        await asyncio.wait_for(process.wait(), LONGEST_WAIT)


async def serve(models: Path) -> None:
    """Answer the requests of one connection after another."""
    service = Service(Settings(models=models))
    await service.manager.load_all(version_sources(service.settings))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way: dict[int, asyncio.Task[None]] = {}

        async def answer(number: int, request: InferenceRequest) -> None:
            try:
                send(writer, (number, await infer(service.engine.resolve(request.model), request)))
            except Exception as error:
                send(writer, (number, error))
            finally:
                under_way.pop(number, None)

        send(writer, list(service.engine.models()))
        try:
            while True:
                number, request = await receive(reader)
                if request is not None:
                    under_way[number] = asyncio.create_task(answer(number, request))
                elif number in under_way:
                    under_way[number].cancel()
        except asyncio.IncompleteReadError:
            pass

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
