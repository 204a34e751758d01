"""Which version of a model answers a request that names none. Pure."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Shadow:
    """A ``share`` of the requests is also sent to ``version``; its answers are only compared."""

    version: int
    share: float


@dataclass(frozen=True, slots=True)
class Routing:
    """``weights`` are the shares of versions; empty: one version answers all, the highest."""

    weights: Mapping[int, float] = field(default_factory=dict)
    shadow: Shadow | None = None

    @property
    def versions(self) -> frozenset[int]:
        """Those that have to be loaded for it."""
        named = {version for version, weight in self.weights.items() if weight > 0}
        return frozenset(named | ({self.shadow.version} if self.shadow else set()))

    def choose(self, key: str, loaded: Collection[int]) -> int:
        """The version for a request of the client ``key``, of those that are loaded.

        A client always gets the same one while weights and versions stay; where weights change,
        only the clients of the difference move, as the shares follow each other in the order of
        versions. Versions that are not loaded leave their share to the others.
        """
        weights = [(v, w) for v, w in sorted(self.weights.items()) if v in loaded and w > 0]
        total = sum(weight for _, weight in weights)
        if not weights:
            return max(loaded)
        point = position(key) * total
        for version, weight in weights:
            point -= weight
            if point < 0:
                return version
        return weights[-1][0]


PLAIN = Routing()


def position(key: str) -> float:
    """Where a key lies in [0, 1): the same in every process and on every machine."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
