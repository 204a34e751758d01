"""The manifests against the schemas of Kubernetes, and against what the service really offers."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from inference_service.settings import load_settings
from tests.conftest import ROOT, RunningServer

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
MANIFESTS: dict[str, Any] = {
    name: yaml.safe_load((FOLDER / name).read_text()) for name in KUSTOMIZATION["resources"]
}


@pytest.mark.parametrize("name", sorted(MANIFESTS))
@pytest.mark.parametrize("version", ["1.29", "1.32"])
def test_every_manifest_fits_its_schema(name: str, version: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def test_every_file_is_in_the_kustomization() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(MANIFESTS)


def container() -> Any:
    (only,) = MANIFESTS["deployment.yaml"]["spec"]["template"]["spec"]["containers"]
    return only


def test_the_manifests_refer_to_each_other() -> None:
    deployment = MANIFESTS["deployment.yaml"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        MANIFESTS["service.yaml"]["spec"]["selector"],
        MANIFESTS["pdb.yaml"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    assert MANIFESTS["hpa.yaml"]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    ports = {port["name"] for port in container()["ports"]}
    assert MANIFESTS["service.yaml"]["spec"]["ports"][0]["targetPort"] in ports
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    assert {m["name"] for m in container()["volumeMounts"]} == {v["name"] for v in volumes}


def test_the_configuration_is_one_that_the_service_takes(tmp_path: Any) -> None:
    file = tmp_path / "service.toml"
    file.write_text(MANIFESTS["configmap.yaml"]["data"]["service.toml"])
    settings = load_settings(file)
    assert settings.port == container()["ports"][0]["containerPort"]
    patience = MANIFESTS["deployment.yaml"]["spec"]["template"]["spec"][
        "terminationGracePeriodSeconds"
    ]
    assert patience > settings.shutdown.lame_duck + settings.shutdown.grace_period
    noticing = container()["readinessProbe"]
    assert settings.shutdown.lame_duck > noticing["periodSeconds"] * noticing["failureThreshold"]


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_the_probes_ask_paths_that_exist(server: RunningServer, probe: str) -> None:
    import requests

    path = container()[probe]["httpGet"]["path"]
    assert requests.get(server.url + path, timeout=20).status_code == 200


def test_the_container_has_no_more_rights_than_it_needs() -> None:
    rights = container()["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert MANIFESTS["deployment.yaml"]["spec"]["template"]["spec"]["securityContext"][
        "runAsNonRoot"
    ]
