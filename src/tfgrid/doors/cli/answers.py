"""The schema of every answer: `--json` writes exactly these, and a test decodes them again.

Each is tagged with `schema`, a name and a version. A field may be added within a version; nothing
may change its meaning. Times are RFC 3339 in UTC, sizes bytes, cores thousandths, money integer
text with its currency, ids in full.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tfgrid.core.units import Capacity, Money
from tfgrid.doors.cli.machine_answers import Check, Doctor, Down, Part, Status, Up, Version
from tfgrid.doors.cli.schema import Answer, Row

__all__ = [
    "SCHEMAS",
    "Answer",
    "Approver",
    "Check",
    "Completion",
    "Config",
    "Contract",
    "Demo",
    "Deployed",
    "Doctor",
    "Down",
    "Farm",
    "Finding",
    "Image",
    "Lint",
    "LogLine",
    "Node",
    "PageCount",
    "Part",
    "Plan",
    "PlanRow",
    "Plug",
    "Proof",
    "ReceiptRow",
    "Recipe",
    "Setting",
    "Signed",
    "Status",
    "Topic",
    "Up",
    "UpdateRow",
    "Updated",
    "Verified",
    "Version",
    "Why",
    "WorkloadRow",
    "ZdbEntry",
    "ZdbFinding",
    "ZdbInfo",
    "ZdbNamespace",
    "ZdbReport",
    "ZdbServe",
]


class Node(Answer, frozen=True, tag="tfgrid.node/1", tag_field="schema"):
    """`node list`, `node show`: what a node is, has and says."""

    name: str
    node: str
    farm: str
    country: str
    address: str
    roles: list[str]
    trust: str
    admitted: bool
    state: str
    reason: str
    seen_at: str
    total: Capacity
    reserved: Capacity
    free: Capacity
    items: list[dict[str, Any]]


class Farm(Answer, frozen=True, tag="tfgrid.farm/1", tag_field="schema"):
    """`farm list`: a farm, its offer and how many nodes it has."""

    name: str
    farm: str
    country: str
    payments: list[str]
    prices_per_day: dict[str, int]
    nodes: int


class PlanRow(Row, frozen=True):
    """Where one workload goes and why there; `asks` has what a zdb namespace may hold."""

    workload: str
    kind: str
    node: str
    farm: str
    cpu_millis: int
    memory_bytes: int
    digest: str
    price_per_day: Money
    why: str
    disk_bytes: int = 0
    asks: str = ""


class Approver(Row, frozen=True):
    """Somebody who is asked, and what they said: approve, reject, or nothing yet."""

    name: str
    identity: str
    role: str
    weight: int
    decision: str
    at: str


class Plan(Answer, frozen=True, tag="tfgrid.plan/1", tag_field="schema"):
    """`plan`: what an order would become; `subject` is the hash that approvers sign.

    `obstacle` says why it could not be registered now, such as a host name that is held.
    """

    name: str
    recipe: str
    signed_by: str
    subject: str
    rows: list[PlanRow]
    price_per_day: Money
    price_cap_per_day: Money
    needed: int
    approvers: list[Approver]
    file: str
    obstacle: str = ""


class Deployed(Answer, frozen=True, tag="tfgrid.deployed/1", tag_field="schema"):
    """`deploy`: the contract that was registered, and how far it has come."""

    contract: str
    name: str
    phase: str
    position: int
    urls: list[str]
    approved: int
    needed: int
    asked: list[str] = msgspec.field(default_factory=list)


class WorkloadRow(Row, frozen=True):
    """One workload of a contract and what its node last said of it; `asks` as in a plan."""

    workload: str
    kind: str
    node: str
    farm: str
    state: str
    address: str
    reason: str
    asks: str = ""


class ReceiptRow(Row, frozen=True):
    """The latest receipt of a node for its part or for one workload."""

    node: str
    workload: str
    state: str
    at: str
    position: int
    reasons: list[str]
    digest: str
    cpu_millis: int
    memory_bytes: int
    processes: int
    disk_bytes: int = 0
    keys_max: int = 0


class UpdateRow(Row, frozen=True):
    """What an update changes of one namespace: `was` and `asks` in words, sizes as they will be."""

    workload: str
    node: str
    was: str
    asks: str
    disk_bytes: int
    keys_max: int
    history: str
    price_per_day: Money


class Updated(Answer, frozen=True, tag="tfgrid.updated/1", tag_field="schema"):
    """`contract update`: the next version of a contract, and how far it has come.

    `state` is planned, waiting (for approvals), in force (nodes have not all followed) or settled;
    `subject` is the hash that approvers sign.
    """

    contract: str
    name: str
    version: int
    state: str
    subject: str
    rows: list[UpdateRow]
    price_per_day: Money
    price_cap_per_day: Money
    approved: int
    needed: int
    approvers: list[Approver]
    asked: list[str]


class Contract(Answer, frozen=True, tag="tfgrid.contract/1", tag_field="schema"):
    """`contract list`, `contract show`: what was agreed, by whom, and how it stands.

    `update` is a later version that waits for approvals.
    """

    contract: str
    name: str
    owner: str
    phase: str
    since: str
    reason: str
    recipe: str
    price_per_day: Money
    valid_until: str
    approved: int
    needed: int
    approvers: list[Approver]
    workloads: list[WorkloadRow]
    receipts: list[ReceiptRow]
    urls: list[str]
    version: int = 1
    update: Updated | None = None


class Why(Answer, frozen=True, tag="tfgrid.why/1", tag_field="schema"):
    """`contract why`: everything that stands in the way, and what to do."""

    contract: str
    name: str
    phase: str
    answer: str
    reasons: list[str]
    next: list[str]


class Signed(Answer, frozen=True, tag="tfgrid.signed/1", tag_field="schema"):
    """`contract sign`, `reject`, `cancel`: the approval, and the count after it.

    `subject` is the hash that was signed, `places` lists WORKLOAD on NODE.
    """

    contract: str
    name: str
    action: str
    decision: str
    identity: str
    role: str
    approved: int
    needed: int
    phase: str
    waiting: list[str] = msgspec.field(default_factory=list)
    subject: str = ""
    places: list[str] = msgspec.field(default_factory=list)
    price_per_day: Money | None = None


class Proof(Answer, frozen=True, tag="tfgrid.proof/1", tag_field="schema"):
    """`contract proof`: the file that was written."""

    contract: str
    file: str
    size_bytes: int
    entries: int


class Verified(Answer, frozen=True, tag="tfgrid.verified/1", tag_field="schema"):
    """`contract verify`: what a proof file proves, checked without network or grid."""

    file: str
    ledger: str
    entries: int
    head: int
    at: str
    contract: str
    name: str
    owner: str
    phase: str
    quorum: str
    signers: list[str]
    parts: list[str]
    summary: str


class Recipe(Answer, frozen=True, tag="tfgrid.recipe/1", tag_field="schema"):
    """`recipe list`, `show`, `publish`: a recipe; `state` says what was done with it."""

    name: str
    version: str
    digest: str
    author: str
    description: str
    parameters: list[dict[str, Any]]
    workloads: list[str]
    deploy_quorum: str
    state: str = "published"


class Finding(Row, frozen=True):
    """One thing that is wrong in a recipe."""

    code: str
    line: int
    column: int
    what: str
    hint: str


class Lint(Answer, frozen=True, tag="tfgrid.lint/1", tag_field="schema"):
    """`recipe lint`: everything that is wrong with a recipe file."""

    file: str
    findings: list[Finding]


class Image(Answer, frozen=True, tag="tfgrid.image/1", tag_field="schema"):
    """`image build`, `list`, `show`, `verify`: an image; `state` says what was done with it."""

    name: str
    digest: str
    signer: str
    signer_name: str
    entries: int
    content_bytes: int
    stored_bytes: int
    chunks: int
    arguments: list[str]
    state: str


class LogLine(Answer, frozen=True, tag="tfgrid.log/1", tag_field="schema"):
    """`logs`: one line that a workload wrote."""

    contract: str
    workload: str
    type: str
    text: str


class PageCount(Row, frozen=True):
    """How often a page was asked while a plug was out, and how often it answered."""

    url: str
    asked: int
    answered: int


class Plug(Answer, frozen=True, tag="tfgrid.plug/1", tag_field="schema"):
    """`demo unplug`, `demo replug`: what was pulled or put back, and which pages answered.

    `carried` lists what contracts have on a node, as CONTRACT/WORKLOAD.
    """

    part: str
    action: str
    urls: list[str]
    asked: int
    answered: int
    carried: list[str] = msgspec.field(default_factory=list)
    pages: list[PageCount] = msgspec.field(default_factory=list)


class Demo(Answer, frozen=True, tag="tfgrid.demo/1", tag_field="schema"):
    """`demo`: the page that answers now."""

    directory: str
    contract: str
    url: str
    certificate: str
    entry: str
    wrote_through: str
    read_through: str
    proof: str


class Setting(Row, frozen=True):
    """A setting, what it came to, and who said so."""

    name: str
    value: str
    origin: str


class Config(Answer, frozen=True, tag="tfgrid.config/1", tag_field="schema"):
    """`config show`: what a command would go by."""

    entries: list[Setting]


class Topic(Answer, frozen=True, tag="tfgrid.topic/1", tag_field="schema"):
    """`help`: one page."""

    name: str
    title: str
    text: str


class ZdbServe(Answer, frozen=True, tag="tfgrid.zdb-serve/1", tag_field="schema"):
    """`zdb serve --dry-run`: the command line of the server's own process."""

    arguments: list[str]


