"""What a ledger refuses to store as a contract; each refusal changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from tests.contract.stage import (
    START_MS,
    Stage,
    changed,
    farm_id,
    guestbook_stage,
    keyring,
    node_id,
    who,
)
from tfgrid.core import canonical, errors, limits
from tfgrid.core.units import Capacity, Money
from tfgrid.ledger import contract, farm

KIND = "contract.propose"
Change: TypeAlias = Callable[[contract.Proposal], contract.Proposal]


def _agreed(**fields: Any) -> Change:
    """The agreement changed, and the placement bound to it again."""

    def change(proposal: contract.Proposal) -> contract.Proposal:
        agreement = changed(proposal.agreement, **fields)
        placement = changed(proposal.placement, agreement=contract.agreement_digest(agreement))
        return contract.Proposal(agreement=agreement, placement=placement)

    return change


def _placed(**fields: Any) -> Change:
    """The placement changed."""
    return lambda proposal: changed(proposal, placement=changed(proposal.placement, **fields))


def _assigned(name: str, /, **fields: Any) -> Change:
    """One assignment changed; `farm` follows the node."""

    def change(proposal: contract.Proposal) -> contract.Proposal:
        rows = tuple(
            changed(a, **fields) if a.workload == name else a
            for a in proposal.placement.assignments
        )
        return changed(proposal, placement=changed(proposal.placement, assignments=rows))

    return change


def _part(number: int, /, **fields: Any) -> Change:
    """One node's part of the network changed."""

    def change(proposal: contract.Proposal) -> contract.Proposal:
        parts = list(proposal.placement.networks)
        parts[number] = changed(parts[number], **fields)
        return changed(proposal, placement=changed(proposal.placement, networks=tuple(parts)))

    return change


def _member(**fields: Any) -> Change:
    def change(proposal: contract.Proposal) -> contract.Proposal:
        part = proposal.placement.networks[0]
        return _part(0, members=(changed(part.members[0], **fields),))(proposal)

    return change


def _workload(name: str, **fields: Any) -> Change:
    def change(proposal: contract.Proposal) -> contract.Proposal:
        workloads = tuple(
            changed(w, **fields) if w.name == name else w for w in proposal.agreement.workloads
        )
        return _agreed(workloads=workloads)(proposal)

    return change


def _doubled(proposal: contract.Proposal) -> contract.Proposal:
    first = proposal.placement.assignments[0]
    rows = (*proposal.placement.assignments, first)
    return changed(proposal, placement=changed(proposal.placement, assignments=rows))


def _dropped(proposal: contract.Proposal) -> contract.Proposal:
    rows = proposal.placement.assignments[1:]
    return changed(proposal, placement=changed(proposal.placement, assignments=rows))


def _networkless(proposal: contract.Proposal) -> contract.Proposal:
    parts = proposal.placement.networks[1:]
    return changed(proposal, placement=changed(proposal.placement, networks=parts))


def _same_subnet(proposal: contract.Proposal) -> contract.Proposal:
    first = proposal.placement.networks[0]
    return _part(1, subnet4=first.subnet4)(proposal)


def _second_network(proposal: contract.Proposal) -> contract.Proposal:
    """A second network whose range is the first one's."""
    extra = contract.Network(name="second")
    lonely = changed(
        next(w for w in proposal.agreement.workloads if w.name == "redis"), network="second"
    )
    workloads = tuple(lonely if w.name == "redis" else w for w in proposal.agreement.workloads)
    proposal = _agreed(workloads=(*workloads, extra))(proposal)
    return _part(0, network="second")(proposal)


def _policy(weight: int, *rows: tuple[str, str]) -> Change:
    approvers = tuple(contract.Approver(identity=who(name), role=role) for name, role in rows)
    return _agreed(policy=contract.Policy(deploy=contract.Rule(approvers=approvers, weight=weight)))


def _deleted_by(weight: int, *rows: tuple[str, str]) -> Change:
    approvers = tuple(contract.Approver(identity=who(name), role=role) for name, role in rows)
    return _agreed(policy=contract.Policy(delete=contract.Rule(approvers=approvers, weight=weight)))


def _routed(**fields: Any) -> Change:
    return _workload("page", **fields)


