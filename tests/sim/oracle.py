"""The five promises, judged from the ledger's entries and from what machines really did.

Nothing here uses the functions by which nodes decide: quorums are counted again from signed
approvals, and who accepted from signed receipts. A promise that is broken raises `Broken`, with the
promise's number.

1. Nothing starts but what a contract gave to that node, with quorum and all acceptances in the log.
   A namespace is as large as one of the versions that had quorum.
2. Nothing unverified runs: a container starts only on an image verified under its agreed signer.
3. Doing it twice changes nothing: an item starts again only after it ended, went or lost power.
4. What was acknowledged stays: an entry whose author got an answer is at its place for ever.
   What a node has yet to tell outlives its process, and a retry orders and tells nothing twice.
   The data of a namespace outlives server, process and power.
5. Losing the controller stops nothing: what runs, and the data of a namespace, goes only when
   records or time ended its contract.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from tests.sim.books import Books
from tests.sim.nodes import SimNode
from tests.sim.virtual import VirtualLoop, epoch_ms
from tfgrid.core import canonical, limits
from tfgrid.core.host import Item, ItemKey
from tfgrid.core.ids import IdentityId, NodeId
from tfgrid.core.transport import Request, Response
from tfgrid.ledger import bcdb, contract

__all__ = ["Broken", "Facts", "Oracle"]

halt_grace_seconds = 5


class Broken(AssertionError):
    """A promise was broken; the seed replays it."""


@dataclass
class Facts:
    """What the log says of one contract, counted from its entries."""

    proposal: contract.Proposal
    proposed_at: int
    votes: dict[str, dict[IdentityId, str]] = field(default_factory=dict)
    answers: dict[NodeId, str] = field(default_factory=dict)
    keys: dict[NodeId, set[str]] = field(default_factory=dict)
    approved_at: int = 0
    said: dict[tuple[IdentityId, str], contract.Receipt] = field(default_factory=dict)
    update: contract.Proposal | None = None
    before: list[contract.Proposal] = field(default_factory=list)

    def quorum(self, action: str) -> bool:
        """Whether enough weight of distinct listed identities approved the action."""
        policy = self.proposal.agreement.policy
        rule = policy.delete if action == "delete" else policy.deploy
        votes = self.votes.get(action, {})
        weights = {a.identity: a.weight for a in rule.approvers}
        return bool(sum(w for i, w in weights.items() if votes.get(i) == "approve") >= rule.weight)

    @property
    def nodes(self) -> set[NodeId]:
        """The nodes that have a part."""
        placement = self.proposal.placement
        return {a.node for a in placement.assignments} | {p.node for p in placement.networks}

    @property
    def accepted_by_all(self) -> bool:
        """Whether every node's accepted receipt is in the log."""
        return all(self.answers.get(node) == "accepted" for node in self.nodes)

    def parts(self, node: NodeId) -> set[str]:
        """The workloads and networks of a node."""
        placement = self.proposal.placement
        parts = {a.workload for a in placement.assignments if a.node == node}
        return parts | {p.network for p in placement.networks if p.node == node}

    def has_said(self, node: IdentityId, workload: str, state: contract.ReceiptState) -> bool:
        """Whether a node's newest receipt about a workload says this."""
        receipt = self.said.get((node, workload))
        return receipt is not None and receipt.state == state

    def has_said_so(self, node: IdentityId, workload: str) -> bool:
        """Whether a node's newest receipt says that a workload runs, within what is agreed now."""
        if not self.has_said(node, workload, "running"):
            return False
        told = self.said[node, workload].limits
        wanted = _namespace(self.proposal, workload)
        return wanted is None or (told.disk_bytes, told.keys_max) == (
            wanted.disk_bytes, wanted.keys_max,
        )  # fmt: skip

    def propose(self, update: contract.Proposal) -> None:
        """Have a later version wait for votes, in place of another that did."""
        self.update = update
        self.votes.pop("update", None)

    def count_update(self) -> None:
        """Put the later version in force, if it has quorum."""
        if self.update is not None and self.quorum("update"):
            self.before.append(self.proposal)
            self.proposal, self.update = self.update, None

    def sizes(self, workload: str) -> set[int]:
        """The sizes of a namespace in all versions that are or were in force."""
        versions = (_namespace(p, workload) for p in (*self.before, self.proposal))
        return {namespace.disk_bytes for namespace in versions if namespace is not None}

    @property
    def in_force(self) -> bool:
        """Whether it has quorum and all acceptances."""
        return self.quorum("deploy") and self.accepted_by_all

    def over(self, now_ms: int) -> bool:
        """Whether records or the true time end it."""
        refused = "refused" in self.answers.values()
        late = (
            self.quorum("deploy") and not self.accepted_by_all
            and now_ms > self.approved_at + limits.admission_deadline_seconds * 1000
        )  # fmt: skip
        expired = now_ms > self.proposal.agreement.valid_until
        return refused or late or expired or self.quorum("delete")


