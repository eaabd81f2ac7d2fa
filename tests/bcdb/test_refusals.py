"""What the service refuses: a named error each, nothing stored, the service alive."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.bcdb.notary import PEOPLE, Desk, Note, filled, run
from tfgrid.core import canonical, errors, identity, limits
from tfgrid.core.transport import Request, fault_in
from tfgrid.ledger import bcdb


def _post(desk: Desk, data: bytes) -> errors.GridError | None:
    """Submit raw bytes; the refusal, or None. Nothing must be stored by a refusal."""
    before = desk.ledger.head[1]
    answer = run(desk.service.handle(Request(method="POST", path="/v1/entries", body=data)))
    if answer.status == 200:
        return None
    assert answer.media_type == "application/problem+json"
    assert desk.ledger.head[1].root == before.root
    assert run(desk.service.handle(Request(method="GET", path="/v1/checkpoint"))).status == 200
    return fault_in(answer)


def _code(desk: Desk, data: bytes) -> str:
    fault = _post(desk, data)
    return fault.code if fault else "accepted"


def _wire(signed: bcdb.SignedEntry, body: bytes) -> bytes:
    return canonical.encode(signed) + b"\n" + body


@pytest.fixture
def desk() -> Desk:
    """A ledger in memory where alice is registered and wrote two notes."""
    made = Desk()
    run(filled(made, 2))
    return made


def test_an_ordinary_entry_is_accepted(desk: Desk) -> None:
    """The requests below fail for their reason only: the unchanged one is accepted."""
    assert _code(desk, _wire(*desk.signed_note("alice", 3))) == "accepted"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"ledger": "1" * 64}, "TFG-2001"),
        ({"ledger": "0" * 64}, "TFG-2001"),
        ({"kind": "note.unknown"}, "TFG-2002"),
        ({"body_hash": "2" * 64}, "TFG-2003"),
        ({"body_size": 1}, "TFG-2003"),
        ({"sequence": 4}, "TFG-2004"),
        ({"sequence": 2}, "TFG-2004"),
        ({"not_after": 1}, "TFG-2005"),
        ({"not_after": 2**50}, "TFG-2005"),
        ({"parent": "3" * 64}, "TFG-2006"),
        ({"tags": ()}, "TFG-2007"),
        ({"tags": ("note:page", "note:page")}, "TFG-2007"),
        ({"tags": ("note:page", "a:b")}, "TFG-2007"),
        ({"author": PEOPLE["eve"].identity}, "TFG-2011"),
        ({"author": PEOPLE["founder"].identity}, "TFG-1413"),
        ({"body_size": 10 * 1024**3}, "TFG-1103"),
        ({"sequence": 2**53}, "TFG-1103"),
        ({"sequence": -1}, "TFG-1103"),
        ({"kind": "NOTE"}, "TFG-1103"),
        ({"tags": ("x:\ud7ff",)}, "TFG-1103"),
        ({"tags": tuple(f"a:{i}" for i in range(33))}, "TFG-1103"),
    ],
)
def test_a_header_that_does_not_fit(desk: Desk, fields: dict[str, Any], code: str) -> None:
    """Each field of a header, signed as it stands, is refused when it does not fit."""
    assert _code(desk, _wire(*desk.signed_note("alice", 3, **fields))) == code


def test_the_expected_sequence_and_time_are_told(desk: Desk) -> None:
    """A gap names the expected sequence, and an entry out of time the ledger's time."""
    gap = _post(desk, _wire(*desk.signed_note("alice", 9)))
    late = _post(desk, _wire(*desk.signed_note("alice", 3, not_after=5)))

    assert isinstance(gap, errors.Conflict)
    assert gap.details["expected"] == 3
    assert isinstance(late, errors.NotAllowed)
    assert late.details["order_time"] == desk.clock.now_ms()


