"""What is said to discovery servers, and when. Pure: it makes calls for others to send.

Consul: https://developer.hashicorp.com/consul/api-docs/agent/service and .../agent/check
Eureka: https://github.com/Netflix/eureka/wiki/Eureka-REST-operations
"""

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Protocol
from urllib.parse import quote

TICK = 0.5
"""Seconds after which a change of the service's state is noticed."""
_MISSED = 3
"""Heartbeats that may be missed before an instance counts as gone."""


class Standing(Enum):
    """What clients should think of an instance."""

    STARTING = "starting"
    UP = "up"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class Instance:
    """One running service. ``interval`` is seconds between heartbeats."""

    name: str
    host: str
    port: int
    version: str
    interval: float
    secure: bool = False

    @property
    def id(self) -> str:
        """The same after a restart: a new registration replaces the former one."""
        return f"{self.host}:{self.name}:{self.port}"

    @property
    def url(self) -> str:
        """The root of its paths."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Call:
    """A request for a discovery server."""

    method: str
    url: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Discovery(Protocol):
    """A discovery server's protocol."""

    def register(self, instance: Instance, standing: Standing) -> Call:
        """Make the instance known, or replace what is known of it."""

    def beat(self, instance: Instance, standing: Standing) -> Call:
        """Say that it lives and how it stands."""

    def leave(self, instance: Instance) -> Call:
        """Make it unknown."""


class Consul:
    """An agent of Consul, with a check that the service itself keeps passing (TTL)."""

    _status: ClassVar = {
        Standing.UP: "passing",
        Standing.STARTING: "critical",
        Standing.LEAVING: "critical",
    }

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url.rstrip("/")
        self._headers = {"X-Consul-Token": token} if token else {}

    def register(self, instance: Instance, standing: Standing) -> Call:
        """PUT /v1/agent/service/register."""
        patience = max(60.0, 10 * instance.interval)  # Consul's minimum is a minute
        return self._put("service/register?replace-existing-checks=true", {
            "ID": instance.id,
            "Name": instance.name,
            "Address": instance.host,
            "Port": instance.port,
            "Tags": ["onnx", f"version={instance.version}"],
            "Meta": {"version": instance.version, "secure": str(instance.secure).lower()},
            "Check": {
                "CheckID": f"service:{instance.id}",
                "TTL": f"{_MISSED * instance.interval:g}s",
                "Status": self._status[standing],
                "DeregisterCriticalServiceAfter": f"{patience:g}s",
            },
        })  # fmt: skip

    def beat(self, instance: Instance, standing: Standing) -> Call:
        """PUT /v1/agent/check/update/:check_id."""
        body = {"Status": self._status[standing], "Output": standing.value}
        return self._put(f"check/update/service:{quote(instance.id, safe=':')}", body)

    def leave(self, instance: Instance) -> Call:
        """PUT /v1/agent/service/deregister/:service_id."""
        return self._put(f"service/deregister/{quote(instance.id, safe=':')}", None)

    def _put(self, path: str, body: Any) -> Call:
        content = b"" if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self._headers}
        return Call("PUT", f"{self._url}/v1/agent/{path}", content, headers)


class Eureka:
    """A Eureka server."""

    _status: ClassVar = {
        Standing.UP: "UP", Standing.STARTING: "STARTING", Standing.LEAVING: "OUT_OF_SERVICE"
    }  # fmt: skip

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def register(self, instance: Instance, standing: Standing) -> Call:
        """POST /apps/APP."""
        root = instance.url
        plain: dict[str, Any] = {"$": instance.port, "@enabled": "true"}
        secure: dict[str, Any] = {"$": 443, "@enabled": "false"}
        if instance.secure:
            plain = {"$": 80, "@enabled": "false"}
            secure = {"$": instance.port, "@enabled": "true"}
        body = {"instance": {
            "instanceId": instance.id,
            "app": instance.name.upper(),
            "hostName": instance.host,
            "ipAddr": instance.host,
            "vipAddress": instance.name,
            "secureVipAddress": instance.name,
            "status": self._status[standing],
            "port": plain,
            "securePort": secure,
            "homePageUrl": f"{root}/",
            "statusPageUrl": f"{root}/v2",
            "healthCheckUrl": f"{root}/v2/health/ready",
            "dataCenterInfo": {
                "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn",
            },
            "leaseInfo": {
                "renewalIntervalInSecs": max(1, round(instance.interval)),
                "durationInSecs": max(3, round(_MISSED * instance.interval)),
            },
            "metadata": {"version": instance.version, "management.context-path": "/actuator"},
        }}  # fmt: skip
        headers = {"Content-Type": "application/json"}
        return Call("POST", self._app(instance), json.dumps(body).encode(), headers)

    def beat(self, instance: Instance, standing: Standing) -> Call:
        """PUT /apps/APP/ID with the standing."""
        return Call("PUT", f"{self._own(instance)}?status={self._status[standing]}")

    def leave(self, instance: Instance) -> Call:
        """DELETE /apps/APP/ID."""
        return Call("DELETE", self._own(instance))

    def _app(self, instance: Instance) -> str:
        return f"{self._url}/apps/{instance.name.upper()}"

    def _own(self, instance: Instance) -> str:
        return f"{self._app(instance)}/{quote(instance.id, safe=':')}"


class Membership:
    """When an instance has to tell a discovery server something.

    Ask `due` for the next call; tell `answered` what became of it.
    """

    def __init__(self, discovery: Discovery, instance: Instance) -> None:
        self._discovery = discovery
        self._instance = instance
        self._registered = False
        self._told = Standing.LEAVING  # of what was told last
        self._next = 0.0  # the time of the next heartbeat
        self._asked = Standing.STARTING

    def due(self, standing: Standing, now: float) -> Call | None:
        """What to say now, if anything. ``now`` is in seconds of a monotonic clock."""
        if standing is Standing.LEAVING:
            return self._discovery.leave(self._instance) if self._registered else None
        changed = self._registered and standing is not self._told
        if not changed and now < self._next:
            return None
        self._asked = standing
        tell = self._discovery.beat if self._registered else self._discovery.register
        return tell(self._instance, standing)

    def answered(self, status: int | None, now: float) -> None:
        """The status of the answer to the call before; None: there was none.

        A server that has restarted knows the instance no more and says so (404): it is registered
        again at once.
        """
        fine = status is not None and status < 300
        if fine:
            self._registered, self._told = True, self._asked
        elif status is not None:
            again = self._registered
            self._registered = False
            if again:
                self._next = now
                return
        self._next = now + self._instance.interval

    def left(self) -> None:
        """Nothing more is said until the next registration."""
        self._registered = False
