"""Bodies that nobody would send: every decoder answers with tensors or with a complaint in words.

Structure-aware: valid requests are taken apart and put together wrongly, as JSON, as binary tensors
and as bytes. FUZZ_CASES sets how many cases each decoder gets (CI: a few thousand, in seconds);
benchmarks/fuzz.py runs millions.
"""

import pytest

from tests.protocols.fuzzing import DECODERS, Mutator, run


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_no_body_breaks_a_decoder(name: str) -> None:
    found = run(name, Mutator(seed=1), cases=4000)
    assert found.cases == 4000
    assert found.accepted > 40, "the cases are near enough to valid requests"
    assert found.refused > 400, "and far enough from them"
