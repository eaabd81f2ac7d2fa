"""Later versions of an agreement: who may, what may change, what is held until nodes followed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.stage import GIB, IMAGES, Running, Stage, changed, node_id, who
from tests.contract.zdb.notes import (
    ALONE,
    APPROVE,
    PROPOSE,
    limits_of,
    notes,
    notes_stage,
    ordered,
    update,
    vote,
)
from tfgrid.core import canonical, errors, limits
from tfgrid.core.units import Money
from tfgrid.ledger import contract, farm


def _data(running: Running, name: str = "data") -> contract.ZdbNamespace:
    found = next(w for w in running.state.proposal.agreement.workloads if w.name == name)
    assert isinstance(found, contract.ZdbNamespace)
    return found


def _reserved(stage: Stage) -> int:
    return farm.node(stage.view, node_id("n1"), stage.now_ms).reserved.ssd_bytes


# What is planned and proposed


def test_an_update_is_planned_where_it_is() -> None:
    """The next version names contract and parent; rows are what changes, with price and past."""
    stage, running = notes()
    plan = update(stage, running, disk_bytes=3 * GIB)
    agreement = plan.proposal.agreement
    assert (agreement.version, agreement.contract) == (2, running.id)
    assert agreement.parent == contract.agreement_digest(running.proposal.agreement)
    (row,) = plan.rows
    assert (row.workload, row.disk_bytes, row.node_name) == ("data", 3 * GIB, "n1")
    assert row.reason.startswith("was 1 GiB on ssd")
    before = running.proposal.placement
    assert int(plan.proposal.placement.price_per_day) == int(before.price_per_day) + 200_000
    assert int(agreement.price_cap_per_day) == int(plan.proposal.placement.price_per_day)
    assert plan.proposal.placement.networks == before.networks


def test_what_is_not_changed_keeps_its_price() -> None:
    """A farm that became dearer is paid the new price for what is changed, and for nothing else."""
    stage, running = notes()
    dearer = farm.Prices(cru=90_000_000, mru=90_000_000, sru=1_000_000)
    offer = farm.Offer(country="BE", prices=dearer, payments=("none",))
    stage.write("f1", "farm.offer", offer)
    plan = update(stage, running, disk_bytes=2 * GIB)
    was = {a.workload: a.price_per_day for a in running.proposal.placement.assignments}
    now = {a.workload: a.price_per_day for a in plan.proposal.placement.assignments}
    assert {name for name in was if was[name] != now[name]} == {"data"}
    assert int(now["data"]) >= 2_000_000
    stage.write("alice", PROPOSE, plan.proposal)


@pytest.mark.parametrize(
    ("workload", "sizes", "code"),
    [
        ("nobody", {"disk_bytes": 2 * GIB}, "TFG-2353"),
        ("app", {"disk_bytes": 2 * GIB}, "TFG-2354"),
        ("data", {"disk_bytes": 5}, "TFG-2354"),
        ("data", {"keys_max": 0}, "TFG-2354"),
        ("data", {"history": "last:none"}, "TFG-2354"),
        ("data", {"disk_bytes": GIB}, "TFG-2388"),
        ("data", {}, "TFG-2388"),
        ("data", {"disk_bytes": 400 * GIB}, "TFG-2376"),
        ("data", {"keys_max": 10**9}, "TFG-2376"),
    ],
)
def test_what_cannot_be_is_said_before_anybody_signs(
    workload: str, sizes: dict[str, Any], code: str
) -> None:
    """An unknown name, no namespace, odd sizes, no change, no room: each has its own reason."""
    stage, running = notes()
    with pytest.raises(errors.GridError) as caught:
        update(stage, running, workload, **sizes)
    assert caught.value.code == code


def test_what_is_no_namespace_has_another_way() -> None:
    """Whoever would change a container is told what to do instead."""
    stage, running = notes()
    with pytest.raises(errors.BadInput) as caught:
        update(stage, running, "app", disk_bytes=2 * GIB)
    assert "app is a container" in caught.value.what
    assert "order another" in caught.value.hint


def test_growing_into_what_the_contract_holds_itself_is_no_lack() -> None:
    """The node has 40 GiB: with 1 GiB held, the namespace may grow to nearly all of it."""
    stage, running = notes()
    update(stage, running, disk_bytes=38 * GIB)
    with pytest.raises(errors.Conflict):
        update(stage, running, disk_bytes=40 * GIB)


# Who decides


def test_an_update_waits_for_the_quorum_of_the_contract() -> None:
    """Version 1 goes on until enough of those who signed it have signed the next one."""
    stage, running = notes()
    plan = update(stage, running, disk_bytes=3 * GIB)
    stage.write("alice", PROPOSE, plan.proposal)
    state = running.state
    assert (state.phase, state.proposal) == ("running", running.proposal)
    assert state.update is not None and state.update.proposal == plan.proposal
    assert (state.update.tally.approved, state.update.tally.needed) == (0, 2)
    assert _reserved(stage) == 2 * GIB + 16 * 1024**2

    stage.write("budget", APPROVE, vote(plan, running, "budget"))
    assert running.state.proposal == running.proposal
    stage.write("legal", APPROVE, vote(plan, running, "legal"))
    state = running.state
    assert (state.phase, state.proposal, state.update) == ("running", plan.proposal, None)
    assert [one.role for one in state.updated] == ["budget", "legal"]
    assert state.unsettled == ("data",)
    assert _reserved(stage) == 4 * GIB + 16 * 1024**2


def test_where_the_owner_decides_alone_the_proposal_is_enough() -> None:
    """Without approvers an update is in force when it is written."""
    stage, running = notes(ALONE)
    plan = update(stage, running, disk_bytes=3 * GIB)
    stage.write("alice", PROPOSE, plan.proposal)
    assert running.state.proposal == plan.proposal
    assert [one.role for one in running.state.updated] == ["owner"]


def test_only_the_owner_proposes_and_only_approvers_approve() -> None:
    """Nobody else's signature counts, in whatever role, and none counts twice."""
    stage, running = notes()
    plan = update(stage, running, disk_bytes=3 * GIB)
    stage.refused("TFG-2304", "mallory", PROPOSE, plan.proposal)
    stolen = changed(plan.proposal.agreement, owner=who("mallory"))
    stage.refused("TFG-2304", "mallory", PROPOSE, _bound(plan.proposal, stolen))
    stage.refused("TFG-2418", "budget", APPROVE, vote(plan, running, "budget"))

    stage.write("alice", PROPOSE, plan.proposal)
    stage.refused("TFG-2410", "mallory", APPROVE, vote(plan, running, "budget"))
    stage.refused("TFG-2411", "legal", APPROVE, vote(plan, running, "budget"))
    stage.write("budget", APPROVE, vote(plan, running, "budget"))
    stage.refused("TFG-2412", "budget", APPROVE, vote(plan, running, "budget"))
    deploys = running.approval("legal")
    stage.refused("TFG-2415", "legal", APPROVE, deploys)