REFUSALS: list[tuple[str, str, Change]] = [
    ("a later version", "TFG-2301", _agreed(version=2)),
    ("a parent", "TFG-2301", _agreed(parent="b" * 64)),
    ("a later placement", "TFG-2302", _placed(number=1)),
    ("another agreement's placement", "TFG-2303", _placed(agreement="b" * 64)),
    ("somebody else's", "TFG-2304", _agreed(owner=who("mallory"))),
    ("another ledger", "TFG-2306", _agreed(ledger="b" * 64)),
    ("over already", "TFG-2307", _agreed(valid_until=START_MS)),
    ("valid too long", "TFG-2308",
     _agreed(valid_until=START_MS + limits.contract_validity_seconds_max * 1000 + 1)),
    ("unpublished recipe", "TFG-2309", lambda p: _agreed(
        recipe=changed(p.agreement.recipe, version="9.9.9"))(p)),
    ("recipe with other bytes", "TFG-2309", lambda p: _agreed(
        recipe=changed(p.agreement.recipe, digest="b" * 64))(p)),
    ("recipe of another author", "TFG-2309", lambda p: _agreed(
        recipe=changed(p.agreement.recipe, author=who("mallory")))(p)),
    ("zero weight", "TFG-2310", _policy(0, ("budget", "budget"))),
    ("quorum never met", "TFG-2311", _policy(3, ("budget", "budget"), ("legal", "legal"))),
    ("delete never met", "TFG-2311", _deleted_by(1)),
    ("listed twice", "TFG-2312", _policy(2, ("budget", "budget"), ("budget", "budget"))),
    ("author fills every role", "TFG-2313", _policy(1, ("alice", "budget"), ("alice", "legal"))),
    ("unknown approver", "TFG-2314", _policy(1, ("stranger", "budget"))),
    ("spread without group", "TFG-2316", _workload(
        "redis", constraints=contract.Constraints(spread="node"))),
    ("two of one name", "TFG-2317", lambda p: _agreed(
        workloads=(*p.agreement.workloads, p.agreement.workloads[0]))(p)),
    ("unknown network", "TFG-2318", _workload("redis", network="nowhere")),
    ("route to nothing", "TFG-2318", _routed(containers=("nothing",))),
    ("route to one twice", "TFG-2318", _routed(containers=("web-1", "web-1"))),
    ("too much environment", "TFG-2319", _workload(
        "redis", environment={f"V{n}": "x" * 4000 for n in range(9)})),
    ("assigned twice", "TFG-2360", _doubled),
    ("not assigned", "TFG-2360", _dropped),
    ("assigned and unknown", "TFG-2360", _assigned("redis", workload="nothing")),
    ("unknown node", "TFG-2602", _assigned("redis", node="b" * 64)),
    ("another farm's node", "TFG-2362", _assigned("redis", farm=farm_id("f2"))),
    ("not a gateway", "TFG-2364", _assigned("page", node=node_id("n1"), farm=farm_id("f1"))),
    ("farm not permitted", "TFG-2364", _workload(
        "redis", constraints=contract.Constraints(farms=(farm_id("f2"),)))),
    ("country not permitted", "TFG-2364", _workload(
        "redis", constraints=contract.Constraints(countries=("DE",)))),
    ("node not permitted", "TFG-2364", _workload(
        "redis", constraints=contract.Constraints(nodes=(node_id("n3"),)))),
    ("trust not permitted", "TFG-2364", _workload(
        "redis", constraints=contract.Constraints(trust=("booted",)))),
    ("host outside the domain", "TFG-2364", _routed(host="guestbook.example.org")),
    ("host that only looks inside", "TFG-2364", _routed(host="evilgrid.localhost")),
    ("spread not kept", "TFG-2365", _assigned("web-2", node=node_id("n2"), farm=farm_id("f1"))),
    ("a part missing", "TFG-2366", _networkless),
    ("same subnet", "TFG-2367", _same_subnet),
    ("subnet outside", "TFG-2367", _part(0, subnet4="10.0.0.0/24")),
    ("subnet too wide", "TFG-2367", lambda p: _part(
        0, subnet4=p.placement.networks[0].range4)(p)),
    ("host bits set", "TFG-2367", _part(0, subnet4="10.0.0.1/24")),
    ("not a range", "TFG-2367", _part(0, subnet4="10.0.0.0/33")),
    ("families swapped", "TFG-2367", lambda p: _part(
        0, subnet4=p.placement.networks[0].subnet6)(p)),
    ("same index", "TFG-2367", _part(1, index=0)),
    ("overlapping networks", "TFG-2367", _second_network),
    ("public range", "TFG-2377", lambda p: changed(p, placement=changed(
        p.placement, networks=tuple(
            changed(n, range4="8.8.0.0/18") for n in p.placement.networks)))),
    ("loopback range", "TFG-2377", lambda p: changed(p, placement=changed(
        p.placement, networks=tuple(
            changed(n, range4="127.0.0.0/18") for n in p.placement.networks)))),
    ("the gateway's address", "TFG-2368", lambda p: _member(
        address4=p.placement.networks[0].members[0].address4[:-1] + "1")(p)),
    ("an address outside", "TFG-2368", _member(address4="10.0.0.2")),
    ("not an address", "TFG-2368", _member(address4="10.0.0.256")),
    ("an address spelt otherwise", "TFG-2368", lambda p: _member(
        address6=p.placement.networks[0].members[0].address6.replace("::", ":0:0:0:"))(p)),
    ("a stranger as member", "TFG-2368", _member(workload="web-1")),
    ("a price of its own", "TFG-2369", _assigned("redis", price_per_day=Money(amount="1"))),
    ("a wrong sum", "TFG-2370", _placed(price_per_day=Money(amount="1"))),
    ("above the cap", "TFG-2371", _agreed(price_cap_per_day=Money(amount="1"))),
    ("payment not offered", "TFG-2380", _agreed(payment="tft")),
    ("more than the node has", "TFG-2376", lambda p: _priced(
        _workload("redis", memory_bytes=1 << 40)(p))),
]  # fmt: skip