def _namespace(proposal: contract.Proposal, name: str) -> contract.ZdbNamespace | None:
    for workload in proposal.agreement.workloads:
        if workload.name == name and isinstance(workload, contract.ZdbNamespace):
            return workload
    return None


class Oracle:
    """Judges one run; `note` keeps the story of a failure."""

    def __init__(self, books: Books, loop: VirtualLoop) -> None:
        self.contracts: dict[str, Facts] = {}
        self.acknowledged: dict[int, str] = {}
        self.excused: set[str] = set()
        self.story: list[str] = []
        self.broken: Broken | None = None
        self.halted_at: dict[str, float] = {}
        self._books = books
        self._reader = books.ledger.reader()
        self._names: dict[tuple[IdentityId, str], str] = {}
        self._bodies: set[tuple[IdentityId, str]] = set()
        self._loop = loop
        self._read = 0
        self._may_start: Counter[tuple[str, ItemKey]] = Counter()
        self._started: Counter[tuple[str, ItemKey]] = Counter()
        self._data: set[tuple[str, ItemKey]] = set()

    def judge(self) -> None:
        """Raise the first promise that was broken, if any was."""
        if self.broken is not None:
            raise Broken(*self.broken.args)

    def _broken(self, what: str) -> Broken:
        # Whoever asked may swallow it, as a loop does with a failed step; it stays known here.
        self.broken = self.broken or Broken(what)
        self.note(what)
        return self.broken

    def note(self, text: str) -> None:
        """Remember what happened."""
        self.story.append(f"{self._loop.seconds:9.3f} {text}")

    def started(self, node: SimNode, item: Item) -> None:
        """See `nodes.Judge.started`: promises 1, 2 and 3."""
        self.note(f"{node.name} starts {item.key.kind} {item.key.name[-12:]}")
        self._check_times(node, item.key)
        if item.key.kind == "image":
            return
        self._check_halted(node, item.key)
        if item.key.kind == "zdb":
            self._data.add((node.name, item.key))
        facts = self._facts(item.key)
        workload = item.key.name.partition("/")[2]
        if facts is None or not facts.in_force:
            raise self._broken(f"1: {node.name} started {workload} without quorum and acceptance")
        if workload not in facts.parts(node.id):
            raise self._broken(f"1: {node.name} started {workload}, which is another node's")
        if item.key.kind == "container":
            self._check_image(node, facts, workload)
        if item.key.kind == "zdb":
            self._check_size(node, facts, item.key)
        if item.key.kind == "network" and node.host.keys[item.key] not in facts.keys[node.id]:
            raise self._broken(f"1: {node.name} has another key than it told in its receipt")

    def changed(self, node: SimNode, key: ItemKey) -> None:
        """See `nodes.Judge.changed`: promise 1."""
        self.note(f"{node.name} changes {key.kind} {key.name[-12:]}")
        self._check_halted(node, key)
        self._check_size(node, self._facts(key), key)

    def vanished(self, node: SimNode, key: ItemKey) -> None:
        """See `nodes.Judge.vanished`: promise 5."""
        self.note(f"{node.name} removes {key.kind} {key.name[-12:]}")
        self._may_start[node.name, key] += 1
        if key.kind == "image":
            return
        self._check_halted(node, key)
        facts = self._facts(key)
        self._data.discard((node.name, key))
        if key.kind == "zdb" and facts is None:
            raise self._broken(f"5: {node.name} removed {key.name[-12:]}, of whom nothing is known")
        if facts is not None and not facts.over(self._now_ms()):
            raise self._broken(
                f"5: {node.name} removed {key.name[-12:]}, whose contract is in force"
            )

    def recalled(
        self, node: SimNode, before: list[contract.Receipt], after: list[contract.Receipt]
    ) -> None:
        """See `nodes.Judge.recalled`: promise 4 for what a node has yet to tell."""
        if before != after:
            raise self._broken(f"4: {node.name} forgot {len(before)} receipts that wait")

    def lost(self, node: SimNode, keys: Iterable[ItemKey]) -> None:
        """What ended by itself, or by a power cut, may start once more."""
        for key in keys:
            self._may_start[node.name, key] += 1

    def check_data(self, node: SimNode) -> None:
        """Promise 4: whatever a node held and was not told to remove is still on its disk."""
        owed = {key for name, key in self._data if name == node.name}
        for key in sorted(owed - node.host.data):
            raise self._broken(f"4: {node.name} lost the data of {key.name[-12:]}")

    def answered(self, request: Request, response: Response) -> None:
        """An author got an answer: promise 4 holds for it from now on."""
        if request.method != "POST" or request.path != "/v1/entries" or response.status != 200:
            return
        placed = msgspec.json.decode(response.body)["entry"]
        header = canonical.encode(placed["leaf"]["header"])
        self.acknowledged[placed["position"]] = canonical.digest(header)

    def check_log(self) -> None:
        """Promise 4: every acknowledged entry is where it was."""
        for position, digest in sorted(self.acknowledged.items()):
            row = self._reader.row(position)
            leaf = row and canonical.parse(row[0], bcdb.Leaf)
            if not leaf or bcdb.entry_digest(leaf.header) != digest:
                raise self._broken(f"4: acknowledged entry {position} is gone")

    def refresh(self) -> None:
        """Read the entries that were added since."""
        size = self._books.ledger.head[1].size
        for position, data, body in self._reader.rows(self._read, size):
            leaf = canonical.parse(data, bcdb.Leaf)
            self._count(leaf.header, leaf.order_time, body)
            self._read = position + 1

    def _count(self, header: bcdb.Header, at: int, body: bytes) -> None:
        if (header.author, header.body_hash) in self._bodies:
            raise self._broken(f"3: the log has the same {header.kind} twice")
        self._bodies.add((header.author, header.body_hash))
        if header.kind == "contract.propose":
            proposal = canonical.parse(body, contract.Proposal)
            name = contract.contract_id(proposal.agreement)
            if proposal.agreement.version == 1:
                self.contracts[name] = Facts(proposal, at)
            else:
                self.contracts[name].propose(proposal)
            wish = (header.author, proposal.agreement.name)
            if self._names.setdefault(wish, name) != name:
                raise self._broken(f"3: {proposal.agreement.name} was ordered twice")
        elif header.kind == "contract.approve":
            approval = canonical.parse(body, contract.Approval)
            facts = self.contracts[approval.contract]
            facts.votes.setdefault(approval.action, {})[header.author] = approval.decision
            if approval.action == "deploy" and facts.quorum("deploy") and not facts.approved_at:
                facts.approved_at = at
            facts.count_update()
        elif header.kind == "contract.receipt":
            receipt = canonical.parse(body, contract.Receipt)
            self.note(f"log: {header.author[:6]} {receipt.state} {receipt.workload}")
            if not receipt.workload and receipt.state in {"accepted", "refused"}:
                facts, node = self.contracts[receipt.contract], NodeId(header.author)
                facts.answers[node] = receipt.state
                facts.keys[node] = {end.public_key for end in receipt.endpoints}
            else:
                self.contracts[receipt.contract].said[header.author, receipt.workload] = receipt

    def _facts(self, key: ItemKey) -> Facts | None:
        self.refresh()
        return self.contracts.get(key.name.partition("/")[0])

    def _now_ms(self) -> int:
        return epoch_ms + round(self._loop.seconds * 1000)

    def _check_times(self, node: SimNode, key: ItemKey) -> None:
        self._started[node.name, key] += 1
        if self._started[node.name, key] > 1 + self._may_start[node.name, key]:
            raise self._broken(f"3: {node.name} started {key.name[-12:]} twice")

    def _check_halted(self, node: SimNode, key: ItemKey) -> None:
        since = self.halted_at.get(node.name)
        if since is not None and self._loop.seconds > since + halt_grace_seconds:
            raise self._broken(f"1: {node.name} halted and still changed {key.name[-12:]}")

    def _check_size(self, node: SimNode, facts: Facts | None, key: ItemKey) -> None:
        workload, size = key.name.partition("/")[2], node.host.items[key].facts["disk_bytes"]
        if facts is None or size not in facts.sizes(workload):
            raise self._broken(
                f"1: {node.name} gives {workload} {size} bytes, to which none agreed"
            )

    def _check_image(self, node: SimNode, facts: Facts, workload: str) -> None:
        wanted = next(w for w in facts.proposal.agreement.workloads if w.name == workload)
        assert isinstance(wanted, contract.Container)
        name = f"{wanted.image.digest}/{wanted.image.signer}"
        if ItemKey("image", name) not in node.host.items:
            raise self._broken(f"2: {node.name} started {workload} without its verified image")
        if wanted.image.digest in node.host.bad_images:
            raise self._broken(f"2: {node.name} started {workload} on an image that differs")
