"""Which version of a model a request reaches that names none, and which get copies."""

from collections.abc import Callable, Collection
from functools import partial

from inference_service.core.requests import ModelRef
from inference_service.core.routing import PLAIN, Routing
from inference_service.engine.interfaces import ModelHandle
from inference_service.engine.shadow import Comparison, Shadowed


class Traffic:
    """The routing of each model, its promoted version, and the comparisons of its shadow."""

    def __init__(self) -> None:
        self._routings: dict[str, Routing] = {}
        self._defaults: dict[str, int] = {}
        self.comparisons: dict[ModelRef, Comparison] = {}
        self._unnamed = 0

    def route(self, name: str, routing: Routing | None, default: int | None) -> None:
        """None: it stays as it is."""
        if default is not None:
            self._defaults[name] = default
        if routing is None:
            return
        self._routings[name] = routing
        shadow = routing.shadow
        for ref in [ref for ref in self.comparisons if ref.name == name]:
            if shadow is None or shadow.version != ref.version:
                del self.comparisons[ref]

    def of(self, name: str) -> Routing:
        """A model's routing."""
        return self._routings.get(name, PLAIN)

    def default(self, name: str, versions: Collection[int]) -> int:
        """The version that answers where no weights are set; a shadow only where it is alone."""
        default = self._defaults.get(name)
        if default is not None and default in versions:
            return default
        shadow = self.of(name).shadow
        others = [one for one in versions if shadow is None or one != shadow.version]
        return max(others or versions)

    def chosen(self, name: str, client: str, versions: Collection[int]) -> int | None:
        """The version for a client by the weights; None where there are none."""
        routing = self.of(name)
        if not routing.weights:
            return None
        if not client:  # of unknown clients each request counts for itself
            self._unnamed += 1
            client = f"request {self._unnamed}"
        return routing.choose(client, versions)

    def share(self, name: str, version: int, versions: Collection[int]) -> float:
        """A version's share of the requests that name none."""
        weights = self.of(name).weights
        total = sum(weights.get(one, 0.0) for one in versions)
        if total:
            return weights.get(version, 0.0) / total
        return float(version == self.default(name, versions))

    def shadowed(
        self,
        found: ModelHandle,
        versions: Collection[int],
        find: Callable[[int], ModelHandle | None],
    ) -> Shadowed | None:
        """The version with its requests mirrored to ``find``'s; None where they are not to be."""
        shadow = self.of(found.info.name).shadow
        if shadow is None or shadow.version not in versions or found.info.version == shadow.version:
            return None
        ref = ModelRef(found.info.name, shadow.version)
        sums = self.comparisons.setdefault(ref, Comparison())
        return Shadowed(found, partial(find, shadow.version), shadow.share, sums)
