"""The chart, rendered by the real Helm engine with several value sets, against what it must hold."""

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import promql_parser
import pytest
import yaml

from inference_service.settings import load_settings
from tests.conftest import ROOT
from tests.deploy.charts import CHART, answers_of_helm

SETS = {path.stem: yaml.safe_load(path.read_text()) or {} for path in CHART.glob("ci/*.yaml")}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown value": ({"replica": 3}, "replica"),
    "a tag that is no digest": ({"image": {"digest": "latest"}}, "digest"),
    "a claim without a name": ({"models": {"source": "claim"}}, "models.claim.name"),
    "no access at all": ({"security": {"anonymous": False}}, "security.keysSecret"),
    "an autoscaler that can't start from zero": (
        {"autoscaling": {"kind": "keda", "minReplicas": 0, "metric": "saturation"}},
        "activationQuery",
    ),
    "a rate without a target": ({"autoscaling": {"metric": "rate"}}, "targetRate"),
    "KEDA by CPU": ({"autoscaling": {"kind": "keda"}}, "metric=rate"),
    "zero replicas of the HPA": ({"autoscaling": {"minReplicas": 0}}, "kind=keda"),
    "probes without a certificate": (
        {"settings": {"security": {"tls": {"client_certificates": "required"}}}},
        "client_certificates",
    ),
    "a backup of nothing": ({"backup": {"enabled": True, "destination": ":s3:b"}}, "models.source"),
}
KUBERNETES = ("1.28", "1.32", "1.36")
BUILT_IN = {"v1", "apps/v1", "batch/v1", "policy/v1", "autoscaling/v2", "networking.k8s.io/v1"}
CUSTOM = {"Certificate", "HTTPRoute", "PrometheusRule", "ScaledObject", "ServiceMonitor"}


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    return answers_of_helm(SETS | {name: values for name, (values, _) in WRONG.items()})


def objects(answers: dict[str, Any], name: str, kind: str = "") -> list[Any]:
    assert "error" not in answers[name], answers[name]["error"]
    return [found for found in answers[name]["objects"] if kind in {"", found["kind"]}]


def only(answers: dict[str, Any], name: str, kind: str) -> Any:
    (found,) = objects(answers, name, kind)
    return found


def pods(answers: dict[str, Any], name: str) -> list[Any]:
    jobs = [job["spec"]["jobTemplate"]["spec"] for job in objects(answers, name, "CronJob")]
    owners = jobs + [found["spec"] for found in objects(answers, name, "Deployment")]
    return [owner["template"]["spec"] for owner in owners]


def containers(pod: Any) -> list[Any]:
    found: list[Any] = pod["containers"] + pod.get("initContainers", [])
    return found


def test_helm_finds_no_fault(answers: dict[str, Any]) -> None:
    assert answers["lint"] == []


@pytest.mark.parametrize("name", sorted(SETS))
def test_every_object_fits_the_schemas_of_several_versions(
    answers: dict[str, Any], name: str
) -> None:
    for found in objects(answers, name):
        if found["apiVersion"] not in BUILT_IN:
            assert found["kind"] in CUSTOM, "scripts/deploy-tests checks it against its CRD"
            continue
        for version in KUBERNETES:
            kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize("wrong", sorted(WRONG))
def test_values_that_can_not_work_are_refused_by_name(answers: dict[str, Any], wrong: str) -> None:
    assert WRONG[wrong][1] in answers[wrong]["error"]


@pytest.mark.parametrize("name", sorted(SETS))
def test_the_settings_are_ones_that_the_service_takes(
    answers: dict[str, Any], name: str, tmp_path: Path
) -> None:
    (settings,) = (
        found for found in objects(answers, name, "ConfigMap") if "service.toml" in found["data"]
    )
    file = tmp_path / "service.toml"
    file.write_text(settings["data"]["service.toml"])
    loaded = load_settings(file)
    pod = pods(answers, name)[-1]
    assert loaded.port == pod["containers"][0]["ports"][0]["containerPort"]
    leaving = loaded.shutdown.lame_duck + loaded.shutdown.grace_period
    assert leaving + 5 <= pod["terminationGracePeriodSeconds"] <= leaving + 10
    probe = pod["containers"][0]["readinessProbe"]
    assert loaded.shutdown.lame_duck > probe["periodSeconds"] * probe["failureThreshold"]
    assert loaded.security.access_control or loaded.security.anonymous


