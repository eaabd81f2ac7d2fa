"""What a container cannot do, tried from inside a real one."""

from __future__ import annotations

import asyncio
import base64
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.ground import Node, in_node, make_image
from tfgrid.capacity.container import bpf

pytestmark = pytest.mark.root

_EPERM, _ENOSYS, _EAFNOSUPPORT, _EPROTONOSUPPORT = "1", "38", "97", "93"
_NEWUSER = 0x10000000

# Name, words of the probe (number of the system call on x86-64, arguments), right answers.
_CALLS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("mount", "165 @none @/tmp @tmpfs 0 0", (_EPERM,)),
    ("umount2", "166 @/proc 2", (_EPERM,)),
    ("pivot_root", "155 @/ @/tmp", (_EPERM,)),
    ("unshare of a user namespace", f"272 {_NEWUSER}", (_EPERM,)),
    ("unshare of a mount namespace", "272 0x20000", (_EPERM,)),
    ("clone into a user namespace", f"56 {_NEWUSER + 17} 0 0 0 0", (_EPERM,)),
    ("clone into a network namespace", f"56 {0x40000000 + 17} 0 0 0 0", (_EPERM,)),
    ("clone3", "435 buffer 88", (_ENOSYS,)),
    ("setns", "308 0 0", (_EPERM,)),
    ("ptrace", "101 16 1 0 0", (_EPERM,)),
    ("process_vm_readv", "310 1 buffer 1 buffer 1 0", (_EPERM,)),
    ("keyctl", "250 0 0xfffffffd 0", (_EPERM,)),
    ("add_key", "248 @user @x @y 1 0xfffffffd", (_EPERM,)),
    ("bpf", "321 0 buffer 16", (_EPERM,)),
    ("perf_event_open", "298 buffer 0 -1 -1 0", (_EPERM,)),
    ("userfaultfd", "323 1", (_EPERM,)),
    ("io_uring_setup", "425 8 buffer", (_ENOSYS,)),
    ("open_by_handle_at", "304 -100 buffer 0", (_EPERM,)),
    ("name_to_handle_at", "303 -100 @/ buffer buffer 0", (_EPERM,)),
    ("init_module", "175 buffer 16 @", (_EPERM,)),
    ("kexec_load", "246 0 0 0 0", (_EPERM,)),
    ("reboot", "169 0xfee1dead 672274793 0x1234567", (_EPERM,)),
    ("settimeofday", "164 buffer 0", (_EPERM,)),
    ("sethostname", "170 @x 1", (_EPERM,)),
    ("swapon", "167 @/x 0", (_EPERM,)),
    ("syslog", "103 3 buffer 4096", (_EPERM,)),
    ("open_tree", "428 -100 @/ 1", (_EPERM,)),
    ("fsopen", "430 @tmpfs 0", (_EPERM,)),
    ("mount_setattr", "442 -100 @/ 0 buffer 32", (_EPERM,)),
    ("fanotify_init", "300 0 0", (_EPERM,)),
    ("pidfd_getfd", "438 0 0 0", (_EPERM,)),
    ("modify_ldt", "154 0 buffer 16", (_EPERM,)),
    ("another personality", "135 0x0008", (_ENOSYS, _EPERM)),
    ("packet socket", "41 17 3 768", (_EAFNOSUPPORT,)),
    ("vsock socket", "41 40 1 0", (_EAFNOSUPPORT,)),
    ("alg socket", "41 38 5 0", (_EAFNOSUPPORT,)),
    ("packet socket behind high bits", f"41 {(1 << 32) + 17} 3 768", (_EAFNOSUPPORT,)),
    ("audit netlink socket", "41 16 3 9", (_EPROTONOSUPPORT,)),
    ("raw socket", "41 2 3 1", (_EPERM,)),
    ("device node", "133 @/tmp/disk 0x6180 0x700", (_EPERM,)),
    ("io_setup, counted over the machine", "206 60000 buffer", (_ENOSYS,)),
    ("sync of everybody's disks", "162", (_ENOSYS,)),
    ("a system call that does not exist", "999", (_ENOSYS,)),
    ("cgroup mount", "165 @none @/tmp @cgroup 0 @memory", (_EPERM,)),
)
_DEVICES = (
    *("core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm"),
    *("stderr", "stdin", "stdout", "tty", "urandom", "zero"),
)
_PERMITTED: tuple[tuple[str, str], ...] = (
    ("tcp socket", "41 2 1 0"),
    ("ipv6 udp socket", "41 10 2 0"),
    ("unix socket", "41 1 1 0"),
    ("route netlink socket", "41 16 3 0"),
    ("asking for the personality", "135 0xffffffff"),
    ("named pipe", "133 @/tmp/pipe 0x1180 0"),
    ("ping socket", "41 2 2 1"),
    ("memfd", "319 @x 0"),
)

