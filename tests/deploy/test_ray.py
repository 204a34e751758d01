"""deploy/ray on a real cluster: several nodes, replicas of the service, one node killed under load."""

import contextlib
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from inference_service import Service
from inference_service.core.errors import ModelNotReady
from inference_service.platforms.discovery import Standing
from inference_service.platforms.routes import standing_of
from inference_service.settings import Settings
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


class Ray(ModuleType):
    """As much of Ray as deploy/ray/inference_app.py is imported with."""

    @staticmethod
    def deployment(**_: Any) -> Any:
        return lambda cls: cls

    @staticmethod
    def ingress() -> Any:
        def decorate(cls: Any) -> Any:
            cls.bind = lambda: None
            return cls

        return decorate


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Any:
    """deploy/ray/inference_app.py, imported without Ray."""
    ray = Ray("ray")
    ray.serve = ray  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delitem(sys.modules, "inference_app", raising=False)
    monkeypatch.syspath_prepend(ROOT / "deploy/ray")
    return importlib.import_module("inference_app")


async def messages(app: Any, service: Service) -> list[tuple[str, bool]]:
    """What is told when Ray starts and ends a replica, and whether the service was ready then."""
    told: list[tuple[str, bool]] = []
    asked = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, str]:
        return {"type": next(asked)}

    async def send(message: dict[str, str]) -> None:
        told.append((message["type"], standing_of(service.health) is Standing.UP))

    with contextlib.suppress(ModelNotReady):  # Starlette raises it again after it has told
        await app.Loaded(service)({"type": "lifespan", "state": {}}, receive, send)
    return told


async def test_a_replica_has_started_when_its_models_are_ready(app: Any, zoo: Path) -> None:
    service = Service(Settings(models=zoo / "doubler"))
    assert await messages(app, service) == [
        ("lifespan.startup.complete", True), ("lifespan.shutdown.complete", False),
    ]  # fmt: skip


async def test_a_replica_without_a_model_does_not_start(app: Any, tmp_path: Path) -> None:
    """Ray says why, and tries again; it would send requests to a replica that had started."""
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    service = Service(Settings(models=tmp_path))
    assert await messages(app, service) == [("lifespan.startup.failed", False)]


@pytest.mark.parametrize(("reserved", "cores"), [(2.0, 2), (3.5, 3), (0.0, None)])
def test_a_replica_plans_with_the_cores_that_ray_reserves(
    app: Any, reserved: float, cores: int | None
) -> None:
    assert app.replica_settings(reserved).runtime.cores == cores


def test_cores_that_are_set_take_precedence(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERENCE_SERVICE_RUNTIME__CORES", "1")
    assert app.replica_settings(4.0).runtime.cores == 1


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