def test_an_author_whose_clock_is_a_day_ahead(desk: Desk) -> None:
    """Validity beyond the limit is refused, so that a signed entry cannot wait for years."""
    ahead = desk.clock.now_ms() + limits.entry_validity_seconds_max * 1000
    assert _code(desk, _wire(*desk.signed_note("alice", 3, not_after=ahead + 1))) == "TFG-2005"
    assert _code(desk, _wire(*desk.signed_note("alice", 3, not_after=ahead))) == "accepted"


def test_signatures_that_do_not_hold(desk: Desk) -> None:
    """A flipped bit, another's key, a key twice, an unknown key and none are refused."""
    signed, body = desk.signed_note("alice", 3)
    good = signed.signatures[0]
    raw = bytearray(canonical.bytes_from(good.signature))
    raw[7] ^= 1
    flipped = identity.Signature(key=0, signature=canonical.text_from(bytes(raw)))
    by_bob = desk.signed_note("bob", 3, author=PEOPLE["alice"].identity)[0].signatures
    second = identity.Signature(key=1, signature=good.signature)
    for signatures in ((flipped,), by_bob, (second,), (good, second)):
        changed = msgspec.structs.replace(signed, signatures=signatures)
        assert _code(desk, _wire(changed, body)) == "TFG-1413"
    twice = msgspec.structs.replace(signed, signatures=(good, good))
    assert _code(desk, _wire(twice, body)) == "TFG-1419"
    none = canonical.encode({"header": signed.header, "signatures": []})
    assert _code(desk, none + b"\n" + body) == "TFG-1103"


def test_a_signature_serves_no_other_action(desk: Desk) -> None:
    """Bytes signed as a message, or as another kind, are no signature of this entry."""
    signed, body = desk.signed_note("alice", 3)
    data = canonical.encode(signed.header)
    for object_type, action, ledger in (
        ("message", "note.set", desk.trust.ledger),
        ("entry", "mailbox", desk.trust.ledger),
        ("entry", "note.set", "1" * 64),
        ("entrynote", ".set", desk.trust.ledger),
    ):
        digest = bcdb_digest(object_type, action, ledger, data)
        forged = msgspec.structs.replace(signed, signatures=PEOPLE["alice"].sign(digest))
        assert _code(desk, _wire(forged, body)) == "TFG-1413"


def bcdb_digest(object_type: str, action: str, ledger: str, data: bytes) -> bytes:
    """What would be signed under another name."""
    from tfgrid.core import keys

    return keys.signed_digest(object_type=object_type, action=action, ledger=ledger, data=data)


def test_a_rotated_out_key_signs_no_more(desk: Desk) -> None:
    """One entry after a rotation the old key is refused, and what it signed before still stands."""
    before = _wire(*desk.signed_note("alice", 3))
    assert _code(desk, before) == "accepted"
    old = _wire(*desk.signed_note("alice", 5))
    run(desk.author("alice").rotate())

    assert _code(desk, old) == "TFG-1413"
    assert _code(desk, before) == "accepted"
    assert desk.ledger.head[1].size == 6


def test_a_rotation_to_keys_that_were_not_promised(desk: Desk) -> None:
    """A thief of today's key cannot rotate to a key of its own."""
    state = run(desk.client.identity(PEOPLE["alice"].identity))
    _event, thief = PEOPLE["eve"].rotated(state)
    event = msgspec.structs.replace(_event, keys=(thief.public,))
    signed, body = desk.signed_note("alice", 3, body=event, kind="identity.rotate", tags=())
    by_thief = bcdb.sign_header(signed.header, thief)

    assert _code(desk, _wire(signed, body)) == "TFG-1417"
    assert _code(desk, _wire(by_thief, body)) == "TFG-1417"