def test_an_approval_names_what_was_seen() -> None:
    """Another version proposed in its place needs approvals of its own."""
    stage, running = notes()
    small, large = (update(stage, running, disk_bytes=n * GIB) for n in (2, 30))
    stage.write("alice", PROPOSE, small.proposal)
    stage.write("budget", APPROVE, vote(small, running, "budget"))
    stage.write("alice", PROPOSE, large.proposal)
    assert running.state.update is not None
    assert running.state.update.tally.approved == 0
    stage.refused("TFG-2414", "legal", APPROVE, vote(small, running, "legal"))
    stage.write("legal", APPROVE, vote(large, running, "legal"))
    assert _data(running).disk_bytes == GIB


def test_rejections_and_time_end_it_and_nothing_changes() -> None:
    """Too many who say no, or an hour without a quorum: the version in force stays."""
    stage, running = notes()
    plan = update(stage, running, disk_bytes=3 * GIB)
    stage.write("alice", PROPOSE, plan.proposal)
    for role in ("budget", "legal"):
        stage.write(role, APPROVE, vote(plan, running, role, decision="reject"))
    assert running.state.update is None and _data(running).disk_bytes == GIB

    stage.write("alice", PROPOSE, plan.proposal)
    stage.write("budget", APPROVE, vote(plan, running, "budget"))
    stage.later(3601)
    assert running.state.update is None
    stage.refused("TFG-2418", "legal", APPROVE, vote(plan, running, "legal"))
    assert running.phase == "running" and _data(running).disk_bytes == GIB
    stage.write("alice", PROPOSE, plan.proposal)
    assert running.state.update is not None


