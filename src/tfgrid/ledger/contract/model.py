"""What a contract says: recipe, agreement, placement, approval, receipt.

    recipe --(order, planner)--> agreement + placement 0 --(approvals)--> in force --(receipts)-->
    ended

An **agreement** is what quorums sign: everything but where. A **placement** says where: workload to
node, subnets, addresses, names, ports, price; it names its agreement by hash. The contract's id is
the hash of its first agreement, and approvals name the hash of agreement and placement together
(`Proposal`), so what was seen is what was signed.

A later version of an agreement names the contract and the hash of the version before; `updates.py`
has what it may change. Placements above 0 are in the schema for what comes later; `checks.py`
refuses them for now.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType, field

from tfgrid.core import canonical, ids, limits
from tfgrid.core.ids import ContractId, Digest
from tfgrid.core.schema import Base64, Count, Moment, Name, Seconds, Text, Value
from tfgrid.core.units import Capacity, Money
from tfgrid.ledger.farm import Payment, TrustClass

__all__ = [
    "ZDB_PORT",
    "Access",
    "Action",
    "Agreement",
    "Approval",
    "Approver",
    "Assignment",
    "Constraints",
    "Container",
    "DiskClass",
    "Endpoint",
    "HealthCheck",
    "Image",
    "Inhabitant",
    "Member",
    "Network",
    "NetworkPlace",
    "Placed",
    "Placement",
    "Policy",
    "Proposal",
    "Receipt",
    "ReceiptState",
    "RecipeRef",
    "Route",
    "Rule",
    "Usage",
    "Workload",
    "ZdbNamespace",
    "agreement_digest",
    "asked",
    "contract_id",
    "proposal_digest",
]

DiskClass: TypeAlias = Literal["ssd", "hdd"]
"""Whether a disk has moving parts."""

Action: TypeAlias = Literal["deploy", "update", "accept", "delete", "refund"]
"""What an approval is for; one action's approval serves no other."""

Port = Annotated[int, Meta(ge=1, le=65_535)]
Weight = Annotated[int, Meta(ge=1, le=limits.policy_weight_max)]
# What a check asks for goes into a gateway's commands and into requests: nothing that ends either.
HealthPath = Annotated[str, Meta(pattern=r"\A/[A-Za-z0-9._~/-]*\Z", max_length=256)]
Argument = Annotated[str, Meta(pattern=r"\A[^\x00]*\Z", max_length=limits.text_chars_max)]
Host = Annotated[
    str,
    Meta(
        pattern=r"\A([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z",
        max_length=253,
    ),
]
Cidr = Annotated[str, Meta(pattern=r"\A[0-9a-f.:]+/[0-9]{1,3}\Z")]
Address = Annotated[str, Meta(pattern=r"\A[0-9a-f.:]+\Z")]
History = Annotated[
    str, Meta(pattern=r"\A(all|last:[1-9][0-9]{0,8}|since:(0|[1-9][0-9]{0,8}|[1-3][0-9]{9}))\Z")
]
Variable = Annotated[str, Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]{0,127}\Z")]


class Constraints(Value, frozen=True):
    """Where a workload may be placed; an empty field constrains nothing.

    `spread` keeps workloads that share a `group` on different nodes, in different farms or in
    different countries. Two of a group are kept apart as far as both ask: one that asks for `farm`
    and one that asks for `node` are on different nodes.
    """

    farms: tuple[ids.Farm, ...] = ()
    countries: tuple[str, ...] = ()
    nodes: tuple[ids.Node, ...] = ()
    trust: tuple[TrustClass, ...] = ()
    group: str = ""
    spread: Literal["", "node", "farm", "country"] = ""


class Image(Value, frozen=True):
    """An image by the digest of its manifest, and the identity that must have signed it."""

    name: Text
    digest: ids.Digested
    signer: ids.Author


class HealthCheck(Value, frozen=True):
    """How to tell that a container answers: a TCP connection, or HTTP 2xx or 3xx on `path`."""

    port: Port
    kind: Literal["tcp", "http"] = "tcp"
    path: HealthPath = "/"
    interval_seconds: Annotated[int, Meta(ge=1, le=3600)] = 2


class Container(Value, frozen=True, tag="container", tag_field="type"):
    """A container: image, limits, command and its place in one network of the contract."""

    name: Name
    image: Image
    network: Name
    cpu_millis: Annotated[int, Meta(ge=10, le=1_024_000)]
    memory_bytes: Annotated[int, Meta(ge=8 * 1024**2, le=limits.integer_max)]
    disk_bytes: Annotated[int, Meta(ge=1024**2, le=limits.integer_max)]
    arguments: Annotated[tuple[Argument, ...], Meta(max_length=limits.arguments_max)] = ()
    environment: Annotated[
        dict[Variable, Argument], Meta(max_length=limits.environment_entries_max)
    ] = field(default_factory=dict)
    health: HealthCheck | None = None
    on_isolation: Literal["keep"] = "keep"
    constraints: Constraints = Constraints()


