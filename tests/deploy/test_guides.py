"""What docs/clouds tells users to write is what the chart, the service and the modules take."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from inference_service import Service
from inference_service.settings import Settings
from tests.conftest import ROOT
from tests.deploy.charts import answers_of_helm
from tests.support import running

GUIDES = {page.stem: page.read_text() for page in (ROOT / "docs" / "clouds").glob("*.md")}
DIGEST = "sha256:" + "a" * 64
BY_TERRAFORM: dict[str, Any] = {
    "image": {"repository": "example.com/inference-service", "digest": DIGEST},
    "autoscaling": {"minReplicas": 2, "maxReplicas": 10, "metric": "rate", "targetRate": "300"},
    "security": {"keysSecret": "inference-keys", "anonymous": False},
    "serviceAccount": {"annotations": {"azure.workload.identity/client-id": "1"}},
    "podLabels": {"azure.workload.identity/use": "true"},
}
"""What deploy/terraform/kubernetes writes when everything is set."""


def block(guide: str, kind: str, mark: str) -> str:
    """The one block of a guide with this mark."""
    blocks = re.findall(rf"^```{kind}\n(.*?)^```", GUIDES[guide], re.MULTILINE | re.DOTALL)
    (found,) = [text for text in blocks if mark in text]
    return str(found)


@pytest.fixture(scope="module")
def rendered() -> dict[str, Any]:
    sets = {
        guide: yaml.safe_load(block(guide, "yaml", "# values.yaml"))
        for guide in ("aws", "google", "azure", "alibaba")
    }
    return answers_of_helm(sets | {"terraform": BY_TERRAFORM})


@pytest.mark.parametrize(
    ("guide", "annotation"),
    [
        ("aws", "eks.amazonaws.com/role-arn"),
        ("google", "iam.gke.io/gcp-service-account"),
        ("azure", "azure.workload.identity/client-id"),
        ("alibaba", "pod-identity.alibabacloud.com/role-name"),
        ("terraform", "azure.workload.identity/client-id"),
    ],
)
def test_a_guides_values_are_the_charts(
    guide: str, annotation: str, rendered: dict[str, Any]
) -> None:
    assert "error" not in rendered[guide], rendered[guide]
    by_kind = {found["kind"]: found for found in rendered[guide]["objects"]}
    assert annotation in by_kind["ServiceAccount"]["metadata"]["annotations"]


@pytest.mark.parametrize("guide", ["aws", "google", "alibaba"])
def test_the_load_balancer_is_admitted(guide: str, rendered: dict[str, Any]) -> None:
    (policy,) = [o for o in rendered[guide]["objects"] if o["kind"] == "NetworkPolicy"]
    assert any("ipBlock" in peer for rule in policy["spec"]["ingress"] for peer in rule["from"])


def test_gkes_policies_are_for_the_charts_service(rendered: dict[str, Any]) -> None:
    (service,) = [o for o in rendered["google"]["objects"] if o["kind"] == "Service"]
    for policy in yaml.safe_load_all(block("google", "yaml", "HealthCheckPolicy")):
        name = policy["spec"]["targetRef"]["name"]
        assert name.endswith("-inference-service")
        assert service["metadata"]["name"] in {"inference-service", name}


async def test_the_routes_of_azures_deployment_are_answered(zoo: Path) -> None:
    deployment = yaml.safe_load(block("azure", "yaml", "inference_config"))
    routes = deployment["environment"]["inference_config"]
    async with running(Service(Settings(models=zoo / "doubler"))) as client:
        for probe in ("liveness_route", "readiness_route"):
            assert routes[probe]["port"] == 8000
            assert (await client.get(routes[probe]["path"])).status_code == 200
        path = routes["scoring_route"]["path"].replace("scores", "doubler")
        assert (await client.post(path, json={"instances": [[1, 2, 3, 4]]})).status_code == 200
    settings = deployment["request_settings"]
    assert settings["max_concurrent_requests_per_instance"] > 1
    assert settings["request_timeout_ms"] / 1000 == Settings().limits.request_timeout


def test_the_json_of_eas_is_what_the_module_writes() -> None:
    config = json.loads(block("alibaba", "json", "containers"))
    module = (ROOT / "deploy/terraform/alibaba-pai-eas/main.tf").read_text()
    for key in (*config, *config["metadata"], *config["containers"][0], *config["storage"][0]):
        assert re.search(rf"\b{key} +=", module), key


def test_sagemakers_grace_period_fits_its_thirty_seconds() -> None:
    (grace,) = re.findall(r"SHUTDOWN__GRACE_PERIOD=(\d+)", GUIDES["aws"])
    assert Settings().shutdown.lame_duck + float(grace) < 30
