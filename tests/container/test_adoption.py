"""Containers outlive the keeper and the node process, with their logs and exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.ground import Node, in_node, make_image
from tfgrid.agents.zos.keeper import wire
from tfgrid.jumpscale.sal import processes

pytestmark = pytest.mark.root

_NODE_PROCESS = """
import asyncio, json, os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from tests.container.ground import Node

async def main():
    node = Node(Path(sys.argv[1]), Path(sys.argv[2]))
    node.owner = sys.argv[3]
    await node.with_keeper()
    await node.run("echo begun; sleep 0.6; echo on; exit 6")
    print("started", flush=True)
    time.sleep(60)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny image."""
    return make_image(tmp_path_factory.mktemp("image"))


@pytest.fixture
def ground() -> Iterator[Path]:
    """A folder that container ids may pass through, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="tfgrid-container-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def _kill_keeper(run: Path) -> None:
    with wire.connect(str(run)) as connection:
        pid = int.from_bytes(connection.getsockopt(1, 17, 12)[:4], "little")
    held = processes.Held.open(pid)
    assert held
    with held:
        held.signal(signal.SIGKILL)
        assert held.wait(5)


def test_containers_outlive_the_keeper(ground: Path, image: Path) -> None:
    """After kill -9 of the keeper a container runs on, and the next has its log and its end."""

    async def body() -> None:
        node = Node(ground, image)
        await node.with_keeper()
        script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; sleep 0.5; exit 9"
        before = await node.run(script)
        _kill_keeper(ground / "keeper-run")
        await node.with_keeper()
        after = (await node.runtime.observe())["web"]
        ended = await node.ended()
        log = await node.runtime.tail("web", 1_000_000)

        assert after == before
        assert ended.exit_code == 9
        assert log == b"".join(b"line %d\n" % n for n in range(2000))
        await node.clean()

    in_node(body)


def test_a_created_container_outlives_the_keeper(ground: Path, image: Path) -> None:
    """A container that waits for its start waits on, and can be started afterwards."""

    async def body() -> None:
        node = Node(ground, image)
        await node.with_keeper()
        await node.runtime.create(node.spec("echo ran; exit 4"))
        _kill_keeper(ground / "keeper-run")
        await node.with_keeper()
        waiting = (await node.runtime.observe())["web"]
        await node.runtime.start("web")

        assert waiting.phase == "created"
        assert (await node.ended()).exit_code == 4
        await node.clean()

    in_node(body)


def test_containers_outlive_the_node_process(ground: Path, image: Path) -> None:
    """After kill -9 of its maker a container runs on, and the next process sees it as its own."""

    async def body() -> None:
        node = Node(ground, image)
        here = str(Path(__file__).parents[2])
        argv = [sys.executable, "-c", _NODE_PROCESS, str(ground), str(image), node.owner, here]
        process = await asyncio.to_thread(subprocess.Popen, argv, stdout=subprocess.PIPE)
        with process:
            assert process.stdout
            assert await asyncio.to_thread(process.stdout.readline) == b"started\n"
            process.kill()
        await node.with_keeper()
        seen = (await node.runtime.observe())["web"]
        again = await node.runtime.create(node.spec("echo begun; sleep 0.6; echo on; exit 6"))
        ended = await node.ended()

        assert (seen.phase, again) == ("running", seen)
        assert ended.exit_code == 6
        assert await node.runtime.tail("web", 100) == b"begun\non\n"
        await node.clean()

    in_node(body)


def test_after_a_reboot_a_container_is_broken_and_made_again(ground: Path, image: Path) -> None:
    """Records of another boot name no process: what they leave is removed and made afresh."""

    async def body() -> None:
        node = Node(ground, image)
        await node.with_keeper()
        running = await node.run("sleep 60")
        _kill_keeper(ground / "keeper-run")
        record = ground / "keeper/records/container.web.json"
        told = json.loads(record.read_text())
        record.write_text(json.dumps({**told, "boot": "another"}))
        os.kill(running.pid, signal.SIGKILL)
        await node.with_keeper()
        seen = (await node.runtime.observe())["web"]
        again = await node.run("sleep 60")

        assert (seen.phase, seen.exit_code) == ("ended", None)
        assert again.phase == "running"
        await node.clean()

    in_node(body)
