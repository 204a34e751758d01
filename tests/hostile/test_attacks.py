"""Every attack at small sizes: a refusal that costs little and grows no faster than its size."""

from collections.abc import Iterator

import pytest

from tests.conftest import RunningServer, serving
from tests.hostile.__main__ import SERVED, models, target_of
from tests.hostile.attacks import ATTACKS, Attack
from tests.hostile.measuring import cpu_seconds, family, resident

MEMORY = 64 * 2**20
ANSWERS = {
    "200", "400", "404", "413", "415", "431", "503", "504", "closed", "no answer",
    "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED",
}  # fmt: skip
"""Never 500: what a client sends is no fault of the service."""
NOISE = 0.1
"""CPU seconds that are nothing: quadratic work takes seconds at these sizes."""


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serving(models(tmp_path_factory.mktemp("attacked")), **SERVED) as running:
        yield running


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_costs_no_more_than_its_size(attacked: RunningServer, attack: Attack) -> None:
    pid, costs = attacked.process.pid, []
    before = resident(family(pid))
    for size in attack.small:
        used = cpu_seconds(pid)
        outcome = attack.send(target_of(attacked), size)
        costs.append(cpu_seconds(pid) - used)
        assert outcome in ANSWERS
    few, many = attack.small[0], attack.small[-1]
    assert costs[-1] <= 1.5 * max(costs[0], NOISE) * max(many / few, 1)
    assert costs[-1] < 2
    sent = attack.bytes_each * many
    assert resident(family(pid)) - before <= max(16 * sent, 2 * MEMORY)
