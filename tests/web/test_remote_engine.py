"""The HTTP side doesn't know where the engine lives: here it is in another process."""

import asyncio
import pickle
import shutil
from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry

from inference_service import Service
from inference_service.core.errors import (
    DeadlineExceeded,
    ExecutionFailed,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    Overloaded,
    ShuttingDown,
)
from inference_service.core.in_flight import InFlight, Limits
from inference_service.engine.interfaces import Engine
from inference_service.protocols.oip.infer import add_infer
from inference_service.protocols.predict import routes as predict
from inference_service.protocols.tfserving import routes as tfserving
from inference_service.protocols.tfserving.codec import decode_predict
from inference_service.settings import Settings
from inference_service.telemetry.prometheus import PrometheusObserver
from inference_service.web import errors
from inference_service.web.endpoint import Edge
from tests.support import asking, running
from tests.web.engine_process import remote_engine

ASKED = [
    ("/v1/models/doubler:predict", {"instances": [[1, 2, 3, 4], [5, 6, 7, 8]]}),
    ("/v1/models/doubler/versions/1:predict", {"instances": [[1, 2, 3]]}),
    ("/v1/models/doubler:predict", {"instances": [[1, 2]]}),
    ("/v1/models/nothing:predict", {"instances": [[1, 2]]}),
    ("/v1/models/embedding:predict", {"instances": [[99]]}),
    ("/predict?model=doubler", {"instances": [[1, 2, 3, 4]]}),
    (
        "/v2/models/doubler/infer",
        {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]},
    ),
]


def http_side(engine: Engine) -> FastAPI:
    """The routes over an engine, and nothing else."""
    observer = PrometheusObserver(CollectorRegistry())
    edge = Edge(engine, InFlight(Limits(100, 2**30)), observer, 2**20, 10.0)
    app = FastAPI()
    errors.install(app)
    app.include_router(tfserving.router(edge))
    app.include_router(
        predict.router(edge, "doubler", predict.Envelope(decode_predict, tfserving.call))
    )
    routes = APIRouter()
    add_infer(routes, edge)
    app.include_router(routes)
    return app


@pytest.fixture
def models(zoo: Path, tmp_path: Path) -> Path:
    for name in ("doubler", "embedding", "heavy"):
        shutil.copytree(zoo / name, tmp_path / name)
    return tmp_path


async def test_answers_and_errors_are_those_of_an_engine_next_door(models: Path) -> None:
    service = Service(Settings(models=models, default_model="doubler"))
    async with running(service) as here, remote_engine(models) as engine:
        remote = http_side(engine)
        for path, body in ASKED:
            async with asking(remote) as there:
                near, far = await here.post(path, json=body), await there.post(path, json=body)
            assert (far.status_code, far.json()) == (near.status_code, near.json()), path


async def test_many_requests_share_runs_over_there(models: Path) -> None:
    row = [0.1] * 2048
    async with remote_engine(models) as engine, asking(http_side(engine)) as client:
        answers = await asyncio.gather(
            *(client.post("/v1/models/heavy:predict", json={"instances": [row]}) for _ in range(24))
        )
    assert [answer.status_code for answer in answers] == [200] * 24
    sizes = [part for answer in answers for part in answer.headers["server-timing"].split(", ")]
    assert any('batch;desc="' in size and '"1 rows"' not in size for size in sizes)


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("expected a number", ("instances", 3)),
        ModelNotFound("no such model", "m", 3),
        Overloaded("full", reason="queue_full", retry_after=2.5),
        ModelNotReady("loading", retry_after=30),
        ShuttingDown(),
        DeadlineExceeded("late"),
        ExecutionFailed("broken"),
    ],
)
def test_errors_survive_the_way_between_processes(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