def test_an_update_of_an_older_version_is_refused() -> None:
    """Two updates of version 1: once one is in force the other one is of the past."""
    stage, running = notes(ALONE)
    one, other = (update(stage, running, disk_bytes=n * GIB) for n in (2, 3))
    stage.write("alice", PROPOSE, one.proposal)
    stage.refused("TFG-2385", "alice", PROPOSE, other.proposal)
    stage.refused("TFG-2385", "alice", PROPOSE, one.proposal)
    third = update(stage, running, disk_bytes=3 * GIB)
    assert third.proposal.agreement.version == 3
    skipped = changed(third.proposal.agreement, version=4)
    stage.refused("TFG-2385", "alice", PROPOSE, _bound(third.proposal, skipped))
    stage.write("alice", PROPOSE, third.proposal)
    assert _data(running).disk_bytes == 3 * GIB


@pytest.mark.parametrize(
    ("limit", "value"), [("agreement_versions_max", 3), ("bundle_entries_max", 40)]
)
def test_versions_have_an_end(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    """Each version is in every proof of its contract, so that there is a last one."""
    monkeypatch.setattr(limits, limit, value)
    machine = _Machine()
    with pytest.raises(errors.NotAllowed) as caught:  # noqa: PT012 - one of many is refused
        for size in range(2, 20):
            machine.resize(0, size)
    assert caught.value.code == "TFG-2389"
    assert machine.running[0].state.proposal.agreement.version > 1


def test_only_what_runs_is_updated() -> None:
    """Not before the nodes accepted, and not when it is over; what waited then is void."""
    stage = notes_stage()
    running = ordered(stage)
    with pytest.raises(errors.Conflict) as caught:
        update(stage, running, disk_bytes=2 * GIB)
    assert caught.value.code == "TFG-2386"

    stage, running = notes()
    plan = update(stage, running, disk_bytes=2 * GIB)
    stage.write("alice", PROPOSE, plan.proposal)
    stage.write("budget", APPROVE, vote(plan, running, "budget"))
    running.approve("budget", action="delete")
    assert running.phase == "cancelling" and running.state.update is None
    stage.refused("TFG-2418", "legal", APPROVE, vote(plan, running, "legal"))
    stage.refused("TFG-2386", "alice", PROPOSE, plan.proposal)


def test_the_vote_that_decides_finds_no_room() -> None:
    """Room is looked at again when the quorum is reached, for somebody may have taken it."""
    stage, running = notes()
    plan = update(stage, running, disk_bytes=37 * GIB)
    stage.write("alice", PROPOSE, plan.proposal)
    stage.write("budget", APPROVE, vote(plan, running, "budget"))
    ordered(stage, "B").approve("budget", "legal")
    stage.refused("TFG-2376", "legal", APPROVE, vote(plan, running, "legal"))
    assert _data(running).disk_bytes == GIB


# What may change


def _bound(proposal: contract.Proposal, agreement: contract.Agreement) -> contract.Proposal:
    digest = contract.agreement_digest(agreement)
    placement = changed(proposal.placement, agreement=digest)
    return changed(proposal, agreement=agreement, placement=placement)


def _with(agreement: contract.Agreement, name: str, /, **fields: Any) -> contract.Agreement:
    workloads = tuple(changed(w, **fields) if w.name == name else w for w in agreement.workloads)
    return changed(agreement, workloads=workloads)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("data", {"mode": "seq"}),
        ("data", {"disk_class": "hdd"}),
        ("data", {"name": "date"}),
        ("data", {"constraints": contract.Constraints(countries=("DE",))}),
        ("app", {"cpu_millis": 200}),
        ("app", {"image": IMAGES["guestbook-web"]}),
        ("app", {"arguments": ("sh",)}),
    ],
)
def test_no_other_field_of_a_workload_changes(name: str, fields: dict[str, Any]) -> None:
    """Not mode, class, name or place of a namespace, and nothing of what is no namespace."""
    stage, running = notes(ALONE)
    proposal = update(stage, running, disk_bytes=2 * GIB).proposal
    odd = _bound(proposal, _with(proposal.agreement, name, **fields))
    stage.refused("TFG-2387", "alice", PROPOSE, odd)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "other"},
        {"salt": "B" * 22},
        {"valid_until": 1_760_000_000_000},
        {"access": contract.Access(logs=True)},
        {"policy": contract.Policy(deploy=contract.Rule(
            approvers=(contract.Approver(identity=who("alice"), role="boss"),), weight=1))},
        {"ledger": "b" * 64},
    ],
)  # fmt: skip
def test_no_other_field_of_the_agreement_changes(fields: dict[str, Any]) -> None:
    """Above all not the policy: who had to sign has to sign."""
    stage, running = notes(ALONE)
    proposal = update(stage, running, disk_bytes=2 * GIB).proposal
    stage.refused(
        "TFG-2387", "alice", PROPOSE, _bound(proposal, changed(proposal.agreement, **fields))
    )


