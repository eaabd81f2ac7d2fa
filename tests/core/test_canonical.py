"""One document has one byte form, and nothing else is let in."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from tfgrid.core import canonical, errors, limits
from tfgrid.core.schema import Count, Integer, Text, Value


class Inner(Value, frozen=True):
    """A value inside another."""

    number: Integer = 0


class Sample(Value, frozen=True):
    """A document with every kind of field that documents have."""

    name: Text
    count: Count = 0
    items: tuple[Inner, ...] = ()
    table: dict[str, Text] = {}  # noqa: RUF012 - msgspec copies an empty default
    maybe: Text | None = None


_GOOD = canonical.encode(Sample(name="a", count=1))

_text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
_ascii_key = st.text(alphabet=st.characters(min_codepoint=0, max_codepoint=127), max_size=8)
_integer = st.integers(-limits.integer_max, limits.integer_max)
_plain = st.recursive(
    st.none() | st.booleans() | _integer | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_ascii_key, inner, max_size=4),
    max_leaves=20,
)
_samples = st.builds(
    Sample,
    name=_text,
    count=st.integers(0, limits.integer_max),
    items=st.lists(st.builds(Inner, number=_integer), max_size=3).map(tuple),
    table=st.dictionaries(_ascii_key, _text, max_size=3),
    maybe=st.none() | _text,
)


@given(_plain)
def test_the_form_is_rfc_8785(value: Any) -> None:
    """Any data within the rules is written exactly as the oracle of RFC 8785 writes it."""
    assert canonical.encode(value) == rfc8785.dumps(value)


@given(_samples)
def test_what_is_written_is_read_again(sample: Sample) -> None:
    """A document survives writing and reading, byte for byte."""
    data = canonical.encode(sample)
    assert canonical.parse(data, Sample) == sample


@given(_samples, st.data())
def test_a_changed_byte_never_reads_as_the_same_document(sample: Sample, data: Any) -> None:
    """Whatever byte is changed, the document is refused or is another one."""
    written = bytearray(canonical.encode(sample))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= data.draw(st.integers(1, 255))
    try:
        read = canonical.parse(bytes(written), Sample)
    except errors.BadInput:
        return
    assert read != sample


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """No bytes at all make the parser fail in another way than by refusing them."""
    try:
        sample = canonical.parse(data, Sample)
    except errors.BadInput:
        return
    assert canonical.encode(sample) == data


def _written(**changes: str) -> bytes:
    fields = {"count": "1", "items": "[]", "maybe": "null", "name": '"a"', "table": "{}"} | changes
    return ("{" + ",".join(f'"{k}":{v}' for k, v in sorted(fields.items())) + "}").encode()


def test_the_template_of_the_cases_below_is_good() -> None:
    """The document that the refused ones are made from is itself accepted."""
    assert _written() == _GOOD
    assert canonical.parse(_GOOD, Sample) == Sample(name="a", count=1)


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("TFG-1104", _GOOD.replace(b'"count":1', b'"count":1,"count":1')),
        ("TFG-1104", _GOOD.replace(b'"count":1', b'"count":2,"count":1')),
        ("TFG-1104", _GOOD.replace(b'"count"', b'"c\\u006funt"')),
        ("TFG-1104", _written(name='"\\u0061"')),
        ("TFG-1104", _written(name='"\\/"')),
        ("TFG-1104", _written(name='"\\u001F"')),
        ("TFG-1104", _written(name='"\\u000a"')),
        ("TFG-1104", _written(count="-0")),
        ("TFG-1104", b" " + _GOOD),
        ("TFG-1104", _GOOD + b"\n"),
        ("TFG-1104", _GOOD.replace(b":", b": ", 1)),
        ("TFG-1104", _GOOD.replace(b",", b",\n", 1)),
        ("TFG-1104", b'{"name":"a"}'),
        ("TFG-1104", b'{"name":"a","count":1,"items":[],"maybe":null,"table":{}}'),
        ("TFG-1106", _written(table='{"\u00e9":"x"}')),
        ("TFG-1106", _written(table='{"a":"x","\U00010000":"x","\ue000":"x"}')),
    ],
)
def test_another_spelling_is_refused(code: str, data: bytes) -> None:
    """A document that says the right thing in another way than the canonical one is refused."""
    with pytest.raises(errors.BadInput) as caught:
        canonical.parse(data, Sample)
    assert caught.value.code == code


_MALFORMED = [
    b"", b" ", b"\x00", b"{", b"}", b"[", b"]", b"{]", b"[}", b'"', b"'a'", b"nul", b"NULL", b"NaN",
    b"Infinity", b"-Infinity", b"tru", b"+1", b"-", b".5", b"1.", b"1e", b"0x10", b"01", b"{,}",
    b"{a:1}", b"{'a':1}", b'{"a"}', b'{"a":}', b'{"a" 1}', b'{"a":1,}', b'{"a":1 "b":2}', b"[1,]",
    b"[,1]", b"[1 2]", b'{"a":1}}', b"{}{}", b"/* x */{}", b"{}//", b"{} x", b"\xff\xfe{}",
    b'{"name":"\\x"}', b'{"name":"\\u12"}', b'{"name":"\\', b'{"name":"\x01"}', b'{"name":"a\n"}',
]  # fmt: skip


@pytest.mark.parametrize("data", _MALFORMED, ids=repr)
def test_malformed_documents_are_refused(data: bytes) -> None:
    """What is not JSON is refused as that."""
    with pytest.raises(errors.BadInput, match="TFG-1103"):
        canonical.parse(data, Sample)


@pytest.mark.parametrize(
    "data",
    [
        _written(count="1.0"),
        _written(count="1e2"),
        _written(count="1E2"),
        _written(count="01"),
        _written(count="-1"),
        _written(count="true"),
        _written(count='"1"'),
        _written(count="null"),
        _written(count=str(2**53)),
        _written(count=str(2**53 + 1)),
        _written(count=str(2**64)),
        _written(count="9" * 400),
        _written(items='[{"number":1.5}]'),
        _written(items='[{"number":-9007199254740993}]'),
        _written(items='[{"number":1,"other":2}]'),
        _written(items="{}"),
        _written(other="1"),
        _written(name="1"),
        _written(name='"\\ud800"'),
        _written(name='"\\udc00\\ud800"'),
        _written(name='"' + "x" * (limits.text_chars_max + 1) + '"'),
        _GOOD.replace(b'"a"', b'"\xed\xa0\x80"'),
        _GOOD.replace(b'"a"', b'"\xc0\xaf"'),
        _GOOD.replace(b'"a"', b'"\xf8\x88\x80\x80\x80"'),
        _GOOD.replace(b'"a"', b'"\xff"'),
        _GOOD.replace(b'"a"', b'"\x00"'),
        b"\xef\xbb\xbf" + _GOOD,
        _GOOD + b"\x00",
        _GOOD + _GOOD,
        b"null",
        b"[]",
    ],
    ids=lambda data: repr(data[:60]),
)
def test_wrong_values_are_refused(data: bytes) -> None:
    """Floats, wide integers, unknown fields, broken UTF-8 and trailing bytes are refused."""
    with pytest.raises(errors.BadInput, match="TFG-1103"):
        canonical.parse(data, Sample)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_deep_nesting_is_refused_at_once(opening: bytes) -> None:
    """A hundred thousand open brackets are refused before anything is parsed."""
    data = opening * (100_000 // len(opening))
    began = time.perf_counter()
    with pytest.raises(errors.BadInput, match="TFG-1102"):
        canonical.parse(data, Sample)
    assert time.perf_counter() - began < 0.01


def test_depth_is_counted_outside_strings_only() -> None:
    """Brackets in a text are letters, escaped quotes do not end it, and depth goes down again."""
    for text in ("[" * 100, '"[{' * 50, "\\[" * 50):
        data = canonical.encode(Sample(name=text))
        assert canonical.parse(data, Sample).name == text
    wide = Sample(name="a", items=tuple(Inner(number=n) for n in range(500)))
    assert canonical.parse(canonical.encode(wide), Sample) == wide
    nested: Any = []
    for _ in range(limits.document_depth_max - 1):
        nested = [nested]
    assert canonical.parse(canonical.encode(nested), list[Any]) == nested
    with pytest.raises(errors.BadInput, match="TFG-1102"):
        canonical.parse(canonical.encode([nested]), list[Any])


@pytest.mark.parametrize(
    "data", [b'"' + b'\\"' * 130_000, b'"' * 250_000, b'"' + b"\\\\" * 120_000, b'{"' * 120_000]
)
def test_no_document_is_looked_at_twice(data: bytes) -> None:
    """Unfinished strings and escaped quotes cost no more than their length."""
    began = time.process_time()
    with pytest.raises(errors.BadInput):
        canonical.parse(data, Sample)
    assert time.process_time() - began < 0.25


def test_oversize_is_refused_unread() -> None:
    """A document over its limit is refused by its size, whatever is in it."""
    assert canonical.parse(_GOOD, Sample, bytes_max=len(_GOOD)).name == "a"
    for data, most in ((_GOOD, len(_GOOD) - 1), (b"x" * (limits.document_bytes_max + 1), None)):
        with pytest.raises(errors.BadInput, match="TFG-1101"):
            canonical.parse(data, Sample, **({"bytes_max": most} if most else {}))


def test_refusals_name_the_field() -> None:
    """Whoever wrote a wrong field is told which one it is."""
    with pytest.raises(errors.BadInput, match=r"\$\.items\[0\]\.number"):
        canonical.parse(_written(items='[{"number":"x"}]'), Sample)


def test_unions_are_told_apart_by_their_tag() -> None:
    """A tagged document is read as what its tag says, and an unknown tag is refused."""

    class Left(Value, frozen=True, tag="left", tag_field="type"):
        """One of two."""

    class Right(Value, frozen=True, tag="right", tag_field="type"):
        """The other."""

    either: Any = Left | Right
    assert canonical.parse(b'{"type":"right"}', either) == Right()
    with pytest.raises(errors.BadInput, match="TFG-1103"):
        canonical.parse(b'{"type":"wrong"}', either)


@given(st.binary(max_size=100))
def test_bytes_have_one_text(data: bytes) -> None:
    """Bytes written as base64url are read again, and no other text of them is accepted."""
    text = canonical.text_from(data)
    assert canonical.bytes_from(text) == data
    assert canonical.bytes_from(text, size=len(data)) == data
    with pytest.raises(errors.BadInput, match="TFG-1105"):
        canonical.bytes_from(text, size=len(data) + 1)


@pytest.mark.parametrize(
    "text", ["AB", "A", "AA==", "A A", "AA\n", "AA+/", "\u00e9", "AAF", "A=A="]
)
def test_other_texts_of_bytes_are_refused(text: str) -> None:
    """Padding, stray bits, white space and the other alphabet are refused."""
    with pytest.raises(errors.BadInput, match="TFG-1105"):
        canonical.bytes_from(text)


def test_a_digest_is_sha_256() -> None:
    """The name of bytes is their SHA-256, in hexadecimal (FIPS 180-4)."""
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert canonical.digest(b"abc") == known
    assert canonical.sha256(b"abc").hex() == known


def test_values_are_frozen_whole_and_closed() -> None:
    """A value cannot be changed, writes its defaults, and takes no field that it does not know."""
    sample = Sample(name="a")
    with pytest.raises(AttributeError):
        sample.name = "b"  # type: ignore[misc]
    assert set(json.loads(canonical.encode(sample))) == set(Sample.__struct_fields__)
    with pytest.raises(TypeError):
        Sample(name="a", other=1)  # type: ignore[call-arg]
