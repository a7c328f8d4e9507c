import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.core import wire
from tatu.core.errors import Malformed


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00000000"),
        (0x9A378F9B2E332A7, "0000000809a378f9b2e332a7"),
        (0x80, "000000020080"),
        (0x7F, "000000017f"),
        (0xFFFF, "0000000300ffff"),
    ],
)
def test_an_mpint_is_written_as_rfc_4251_shows(value, encoded):
    assert wire.mpint(value).hex() == encoded
    assert wire.Reader(bytes.fromhex(encoded)).mpint() == value


@pytest.mark.parametrize(
    ("encode", "read", "size"),
    [
        (wire.uint8, wire.Reader.uint8, 1),
        (wire.uint32, wire.Reader.uint32, 4),
        (wire.uint64, wire.Reader.uint64, 8),
    ],
)
def test_integers_have_their_size_and_nothing_beyond_it(encode, read, size):
    largest = 256**size - 1
    assert encode(largest) == b"\xff" * size
    assert read(wire.Reader(encode(largest))) == largest
    for value in (-1, largest + 1):
        with pytest.raises(ValueError, match="does not fit"):
            encode(value)


def test_a_negative_mpint_is_not_written():
    with pytest.raises(ValueError, match="negative"):
        wire.mpint(-1)


@given(st.binary(max_size=40), st.text(max_size=20), st.integers(0, 2**600))
def test_what_is_written_is_read_back(data, text, number):
    reader = wire.Reader(wire.string(data) + wire.string(text) + wire.mpint(number) + b"rest")
    assert (data, text, number) == (reader.string(), reader.text(), reader.mpint())
    assert reader.remaining == 4
    assert reader.rest() == b"rest"
    reader.end()


@given(st.binary(max_size=40), st.data())
def test_every_prefix_of_a_string_is_malformed(data, draw):
    encoded = wire.string(data)
    cut = draw.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(Malformed):
        wire.Reader(encoded[:cut]).string()


@given(
    st.binary(max_size=40),
    st.sampled_from(["uint8", "uint32", "uint64", "string", "text", "mpint", "rest", "end"]),
)
def test_any_bytes_are_read_or_malformed(data, method):
    with contextlib.suppress(Malformed):
        getattr(wire.Reader(data), method)()


@given(st.integers(0, 2**64))
def test_an_mpint_has_one_form(number):
    data = wire.Reader(wire.mpint(number)).string()
    with pytest.raises(Malformed, match="needless leading zero"):
        wire.Reader(wire.string(b"\0" + data)).mpint()


@pytest.mark.parametrize("data", [b"\x80", b"\xff\x00"])
def test_a_negative_mpint_is_malformed(data):
    with pytest.raises(Malformed, match="negative"):
        wire.Reader(wire.string(data)).mpint()


@pytest.mark.parametrize("data", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80"])
def test_text_is_strict_utf_8(data):
    with pytest.raises(Malformed, match="not UTF-8"):
        wire.Reader(wire.string(data)).text()


def test_bytes_too_many_are_malformed_and_the_error_says_where():
    reader = wire.Reader(b"\0\0", "the thing")
    reader.uint8()
    with pytest.raises(Malformed, match="the thing is malformed at byte 1: 1 bytes too many"):
        reader.end()


def test_a_length_that_lies_costs_no_memory():
    with pytest.raises(Malformed, match="4294967295 bytes expected, 1 left"):
        wire.Reader(b"\xff\xff\xff\xffx").string()