class ZdbNamespace(Row, frozen=True):
    """A namespace of a store; `mode` is who chooses keys."""

    name: str
    mode: str
    entries: int
    payload_bytes: int
    payload_bytes_max: int
    data_bytes: int
    state: str


class ZdbInfo(Answer, frozen=True, tag="tfgrid.zdb-info/1", tag_field="schema"):
    """`zdb info`: what a running server says of itself."""

    server: str
    fields: dict[str, str]
    namespaces: list[ZdbNamespace]


class ZdbFinding(Row, frozen=True):
    """Something wrong in a file; `lost` tells whether an acknowledged write may be gone."""

    namespace: str
    file: str
    offset: int
    length: int
    what: str
    lost: bool


class ZdbReport(Answer, frozen=True, tag="tfgrid.zdb-report/1", tag_field="schema"):
    """`zdb check`, `zdb repair`, `zdb rebuild`: what was found in files at rest."""

    data: str
    changed: bool
    versions: int
    findings: list[ZdbFinding]
    namespaces: list[ZdbNamespace]


class ZdbEntry(Answer, frozen=True, tag="tfgrid.zdb-entry/1", tag_field="schema"):
    """`zdb dump`: one live key, in hexadecimal, and where its record is."""

    namespace: str
    key: str
    length: int
    timestamp: int
    file: int
    offset: int
    crc: str


class Completion(Answer, frozen=True, tag="tfgrid.completion/1", tag_field="schema"):
    """`completion`: the script for one shell."""

    shell: str
    script: str


SCHEMAS: Final[dict[str, type[Answer]]] = {
    str(kind.__struct_config__.tag): kind for kind in Answer.__subclasses__()
}
"""Every answer by its schema's name."""
