"""A sample of the cross-checks: node tests and random graphs. `tests.safety.crosscheck` runs all."""

import pytest

from inference_service.safety import Status
from tests.safety.crosscheck import Summary, checked, fuzz_material, node_material
from tests.safety.derived import derived
from tests.safety.node_tests import Case as Material
from tests.safety.test_directed import CASES


def told(summary: Summary) -> list[str]:
    return [text for text, _ in (*summary.faults, *summary.wrong_blames)]


def test_what_is_proven_of_random_graphs_holds_and_who_is_blamed_mixes() -> None:
    summary = checked(fuzz_material(range(60)), blames=True)
    assert told(summary) == []
    assert summary.verdicts[Status.PROVEN] > 5
    assert summary.blames["right"] > 10


@pytest.mark.parametrize("part", range(4))
def test_what_is_proven_of_the_node_tests_holds_and_who_is_blamed_mixes(part: int) -> None:
    summary = checked(node_material(most=8, step=40, start=part), blames=True)
    assert told(summary) == []
    assert summary.compared > 20


def test_what_is_proven_of_derived_cases_holds() -> None:
    cases = (Material(case.name, case.model, case.examples) for case in derived(CASES))
    summary = checked(cases)
    assert told(summary) == []
    assert summary.verdicts[Status.PROVEN] > 10
