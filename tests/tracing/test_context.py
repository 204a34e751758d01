"""Headers of distributed tracing: read where they are valid, in the order of preference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.tracing.context import Parent, b3, parent_of, traceparent

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
W3C = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
B3 = b"80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"


@pytest.mark.parametrize(
    ("headers", "parent"),
    [
        ({b"traceparent": W3C}, Parent(TRACE, SPAN, True)),
        ({b"traceparent": W3C[:-1] + b"0"}, Parent(TRACE, SPAN, False)),
        ({b"traceparent": b"cc" + W3C[2:] + b"-more"}, Parent(TRACE, SPAN, True)),
        ({b"traceparent": W3C + b"-more"}, None),
        ({b"traceparent": b"ff" + W3C[2:]}, None),
        ({b"traceparent": W3C.upper()}, None),
        ({b"traceparent": b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01"}, None),
        ({b"traceparent": b"00-" + b"1" * 32 + b"-" + b"0" * 16 + b"-01"}, None),
        ({b"b3": B3}, Parent(0x80F198EE56343BA864FE8B2A57D3EFF7, 0xE457B5A2E4D86BD1, True)),
        ({b"b3": B3[:-2]}, Parent(0x80F198EE56343BA864FE8B2A57D3EFF7, 0xE457B5A2E4D86BD1, None)),
        ({b"b3": b"0"}, None),
        ({b"traceparent": W3C, b"b3": B3}, Parent(TRACE, SPAN, True)),
        ({b"x-b3-traceid": b"463ac35c9f6413ad", b"x-b3-spanid": b"a2fb4a1d1a96d312",
          b"x-b3-sampled": b"0"}, Parent(0x463AC35C9F6413AD, 0xA2FB4A1D1A96D312, False)),
        ({b"x-b3-traceid": b"463ac35c9f6413ad", b"x-b3-spanid": b"a2fb4a1d1a96d312",
          b"x-b3-flags": b"1"}, Parent(0x463AC35C9F6413AD, 0xA2FB4A1D1A96D312, True)),
        ({b"x-b3-traceid": b"463ac35c9f6413ad"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_the_parent_is_read(headers: dict[bytes, bytes], parent: Parent | None) -> None:
    assert parent_of(headers) == parent


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read(trace: int, span: int, sampled: bool) -> None:
    expected = Parent(trace, span, sampled)
    assert parent_of({b"traceparent": traceparent(trace, span, sampled=sampled)}) == expected
    assert parent_of({b"b3": b3(trace, span, sampled=sampled)}) == expected


@given(
    st.dictionaries(
        st.sampled_from([b"traceparent", b"b3", b"x-b3-traceid", b"x-b3-spanid"]), st.binary()
    )
)
def test_anything_else_is_no_parent(headers: dict[bytes, bytes]) -> None:
    assert parent_of(headers) is None
