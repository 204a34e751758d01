"""The Envoy configuration that istiod would make of deploy/istio/mesh.yaml, for replicas on loopback.

Translated are: subsets, weights, matches of headers, timeouts, retries, the balancing policy, limits of
connections and outlier detection. Not: mutual TLS, tokens, access by identity, locality.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tests.conftest import ROOT

MESH = {
    found["kind"]: found["spec"]
    for found in yaml.safe_load_all((ROOT / "deploy" / "istio" / "mesh.yaml").read_text())
}
FAULTS = "http.abort.percent"
"""Runtime key: of how many requests to the faulty replica the network makes a 503."""


def envoy(
    admin: int, port: int, subsets: Mapping[str, Sequence[int]], faulty: tuple[int, int]
) -> dict[str, Any]:
    """``subsets`` are the ports of their replicas; ``faulty`` a port, and the replica behind it whose
    answers can be replaced by 503s, as Istio's ``fault.abort`` does."""
    rule = MESH["DestinationRule"]["trafficPolicy"]
    listeners = [_listener(port, _routes(), []), _listener(faulty[0], [_to("faulty")], [_abort()])]
    clusters = [_cluster(name, ports, rule) for name, ports in subsets.items()]
    clusters.append(_cluster("faulty", [faulty[1]], {}))
    layers = [
        {"name": "static", "static_layer": {FAULTS: 0}},
        {"name": "admin", "admin_layer": {}},
    ]
    return {
        "admin": {"address": _address(admin)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
        "layered_runtime": {"layers": layers},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _typed(name: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/envoy.{name}", **fields}


def _to(cluster: str) -> dict[str, Any]:
    return {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}


def _routes() -> list[dict[str, Any]]:
    return [_route(rule) for rule in MESH["VirtualService"]["http"]]


def _route(rule: dict[str, Any]) -> dict[str, Any]:
    headers = [
        {"name": name, "string_match": match}
        for one in rule.get("match", [])
        for name, match in one["headers"].items()
    ]
    weights = [
        {"name": one["destination"]["subset"], "weight": one.get("weight", 100)}
        for one in rule["route"]
    ]
    route: dict[str, Any] = {
        "weighted_clusters": {"clusters": weights},
        "timeout": rule["timeout"],
    }
    if retries := rule.get("retries"):
        route["retry_policy"] = {
            "num_retries": retries["attempts"],
            "retry_on": retries["retryOn"],
            # What istiod adds: another replica than the one that failed.
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": _typed(
                        "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                    ),
                }
            ],
            "host_selection_retry_max_attempts": 5,
        }
    return {"match": {"prefix": "/", "headers": headers}, "route": route}


def _listener(port: int, routes: list[Any], filters: list[Any]) -> dict[str, Any]:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": _typed("extensions.filters.http.router.v3.Router"),
    }
    manager = _typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=f"port-{port}",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        http_filters=[*filters, router],
    )
    name = "envoy.filters.network.http_connection_manager"
    chain = {"filters": [{"name": name, "typed_config": manager}]}
    return {"name": str(port), "address": _address(port), "filter_chains": [chain]}


def _abort() -> dict[str, Any]:
    percentage = {"numerator": 0, "denominator": "HUNDRED"}
    fault = _typed(
        "extensions.filters.http.fault.v3.HTTPFault",
        abort={"http_status": 503, "percentage": percentage},
        abort_percent_runtime=FAULTS,
    )
    return {"name": "envoy.filters.http.fault", "typed_config": fault}


def _cluster(name: str, ports: Sequence[int], rule: dict[str, Any]) -> dict[str, Any]:
    places = [{"endpoint": {"address": _address(port)}} for port in ports]
    cluster: dict[str, Any] = {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": places}]},
    }
    if not rule:
        return cluster
    pool, outliers = rule["connectionPool"], rule["outlierDetection"]
    cluster["lb_policy"] = rule["loadBalancer"]["simple"]
    cluster["connect_timeout"] = pool["tcp"]["connectTimeout"]
    limits = {
        "max_pending_requests": pool["http"]["http1MaxPendingRequests"],
        "max_requests": pool["http"]["http2MaxRequests"],
    }
    cluster["circuit_breakers"] = {"thresholds": [limits]}
    cluster["outlier_detection"] = {
        "consecutive_gateway_failure": outliers["consecutiveGatewayErrors"],
        "enforcing_consecutive_gateway_failure": 100,
        "consecutive_5xx": outliers["consecutive5xxErrors"],
        "interval": outliers["interval"],
        "base_ejection_time": outliers["baseEjectionTime"],
        "max_ejection_percent": outliers["maxEjectionPercent"],
        "enforcing_success_rate": 0,
    }
    return cluster