def test_identities_register_themselves_once(desk: Desk) -> None:
    """Nobody registers another, or itself twice, or founds the ledger again."""
    eve = PEOPLE["eve"].inception
    by_alice = desk.signed_note("alice", 3, body=eve, kind="identity.create", tags=())
    again = desk.signed_note(
        "alice", 3, body=PEOPLE["alice"].inception, kind="identity.create", tags=()
    )
    late = desk.signed_note("eve", 1, body=eve, kind="identity.create", tags=())
    founder = bcdb.Genesis(
        founder=PEOPLE["alice"].inception, checkpoint_keys=(PEOPLE["eve"].public,),
        checkpoint_threshold=1, admins=(), recovery=(),
    )  # fmt: skip
    genesis = desk.signed_note("alice", 3, body=founder, kind="ledger.genesis", tags=())
    by_eve = msgspec.structs.replace(founder, founder=eve)
    second = desk.signed_note("eve", 0, body=by_eve, kind="ledger.genesis", tags=())
    zero = desk.signed_note(
        "alice", 0, body=founder, kind="ledger.genesis", tags=(), ledger="0" * 64
    )

    codes = [_code(desk, _wire(*entry)) for entry in (by_alice, again, late, genesis, second, zero)]

    assert codes == ["TFG-2031", "TFG-2031", "TFG-2031", "TFG-2034", "TFG-2035", "TFG-2001"]


def test_an_all_zero_key_is_no_identity(desk: Desk) -> None:
    """A small-order key, under which anything verifies, is refused at registration."""
    zero = canonical.text_from(bytes(32))
    promised = PEOPLE["eve"].inception.next
    event = identity.Inception(name="zero", keys=(zero,), threshold=1, next=promised)
    who = canonical.digest(canonical.encode(event))
    entry = desk.signed_note("alice", 0, body=event, kind="identity.create", tags=(), author=who)

    assert _code(desk, _wire(*entry)) == "TFG-1416"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda line: line.replace(b'{"header"', b'{"extra":1,"header"', 1), "TFG-1103"),
        (lambda line: line.replace(b'"sequence":3', b'"sequence":3,"sequence":3'), "TFG-1104"),
        (lambda line: line.replace(b'"sequence":3', b'"sequence":3.0'), "TFG-1103"),
        (lambda line: line.replace(b'"sequence":3', b'"sequence":03'), "TFG-1103"),
        (lambda line: line.replace(b'"sequence":3', b'"sequence":3e0'), "TFG-1103"),
        (lambda line: line.replace(b'"sequence"', b'"s\\u0065quence"'), "TFG-1104"),
        (lambda line: line.replace(b'"sequence":3', b'"sequence": 3'), "TFG-1104"),
        (lambda line: line + b" ", "TFG-1104"),
        (lambda line: b"\xef\xbb\xbf" + line, "TFG-1103"),
        (lambda line: b"[" * 100_000, "TFG-2008"),
        (lambda line: b"[" * 5000, "TFG-1102"),
        (lambda line: b"", "TFG-1103"),
        (lambda line: line[:-20], "TFG-1103"),
        (lambda line: line.replace(b"x", b"\xff", 1), "TFG-1103"),
        (lambda line: line + b"\x00", "TFG-1103"),
    ],
)
def test_bytes_that_are_not_canonical(desk: Desk, change: Any, code: str) -> None:
    """Duplicate keys, escapes, floats, spaces, depth and truncation are refused first."""
    line, _, body = _wire(*desk.signed_note("alice", 3)).partition(b"\n")

    assert _code(desk, change(line) + b"\n" + body) == code


def test_bodies_that_are_not_canonical(desk: Desk) -> None:
    """A body faces the same rules as a header, even when it is rightly hashed and signed."""
    for body, code in (
        (b'{"count":0,"name":"page","text":"x","text":"y"}', "TFG-1104"),
        (b'{"count":0,"name":"page","more":1,"text":"x"}', "TFG-1103"),
        (b'{"count":0.0,"name":"page","text":"x"}', "TFG-1103"),
        (b'{"name":"page","text":"x"}', "TFG-1104"),
        (b"[" * 17 + b"]" * 17, "TFG-1102"),
        (b"", "TFG-1103"),
    ):
        assert _code(desk, _wire(*desk.signed_note("alice", 3, body=body))) == code


