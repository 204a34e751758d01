"""deploy/ray on a real cluster: several nodes, replicas of the service, one node killed under load."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tools import TOOLS

ROOT = Path(__file__).parent.parent.parent
RAY = TOOLS / "ray" / "bin" / "python"
CONFIG = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())


@pytest.fixture(scope="module")
def found() -> Any:
    """What tests/deploy/ray_cluster.py has found."""
    if not RAY.exists():
        pytest.skip("not run: no environment with Ray (scripts/ray-tests makes it)")
    if os.geteuid() != 0:
        pytest.skip("not run: needs root, for a network namespace")
    script = f"ip link set lo up && exec {RAY} {ROOT / 'tests/deploy/ray_cluster.py'}"
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "deploy/ray")])
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script],
        env={**os.environ, "PYTHONPATH": paths, "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    sys.stdout.write(json.dumps(answer, indent=1) + "\n")
    return answer


def test_replicas_are_on_different_nodes_and_answer(found: Any) -> None:
    assert found["nodes"] == 2
    assert set(found["ray"]["1"]["counts"]) == {"200"}


def test_load_brings_another_replica_and_loses_no_request(found: Any) -> None:
    assert found["scaled_s"] < 60
    assert set(found["scaling"]) == {"200"}


def test_replicas_of_a_killed_node_are_restored(found: Any) -> None:
    killed = found["killed"]
    assert killed["lost"] == 1
    assert killed["restored_s"] < 60
    failed = sum(count for status, count in killed["counts"].items() if status != "200")
    assert failed <= 3 * 8, "no more than were under way, with a few repetitions, for eight clients"
    assert set(killed["afterwards"]) == {"200"}


def test_an_update_replaces_every_replica_and_loses_no_request(found: Any) -> None:
    assert set(found["updated"]["counts"]) == {"200"}


def test_nothing_batches_around_the_service() -> None:
    assert "serve.batch(" not in (ROOT / "deploy/ray/inference_app.py").read_text()


def test_ray_waits_longer_for_a_replica_than_the_service_drains() -> None:
    application = CONFIG["applications"][0]
    grace = float(
        application["runtime_env"]["env_vars"]["INFERENCE_SERVICE_SHUTDOWN__GRACE_PERIOD"]
    )
    assert application["deployments"][0]["graceful_shutdown_timeout_s"] > grace


def test_kuberays_manifest_has_the_same_configuration() -> None:
    service = yaml.safe_load((ROOT / "deploy/ray/rayservice.yaml").read_text())["spec"]
    assert yaml.safe_load(service["serveConfigV2"]) == CONFIG
    (deployment,) = CONFIG["applications"][0]["deployments"]
    worker = service["rayClusterConfig"]["workerGroupSpecs"][0]
    pod = worker["template"]["spec"]
    cores = float(pod["containers"][0]["resources"]["limits"]["cpu"])
    assert cores == deployment["ray_actor_options"]["num_cpus"], "a replica on each worker"
    assert worker["maxReplicas"] == deployment["autoscaling_config"]["max_replicas"]
    assert pod["terminationGracePeriodSeconds"] > deployment["graceful_shutdown_timeout_s"]
