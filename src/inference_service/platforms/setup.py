"""From settings to the registration with discovery servers."""

from collections.abc import Callable
from socket import gethostname

from inference_service._version import __version__
from inference_service.platforms.discovery import (
    Consul,
    Discovery,
    Eureka,
    Instance,
    Membership,
    Standing,
)
from inference_service.platforms.registration import Registration
from inference_service.settings import InvalidSettings, Settings


def registration(settings: Settings, standing: Callable[[], Standing]) -> Registration:
    """The one that the settings ask for; without any server it does nothing.
    Raises InvalidSettings.
    """
    wanted = settings.platforms.registration
    servers: list[Discovery] = []
    if wanted.consul:
        token = wanted.consul_token
        servers.append(Consul(wanted.consul, token.get_secret_value() if token else ""))
    if wanted.eureka:
        servers.append(Eureka(wanted.eureka))
    port = wanted.port or settings.port
    if servers and not port:
        raise InvalidSettings(
            "platforms.registration: clients must be told a port, and port is 0 (any free one): "
            "set port, or platforms.registration.port"
        )
    instance = Instance(
        wanted.name,
        wanted.host or gethostname(),
        port,
        __version__,
        wanted.interval,
        secure=settings.security.tls.certificate is not None,
    )
    return Registration([Membership(server, instance) for server in servers], standing)
