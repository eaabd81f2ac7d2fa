"""Random histories against an oracle: the ledger holds what was accepted, nothing else."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.bcdb.notary import PEOPLE, REGISTRY, Desk, Note, run
from tfgrid.core import errors
from tfgrid.core.clock import ManualClock
from tfgrid.core.identity import Keyring
from tfgrid.core.store import MemoryStore
from tfgrid.ledger import bcdb

_NAMES = st.sampled_from(["alice", "bob", "eve"])
_NOTES = st.builds(
    Note, name=st.sampled_from(["a", "b", "c"]), text=st.sampled_from(["x", "y", "remove"]),
    count=st.integers(0, 4),
)  # fmt: skip


class Histories(RuleBasedStateMachine):
    """People register, write, replay, rotate and misbehave; an oracle knows the outcome."""

    @initialize()
    def found(self) -> None:
        """A new ledger and an empty oracle."""
        self.desk = Desk()
        self.follower_store = MemoryStore()
        self.follower = self.desk.follower(self.follower_store)
        self.keyrings: dict[str, Keyring] = {}
        self.sequences: dict[str, int] = {}
        self.notes: dict[str, Note] = {}
        self.sent: list[tuple[bcdb.SignedEntry, bytes, int]] = []
        self.size = 1

    def _submit(self, signed: bcdb.SignedEntry, body: bytes) -> bcdb.Entry | errors.GridError:
        try:
            return run(self.desk.ledger.submit(signed, body))
        except errors.GridError as fault:
            return fault

    def _accepted(self, who: str, signed: bcdb.SignedEntry, body: bytes, answer: Any) -> None:
        assert isinstance(answer, bcdb.Entry), answer
        assert answer.position == self.size
        self.sent.append((signed, body, self.size))
        self.size += 1
        self.sequences[who] = self.sequences.get(who, 0) + 1

    @rule(who=_NAMES)
    def register(self, who: str) -> None:
        """Accepted the first time; the same bytes later are the same place."""
        signed, body = self.desk.signed_note(
            who, 0, body=PEOPLE[who].inception, kind="identity.create", tags=()
        )
        answer = self._submit(signed, body)
        if who in self.keyrings:
            assert not isinstance(answer, bcdb.Entry) or answer.position < self.size
            return
        self._accepted(who, signed, body, answer)
        self.keyrings[who] = PEOPLE[who]

    @rule(who=_NAMES, body=_NOTES, skip=st.integers(-1, 1))
    def write(self, who: str, body: Note, skip: int) -> None:
        """Accepted exactly if registered, next in sequence and not counting down."""
        sequence = max(0, self.sequences.get(who, 0) + skip)
        keyring = self.keyrings.get(who, PEOPLE[who])
        signed, data = self.desk.signed_note(who, sequence, body=body, tags=(f"note:{body.name}",))
        signed = bcdb.sign_header(signed.header, keyring)
        known = [place for entry, _, place in self.sent if entry.header == signed.header]
        answer = self._submit(signed, data)
        kept = self.notes.get(body.name)
        if known:
            assert isinstance(answer, bcdb.Entry)
            assert answer.position == known[0]
        elif (
            who in self.keyrings
            and sequence == self.sequences[who]
            and not (kept and kept.count > body.count)
        ):
            self._accepted(who, signed, data, answer)
            if body.text == "remove":
                self.notes.pop(body.name, None)
            else:
                self.notes[body.name] = body
        else:
            assert isinstance(answer, errors.GridError)

    @rule(who=_NAMES)
    def rotate(self, who: str) -> None:
        """After a rotation only the new key signs."""
        if who not in self.keyrings:
            return
        state = bcdb.identity_state(self.desk.ledger.reader().view, PEOPLE[who].identity)
        assert state is not None
        event, new = self.keyrings[who].rotated(state)
        signed, data = self.desk.signed_note(
            who, self.sequences[who], body=event, kind="identity.rotate", tags=()
        )
        assert isinstance(self._submit(signed, data), errors.GridError)
        signed = bcdb.sign_header(signed.header, new)
        self._accepted(who, signed, data, self._submit(signed, data))
        self.keyrings[who] = new

    @rule(index=st.integers(0, 10**6))
    def replay(self, index: int) -> None:
        """Whatever was accepted once is answered with its place, for ever."""
        if self.sent:
            signed, body, place = self.sent[index % len(self.sent)]
            answer = self._submit(signed, body)
            assert isinstance(answer, bcdb.Entry)
            assert answer.position == place

    @rule(seconds=st.integers(-100, 100))
    def jump(self, seconds: int) -> None:
        """The ledger's clock jumps."""
        assert isinstance(self.desk.clock, ManualClock)
        self.desk.clock.jump(seconds)

    @rule(restart=st.booleans())
    def follow(self, restart: bool) -> None:
        """A follower, restarted or not, comes to the ledger's view."""
        if restart:
            self.follower = self.desk.follower(self.follower_store)
        run(self.follower.sync())
        assert self.follower.view.dump() == self.desk.ledger.reader().view.dump()

    @invariant()
    def the_ledger_holds_what_was_accepted(self) -> None:
        """Size, notes and next sequences are the oracle's."""
        if not hasattr(self, "size"):
            return
        assert self.desk.ledger.head[1].size == self.size
        view = self.desk.ledger.reader().view
        assert [key for key, _ in view.scan("note")] == sorted(self.notes)
        for who, sequence in self.sequences.items():
            assert view.get("author", PEOPLE[who].identity) == str(sequence).encode()

    def teardown(self) -> None:
        """The log replays to the live view, and all of it is provable offline."""
        if hasattr(self, "size"):
            assert self.desk.ledger.audit() == self.size
            data = run(self.desk.client.bundle(range(self.size)))
            verified = bcdb.verify_bundle(data, registry=REGISTRY)
            assert len(verified.entries) == self.size


Histories.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestHistories = Histories.TestCase
