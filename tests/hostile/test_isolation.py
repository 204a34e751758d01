"""One model dies, hangs or takes all memory: the others answer, and it is back within seconds."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from inference_service import Service, Settings
from inference_service.core.requests import ModelRef
from inference_service.runtime.remote import ModelProcess, RemoteModel
from tests import onnx_models
from tests.runtime.test_remote import state
from tests.support import running, until


def saved(folder: Path, *, isolated: str, others: str) -> Path:
    """``isolated`` runs in a process of its own, ``others`` doesn't."""
    for name in (isolated, others):
        model = getattr(onnx_models, name)()
        onnx_models.save(model, folder / name / "1" / "model.onnx")
    (folder / isolated / "model.toml").write_text('runtime.isolation = "process"\n')
    return folder


@asynccontextmanager
async def served(folder: Path, **settings: Any) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    service = Service(Settings(models=folder, **settings))
    async with running(service) as client:
        yield service, client


def process_of(service: Service, name: str) -> ModelProcess:
    worker: Any = service.engine.resolve(ModelRef(name))
    (model,) = set(worker._runner._models.values())
    assert isinstance(model, RemoteModel)
    return model._process


async def ask(client: httpx.AsyncClient, name: str, row: Any, **headers: str) -> httpx.Response:
    return await client.post(
        f"/v1/models/{name}:predict", json={"instances": [row]}, headers=headers
    )


async def columns(client: httpx.AsyncClient, name: str, value: Any) -> httpx.Response:
    return await client.post(f"/v1/models/{name}:predict", json={"inputs": value})


async def test_a_model_that_crashes_under_load_loses_no_answer_silently(tmp_path: Path) -> None:
    folder = saved(tmp_path, isolated="embedding", others="doubler")
    async with served(folder) as (service, client):
        process = process_of(service, "embedding")
        pid = process.pid
        assert pid is not None
        ended: list[tuple[int, int, Any]] = []

        async def load(number: int) -> None:
            for step in range(15):
                word = (number + step) % 10
                answer = await ask(client, "embedding", word)
                ended.append((word, answer.status_code, answer.json()))
                if answer.status_code == 503:
                    assert int(answer.headers["Retry-After"]) >= 1
                    await asyncio.sleep(0.1)
                if step == 5 and number == 0:
                    os.kill(pid, signal.SIGSEGV)
                other = await ask(client, "doubler", [1, 2, 3])
                assert other.json() == {"predictions": [[2, 4, 6]]}, "the others go on"

        await asyncio.gather(*(load(number) for number in range(8)))
        statuses = {status for _, status, _ in ended}
        assert len(ended) == 8 * 15, "every request has an answer"
        assert statuses <= {200, 503}
        assert all(
            body == {"predictions": [[word, word]]} for word, status, body in ended if status == 200
        ), "and none is wrong"
        await until(lambda: process.restarts == 1)
        again = await ask(client, "embedding", 7)
        assert again.json() == {"predictions": [[7, 7]]}
        assert process.pid != pid


async def test_a_run_that_hangs_costs_its_process_and_nothing_else(tmp_path: Path) -> None:
    folder = saved(tmp_path, isolated="doubler", others="embedding")
    async with served(folder) as (service, client):
        process = process_of(service, "doubler")
        assert process.pid is not None
        pid = process.pid
        os.kill(pid, signal.SIGSTOP)  # as native code that never returns
        await until(lambda: state(pid) == "T")
        begun = monotonic()
        late = await ask(client, "doubler", [1, 2, 3], **{"X-Request-Timeout": "0.3"})
        assert late.status_code == 504
        assert (await ask(client, "embedding", 3)).status_code == 200
        await until(lambda: process.restarts == 1)
        assert monotonic() - begun < 60  # seconds; the machine may be busy
        assert (await ask(client, "doubler", [1, 2, 3])).json() == {"predictions": [[2, 4, 6]]}


async def test_a_run_that_takes_all_memory_takes_that_of_its_process(tmp_path: Path) -> None:
    folder = saved(tmp_path, isolated="allocating", others="doubler")
    runtime = {"max_model_bytes": 2**30}
    async with served(folder, runtime=runtime) as (service, client):
        answer = await columns(client, "allocating", [[10**9]])
        assert answer.status_code == 400
        assert "ask for 3814 MiB of memory at once" in answer.json()["error"]
        assert (await ask(client, "doubler", [1, 2, 3])).status_code == 200
        process = process_of(service, "allocating")
        await until(lambda: process.pid is not None)
        assert (await columns(client, "allocating", [[5]])).json() == {"outputs": 5}
        assert process.restarts == 0


async def test_the_processes_end_with_the_service(tmp_path: Path) -> None:
    folder = saved(tmp_path, isolated="doubler", others="embedding")
    async with served(folder) as (service, _):
        pid = process_of(service, "doubler").pid
        assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