def _priced(proposal: contract.Proposal) -> contract.Proposal:
    """The proposal with prices and cap right again, so that only the room is wrong."""
    node = guestbook_stage().inventory().nodes[0]
    workloads = {w.name: w for w in proposal.agreement.workloads}
    rows = tuple(
        changed(a, price_per_day=node.prices.of(contract.asked(workloads[a.workload])))
        for a in proposal.placement.assignments
    )
    total = Money(amount=str(sum(int(a.price_per_day) for a in rows)))
    proposal = _agreed(price_cap_per_day=total)(proposal)
    return _placed(assignments=rows, price_per_day=total)(proposal)


@pytest.mark.parametrize(
    ("code", "change"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS]
)
def test_a_proposal_that_is_not_sound_is_refused(code: str, change: Change) -> None:
    """Each way of being wrong has its code, and nothing of it is stored."""
    stage = guestbook_stage()
    stage.refused(code, "alice", KIND, change(stage.plan().proposal))


def test_the_plan_itself_is_taken() -> None:
    """What the planner makes the ledger takes, and tags with the contract and its nodes."""
    stage = guestbook_stage()
    proposal = stage.plan().proposal
    entry = stage.write("alice", KIND, proposal)
    tags = {f"node:{node_id(name)}" for name in ("n1", "n2", "n3", "n4")}
    assert set(entry.header.tags) == tags | {f"contract:{contract.contract_id(proposal.agreement)}"}


def test_a_proposal_twice_is_refused() -> None:
    """The same bytes make the same contract, which is there already."""
    stage = guestbook_stage()
    running = stage.propose()
    stage.refused("TFG-2305", "alice", KIND, running.proposal)


def test_somebody_else_cannot_propose_for_the_owner() -> None:
    """Only the owner's own signature makes a proposal."""
    stage = guestbook_stage()
    stage.refused("TFG-2304", "mallory", KIND, stage.plan().proposal)


def test_approvers_with_one_key_are_refused() -> None:
    """Two identities that share a key are one signer."""
    stage = guestbook_stage()
    twin = changed(keyring("budget").inception, name="twin")
    entry = stage.entry("mallory", "identity.create", twin)
    stage.kinds["identity.create"].apply(stage.view, entry, twin)
    identity = canonical.digest(canonical.encode(twin))
    approvers = (
        contract.Approver(identity=who("budget"), role="budget"),
        contract.Approver(identity=identity, role="legal"),  # type: ignore[arg-type]
    )
    policy = contract.Policy(deploy=contract.Rule(approvers=approvers, weight=2))
    proposal = _agreed(policy=policy)(stage.plan().proposal)
    stage.refused("TFG-2315", "alice", KIND, proposal)