def test_sizes_at_and_over_the_limit(desk: Desk) -> None:
    """A header of the largest size is taken, one byte more is not; so with the whole line."""
    assert _code(desk, b"x" * limits.signed_entry_bytes_max) == "TFG-2008"
    assert _code(desk, b"x" * (limits.signed_entry_bytes_max + 1) + b"\n") == "TFG-2008"
    tags = ["note:page", *(f"p{i:02}:" + "v" * 120 for i in range(30))]
    signed, body = desk.signed_note("alice", 3, tags=tuple(tags))
    over = len(canonical.encode(signed.header)) - limits.header_bytes_max
    assert over > 0
    assert _code(desk, _wire(signed, body)) == "TFG-2008"
    tags[-1] = tags[-1][: -over + 119] if over > 119 else tags[-1][:-over]
    signed, body = desk.signed_note("alice", 3, tags=tuple(tags))
    assert len(canonical.encode(signed.header)) == limits.header_bytes_max
    assert _code(desk, _wire(signed, body)) == "accepted"


def test_a_body_of_another_size_is_not_even_hashed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body longer or shorter than declared is refused by its length alone."""
    signed, body = desk.signed_note("alice", 3)
    hashed: list[int] = []
    monkeypatch.setattr(canonical, "digest", lambda data: hashed.append(len(data)))

    assert _code(desk, canonical.encode(signed) + b"\n" + body + b"more") == "TFG-2003"
    assert not hashed


def test_what_changes_between_submission_and_order_is_seen(desk: Desk) -> None:
    """An entry that was fine when it came is checked again when it is placed."""
    signed, body = desk.signed_note("alice", 3, body=Note(name="page", text="x", count=1))
    other, other_body = desk.signed_note("alice", 3, body=Note(name="page", text="y", count=2))

    from tfgrid.ledger.bcdb.solo import _Job

    jobs = [_Job(signed, body), _Job(other, other_body)]
    desk.ledger._commit(jobs)

    assert jobs[0].answer.result().position == 4
    with pytest.raises(errors.Conflict, match="TFG-2004"):
        jobs[1].answer.result()


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/v1/nothing", {}, "TFG-2212"),
        ("/", {}, "TFG-2212"),
        ("/v1/entries/99", {}, "TFG-2211"),
        ("/v1/entries/" + "f" * 64, {}, "TFG-2211"),
        ("/v1/entries/-1", {}, "TFG-2213"),
        ("/v1/entries/1e3", {}, "TFG-2213"),
        ("/v1/entries/\u0661", {}, "TFG-2213"),
        ("/v1/feed", {"first": "x"}, "TFG-2213"),
        ("/v1/feed", {"first": "9" * 30}, "TFG-2213"),
        ("/v1/consistency", {"old": "0", "new": "2"}, "TFG-2211"),
        ("/v1/consistency", {"old": "3", "new": "2"}, "TFG-2211"),
        ("/v1/consistency", {"old": "1", "new": "99"}, "TFG-2211"),
        ("/v1/authors/alice", {}, "TFG-2213"),
        ("/v1/authors/" + "f" * 64 + "/0", {}, "TFG-2211"),
        ("/v1/bodies", {"positions": "1,99"}, "TFG-2211"),
        ("/v1/bodies", {"positions": ",".join(["1"] * 300)}, "TFG-2213"),
        ("/v1/bundle", {"positions": "99"}, "TFG-2211"),
        ("/v1/bundle", {}, "TFG-2213"),
    ],
)
def test_questions_that_have_no_answer(
    desk: Desk, path: str, query: dict[str, str], code: str
) -> None:
    """A malformed question, or one for what is not there, is answered by its own error."""
    answer = run(desk.service.handle(Request(method="GET", path=path, query=query)))

    assert answer.status in {400, 404}
    assert fault_in(answer).code == code
