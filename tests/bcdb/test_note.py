"""Checkpoints as signed notes: what is read, what is refused and what is ignored."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import VerifyKey

from tests.bcdb.notary import PEOPLE, Desk
from tfgrid.core import canonical, errors
from tfgrid.ledger import bcdb
from tfgrid.ledger.bcdb import note

DESK = Desk()
TEXT, CHECKPOINT = DESK.ledger.head
TRUST = DESK.trust
SIGNATURE = TEXT.split("\n\n")[1]


def test_a_note_is_read_as_it_was_signed() -> None:
    """The signed head of a ledger reads back, with and without the reserved map root."""
    assert note.read(TEXT, TRUST) == CHECKPOINT
    mapped = msgspec.structs.replace(CHECKPOINT, map_root=CHECKPOINT.root)
    assert note.read(note.sign(mapped, [PEOPLE["notary"]]), TRUST) == mapped


def test_the_note_is_of_the_published_form() -> None:
    """Lines, key hash and signature are those of C2SP signed-note and tlog-checkpoint."""
    text, _, tail = TEXT.partition("\n\n")
    origin, size, root, _time = text.split("\n")
    dash, name, blob = tail.rstrip("\n").split(" ")
    raw = base64.b64decode(blob, validate=True)
    public = canonical.bytes_from(PEOPLE["notary"].public)

    assert (origin, size, dash) == (name, "1", "\u2014")
    assert len(base64.b64decode(root, validate=True)) == 32
    assert raw[:4] == hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    assert VerifyKey(public).verify(text.encode() + b"\n", raw[4:])


def test_a_well_known_key_has_its_published_hash() -> None:
    """The key hash equals the published one of the Go checksum database."""
    public = base64.b64decode("Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")  # type, then key
    assert note.key_hash("sum.golang.org", public[1:]).hex() == "033de0ae"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda t: t[:-1], "TFG-2101"),
        (lambda t: t.replace("\n", "\r\n"), "TFG-2101"),
        (lambda t: t.replace("\n\n", "\n"), "TFG-2101"),
        (lambda t: t.replace("\n1\n", "\n01\n"), "TFG-2101"),
        (lambda t: t.replace("\n1\n", "\n+1\n"), "TFG-2101"),
        (lambda t: t.replace("\n1\n", "\n-1\n"), "TFG-2101"),
        (lambda t: t.replace("\n1\n", f"\n{2**60}\n"), "TFG-2101"),
        (lambda t: t.replace("\n1\n", "\n\n1\n", 1), "TFG-2101"),
        (lambda t: t.replace("order_time", "other_time"), "TFG-2101"),
        (lambda t: t.replace("\u2014", "-"), "TFG-2101"),
        (lambda t: t.replace("=\n", "\n", 1), "TFG-2101"),
        (lambda t: t + "\n", "TFG-2101"),
        (lambda t: t + "rubbish\n", "TFG-2101"),
        (lambda t: t + "\u2014 name\n", "TFG-2101"),
        (lambda t: t + "\u2014 na+me AAAAAAAA\n", "TFG-2101"),
        (lambda t: t + "\u2014 name AAAA\n", "TFG-2101"),
        (lambda t: t + "\u2014 name !!!!\n", "TFG-2101"),
        (lambda t: t + "\u2014 name AAAAAAAA\n" * 40, "TFG-2101"),
        (lambda t: "\t" + t, "TFG-2101"),
        (lambda t: t * 100, "TFG-2101"),
        (lambda _t: "", "TFG-2101"),
        (lambda _t: "\n\n\n", "TFG-2101"),
        (lambda t: t.replace("tfgrid/ledger", "tfgrid/lodger"), "TFG-2102"),
        (lambda t: t.replace("\n1\n", "\n2\n"), "TFG-2103"),
        (lambda t: t.replace("order_time 1", "order_time 2"), "TFG-2103"),
        (lambda t: t.replace("\n\n", "\nextra line\n\n"), "TFG-2103"),
    ],
)
def test_what_is_refused(change: Callable[[str], str], code: str) -> None:
    """Malformed notes, other logs and changed texts are refused, each by its own code."""
    with pytest.raises(errors.VerificationFailed, match=code):
        note.read(change(TEXT), TRUST)


def test_unknown_signatures_are_ignored() -> None:
    """Witnesses may sign: signatures by other names, keys or kinds change nothing."""
    foreign = note.sign(msgspec.structs.replace(CHECKPOINT, size=1), [PEOPLE["eve"]]).split("\n\n")[
        1
    ]
    witness = (
        "\u2014 witness.example/w1 "
        + base64.b64encode(b"\x01\x02\x03\x04" + b"x" * 90).decode()
        + "\n"
    )

    assert note.read(TEXT + witness + foreign, TRUST) == CHECKPOINT
    body = TEXT.removesuffix(SIGNATURE)
    assert note.read(body + foreign + witness + SIGNATURE, TRUST) == CHECKPOINT
    with pytest.raises(errors.VerificationFailed, match="TFG-2103"):
        note.read(body + foreign + witness, TRUST)


def test_one_key_counts_once() -> None:
    """The same key signing twice does not make two of two."""
    both = msgspec.structs.replace(
        TRUST, keys=(PEOPLE["notary"].public, PEOPLE["bob"].public), threshold=2
    )
    with pytest.raises(errors.VerificationFailed, match="TFG-2103"):
        note.read(TEXT + SIGNATURE, both)
    assert note.read(note.sign(CHECKPOINT, [PEOPLE["bob"], PEOPLE["notary"]]), both) == CHECKPOINT


def test_the_same_name_with_another_key_is_refused() -> None:
    """A note signed under our name by a key that is not ours has no signature that counts."""
    with pytest.raises(errors.VerificationFailed, match="TFG-2103"):
        note.read(note.sign(CHECKPOINT, [PEOPLE["eve"]]), TRUST)


@given(st.integers(0, len(TEXT.encode()) - 1), st.integers(0, 7))
def test_no_flipped_bit_is_accepted(index: int, bit: int) -> None:
    """Whichever bit of a note is flipped, it is refused with a named error."""
    data = bytearray(TEXT.encode())
    data[index] ^= 1 << bit
    with pytest.raises(errors.VerificationFailed):
        note.read(data.decode("utf-8", "replace"), TRUST)


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Any text is a named refusal."""
    for candidate in (text, f"{TRUST.origin}\n{text}", text + "\n\n" + SIGNATURE):
        with pytest.raises(errors.VerificationFailed):
            note.read(candidate, TRUST)


def test_trust_follows_from_the_genesis() -> None:
    """A client that knows only the ledger id comes to the same trust."""
    import asyncio

    assert asyncio.run(bcdb.discover(DESK.transport, TRUST.ledger)) == TRUST
    with pytest.raises(errors.VerificationFailed, match="TFG-2132"):
        asyncio.run(bcdb.discover(DESK.transport, "1" * 64))  # type: ignore[arg-type]
