"""A real node on this machine: bridge, ledger and chunk server here, the node its own process.

Ground (bridge, servers, people) --node.json--> `python -m tfgrid.agents.zos DIR` in its namespaces
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from tfgrid.agents import zos
from tfgrid.capacity import flist, zgw
from tfgrid.core import canonical
from tfgrid.core.clock import SystemClock
from tfgrid.core.identity import Keyring
from tfgrid.core.ids import ContractId, Digest, FarmId, NodeId
from tfgrid.core.rng import SystemRng
from tfgrid.core.schema import Value
from tfgrid.core.store import MemoryStore
from tfgrid.core.transport import Handler, MemoryTransport, Request, Response
from tfgrid.core.units import Capacity
from tfgrid.doors import api
from tfgrid.jumpscale.sal import claims, links
from tfgrid.ledger import bcdb, contract, farm

__all__ = ["Ground", "ground"]

MIB = 1024**2
ledger_port, chunks_port = 8100, 8101
domain = "zos.test"


class Ground:
    """One node's surroundings; `spawn` starts its process, `order` gets it a contract."""

    def __init__(self, directory: Path, token: str) -> None:
        self.directory = directory
        self.node_directory = directory / "node"
        self.claim = f"zostest{token}"
        prefix = claims.Claims().underlay(self.claim).rpartition(".")[0]
        self.bridge = f"zt{token}"[:15]
        self.gateway, self.address = f"{prefix}.1", f"{prefix}.11"
        self.people = {n: Keyring.new(n, SystemRng()) for n in ("founder", "notary", "a", "b")}
        self.registry = bcdb.registry(farm.kinds(), contract.kinds())
        self.ledger = bcdb.SoloLedger.create(
            directory / "ledger", founder=self.people["founder"],
            checkpoint_keyrings=[self.people["notary"]], registry=self.registry,
            clock=SystemClock(), signed=MemoryStore(),
        )  # fmt: skip
        self.service = bcdb.Service(self.ledger)
        self.serving: Handler = self.service.handle
        self.stop = asyncio.Event()
        self.query: dict[str, str] = {}
        self.chunks = flist.ChunkStore(directory / "chunks")
        self.image = self._publish_image()
        self.config = self._provision(token)
        self.process: subprocess.Popen[bytes] | None = None
        self._authors = {n: self._author(k) for n, k in self.people.items()}

    def _author(self, keyring: Keyring) -> bcdb.Author:
        client = bcdb.Client(MemoryTransport(self.service.handle), self.ledger.trust)
        return bcdb.Author(keyring, client, SystemClock(), registry=self.registry)

    def _publish_image(self) -> contract.Image:
        tree = self.directory / "tree"
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "www", "var", "root"):
            (tree / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", tree / "bin/busybox")
        for name in ("sh", "httpd", "sleep", "cat", "echo", "wget", "kill"):
            (tree / "bin" / name).symlink_to("busybox")
        (tree / "www/index.html").write_text("the page\n")
        packed = flist.pack(tree, self.chunks)
        config = flist.Config(arguments=("sh", "-c"), environment={"PATH": "/bin"})
        digest, _ = flist.publish(
            packed, self.chunks, name="page", keyring=self.people["a"], config=config
        )
        return contract.Image(name="page", digest=digest, signer=self.people["a"].identity)

    def _provision(self, token: str) -> zos.Config:
        unlock = self.directory / "unlock.key"
        unlock.write_bytes(SystemRng().token(32))
        now = SystemClock().now_ms()
        authority = zgw.Authority.create("test", now_ms=now)
        leaf = authority.intermediate("gateway", (domain,), now_ms=now).leaf(
            (f"*.{domain}",), now_ms=now
        )
        certificate = self.directory / "gateway.pem"
        certificate.write_bytes(leaf.pem)
        certificate.chmod(0o600)
        config = zos.Config(
            grid=self.ledger.trust.ledger[:8], name=f"z{token}", trust=self.ledger.trust,
            ledger_url=f"http://{self.gateway}:{ledger_port}",
            farm=FarmId(self.people["founder"].identity), underlay_bridge=self.bridge,
            underlay4=f"{self.address}/24", roles=("compute", "gateway"), gateway_domains=(domain,),
            unlock_key_path=str(unlock), certificate_path=str(certificate),
            capacity=Capacity(cpu_millis=4000, memory_bytes=2048 * MIB, ssd_bytes=2048 * MIB),
        )  # fmt: skip
        zos.write_config(self.node_directory, config)
        return config

    async def answer(self, request: Request) -> Response:
        """What the ledger's address answers; a test may put another server there."""
        request = dataclasses.replace(request, query={**request.query, **self.query})
        answer = asyncio.ensure_future(self.serving(request))
        stopped = asyncio.ensure_future(self.stop.wait())
        await asyncio.wait({answer, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not answer.done():
            answer.cancel()
            return Response(status=503)
        return answer.result()

    def swap(self, handler: Handler) -> None:
        """Put another server at the ledger's address, one that keeps nobody waiting."""
        self.serving, self.query = handler, {"wait": "0"}
        self.stop.set()
        self.stop = asyncio.Event()

    # The node's process

    def spawn(self) -> None:
        """Start the node process."""
        log = (self.directory / "node.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tfgrid.agents.zos", str(self.node_directory)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        log.close()

    def end(self, number: signal.Signals) -> int:
        """Signal the node process and wait for its end."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)

    @property
    def log(self) -> str:
        """What the node process wrote."""
        return (self.directory / "node.log").read_text()

    def status(self) -> zos.Status:
        """The node's signed status."""
        status = zos.read_status(self.node_directory, ledger=self.ledger.trust.ledger)
        assert status is not None, self.log
        return status

    # People

    async def submit(self, name: str, kind: str, body: Value) -> None:
        """Write an entry as somebody."""
        await self._authors[name].submit(kind, body)

    async def open_farm(self) -> NodeId:
        """Make everybody known, and admit the node once it has registered."""
        for name in ("founder", "a", "b"):
            await self._authors[name].register()
        await self.submit("founder", "farm.create", farm.FarmCreate(name="farm"))
        offer = farm.Offer(country="BE", prices=farm.Prices(), payments=("none",))
        await self.submit("founder", "farm.offer", offer)
        url = f"http://{self.gateway}:{chunks_port}"
        await self.submit("founder", "image.source", farm.ImageSource(url=url))
        await self.until(lambda: bool(self.nodes()), "the node registers")
        node = self.nodes()[0]
        body = farm.NodeAdmit(node=node.node, registration=node.registration)
        await self.submit("founder", "node.admit", body)
        await self.until(lambda: self.nodes()[0].free.cpu_millis > 0, "the node has an inventory")
        return node.node

    def nodes(self) -> tuple[farm.NodeInfo, ...]:
        """The nodes that the ledger knows."""
        return farm.nodes(self.ledger.reader().view, self.ledger.now_ms())

    async def order(self, command: str = "httpd -f -p 80 -h /www") -> ContractId:
        """A contract for one web container, its network and a route, approved by both."""
        return await self.order_of(_RECIPE, {"command": command})

    async def order_of(
        self, text: str, parameters: Mapping[str, str], *, name: str = "page", salt: str = ""
    ) -> ContractId:
        """A contract for what a recipe says, approved by both if its policy asks for them.

        Like salts give like addresses.
        """
        ring = self.people["a"]
        recipe = contract.parse_recipe_yaml(text, author=ring.identity)
        if not contract.recipes(self.ledger.reader().view):
            await self.submit("a", "recipe.publish", recipe)
        order = contract.Order(
            ledger=self.ledger.trust.ledger, owner=ring.identity, name=name,
            salt=salt or canonical.text_from(SystemRng().token(16)), parameters=dict(parameters),
            approvers={"one": (ring.identity,), "two": (self.people["b"].identity,)},
        )  # fmt: skip
        size = self.ledger.head[1].size
        inventory = farm.inventory(self.ledger.reader().view, self.ledger.now_ms(), size)
        plan = contract.plan(order, recipe, {"page": self.image}, inventory)
        await self.submit("a", "contract.propose", plan.proposal)
        identifier = contract.contract_id(plan.proposal.agreement)
        if plan.proposal.agreement.policy.deploy.approvers:
            await self.sign(identifier, "deploy")
        return identifier

    async def sign(self, identifier: ContractId, action: contract.Action) -> None:
        """Both stakeholders approve."""
        state = self.state(identifier)
        subject = state.subject if action == "deploy" else state.delete_subject
        for name, role in (("a", "one"), ("b", "two")):
            approval = contract.Approval(
                contract=identifier, subject=Digest(subject), action=action, role=role,
                decision="approve",
            )  # fmt: skip
            await self.submit(name, "contract.approve", approval)

    def state(self, identifier: ContractId) -> contract.ContractState:
        """How a contract stands now."""
        return contract.read(self.ledger.reader().view, identifier, self.ledger.now_ms())

    def receipts(self, identifier: ContractId, workload: str) -> list[contract.Receipt]:
        """Every receipt about a workload, in the order of the log."""
        rows = self.ledger.reader().rows(0, self.ledger.head[1].size)
        bodies = [
            canonical.parse(body, contract.Receipt)
            for _, leaf, body in rows
            if canonical.parse(leaf, bcdb.Leaf).header.kind == "contract.receipt"
        ]
        return [r for r in bodies if (r.contract, r.workload) == (identifier, workload)]

    async def until(self, done: Callable[[], bool], what: str, seconds: float = 30) -> None:
        """Wait for something; the node's log is in the failure."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, f"{what}, but not in time\n{self.log}"
            await asyncio.sleep(0.05)

    async def phase(self, identifier: ContractId, phase: str) -> None:
        """Wait until a contract is in a phase."""
        await self.until(lambda: self.state(identifier).phase == phase, f"the contract is {phase}")

    async def page(self) -> str:
        """The page over HTTPS at the gateway; empty if it does not answer 200."""
        return await asyncio.to_thread(self._page)

    def _page(self) -> str:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with (
                socket.create_connection((self.address, 443), timeout=3) as plain,
                context.wrap_socket(plain, server_hostname=f"page.{domain}") as connection,
            ):
                connection.sendall(
                    f"GET / HTTP/1.1\r\nHost: page.{domain}\r\nConnection: close\r\n\r\n".encode()
                )
                data = b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
        except OSError:
            return ""
        return data.partition("\r\n\r\n")[2] if " 200 " in data[:20] else ""

    # What is there

    def listening(self) -> set[str]:
        """What listens in the node's network namespace, as `udp:PORT` and `tcp:PORT`."""
        pin = zos.runtime_directory(self.config) / "net"
        text = subprocess.run(
            ["nsenter", f"--net={pin}", "ss", "-Hlntu"], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split() for line in text.splitlines()]
        return {f"{row[0]}:{row[4].rpartition(':')[2]}" for row in rows}

    def workload_pids(self) -> set[int]:
        """The web servers that run in containers on this image."""
        found = set()
        for path in Path("/proc").glob("[0-9]*/cgroup"):
            with contextlib.suppress(OSError):
                if f"{self.config.grid}/{self.config.name}/containers/" in path.read_text():
                    found.add(int(path.parent.name))
        return found

    def keeper_pid(self) -> int:
        """The keeper's process."""
        wanted = str(zos.runtime_directory(self.config)).encode()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if b"tfgrid.agents.zos.keeper" in words and wanted in words:
                    return int(path.parent.name)
        return 0

    def residue(self) -> list[str]:
        """What of the node is left on the machine outside its directory."""
        name = f"{self.config.grid}/{self.config.name}"
        left = [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line
        ]
        # A walk passes over what others remove meanwhile.
        groups = (folder for folder, _, _ in os.walk("/sys/fs/cgroup"))
        left += [folder for folder in groups if folder.endswith(f"/tfgrid/{name}")]
        left += [c.owner for c in claims.Claims().held(name)]
        left += [str(p) for p in [zos.runtime_directory(self.config)] if p.exists()]
        links_here = (path.name for path in Path("/sys/class/net").iterdir())
        left += [name for name in links_here if self.config.grid in name]
        loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout
        left += [line for line in loops.splitlines() if str(self.directory) in line]
        return left


@contextlib.asynccontextmanager
async def ground(directory: Path) -> AsyncIterator[Ground]:
    """A ground with its servers up; everything of it is gone afterwards."""
    token = SystemRng().token(4).hex()
    made = Ground(directory, token)
    links.LinkAdd(name=made.bridge, kind="bridge").perform()
    links.LinkSet(name=made.bridge, up=True, link_local=False).perform()
    links.AddressAdd(link=made.bridge, address=f"{made.gateway}/24").perform()
    stop = asyncio.Event()
    handlers = (
        (made.answer, ledger_port),
        (flist.Service(made.chunks).handle, chunks_port),
    )
    servers = [
        asyncio.create_task(api.serve(h, host=made.gateway, port=p, stop=stop)) for h, p in handlers
    ]
    try:
        yield made
    finally:
        zos.destroy(made.config)
        if made.process is not None:
            made.process.wait(10)
        made.stop.set()
        stop.set()
        await asyncio.gather(*servers, return_exceptions=True)
        made.ledger.close()
        links.LinkRemove(name=made.bridge).perform()
        claims.Claims().release(made.claim)


_RECIPE = f"""\
name: page
version: "1.0"
parameters:
  command: {{type: string}}
policy:
  deploy: {{roles: {{one: 1, two: 1}}, weight: 2}}
  delete: {{roles: {{one: 1, two: 1}}, weight: 2}}
access: {{logs: true}}
workloads:
  net:
    type: network
  web:
    type: container
    image: page
    network: net
    cpu: 0.5
    memory: 32MiB
    disk: 16MiB
    arguments: ["${{command}}"]
  name:
    type: route
    host: page.{domain}
    network: net
    containers: [web]
    port: 80
"""