class Network(Value, frozen=True, tag="network", tag_field="type"):
    """A private network over the contract's nodes; the planner assigns its ranges."""

    name: Name


class Route(Value, frozen=True, tag="route", tag_field="type"):
    """An HTTPS name at a gateway node, answered by the containers listed, on one port."""

    name: Name
    host: Host
    network: Name
    containers: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=limits.workloads_max)]
    port: Port
    health_path: HealthPath = "/"
    constraints: Constraints = Constraints()


class ZdbNamespace(Value, frozen=True, tag="zdb", tag_field="type"):
    """A namespace of Zero-DB on a node's disk, reached in its network as `NAME:9900`.

    Args:
        name: the name that members of its network know it by.
        network: the network it is a member of.
        disk_bytes: the most that its files may take, history included; charged when reserved.
        keys_max: the most live keys; in user mode their index in memory is charged with it.
        mode: who chooses keys: `user` the client, `seq` the server.
        history: what compaction keeps: `all`, `last:N` versions of a key, or what was current
            `since:T`, seconds since 1970.
        disk_class: the class of the disk it is on.
        constraints: where it may be placed.

    """

    name: Name
    network: Name
    disk_bytes: Annotated[int, Meta(ge=1024**2, le=limits.integer_max)]
    keys_max: Annotated[int, Meta(ge=1, le=limits.zdb_keys_max)] = 1_000_000
    mode: Literal["user", "seq"] = "user"
    history: History = "all"
    disk_class: DiskClass = "ssd"
    constraints: Constraints = Constraints()


ZDB_PORT: Final = 9900
"""Where a namespace answers at its address; it is not the order's to choose."""

Workload: TypeAlias = Container | Network | Route | ZdbNamespace

Placed: TypeAlias = Container | Route | ZdbNamespace
"""What has a node of its own; a network has a part on every node that joins it."""

Inhabitant: TypeAlias = Container | ZdbNamespace
"""What is a member of a network, with addresses of its own and a name."""


class Approver(Value, frozen=True):
    """Who may approve, in which role, with which weight. An approver may be a machine."""

    identity: ids.Author
    role: Name
    weight: Weight = 1


class Rule(Value, frozen=True):
    """What one action needs: weight among distinct identities, within `expires_seconds`."""

    approvers: Annotated[tuple[Approver, ...], Meta(max_length=limits.approvers_max)] = ()
    weight: Annotated[int, Meta(ge=0, le=limits.policy_weight_max * limits.approvers_max)] = 0
    expires_seconds: Annotated[int, Meta(ge=1, le=limits.contract_validity_seconds_max)] = 86_400


class Policy(Value, frozen=True):
    """A rule for each action; with no approvers and weight 0 the owner's own signature suffices."""

    deploy: Rule = Rule()
    delete: Rule = Rule()


class Access(Value, frozen=True):
    """What the owner may reach: `logs` lets nodes send bounded log tails to the owner's mailbox."""

    logs: bool = False


class RecipeRef(Value, frozen=True):
    """The recipe an agreement came from, by name, version and digest."""

    name: Name
    version: Text
    digest: ids.Digested
    author: ids.Author


class Agreement(Value, frozen=True, tag="agreement", tag_field="type"):
    """What quorums sign. `salt` makes two orders of the same recipe two contracts.

    `parent` is the hash of the version before, and `contract` the id of the contract that a later
    version is of; the first version has neither, and is written without `contract`.
    """

    ledger: ids.Ledger
    owner: ids.Author
    name: Name
    version: Annotated[int, Meta(ge=1, le=limits.integer_max)]
    parent: Annotated[str, Meta(pattern=r"\A([0-9a-f]{64})?\Z")]
    salt: Annotated[Base64, Meta(min_length=22, max_length=22)]
    recipe: RecipeRef
    workloads: Annotated[tuple[Workload, ...], Meta(min_length=1, max_length=limits.workloads_max)]
    policy: Policy
    access: Access
    payment: Payment
    price_cap_per_day: Money
    valid_until: Moment
    contract: ids.Contract | UnsetType = UNSET


class Assignment(Value, frozen=True):
    """One workload on one node. Networks have a `NetworkPlace` on every node instead."""

    workload: Name
    node: ids.Node
    farm: ids.Farm
    price_per_day: Money


