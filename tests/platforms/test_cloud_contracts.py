"""What the clouds' serving platforms send to a container, as their documentation has it."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from inference_service import Service
from inference_service.cli import main
from inference_service.platforms.settings import PlatformSettings
from inference_service.settings import Settings, load_settings
from tests.conftest import ROOT
from tests.onnx_models import FLOAT, build, save
from tests.security.test_access import KEYS
from tests.support import asking, running


@pytest.fixture
def half_plus_two(tmp_path: Path) -> Path:
    """The model of Azure's example: x / 2 + 2 for each number."""
    model = build(
        [
            helper.make_node("Mul", ["x", "half"], ["scaled"]),
            helper.make_node("Add", ["scaled", "two"], ["y"]),
        ],
        [("x", FLOAT, ["batch"])],
        [("y", FLOAT, ["batch"])],
        half=np.float32(0.5),
        two=np.float32(2),
    )
    return save(model, tmp_path / "half_plus_two" / "model.onnx").parent


async def test_azure_ml_probes_and_scores_by_the_routes_of_its_example(half_plus_two: Path) -> None:
    """https://learn.microsoft.com/azure/machine-learning/how-to-deploy-custom-container: the routes of
    its TensorFlow Serving example, its sample request, and the headers of an online endpoint."""
    service = Service(Settings(models=half_plus_two))
    async with asking(service.asgi) as early:
        assert (await early.get("/v1/models/half_plus_two")).status_code != 200
    headers = {"authorization": "Bearer endpoint-key", "azureml-model-deployment": "blue"}
    async with running(service) as client:
        assert (await client.get("/v1/models/half_plus_two")).status_code == 200
        found = await client.post(
            "/v1/models/half_plus_two:predict", json={"instances": [1.0, 2.0, 5.0]}, headers=headers
        )
        assert found.json() == {"predictions": [2.5, 3.0, 4.5]}


async def test_pai_eas_passes_its_token_on(zoo: Path) -> None:
    """https://www.alibabacloud.com/help/en/pai/: clients send the service's token as Authorization, by
    itself. Without keys of its own the service takes it for nothing."""
    async with running(Service(Settings(models=zoo / "doubler"))) as client:
        body = {"instances": [[1.0, 2.0, 3.0, 4.0]]}
        headers = {"authorization": "YWJjZGVmZ2hpamtsbW5vcA=="}
        found = await client.post("/v1/models/doubler:predict", json=body, headers=headers)
        assert found.status_code == 200, found.text


async def test_sagemaker_adds_headers_and_reads_a_ping_without_content(zoo: Path) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html: containers
    "must be able to safely ignore these additional headers"."""
    service = Service(Settings(models=zoo / "doubler", platforms=PlatformSettings(sagemaker=True)))
    async with running(service) as client:
        assert (await client.get("/ping")).status_code == 200
        found = await client.post(
            "/invocations",
            json={"instances": [[1.0, 2.0, 3.0, 4.0]]},
            headers={
                "accept": "*/*",
                "x-amzn-sagemaker-custom-attributes": "trace=1",
                "x-amzn-sagemaker-target-variant": "AllTraffic",
            },
        )
        assert (found.status_code, found.headers["content-type"]) == (200, "application/json")


def test_sagemaker_starts_the_image_with_the_argument_serve() -> None:
    """``docker run IMAGE serve``, where the image's ENTRYPOINT is the command."""
    assert "serve" in main.commands
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["inference-service"]' in dockerfile


async def test_vertex_sends_health_checks_before_the_model_is_there(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements: a server that
    isn't ready answers the health route with anything but 200."""
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/health")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/predict-here")
    service = Service(Settings(models=zoo / "doubler", platforms=PlatformSettings(vertex=True)))
    async with asking(service.asgi) as early:
        assert (await early.get("/health")).status_code == 503
    async with running(service) as client:
        assert (await client.get("/health")).status_code == 200
        found = await client.post("/predict-here", json={"instances": [[1.0, 2.0, 3.0, 4.0]]})
        assert set(found.json()) >= {"predictions"}
        wrong = await client.post("/predict-here", json={"rows": []})
        assert wrong.status_code == 400


@pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/health/live"])
async def test_probes_of_container_platforms_need_no_key(zoo: Path, path: str) -> None:
    """Load balancers of ECS, Cloud Run, Container Apps, GKE, AKS and ACK send no credentials; ACK's ALB
    asks with HEAD."""
    async with running(Service(KEYS.settings(zoo / "doubler"))) as client:
        assert (await client.get("/models")).status_code == 401
        for method in ("GET", "HEAD"):
            assert (await client.request(method, path)).status_code == 200


def test_cloud_runs_port_is_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """deploy/terraform/google-cloud-run asks for 8000, which is the default; PORT itself is not read."""
    monkeypatch.setenv("PORT", "8080")
    assert load_settings().port == 8000
