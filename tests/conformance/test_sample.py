"""A part of the ONNX project's test suite: of each family of operators some, and what once failed.

All of it is served by `scripts/conformance`, whose tables are in docs/conformance.md.
"""

import asyncio
from pathlib import Path

import pytest

from tests.conformance.cases import Case, collect
from tests.conformance.families import ORDER, family
from tests.conformance.trial import Result, try_all

FAILED, UNEQUAL = (
    (Path(__file__).parent / f"formerly_{name}.txt").read_text().split()
    for name in ("failing", "unequal")
)


def _of_each_family(cases: list[Case]) -> set[str]:
    """The first test of each family of operators; of the networks the smallest."""
    first: dict[str, Case] = {}
    for case in sorted(cases, key=lambda case: (case.kind == "light", case.name)):
        first.setdefault(family(case.operator), case)
    return {case.name for case in first.values()}


def _of_each_type(cases: list[Case]) -> set[str]:
    """One test of each type that isn't served."""
    return {case.name for case in {case.unserved: case for case in cases if case.unserved}.values()}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    cases = collect()
    both = {*_of_each_family([case for case in cases if case.unserved is None]), *UNEQUAL}
    names = {*both, *FAILED, *_of_each_type(cases)}
    sample = [case for case in cases if case.name in names]

    async def tried() -> list[Result]:
        folder = tmp_path_factory.mktemp("suite")
        found = try_all(sample, folder, at_once=lambda case: case.name in both)
        return [result async for result in found]

    return asyncio.run(tried())


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
    assert {*FAILED, *UNEQUAL} <= tried
    assert {family(result.operator) for result in results} == set(ORDER) - {"others"}
    assert sum(result.outcome == "served" for result in results) > len(results) * 3 // 4