# Name, shell script, what it may print (a line each; the last lines of the script's output).
_SCRIPTS: tuple[tuple[str, str, str], ...] = (
    ("other processes are not seen", "set -- /proc/[0-9]*; echo $#", "1"),
    ("the first process is the workload", "tr '\\0' ' ' </proc/1/cmdline | cut -c1-5", "sh -c"),
    (
        "host root is nobody",
        "cat /proc/self/uid_map | awk '{print $1, ($2 > 1000000), $3}'",
        "0 1 65536",
    ),
    (
        "only the root device's overlay",
        "awk '$5 == \"/\" {print $(NF-2)}' /proc/self/mountinfo",
        "overlay",
    ),
    ("proc sys is not written", "echo 1 2>/dev/null >/proc/sys/kernel/panic || echo no", "no"),
    (
        "proc sys net is not written",
        "echo 1 2>/dev/null >/proc/sys/net/ipv4/ip_forward || echo no",
        "no",
    ),
    ("sysrq is not written", "echo b 2>/dev/null >/proc/sysrq-trigger || echo no", "no"),
    ("kcore is empty", "head -c 1 /proc/kcore 2>/dev/null | wc -c", "0"),
    ("keys are empty", "wc -c </proc/keys", "0"),
    ("kallsyms is empty", "wc -c </proc/kallsyms", "0"),
    ("timer list is empty", "cat /proc/timer_list 2>/dev/null | wc -c", "0"),
    ("nothing in sys", "ls -A /sys | wc -l", "0"),
    ("no sysfs anywhere", "grep -c sysfs /proc/self/mountinfo", "0"),
    ("no disks in proc", "cat /proc/partitions /proc/diskstats | wc -c", "0"),
    ("no words of the host's start", "wc -c </proc/cmdline", "0"),
    ("no map of the host's memory", "cat /proc/iomem /proc/ioports | wc -c", "0"),
    ("sys is not written", "touch /sys/x 2>/dev/null || echo no", "no"),
    ("only loopback in proc", "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '", "lo"),
    ("no host mounts", "grep -c /run/tfgrid /proc/self/mountinfo", "0"),
    ("own control group root", "cut -d: -f3 /proc/self/cgroup | grep -v '^/$' | grep -c web", "0"),
    ("three descriptors", "ls /proc/self/fd | wc -w", "4"),
    ("no new privileges", "grep NoNewPrivs /proc/self/status | cut -f2", "1"),
    ("filtered", "grep '^Seccomp:' /proc/self/status | cut -f2", "2"),
    ("few capabilities", "grep CapBnd /proc/self/status | cut -f2", "00000000000004fb"),
    (
        "no inheritable ones",
        "grep -E 'CapInh|CapAmb' /proc/self/status | cut -f2 | uniq",
        "0000000000000000",
    ),
    ("no core files", "ulimit -c", "0"),
    ("devices are few", "ls /dev | tr '\\n' ' '", " ".join([*_DEVICES, ""])),
    ("no terminal", "cat /dev/tty 2>/dev/null || echo no", "no"),
    ("mqueue is bounded", "ls /dev/mqueue | wc -l", "0"),
    (
        "hosts are ours and read-only",
        "cat /etc/hosts | head -1; echo x 2>/dev/null >>/etc/hosts || echo no",
        "127.0.0.1 localhost\nno",
    ),
    ("the host name is ours", "hostname", "container"),
    ("memory of the first process is its own", "head -c 1 /proc/1/mem 2>/dev/null | wc -c", "0"),
    ("stdout may be opened again", "echo again >/dev/stdout", "again"),
    ("loopback is up", "ip link show lo | grep -c UP,LOWER_UP", "1"),
    (
        "a low port may be bound by a user",
        "grep -c . /proc/sys/net/ipv4/ip_unprivileged_port_start",
        "1",
    ),
)


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


def _in_one(ground: Path, image: Path, script: str, **changes: object) -> str:
    said: list[str] = []

    async def body() -> None:
        node = Node(ground, image)
        await node.with_keeper()
        said.append(await node.said(script, **changes))
        await node.clean()

    in_node(body)
    return said[0]


def test_refused_calls_are_refused(ground: Path, image: Path) -> None:
    """Each forbidden system call fails as the table says, for root inside."""
    script = ";".join(f"probe {words}" for _, words, _ in _CALLS)
    answers = _in_one(ground, image, script).splitlines()
    wrong = [
        f"{name}: {answer}"
        for (name, _, right), answer in zip(_CALLS, answers, strict=True)
        if answer not in right
    ]

    assert wrong == []


