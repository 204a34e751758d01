"""Fixtures that make MLServer's own tests ask this service; appended to their conftest.py.

The environment says where it listens: HTTP_SERVER, GRPC_SERVER, and ADMIN, the admin's token.
"""

import os
from types import SimpleNamespace

import httpx
import pytest
from grpc import aio
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

_HTTP, _GRPC = os.environ["HTTP_SERVER"], os.environ["GRPC_SERVER"]
_AUTHORIZATION = "Bearer " + os.environ["ADMIN"]


class _Admin(aio.UnaryUnaryClientInterceptor):
    """Sends the token with every call."""

    async def intercept_unary_unary(self, continuation, details, request):
        metadata = aio.Metadata(*details.metadata or (), ("authorization", _AUTHORIZATION))
        return await continuation(details._replace(metadata=metadata), request)


class _Waiting:
    """What their own client is asked for before a batch is sent."""

    async def wait_until_ready(self):
        pass

    async def wait_until_model_ready(self, name):
        pass


@pytest.fixture
def model_registry():
    return None


@pytest.fixture
def sum_model(sum_model_settings):
    return SimpleNamespace(name="sum-model", version="1", settings=sum_model_settings)


@pytest.fixture
def echo_model():
    return SimpleNamespace(name="echo-model")


@pytest.fixture
async def inference_service_stub():
    async with aio.insecure_channel(_GRPC, interceptors=[_Admin()]) as channel:
        yield GRPCInferenceServiceStub(channel)


@pytest.fixture
async def rest_client(request):
    if "batch_processing" in str(request.path):
        yield _Waiting()
        return
    headers = {"authorization": _AUTHORIZATION}
    async with httpx.AsyncClient(base_url=f"http://{_HTTP}", headers=headers) as client:
        yield client


if "batch_processing" in __file__:

    @pytest.fixture
    def settings():
        host, _, port = _HTTP.rpartition(":")
        return SimpleNamespace(host=host, http_port=int(port))

    @pytest.fixture(autouse=True)
    def logger_setup():
        pass