def test_workloads_neither_come_nor_go() -> None:
    """One more, one fewer or another order is another contract."""
    stage, running = notes(ALONE)
    proposal = update(stage, running, disk_bytes=2 * GIB).proposal
    workloads = proposal.agreement.workloads
    extra = contract.Network(name="side")
    for odd in ((*workloads, extra), workloads[:-1], workloads[::-1]):
        agreement = changed(proposal.agreement, workloads=odd)
        stage.refused("TFG-2387", "alice", PROPOSE, _bound(proposal, agreement))


def test_nothing_moves_and_prices_are_the_farms() -> None:
    """Another node, another address, another price or a cap below it is refused."""
    stage, running = notes(ALONE)
    stage.add_node("n2", "f1")
    proposal = update(stage, running, disk_bytes=2 * GIB).proposal
    placement = proposal.placement
    moved = changed(placement.assignments[0], node=node_id("n2"))
    dearer = changed(placement.assignments[0], price_per_day=Money(amount="1"))
    for first, code in ((moved, "TFG-2387"), (dearer, "TFG-2369")):
        odd = changed(placement, assignments=(first, *placement.assignments[1:]))
        stage.refused(code, "alice", PROPOSE, changed(proposal, placement=odd))
    (part,) = placement.networks
    member = changed(part.members[0], address4="10.0.0.9")
    odd = changed(placement, networks=(changed(part, members=(member, *part.members[1:])),))
    stage.refused("TFG-2387", "alice", PROPOSE, changed(proposal, placement=odd))
    stage.refused("TFG-2302", "alice", PROPOSE, changed(
        proposal, placement=changed(placement, number=1)))  # fmt: skip
    cheap = changed(proposal.agreement, price_cap_per_day=Money(amount="1"))
    stage.refused("TFG-2371", "alice", PROPOSE, _bound(proposal, cheap))


def test_versions_and_contracts_are_not_mixed_up() -> None:
    """A later version names an existing contract and its parent; a first one names neither."""
    stage, running = notes(ALONE)
    proposal = update(stage, running, disk_bytes=2 * GIB).proposal
    for fields, code in (
        ({"contract": "b" * 64}, "TFG-2401"),
        ({"parent": "b" * 64}, "TFG-2385"),
        ({"parent": ""}, "TFG-2301"),
        ({"version": 1}, "TFG-2301"),
        ({"version": 1, "parent": ""}, "TFG-2301"),
    ):
        odd = changed(proposal.agreement, **fields)
        stage.refused(code, "alice", PROPOSE, _bound(proposal, odd))


# Until nodes have followed


def _unsettled(running: Running) -> list[str]:
    return list(running.state.unsettled)


def _settle(running: Running, disk_bytes: int, **fields: Any) -> None:
    running.report("n1", "running", "data", limits=limits_of(disk_bytes, **fields))


