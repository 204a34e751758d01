"""The service as a deployment of Ray Serve: ``serve run serve.yaml``, here or from an image.

Ray places the replicas, restarts them and decides how many there are. Everything else is done by
the service inside a replica, batching included: there must be no ``@serve.batch`` around it.
Settings are the environment's (``INFERENCE_SERVICE_*``, docs/configuration.md): serve.yaml gives
them.
"""

from typing import Any

import ray
from ray import serve

from inference_service import Service
from inference_service.settings import Settings, load_settings


def replica_settings(reserved_cores: float) -> Settings:
    """The settings of the environment, with no more cores than Ray has reserved for the replica.

    Without this each replica would plan with all cores of its node. Raises InvalidSettings.
    """
    settings = load_settings()
    if settings.runtime.cores is not None or reserved_cores < 1:
        return settings
    runtime = settings.runtime.model_copy(update={"cores": int(reserved_cores)})
    return settings.model_copy(update={"runtime": runtime})


class Loaded:
    """The service's ASGI application; its start ends when the models are ready.

    Ray sends requests to a replica as soon as its start has ended, and knows no readiness beside.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass requests on, and hold the message that ends the start back."""
        if scope["type"] != "lifespan":
            await self._service.asgi(scope, receive, send)
            return

        async def send_when_loaded(message: Any) -> None:
            if message["type"] == "lifespan.startup.complete":
                await self._service.loaded()
                self._service.health.check()
            await send(message)

        await self._service.asgi(scope, receive, send_when_loaded)


@serve.deployment(max_ongoing_requests=256, health_check_period_s=5, graceful_shutdown_timeout_s=60)
@serve.ingress()
class InferenceService:
    """One replica. serve.yaml explains and overrides the options above."""

    def __init__(self) -> None:
        reserved = ray.get_runtime_context().get_assigned_resources().get("CPU", 0.0)
        self._service = Service(replica_settings(reserved))

    def __serve_build_asgi_app__(self) -> Loaded:
        """Called by Ray, which then runs the lifespan."""
        return Loaded(self._service)

    async def check_health(self) -> None:
        """What /v2/health/ready says. Raises: Ray replaces the replica after three times."""
        self._service.health.check()


app = InferenceService.bind()
