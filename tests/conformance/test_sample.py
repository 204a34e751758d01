"""A part of the ONNX project's test suite: of each family of operators some, and what once failed.

All of it is served by `scripts/conformance`, whose tables are in docs/conformance.md.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.conformance.cases import Case, collect
from tests.conformance.families import ORDER, family
from tests.conformance.trial import Result, try_all

FORMERLY = (Path(__file__).parent / "formerly_failing.txt").read_text().split()
OF_EACH = 2  # operators of each family


def _sample(cases: list[Case]) -> Iterator[Case]:
    for name in ORDER:
        operators = {
            case.operator: case for case in reversed(cases) if family(case.operator) == name
        }
        yield from islice(operators.values(), OF_EACH)
    yield from (case for case in cases if case.name in FORMERLY)


@pytest.fixture(scope="module")
async def results(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    sample = list({case.name: case for case in _sample(collect())}.values())
    folder = tmp_path_factory.mktemp("suite")
    return [result async for result in try_all(sample, folder)]


def test_every_answer_is_the_suites_and_nobody_elses(results: list[Result]) -> None:
    faults = [(result.name, name, found) for result in results for name, found in result.faults]
    assert faults == []


def test_what_is_not_served_is_refused_by_name(results: list[Result]) -> None:
    refused = [result for result in results if result.outcome == "not loaded"]
    assert refused
    for result in refused:
        assert "supported are tensors of" in result.words, result


def test_the_sample_covers_every_family_and_former_failure(results: list[Result]) -> None:
    tried = {result.name for result in results}
    assert set(FORMERLY) <= tried
    assert {family(result.operator) for result in results} == set(ORDER) - {"others"}
    assert sum(result.outcome == "served" for result in results) > len(results) * 3 // 4