class Member(Value, frozen=True):
    """A container or namespace in a network, with the addresses and name the planner gave it."""

    workload: Name
    address4: Address
    address6: Address


class NetworkPlace(Value, frozen=True):
    """One node's part of one network: subnets follow from `index`, members live here.

    The first address of a subnet is the node's own end (its gateway), members follow.
    """

    network: Name
    node: ids.Node
    index: Annotated[int, Meta(ge=0, lt=limits.nodes_per_contract_max)]
    range4: Cidr
    range6: Cidr
    subnet4: Cidr
    subnet6: Cidr
    members: tuple[Member, ...]


class Placement(Value, frozen=True, tag="placement", tag_field="type"):
    """Where everything goes; numbered, and bound to its agreement by hash."""

    agreement: ids.Digested
    number: Count
    assignments: Annotated[tuple[Assignment, ...], Meta(max_length=limits.workloads_max)]
    networks: Annotated[tuple[NetworkPlace, ...], Meta(max_length=limits.workloads_max)]
    price_per_day: Money


class Proposal(Value, frozen=True, tag="proposal", tag_field="type"):
    """The body of `contract.propose`: an agreement, with where it runs, approved by one hash."""

    agreement: Agreement
    placement: Placement


class Approval(Value, frozen=True, tag="approval", tag_field="type"):
    """The body of `contract.approve`; the entry's author is the approver.

    `subject` is the hash of the proposal for deploy and update, of the agreement for delete.
    """

    contract: ids.Contract
    subject: ids.Digested
    action: Action
    role: Name
    decision: Literal["approve", "reject"]
    reason: Text = ""


class Endpoint(Value, frozen=True):
    """Where a node's part of a network is reached, and the public key the node made for it."""

    network: Name
    public_key: Annotated[Base64, Meta(min_length=43, max_length=43)]
    endpoint: Annotated[str, Meta(pattern=r"\A[0-9a-f.:\[\]]+:[0-9]{1,5}\Z")]


class Usage(Value, frozen=True):
    """What a node read back from the machine after a start: the limits that are really set.

    `disk_bytes` and `keys_max` are of a zdb namespace alone. Where they are not said they are not
    written, so that receipts from before there were namespaces keep their bytes.
    """

    cpu_millis: Count = 0
    memory_bytes: Count = 0
    processes: Count = 0
    disk_bytes: Count | UnsetType = UNSET
    keys_max: Count | UnsetType = UNSET


ReceiptState: TypeAlias = Literal["accepted", "refused", "running", "failed", "ended"]


class Receipt(Value, frozen=True, tag="receipt", tag_field="type"):
    """The body of `contract.receipt`, by a node of the placement, which is the entry's author.

    `accepted` and `refused` speak for the whole of the node's part (`workload` is empty); the
    others for one workload. `ended` with an empty workload says that the node has removed all it
    had made.
    """

    contract: ids.Contract
    placement: Count
    workload: Annotated[str, Meta(max_length=limits.name_chars_max)]
    state: ReceiptState
    reasons: tuple[Text, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    image: Annotated[str, Meta(pattern=r"\A([0-9a-f]{64})?\Z")] = ""
    limits: Usage = Usage()
    exit_code: Annotated[int, Meta(ge=-1, le=255)] = -1
    at: Moment = 0
    duration: Seconds = 0


def asked(workload: Workload) -> Capacity:
    """What a workload asks of its node; networks and routes ask nothing that is counted."""
    if isinstance(workload, Container):
        return Capacity(
            cpu_millis=workload.cpu_millis,
            memory_bytes=workload.memory_bytes,
            ssd_bytes=workload.disk_bytes,
        )
    if isinstance(workload, ZdbNamespace):
        keys = workload.keys_max if workload.mode == "user" else 0
        return Capacity(
            memory_bytes=keys * limits.zdb_key_memory_bytes,
            **{f"{workload.disk_class}_bytes": workload.disk_bytes},
        )
    return Capacity()


def agreement_digest(agreement: Agreement) -> Digest:
    """What a placement and a delete approval name."""
    return canonical.digest(canonical.encode(agreement))


def contract_id(agreement: Agreement) -> ContractId:
    """The id of the contract that an agreement is of: the hash of its first version."""
    if isinstance(agreement.contract, UnsetType):
        return ContractId(agreement_digest(agreement))
    return agreement.contract


def proposal_digest(proposal: Proposal) -> Digest:
    """What an approval to deploy or update names: agreement and placement together."""
    return canonical.digest(canonical.encode(proposal))