def test_values_reach_the_settings(answers: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "service.toml"
    data = objects(answers, "production", "ConfigMap")[0]["data"]
    file.write_text(data["service.toml"])
    loaded = load_settings(file)
    assert loaded.batching.max_batch_size == 64
    assert loaded.limits.max_body_bytes == 32 * 2**20
    assert (loaded.shutdown.lame_duck, loaded.shutdown.grace_period) == (7.5, 20)
    assert str(loaded.security.keys_file) == "/etc/keys/keys.toml"
    assert loaded.grpc.port == 9000


@pytest.mark.parametrize("name", sorted(SETS))
def test_pods_fit_the_restricted_standard(answers: dict[str, Any], name: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and more."""
    for pod in pods(answers, name):
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for volume in pod["volumes"]:
            allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
            assert set(volume) - {"name"} <= allowed
        for container in containers(pod):
            rights = container["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False
            assert rights["readOnlyRootFilesystem"] is True
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert {"memory", "cpu"} <= set(container["resources"]["limits"])
            assert {m["name"] for m in container["volumeMounts"]} <= {
                volume["name"] for volume in pod["volumes"]
            }


@pytest.mark.parametrize("name", sorted(SETS))
def test_objects_select_the_pods(answers: dict[str, Any], name: str) -> None:
    deployment = only(answers, name, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    selectors = [deployment["spec"]["selector"]["matchLabels"]]
    selectors.append(only(answers, name, "Service")["spec"]["selector"])
    budgets = objects(answers, name, "PodDisruptionBudget")
    monitors = objects(answers, name, "ServiceMonitor")
    selectors += [found["spec"]["selector"]["matchLabels"] for found in budgets + monitors]
    policies = objects(answers, name, "NetworkPolicy")
    selectors += [found["spec"]["podSelector"]["matchLabels"] for found in policies]
    assert all(selector.items() <= labels for selector in selectors)
    ports = {
        port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]
    }
    assert {port["targetPort"] for port in only(answers, name, "Service")["spec"]["ports"]} == ports


def test_only_one_thing_decides_the_number_of_replicas(answers: dict[str, Any]) -> None:
    for name in SETS:
        fixed = "replicas" in only(answers, name, "Deployment")["spec"]
        scalers = objects(answers, name, "HorizontalPodAutoscaler")
        scalers += objects(answers, name, "ScaledObject")
        assert fixed + len(scalers) == 1


def test_no_egress_but_where_something_is_fetched(answers: dict[str, Any]) -> None:
    assert only(answers, "default", "NetworkPolicy")["spec"]["egress"] == []
    (rule,) = only(answers, "scale-to-zero", "NetworkPolicy")["spec"]["egress"]
    assert {port["port"] for port in rule["ports"]} == {53, 443}


def test_the_query_of_keda_is_promql(answers: dict[str, Any]) -> None:
    triggers = only(answers, "scale-to-zero", "ScaledObject")["spec"]["triggers"]
    for trigger in triggers:
        promql_parser.parse(trigger["metadata"]["query"])
    assert [trigger["name"] for trigger in triggers] == ["rate", "activation"]


def test_the_rules_and_dashboards_are_those_of_the_repository(answers: dict[str, Any]) -> None:
    files = sorted((ROOT / "deploy" / "prometheus").glob("*.yml"))
    groups = [yaml.safe_load(file.read_text()).get("groups") for file in files]
    rendered = objects(answers, "production", "PrometheusRule")
    assert [rule["spec"]["groups"] for rule in rendered] == [group for group in groups if group]
    dashboards = {path.name: path for path in (ROOT / "deploy" / "grafana").rglob("*.json")}
    (mapped,) = (
        found["data"]
        for found in objects(answers, "production", "ConfigMap")
        if found["metadata"]["name"].endswith("-dashboards")
    )
    assert set(mapped) == set(dashboards)
    for name, text in mapped.items():
        assert json.loads(text) == json.loads(dashboards[name].read_text())
    assert sum(map(len, mapped.values())) < 1_000_000, "a ConfigMap holds a mebibyte"


def test_the_rule_of_the_adapter_is_promql() -> None:
    values = yaml.safe_load((ROOT / "deploy" / "prometheus-adapter" / "values.yaml").read_text())
    rules = values["rules"]["custom"]
    assert {rule["name"]["as"] for rule in rules} == {"inference_saturation", "inference_rate"}
    for rule in rules:
        query = rule["metricsQuery"].replace("<<.GroupBy>>", "pod")
        query = query.replace("<<.Series>>", "inference_requests_total")
        promql_parser.parse(query.replace("<<.LabelMatchers>>", 'pod="a"'))
        promql_parser.parse(rule["seriesQuery"])