def test_a_node_that_is_not_admitted_gets_nothing() -> None:
    """When the farmer withdraws a node, a plan that uses it is stale."""
    stage = guestbook_stage()
    plan = stage.plan()
    registration = farm.node(stage.view, node_id("n1"), 0).registration
    admit = farm.NodeAdmit(node=node_id("n1"), registration=registration, admitted=False)
    stage.write("f1", "node.admit", admit)
    stage.refused("TFG-2361", "alice", KIND, plan.proposal)


def test_a_new_offer_makes_the_price_wrong() -> None:
    """The price is the offer's at the time of the proposal."""
    stage = guestbook_stage()
    plan = stage.plan()
    dearer = farm.Offer(country="BE", prices=farm.Prices(cru=99_999_999), payments=("none",))
    stage.write("f1", "farm.offer", dearer)
    stage.refused("TFG-2369", "alice", KIND, plan.proposal)


def test_none_is_a_payment_only_where_it_is_offered() -> None:
    """A farm that takes TFT alone gets no contract without payment."""
    stage = guestbook_stage()
    plan = stage.plan()
    paid = farm.node(stage.view, node_id("n1"), 0)
    offer = farm.Offer(country=paid.country, prices=paid.prices, payments=("tft",))
    stage.write("f1", "farm.offer", offer)
    stage.refused("TFG-2380", "alice", KIND, plan.proposal)
    with pytest.raises(errors.NotAllowed) as caught:
        contract.funding_check("tft", (farm.node(stage.view, node_id("n1"), 0),))
    assert caught.value.code == "TFG-2381"


def test_a_host_name_in_force_is_held() -> None:
    """A second contract for the same name is refused until the first has ended."""
    stage = guestbook_stage()
    first = stage.propose().approve("budget", "legal").accept().run()
    second = stage.plan(salt="B" * 22)
    stage.refused("TFG-2374", "alice", KIND, second.proposal)
    stage.now_ms = first.proposal.agreement.valid_until + 1
    stage.write("alice", KIND, stage.plan(salt="B" * 22).proposal)


def test_more_routes_than_a_contract_may_have_are_refused() -> None:
    """routes_max bounds the host names of one contract."""
    stage = guestbook_stage()
    proposal = stage.plan().proposal
    route = next(w for w in proposal.agreement.workloads if isinstance(w, contract.Route))
    many = tuple(
        changed(route, name=f"page-{n}", host=f"h{n}.grid.localhost")
        for n in range(limits.routes_max)
    )
    stage.refused(
        "TFG-2375",
        "alice",
        KIND,
        _agreed(workloads=(*proposal.agreement.workloads, *many))(proposal),
    )
    same = changed(route, name="again")
    stage.refused(
        "TFG-2375",
        "alice",
        KIND,
        _agreed(workloads=(*proposal.agreement.workloads, same))(proposal),
    )


def test_amounts_are_whole_and_not_negative() -> None:
    """Amounts as floats, exponents, negative numbers or with another currency do not parse."""
    data = canonical.encode(Money(amount="12"))
    for bad in (
        b'"1e3"',
        b'"-1"',
        b"1.5",
        b'"01"',
        b'"1.5"',
        b'""',
        b"12",
        b'"9999999999999999999"',
    ):
        with pytest.raises(errors.BadInput):
            canonical.parse(data.replace(b'"12"', bad), Money)
    with pytest.raises(errors.BadInput):
        canonical.parse(data.replace(b"TFT", b"FTT"), Money)


def test_weights_do_not_overflow() -> None:
    """Negative, zero and huge weights do not parse."""
    good = canonical.encode(contract.Approver(identity=who("budget"), role="budget"))
    for bad in (b"-1", b"0", b"1001", b"99999999999999999999", b"1.0", b'"1"'):
        with pytest.raises(errors.BadInput):
            canonical.parse(good.replace(b'"weight":1', b'"weight":' + bad), contract.Approver)


def test_capacity_is_what_others_left() -> None:
    """A contract in force takes its share from what the next may have."""
    stage: Stage = guestbook_stage()
    before = {n.name: n.free for n in stage.inventory().nodes}
    stage.propose().approve("budget", "legal")
    after = {n.name: n.free for n in stage.inventory().nodes}
    assert after["n1"].memory_bytes == before["n1"].memory_bytes - 64 * 1024**2
    assert after["n4"] == before["n4"]
    assert after["n1"] != Capacity()