def test_the_compiled_filter_is_the_runtimes_own(
    ground: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a node compiles once is, byte for byte, what crun makes of the profile itself."""
    loaded: list[bytes] = []

    async def body() -> None:
        node = Node(ground, image)
        for given in (bpf.node_filter(), ""):
            monkeypatch.setattr(bpf, "node_filter", lambda given=given: given)
            await node.run("sleep 60")
            loaded.append((ground / "run/_crun/web/seccomp.bpf").read_bytes())
            await node.runtime.remove("web", grace_seconds=0)
        await node.clean()

    ours = base64.b64decode(bpf.node_filter())
    in_node(body)

    assert loaded == [ours, ours]


def test_permitted_calls_work(ground: Path, image: Path) -> None:
    """The walls let through what ordinary programs need."""
    script = ";".join(f"probe {words}" for _, words in _PERMITTED)
    answers = _in_one(ground, image, script).splitlines()

    assert dict(zip([n for n, _ in _PERMITTED], answers, strict=True)) == {
        name: "ok" for name, _ in _PERMITTED
    }


def test_the_view_from_inside_is_small(ground: Path, image: Path) -> None:
    """Processes, mounts, devices and descriptors are the container's own or are not there."""
    script = ";".join(f"echo '--'; {line}" for _, line, _ in _SCRIPTS)
    parts = _in_one(ground, image, script).split("--\n")[1:]
    wrong = [
        f"{name}: {part!r}"
        for (name, _, right), part in zip(_SCRIPTS, parts, strict=True)
        if part.rstrip("\n") != right
    ]

    assert wrong == []


def test_a_user_gains_nothing(ground: Path, image: Path) -> None:
    """A workload that is not root has no capability, and a setuid program gives it none."""
    script = (
        "id -u; for word in CapEff NoNewPrivs; do grep $word /proc/self/status | cut -f2; done;"
        " su -c 'id -u' root 2>&1 | tail -1"
    )
    lines = _in_one(ground, image, script, user=1000, group=1000).splitlines()

    assert lines[:3] == ["1000", "0" * 16, "1"]
    assert lines[3] != "0"


def test_a_user_may_serve_a_low_port_and_write_its_output(ground: Path, image: Path) -> None:
    """Port 80 needs no root inside, and /dev/stdout opens for whom the program runs as."""
    script = (
        "nc -l -p 80 </dev/null & sleep 0.2; netstat -ltn | grep -c ':80 '; echo x >/dev/stdout"
    )
    said = _in_one(ground, image, script, user=1000, group=1000)

    assert said.splitlines() == ["1", "x"]


def test_a_fork_bomb_is_bounded(ground: Path, image: Path) -> None:
    """Processes stop at the limit, a neighbour goes on, and removal ends them all at once."""

    async def body() -> None:
        node = Node(ground, image)
        await node.run("while :; do echo tick; sleep 0.05; done", name="neighbour")
        await node.run("bomb() { bomb | bomb & bomb; }; bomb; sleep 60", name="bomb")
        await asyncio.sleep(0.7)
        from tfgrid.jumpscale.sal import cgroups

        count = len(cgroups.processes(cgroups.detect(), node.runtime.group("bomb")))
        ticks = (await node.runtime.tail("neighbour", 10_000)).count(b"tick")
        begun = time.monotonic()
        await node.runtime.remove("bomb", grace_seconds=0)

        assert count <= 64
        assert ticks >= 4
        assert time.monotonic() - begun < 5
        await node.clean()

    in_node(body)


def test_a_memory_hog_ends_itself_alone(ground: Path, image: Path) -> None:
    """Beyond its memory, shared memory included, a workload is killed, and its neighbour is not."""

    async def body() -> None:
        node = Node(ground, image)
        await node.run("sleep 60", name="neighbour")
        await node.run("exec tail -c 200m /dev/zero")
        hog = await node.ended()
        await node.runtime.remove("web")
        await node.run(
            "dd if=/dev/zero of=/dev/shm/x bs=1M count=200 2>/dev/null; wc -c </dev/shm/x"
        )
        ended = await node.ended()
        text = await node.runtime.tail("web", 100)

        assert hog.exit_code == 137
        assert ended.exit_code == 137 or int(text or b"0") <= 64 * 1024**2
        assert (await node.runtime.observe())["neighbour"].phase == "running"
        await node.clean()

    in_node(body)


def test_terminals_and_open_files_are_bounded(ground: Path, image: Path) -> None:
    """A workload takes 64 terminals and its own files, no more."""
    script = (
        'i=3; while [ $i -lt 200 ]; do eval "exec $i</dev/ptmx" 2>/dev/null || break;'
        "i=$((i+1)); done;"
        "echo $((i-3))"
    )
    said = _in_one(ground, image, f"sh -c '{script}'; echo done")

    assert "done" in said
    assert all(int(word) <= 64 for word in said.split() if word.isdigit())