def test_what_shrinks_is_held_until_its_node_has_followed() -> None:
    """The larger size stays reserved until a receipt has the smaller one, to the key."""
    stage, running = notes(ALONE)
    full = _reserved(stage)
    stage.write("alice", PROPOSE, update(stage, running, disk_bytes=GIB // 2).proposal)
    assert _reserved(stage) == full
    assert _unsettled(running) == ["data"]
    _settle(running, GIB)
    _settle(running, GIB // 2, keys_max=999)
    running.report("n1", "failed", "data", limits=limits_of(GIB // 2))
    assert _reserved(stage) == full
    assert _unsettled(running) == ["data"]
    assert running.phase == "degraded"
    _settle(running, GIB // 2)
    assert _reserved(stage) == full - GIB // 2
    assert _unsettled(running) == []
    assert running.phase == "running"


def test_several_updates_hold_the_largest_of_them() -> None:
    """Up and down before the node did anything: what it may have on the way is reserved."""
    stage, running = notes(ALONE)
    full = _reserved(stage)
    for size in (5 * GIB, 2 * GIB):
        stage.write("alice", PROPOSE, update(stage, running, disk_bytes=size).proposal)
    stage.write("alice", PROPOSE, update(stage, running, "more", disk_bytes=3 * GIB).proposal)
    assert _reserved(stage) == full + 4 * GIB + 2 * GIB
    assert _unsettled(running) == ["data", "more"]
    _settle(running, 5 * GIB)
    assert _reserved(stage) == full + 4 * GIB + 2 * GIB
    _settle(running, 2 * GIB)
    assert _reserved(stage) == full + GIB + 2 * GIB
    assert _unsettled(running) == ["more"]


def test_back_to_the_size_before_needs_a_receipt_too() -> None:
    """What the node said before the update is no answer to it."""
    stage, running = notes(ALONE)
    for size in (5 * GIB, GIB):
        stage.write("alice", PROPOSE, update(stage, running, disk_bytes=size).proposal)
    assert _unsettled(running) == ["data"]
    _settle(running, GIB)
    assert _unsettled(running) == []


def test_the_end_gives_everything_back() -> None:
    """A contract that is over holds nothing, of whichever version."""
    stage, running = notes(ALONE)
    stage.write("alice", PROPOSE, update(stage, running, disk_bytes=5 * GIB).proposal)
    body = running.approval("owner", "delete", subject=running.state.delete_subject)
    stage.write("alice", APPROVE, body)
    running.report("n1", "ended")
    assert (running.phase, _reserved(stage)) == ("ended", 0)


def test_a_first_version_is_written_as_before() -> None:
    """`contract` is in later versions alone, so that ids and hashes of first ones stay."""
    stage, running = notes(ALONE)
    assert b'"contract"' not in canonical.encode(running.proposal.agreement)
    later = update(stage, running, disk_bytes=2 * GIB).proposal.agreement
    data = canonical.encode(later)
    assert f'"contract":"{running.id}"'.encode() in data
    assert canonical.parse(data, contract.Agreement) == later
    assert contract.contract_id(later) == running.id


def test_a_proof_has_every_version_and_who_signed_it() -> None:
    """The records that prove a contract are those of all its versions; the verdict counts them."""
    stage, running = notes()
    plan = update(stage, running, disk_bytes=3 * GIB)
    written = [stage.write("alice", PROPOSE, plan.proposal)]
    written += [
        stage.write(role, APPROVE, vote(plan, running, role)) for role in ("budget", "legal")
    ]
    assert {entry.position for entry in written} <= set(contract.positions(stage.view, running.id))
    verdict = contract.verdict(stage.view, running.id, stage.now_ms)
    assert verdict.version == 2
    assert [s.role for s in verdict.signers if s.action == "update"] == ["budget", "legal"]
    assert verdict.parts[0].asks.startswith("3 GiB")


class _Machine:
    """What the node of some contracts really has of each `data`, whatever the ledger thinks."""

    def __init__(self) -> None:
        self.stage = notes_stage(ALONE)
        self.running = [ordered(self.stage, salt).accept() for salt in "ABC"]
        self.has = [0, 0, 0]
        for number in range(3):
            self.follow(number)

    def follow(self, number: int) -> None:
        """The node makes a namespace as agreed, and says so."""
        running = self.running[number]
        if running.phase == "ended":
            return
        self.has[number] = _data(running).disk_bytes
        running.report("n1", "running", "data", limits=limits_of(self.has[number]))

    def resize(self, number: int, gib: int) -> None:
        """The owner asks for another size, which the ledger may refuse."""
        plan = update(self.stage, self.running[number], disk_bytes=gib * GIB)
        self.stage.write("alice", PROPOSE, plan.proposal)

    def cancel(self, number: int) -> None:
        """The owner ends a contract, and the node removes it."""
        running = self.running[number]
        body = running.approval("owner", "delete", subject=running.state.delete_subject)
        self.stage.write("alice", APPROVE, body)
        self.has[number] = 0
        running.report("n1", "ended")


_STEPS = st.one_of(
    st.tuples(st.just("resize"), st.integers(0, 2), st.integers(1, 40)),
    st.tuples(st.just("follow"), st.integers(0, 2)),
    st.tuples(st.just("cancel"), st.integers(0, 2)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(_STEPS, max_size=25))
def test_no_walk_of_updates_promises_more_than_there_is(steps: list[tuple[Any, ...]]) -> None:
    """Whoever grows, shrinks and follows when: what a node has and what was agreed fits it."""
    machine, codes = _Machine(), set[str]()
    for verb, number, *rest in steps:
        try:
            getattr(machine, verb)(number, *rest)
        except errors.GridError as fault:
            codes.add(fault.code)
        node = farm.node(machine.stage.view, node_id("n1"), machine.stage.now_ms)
        assert node.capacity.lacks(node.reserved) == {}
        assert sum(machine.has) <= node.reserved.ssd_bytes
    assert codes <= {"TFG-2376", "TFG-2386", "TFG-2388", "TFG-2417"}
