"""What is behind a path and a head: the endpoint, the model, the codec.

The endpoints are those that FastAPI declares, found by the table of hot paths (`web.hot_paths`).
"""

from collections.abc import Mapping
from typing import Any

from inference_service.core.charset import is_utf8
from inference_service.core.errors import InferenceServiceError, ModelNotFound
from inference_service.core.requests import ModelRef
from inference_service.core.tensors import NonFinite
from inference_service.engine.interfaces import ModelInfo
from inference_service.serving.codec import Head
from inference_service.serving.quick import QuickDecode
from inference_service.web.body import check_length, read_head
from inference_service.web.endpoint import InferenceEndpoint
from inference_service.web.hot_paths import Target as Route
from inference_service.web.http1.head import Headers, check_site
from inference_service.web.http1.limits import ConnectionLimits
from inference_service.web.http1.refusal import Refused

LARGEST_BODY = 64 * 1024
"""Bytes. A larger body takes long to read and to decode: ASGI adds nothing to that."""


_MOST_VERSIONS = 4


class Target:
    """The endpoint of a path and the codec of its model, as long as the model stays the same."""

    __slots__ = ("_info", "_known", "_quick", "codec", "edge", "failure", "params", "ref", "route")

    def __init__(self, route: InferenceEndpoint, params: Mapping[str, str]) -> None:
        self.route = route
        self.params = dict(params)
        self.edge = route.edge
        self.codec = route.codec
        self.failure = route.binding.failure
        # The model where the path names it; None: it is to be found for each request.
        by_path = "model" in params and "label" not in params
        self.ref = route.binding.choose(self.params) if by_path else None
        self._info: ModelInfo | None = None
        self._quick: QuickDecode | None = None
        self._known: list[tuple[ModelInfo, QuickDecode | None]] = []

    def find_ref(self, body: bytes) -> ModelRef:
        """The model that a request is for. Raises an InferenceServiceError."""
        binding = self.route.binding
        ref = binding.choose(self.params)
        if ref is not None:
            return ref
        if binding.named_in is None:  # a binding has one or the other
            raise ModelNotFound("the request names no model")
        return binding.named_in(body)

    def quick(self, info: ModelInfo) -> QuickDecode | None:
        """The codec that is made for this model; None: there is none."""
        if info is self._info:
            return self._quick
        # Clients may be spread over a few versions: each keeps its codec.
        found = [known for known in self._known if known[0] is info]
        if not found:
            found = [(info, self.codec.quick(info))]
            self._known = [*found, *self._known[: _MOST_VERSIONS - 1]]
        self._info, self._quick = found[0]
        return self._quick


class HotHead:
    """All that a head says, once and for all, but for a request's id.

    ``length`` is the body's in bytes. ``plain``: a `Quick` codec may be asked. ``client`` is the
    client that a header names; "": the connection's address counts.
    """

    __slots__ = ("client", "head", "length", "plain", "target", "timeout")

    def __init__(self, target: Target, head: Head, length: int) -> None:
        self.target = target
        self.head = head
        self.length = length
        self.client = head.client
        self.timeout = head.timeout
        self.plain = head.non_finite is NonFinite.NULL


class Table:
    """Understands heads (`heads.Understand`): those of requests for one inference of JSON or
    tensors, as far as the endpoint itself would go on to read the body."""

    def __init__(self, routes: Mapping[str, Route], limits: ConnectionLimits) -> None:
        self._routes = routes
        self._limits = limits
        self._targets: dict[str, Target | None] = {}

    def forget(self) -> None:
        """The paths have changed."""
        self._targets.clear()

    def __call__(self, path: str, headers: Headers, length: int) -> HotHead | None:
        """See `heads.Understand`."""
        if path not in self._targets:
            self._targets[path] = self._target(path)
        target = self._targets[path]
        if target is None or length > LARGEST_BODY:
            return None
        edge = target.edge
        scope: dict[str, Any] = {"headers": headers}
        try:
            check_site(self._limits.sites, b"POST", dict(headers)[b"host"], headers)
            head = read_head(scope, edge.client_header, edge.non_finite)
            target.route.binding.check(head, None, target.params)
            check_length(length, edge.max_body_bytes)
            if not is_utf8(head.full_type):
                return None
        except (InferenceServiceError, Refused):  # the other way finds the words
            return None
        return HotHead(target, head, length)

    def _target(self, path: str) -> Target | None:
        found = self._routes.get(path)
        if found is None:
            return None
        endpoint, params = found
        return Target(endpoint, params) if isinstance(endpoint, InferenceEndpoint) else None
