"""What a container is given, without starting one: the configuration and the checks at the door."""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tfgrid.capacity import container
from tfgrid.capacity.container import bpf, seccomp
from tfgrid.capacity.container.config import capabilities
from tfgrid.core import errors

_LAYOUT = container.Layout(state=Path("/state/web"), run=Path("/run/x/web"))
_LIMITS = container.Limits(cpu_millis=250, memory_bytes=2**26, disk_bytes=2**23, processes=32)


def _spec(**changes: Any) -> container.Spec:
    asked: dict[str, Any] = {
        "name": "web",
        "digest": "00",
        "image": Path("/images/a"),
        "arguments": ("server",),
        "limits": _LIMITS,
    }
    return container.Spec(**{**asked, **changes})


def _config(**changes: Any) -> dict[str, Any]:
    return container.config_json(
        _spec(**changes), _LAYOUT, uid_base=7 * 65_536, group="g/web", open_files_max=20_000
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", n) for n in ("", "..", "a/b", "../a", "A", "a b", "-a", "a" * 101, "a\n")),
        *(("hostname", n) for n in ("", "a;reboot", "a.b", "a\n", "a" * 64)),
        *(("cwd", n) for n in ("", "x", "/a/../b", "/proc/self/fd/7", "/sys", "/dev/shm", "/\0")),
        *(("arguments", n) for n in ((), ("",), ("a\0b",), ("a" * 5000,), ("a",) * 65)),
        *(("environment", n) for n in ({"A B": ""}, {"": ""}, {"A": "\0"}, {"A": "x" * 5000})),
        ("environment", {f"A{n}": "x" * 4000 for n in range(9)}),
        ("environment", {f"A{n}": "" for n in range(65)}),
        *(("user", n) for n in (-1, 65_535, 2**31)),
        ("hosts", "x" * 70_000),
        ("digest", "../x"),
        ("image", Path("relative")),
        *(
            ("limits", container.Limits(**{**_BOUNDS, name: value}))
            for _BOUNDS in [{"cpu_millis": 10, "memory_bytes": 2**26, "disk_bytes": 2**23}]
            for name, value in [
                ("cpu_millis", 0),
                ("memory_bytes", 4096),
                ("disk_bytes", 0),
                ("processes", 0),
                ("processes", 10**6),
            ]
        ),
    ],
)
def test_a_malformed_specification_is_refused(field: str, value: object) -> None:
    """Nothing that could climb out, add a line or exceed a bound becomes a container."""
    with pytest.raises(errors.BadInput, match="TFG-3101") as caught:
        _spec(**{field: value})

    assert caught.value.where.startswith(field)


def test_every_wall_stands() -> None:
    """All namespaces are own ones, privileges are few and final, and the root is the overlay."""
    config = _config()
    linux, process = config["linux"], config["process"]

    assert {n["type"] for n in linux["namespaces"]} == {
        "user", "network", "pid", "ipc", "uts", "mount", "cgroup",
    }  # fmt: skip
    assert {n["type"]: n.get("path") for n in linux["namespaces"] if "path" in n} == {
        "user": "/run/x/web/userns",
        "network": "/run/x/web/netns",
    }
    assert process["noNewPrivileges"] is True
    assert process["terminal"] is False
    assert set(process["capabilities"]) == {"bounding", "effective", "permitted"}
    assert not {"CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_MKNOD"} & set(capabilities)
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 7 * 65_536, "size": 65_536}]
    assert linux["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    assert config["root"] == {"path": "/run/x/web/root", "readonly": False}
    assert "hooks" not in config


def test_the_host_is_bound_nowhere() -> None:
    """Only the three files made for the container are bound, read-only."""
    binds = [m for m in _config()["mounts"] if m["type"] == "bind" or "bind" in m["options"]]

    assert [m["source"] for m in binds] == [
        "/run/x/web/etc/hosts", "/run/x/web/etc/hostname", "/run/x/web/etc/resolv.conf",
    ]  # fmt: skip
    assert all("ro" in m["options"] for m in binds)


def test_limits_are_as_asked_and_without_swap() -> None:
    """Memory has no swap beside it, cpu is a quota, processes and open files are counted."""
    config = _config()

    assert config["linux"]["resources"]["memory"] == {"limit": 2**26, "swap": 2**26}
    assert config["linux"]["resources"]["cpu"] == {"quota": 25_000, "period": 100_000}
    assert config["linux"]["resources"]["pids"] == {"limit": 32}
    assert config["process"]["rlimits"] == [
        {"type": "RLIMIT_CORE", "hard": 0, "soft": 0},
        {"type": "RLIMIT_NOFILE", "hard": 20_000, "soft": 1024},
    ]


def test_the_environment_is_the_workloads_with_a_path() -> None:
    """PATH and HOME are set unless the workload sets them."""
    assert "PATH=/x" in _config(environment={"PATH": "/x"})["process"]["env"]
    assert any(e.startswith("PATH=/usr") for e in _config()["process"]["env"])
    assert "HOME=/" in _config(user=5)["process"]["env"]


def test_the_configuration_is_plain_json() -> None:
    """What is written for the runtime is what was planned."""
    config = _config()

    assert json.loads(json.dumps(config)) == config


def test_no_call_is_both_permitted_and_refused() -> None:
    """The two tables do not meet, and what is dangerous is not among what is permitted."""
    dangerous = {
        "add_key", "bpf", "clone3", "init_module", "io_uring_enter", "io_uring_setup", "keyctl",
        "kexec_load", "mount", "open_by_handle_at", "perf_event_open", "pivot_root", "ptrace",
        "reboot", "setns", "swapon", "umount2", "unshare", "userfaultfd",
    }  # fmt: skip

    assert not seccomp.permitted & seccomp.refused
    assert not seccomp.permitted & dangerous
    assert not {"clone", "socket", "personality"} & seccomp.permitted
    assert seccomp.seccomp_profile("aarch64")["architectures"] == ["SCMP_ARCH_AARCH64"]


def test_every_name_is_a_system_call() -> None:
    """A misspelt name would be left out by the runtime without a word."""
    header = "#include <sys/syscall.h>\n"
    text = subprocess.run(
        ["cc", "-E", "-dM", "-"], input=header, capture_output=True, text=True, check=True
    ).stdout
    known = {line.split()[1][5:] for line in text.splitlines() if line.startswith("#define __NR_")}

    assert sorted((seccomp.permitted | seccomp.refused) - known) == []


def test_a_rule_that_the_library_refuses_makes_no_filter() -> None:
    """A profile is compiled whole or not at all."""
    library = ctypes.CDLL("libseccomp.so.2")
    profile = seccomp.seccomp_profile()
    whole = bpf.compiled(profile, library)
    profile["syscalls"] = [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]

    assert len(whole) % 8 == 0
    assert len(whole) > 800
    with pytest.raises(errors.Failed) as refusal:
        bpf.compiled(profile, library)
    assert refusal.value.code == "TFG-3108"


def test_the_profile_stays_beside_the_compiled_filter() -> None:
    """A runtime that does not know the annotation still builds the same walls."""
    config = container.config_json(
        _spec(), _LAYOUT, uid_base=0, group="g", open_files_max=64, seccomp_filter="AAAA"
    )

    assert config["annotations"] == {"run.oci.seccomp_bpf_data": "AAAA"}
    assert config["linux"]["seccomp"] == seccomp.seccomp_profile()  # type: ignore[index]
    assert _config()["annotations"] == {}
