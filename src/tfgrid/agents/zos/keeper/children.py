"""Starting a program from the keeper: fork, put everything in place, exec.

The keeper has one thread, so that the child may do what it needs between fork and exec. What goes
wrong there comes back through a pipe as an errno, before anybody is told that the program runs.
"""

from __future__ import annotations

import os
import resource
import signal

from tfgrid.jumpscale.sal import syscalls

__all__ = ["start"]

_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


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
    failed, failed_write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _become(argv, {"PATH": _path, **env}, cwd, netns, output, open_files, failed_write)
    os.close(failed_write)
    try:
        answer = os.read(failed, 4)
    finally:
        os.close(failed)
    if answer:
        os.waitpid(pid, 0)
        number = int.from_bytes(answer, "little")
        raise OSError(number, os.strerror(number))
    return pid


def _become(
    argv: list[str],
    env: dict[str, str],
    cwd: str,
    netns: str | None,
    output: str,
    open_files: tuple[int, int],
    failed: int,
) -> None:
    number = 5
    try:
        os.setsid()
        # Those that Python and the keeper set, and those that whoever started the grid ignored.
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_NOFILE, open_files)
        if netns:
            syscalls.setns(os.open(netns, os.O_RDONLY | os.O_CLOEXEC), syscalls.CLONE_NEWNET)
        os.chdir(cwd)
        os.dup2(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), 0)
        # Opened anew: blocking is a property of the open file, and the keeper's own must not block.
        pipe = os.open(output, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        os.dup2(pipe, 1)
        os.dup2(pipe, 2)
        os.execvpe(argv[0], argv, env)  # noqa: S606 - no shell is wanted
    except OSError as error:
        number = error.errno or 5
    finally:
        os.write(failed, number.to_bytes(4, "little"))
        os._exit(127)
