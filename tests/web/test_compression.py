"""gzip and deflate: both ways, damaged, and bombs."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.core.errors import InvalidInput, TooLarge, UnsupportedContent
from inference_service.web.compression import check_encoding, compressed, decompressed, wanted

RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)


@given(st.binary(max_size=2000), st.sampled_from(["gzip", "deflate"]))
def test_what_was_packed_is_unpacked(content: bytes, encoding: str) -> None:
    assert decompressed(compressed(content, encoding), encoding, 2000) == content


def test_deflate_without_the_zlib_header_is_read_too() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    assert decompressed(packer.compress(b"abc" * 9) + packer.flush(), "deflate", 99) == b"abc" * 9


def test_gzip_may_have_several_members_but_not_any_number() -> None:
    member = gzip.compress(b"ab", mtime=0)
    assert decompressed(member * 3, "gzip", 99) == b"ababab"
    with pytest.raises(InvalidInput, match="more than 64 members"):
        decompressed(gzip.compress(b"", mtime=0) * 1000, "gzip", 99)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_refused_before_it_is_unpacked(encoding: str) -> None:
    bomb = compressed(bytes(50_000_000), encoding)
    with pytest.raises(TooLarge, match="unpacked, the body has more than 1000 bytes"):
        decompressed(bomb, encoding, 1000)
    assert len(decompressed(compressed(bytes(1000), encoding), encoding, 1000)) == 1000


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (b"", "gzip", "the body is empty, expected gzip"),
        (b'{"a": 1}', "gzip", "not valid gzip: Error -3"),
        (gzip.compress(b"a" * 50, mtime=0)[:-9], "gzip", "not valid gzip: it ends too early"),
        (gzip.compress(b"a", mtime=0) + b"x", "gzip", "not valid gzip"),
        (zlib.compress(b"a" * 50)[:-5], "deflate", "not valid deflate: it ends too early"),
        (zlib.compress(b"a") + b"x", "deflate", "1 bytes follow its end"),
        (b"\xff\xff\xff", "deflate", "not valid deflate: Error -3"),
    ],
)
def test_a_damaged_body_is_told(body: bytes, encoding: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        decompressed(body, encoding, 1000)


def test_an_unknown_encoding_is_told() -> None:
    for known in ("", "identity", "gzip", "deflate"):
        check_encoding(known)
    with pytest.raises(UnsupportedContent, match="'br' is not supported, send gzip, deflate"):
        check_encoding("br")


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        (b"gzip, deflate, br", "gzip"),
        (b"deflate", "deflate"),
        (b"gzip;q=0.5, deflate;q=0.8", "deflate"),
        (b"GZIP", "gzip"),
        (b"gzip;q=0", ""),
        (b"identity", ""),
        (b"gzip;q=none", ""),
        (b"", ""),
        (b";,;q=", ""),
    ],
)
def test_the_answers_encoding_is_what_the_client_likes_best(accept: bytes, encoding: str) -> None:
    assert wanted(accept) == encoding
