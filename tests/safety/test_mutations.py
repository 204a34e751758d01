"""Every broken rule is noticed by a case: the cases have the power that they claim."""

from tests.safety.mutations import Mutant, examiner

SAME_FOR_ALL = "its result is one and the same for every number that all entries of a row are"
CLIPPED = "its result is clipped to the same limit for all small numbers"
EXPLAINED = {
    "linear.qlinear_matmul: marks": CLIPPED,
    "linear.det: marks": SAME_FOR_ALL,
    "spatial.qlinear_conv: marks": CLIPPED,
    "elementwise.test: marks": SAME_FOR_ALL,
    "reduction.arg: marks": SAME_FOR_ALL,
    "reduction.softmax: marks": SAME_FOR_ALL,
    "reduction.mean_variance: marks": SAME_FOR_ALL,
    "reduction.instance_normalization: marks": SAME_FOR_ALL,
    "microsoft.multi_head_attention: marks": SAME_FOR_ALL,  # as a mask
    "microsoft.skip_layer_normalization: marks": SAME_FOR_ALL,
    "microsoft_quantised.qlinear_unary: marks": CLIPPED,
    "microsoft_quantised.qlinear_softmax: marks": SAME_FOR_ALL,
    "microsoft_quantised.qgemm: marks": CLIPPED,
    "microsoft_quantised.qlinear_conv: marks": CLIPPED,
}
"""Mutants that prove what happens to be true of the cases."""


def test_every_broken_rule_is_noticed() -> None:
    every = examiner().mutants()
    survivors = [mutant for mutant in examiner().survivors(every) if short(mutant) not in EXPLAINED]
    assert [f"{mutant}: {mutant.proves}" for mutant in survivors] == []
    assert sum(bool(mutant.exercised) for mutant in every) > 600


def short(mutant: Mutant) -> str:
    """Without the operators."""
    module = mutant.function.__module__.rpartition(".")[2]
    return f"{module}.{mutant.function.__name__}: {mutant.kind}"
