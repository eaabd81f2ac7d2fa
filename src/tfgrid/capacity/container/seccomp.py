"""Which system calls a workload may make.

    listed as permitted          runs
    listed as refused            EPERM: it exists, and is not for workloads
    everything else              ENOSYS: as on an older kernel, so that libraries fall back

What is refused reaches kernel parts that a workload has no business in (mounts, modules, keys,
tracing, bpf, performance counters, time, namespaces) or undoes the walls around it. `clone` is
permitted without the flags that make namespaces; `clone3` hides its flags in memory where no filter
can look, so it does not exist. Nor do `io_setup`, whose events are counted over the whole machine,
and `sync`, which waits for everybody's disks. Sockets are Unix, IPv4, IPv6 and route netlink only.
Other machine types, such as 32-bit programs, end the process.
"""

from __future__ import annotations

import platform
from typing import Final

__all__ = ["permitted", "refused", "seccomp_profile"]

_FILES: Final = """
access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat
faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchown fchownat fcntl fdatasync fgetxattr
flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents
getdents64 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown
lgetxattr link linkat listxattr llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat mknod
mknodat newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2
read readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile
setxattr splice stat statfs statx symlink symlinkat sync_file_range syncfs tee truncate umask
unlink unlinkat utime utimensat utimes vmsplice write writev
"""
_MEMORY: Final = """
brk get_mempolicy madvise membarrier memfd_create mincore mlock mlock2 mlockall mmap mprotect
mremap msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
"""
_PROCESSES: Final = """
alarm arch_prctl capget capset execve execveat exit exit_group fork futex futex_waitv
get_robust_list getcpu getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority
getrandom getresgid getresuid getrlimit getrusage getsid gettid getuid ioprio_get ioprio_set kill
landlock_add_rule landlock_create_ruleset landlock_restrict_self pause pidfd_open
pidfd_send_signal prctl prlimit64 restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask
rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp set_robust_list set_tid_address setfsgid setfsuid setgid
setgroups setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setuid
sigaltstack sysinfo tgkill time times tkill uname vfork wait4 waitid
"""
_TIME: Final = """
clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer timer_create
timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
timerfd_settime
"""
_EVENTS: Final = """
epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2
poll ppoll pselect6 select signalfd signalfd4
"""
_MESSAGES: Final = """
accept accept4 bind connect getpeername getsockname getsockopt listen mq_getsetattr mq_notify
mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd recvfrom recvmmsg
recvmsg semctl semget semop semtimedop sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt
shmget shutdown socketpair
"""
_REFUSED: Final = """
acct add_key adjtimex bpf chroot clock_adjtime clock_settime delete_module fanotify_init
fanotify_mark finit_module fsconfig fsmount fsopen fspick init_module ioperm iopl kcmp
kexec_file_load kexec_load keyctl lookup_dcookie mbind migrate_pages modify_ldt mount
mount_setattr move_mount move_pages name_to_handle_at open_by_handle_at open_tree perf_event_open
personality pidfd_getfd pivot_root process_madvise process_vm_readv process_vm_writev ptrace
quotactl quotactl_fd reboot remap_file_pages request_key set_mempolicy setdomainname sethostname
setns settimeofday swapoff swapon syslog umount2 unshare userfaultfd ustat vhangup
"""
_EPERM: Final = 1
_ENOSYS: Final = 38
_EPROTONOSUPPORT: Final = 93
_EAFNOSUPPORT: Final = 97
_AF_NETLINK: Final = 16
_FAMILIES: Final = (1, 2, 10)
# NEWTIME is not among them: in clone(2) its bit is part of the exit signal.
_NAMESPACE_FLAGS: Final = (
    0x00020000,  # NEWNS
    0x02000000,  # NEWCGROUP
    0x04000000,  # NEWUTS
    0x08000000,  # NEWIPC
    0x10000000,  # NEWUSER
    0x20000000,  # NEWPID
    0x40000000,  # NEWNET
)
_PERSONALITIES: Final = (0, 0xFFFFFFFF)
_ARCHITECTURES: Final = {
    "x86_64": "SCMP_ARCH_X86_64",
    "aarch64": "SCMP_ARCH_AARCH64",
    "riscv64": "SCMP_ARCH_RISCV64",
}

permitted: Final = frozenset(
    f"{_FILES} {_MEMORY} {_PROCESSES} {_TIME} {_EVENTS} {_MESSAGES}".split()
)
"""Calls that run whatever their arguments are."""
refused: Final = frozenset(_REFUSED.split())
"""Calls that fail with EPERM; `personality` but for asking and the default."""


def _compare(index: int, operator: str, value: int, second: int = 0) -> dict[str, object]:
    return {"index": index, "op": f"SCMP_CMP_{operator}", "value": value, "valueTwo": second}


def _allow(name: str, *conditions: dict[str, object]) -> dict[str, object]:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": list(conditions)}


def _fail(name: str, errno: int, *conditions: dict[str, object]) -> dict[str, object]:
    args = list(conditions)
    return {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": args}


def _clone_rules() -> list[dict[str, object]]:
    mask = sum(_NAMESPACE_FLAGS)
    rules = [_allow("clone", _compare(0, "MASKED_EQ", mask, 0))]
    rules += [
        _fail("clone", _EPERM, _compare(0, "MASKED_EQ", flag, flag)) for flag in _NAMESPACE_FLAGS
    ]
    return rules


def _socket_rules() -> list[dict[str, object]]:
    rules = [_allow("socket", _compare(0, "EQ", family)) for family in _FAMILIES]
    route = _compare(2, "EQ", 0)
    rules.append(_allow("socket", _compare(0, "EQ", _AF_NETLINK), route))
    other = _compare(2, "NE", 0)
    rules.append(_fail("socket", _EPROTONOSUPPORT, _compare(0, "EQ", _AF_NETLINK), other))
    rules.append(_fail("socket", _EAFNOSUPPORT, _compare(0, "GT", _AF_NETLINK)))
    absent = set(range(_AF_NETLINK)) - set(_FAMILIES)
    rules += [_fail("socket", _EAFNOSUPPORT, _compare(0, "EQ", n)) for n in sorted(absent)]
    return rules


def seccomp_profile(machine: str = "") -> dict[str, object]:
    """The profile in OCI form, for this machine type or the one named."""
    plain = sorted(refused - {"personality"})
    personality = [_allow("personality", _compare(0, "EQ", n)) for n in _PERSONALITIES]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _ENOSYS,
        "architectures": [_ARCHITECTURES[machine or platform.machine()]],
        "syscalls": [
            {"names": sorted(permitted), "action": "SCMP_ACT_ALLOW"},
            {"names": plain, "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM},
            *personality,
            *_clone_rules(),
            *_socket_rules(),
        ],
    }
