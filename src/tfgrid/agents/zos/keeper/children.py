"""Starting a program from the keeper, without copying the keeper.

posix_spawn borrows the caller's memory until the program is loaded, where fork copies its page
tables: a tenth of the time, in a process that everything on a node waits for. What it cannot set
for the child alone (working directory, network namespace, bound on open files) the keeper, which
has one thread, takes on for the moment and gives back.
"""

# Plain strings: these paths are made once and used in code that is hot.
# ruff: noqa: PTH110

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tfgrid.jumpscale.sal import syscalls

__all__ = ["start"]

_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_resettable = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


def start(
    argv: list[str],
    *,
    env: dict[str, str],
    cwd: str,
    netns: str | None,
    output: str,
    open_files: tuple[int, int],
) -> int:
    """Start a program in its own session, with the named pipe `output` for both outputs; its pid.

    `open_files` are the soft and hard bounds on open files that it gets.

    Raises:
        OSError: it could not be started; the errno of the step that failed.

    """
    env = {"PATH": _path, **env}
    program = _found(argv[0], env)
    # Opened anew: blocking is a property of the open file, and the keeper's own must not block.
    actions = (
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, output, os.O_RDWR | os.O_NOFOLLOW, 0),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    )
    with ExitStack() as taken_on:
        taken_on.enter_context(_at(cwd))
        if netns:
            taken_on.enter_context(_inside(netns))
        # Last: the keeper itself may have more files open than a program may.
        taken_on.enter_context(_bounded(open_files))
        return os.posix_spawn(
            program,
            argv,
            env,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            # Those that Python and the keeper set, and those that whoever started the grid ignored.
            setsigdef=_resettable,
        )


def _found(name: str, env: dict[str, str]) -> str:
    """A program's path, as execvp(3) finds it by the PATH that the program will have."""
    if "/" in name:
        return name
    for folder in os.get_exec_path(env):
        path = f"{folder}/{name}"
        if os.path.exists(path):
            return path
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


@contextmanager
def _bounded(open_files: tuple[int, int]) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files[0], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def _at(cwd: str) -> Iterator[None]:
    back = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(cwd)
        yield
    finally:
        os.fchdir(back)
        os.close(back)


@contextmanager
def _inside(netns: str) -> Iterator[None]:
    back = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(there, syscalls.CLONE_NEWNET)
        finally:
            os.close(there)
        try:
            yield
        finally:
            syscalls.setns(back, syscalls.CLONE_NEWNET)
    finally:
        os.close(back)
