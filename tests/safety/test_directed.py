"""Every rule by its own cases: the verdict is true, in the analysis and in numbers."""

import pytest

from inference_service.runtime.graph_reader import read_graph
from inference_service.safety import Status, Verdict, analyse
from tests.safety import (
    directed_attacks,
    directed_microsoft,
    directed_ml,
    directed_more,
    directed_onnx,
    directed_shapes,
    directed_traps,
)
from tests.safety.directed import Case
from tests.safety.soundness import check

CASES = [
    *directed_onnx.CASES,
    *directed_shapes.CASES,
    *directed_more.CASES,
    *directed_traps.CASES,
    *directed_attacks.CASES,
    *directed_ml.CASES,
    *directed_ml.STRINGS,
    *directed_microsoft.CASES,
]
NOT_RUN = {"TreeEnsembleRegressor: rank 1 is one row", "TreeEnsembleClassifier: rank 1 is one row",
           "TreeEnsemble: rank 1 is one row"}  # fmt: skip
"""onnxruntime refuses these at once; other versions may not."""


def verdict(case: Case) -> Verdict:
    return analyse(read_graph(case.model.SerializeToString()))


RUN = [case for case in CASES if case.name not in NOT_RUN]


def test_cases_have_names_of_their_own() -> None:
    names = [case.name for case in CASES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_verdict_is_true(case: Case) -> None:
    found = verdict(case)
    assert found.status is case.status, f"{found.node}: {found.reason}"
    if case.status is Status.PROVEN:
        assert (found.equal, found.partial) == (case.equal, case.partial)
        assert (found.node, found.reason) == ("", "")
    else:
        assert found.node
        assert found.reason


@pytest.mark.parametrize("case", [c for c in RUN if c.status is Status.PROVEN], ids=str)
def test_what_is_proven_holds_in_numbers(case: Case) -> None:
    report = check(case.model, verdict(case), examples=case.examples, counts=(2, 3, 5))
    assert not report.leaks
    assert report.compared


@pytest.mark.parametrize(
    "case", [c for c in RUN if c.status is not Status.PROVEN and c.shows], ids=str
)
def test_a_counter_example_mixes_in_numbers(case: Case) -> None:
    """A careless rule would take it for rows on axis 0; that leaks, or fails among others."""
    report = check(case.model, case.pretended(), examples=case.examples, counts=(2, 3, 5, 17))
    assert report.leaks or report.refused
