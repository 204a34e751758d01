"""What SageMaker, Vertex AI and Spring ask for, with the requests that they document."""

from pathlib import Path

import pytest

from inference_service import Service
from inference_service.platforms.settings import PlatformSettings
from inference_service.settings import InvalidSettings, Settings, load_settings
from tests.support import asking, running


def service(zoo: Path, **wanted: bool) -> Service:
    return Service(Settings(models=zoo / "doubler", platforms=PlatformSettings(**wanted)))


async def test_sagemaker_pings_and_invokes(zoo: Path) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html"""
    made = service(zoo, sagemaker=True)
    async with asking(made.asgi) as early:
        assert (await early.get("/ping")).status_code == 503
    async with running(made) as client:
        ping = await client.get("/ping")
        assert (ping.status_code, ping.json()) == (200, {})
        body = {"instances": [[1.0, 2.0, 3.0, 4.0]]}
        headers = {"content-type": "application/json", "accept": "application/json"}
        found = await client.post("/invocations", json=body, headers=headers)
        same = await client.post("/predict", json=body)
        assert found.status_code == 200, found.text
        assert found.json() == same.json()
        assert found.json()["predictions"]


async def test_vertex_gives_the_paths(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements"""
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/v1/endpoints/1/deployedModels/2")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/v1/endpoints/1/deployedModels/2:predict")
    async with running(service(zoo, vertex=True)) as client:
        assert (await client.get("/v1/endpoints/1/deployedModels/2")).status_code == 200
        rows = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]
        body = {"instances": rows, "parameters": {"confidence": 0.5}}
        found = await client.post("/v1/endpoints/1/deployedModels/2:predict", json=body)
        assert found.status_code == 200, found.text
        assert len(found.json()["predictions"]) == 2


async def test_spring_reads_health_and_info(zoo: Path) -> None:
    """https://docs.spring.io/spring-boot/api/rest/actuator/health.html"""
    made = service(zoo, actuator=True)
    async with running(made) as client:
        health = await client.get("/actuator/health")
        assert health.json()["status"] == "UP"
        assert health.headers["content-type"] == "application/vnd.spring-boot.actuator.v3+json"
        info = (await client.get("/actuator/info")).json()
        assert {"name": "doubler", "version": 2} in info["models"]
        assert set((await client.get("/actuator")).json()["_links"]) == {"self", "health", "info"}
        made.health.leave()
        for path in ("/actuator/health", "/actuator/health/readiness"):
            found = await client.get(path)
            assert (found.status_code, found.json()["status"]) == (503, "OUT_OF_SERVICE")
        assert (await client.get("/actuator/health/liveness")).status_code == 200


async def test_nothing_of_it_is_there_unless_it_is_wanted(zoo: Path) -> None:
    async with running(service(zoo)) as client:
        for path in ("/ping", "/actuator", "/actuator/health", "/actuator/info"):
            assert (await client.get(path)).status_code == 404
        assert (await client.post("/invocations", json={})).status_code == 404


@pytest.mark.parametrize(
    ("platform", "variables", "port"),
    [
        ("SAGEMAKER", {}, 8080),
        ("SAGEMAKER", {"SAGEMAKER_BIND_TO_PORT": "9001"}, 9001),
        ("VERTEX", {"AIP_HTTP_PORT": "9002"}, 9002),
        ("VERTEX", {}, 8000),
        ("VERTEX", {"AIP_HTTP_PORT": "9002", "INFERENCE_SERVICE_PORT": "9003"}, 9003),
    ],
)
def test_the_platforms_port_holds_unless_one_is_set(
    platform: str, variables: dict[str, str], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"INFERENCE_SERVICE_PLATFORMS__{platform}", "true")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load_settings().port == port


def test_a_port_that_is_none_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERENCE_SERVICE_PLATFORMS__VERTEX", "true")
    monkeypatch.setenv("AIP_HTTP_PORT", "http")
    with pytest.raises(InvalidSettings, match="AIP_HTTP_PORT: expected a port, got 'http'"):
        load_settings()


def test_keys_and_a_platform_that_sends_none_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERENCE_SERVICE_PLATFORMS__SAGEMAKER", "true")
    monkeypatch.setenv("INFERENCE_SERVICE_SECURITY__KEYS_FILE", "/keys.toml")
    with pytest.raises(InvalidSettings, match="passes no key on"):
        load_settings()
