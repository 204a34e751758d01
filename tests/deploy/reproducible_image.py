"""The lean image, built twice without a cache: the same layers.

scripts/deploy-tests runs it: it takes too long for the suite.
"""

from collections.abc import Iterator

import pytest

from tests.containers import Containers, containers_with_a_base

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def containers() -> Iterator[Containers]:
    with containers_with_a_base() as made:
        yield made


def test_two_builds_give_the_same_layers(containers: Containers) -> None:
    found = []
    for _ in range(2):
        containers.build("lean", "--no-cache", "--timestamp", "0")
        found.append(containers.inspect("image", "inference-service:lean")["RootFS"]["Layers"])
    assert found[0] == found[1]
