"""The keeper's loop: requests, ends of processes and output, each in small steps.

Everything is an event on one epoll: the socket, clients, pipes, SIGCHLD and the pidfds of adopted
processes. A pipe that has moved its share rests until its window is over, so that a flood slows its
writer and nobody else.
"""

# Plain strings: these paths are made once and used in code that is hot or forked.
# ruff: noqa: PTH103, PTH123

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import resource
import select
import signal
import socket
import struct
import time
from collections.abc import Callable

from tfgrid.agents.zos.keeper import children, logs, records, wire
from tfgrid.agents.zos.keeper.entries import Entry, Reply
from tfgrid.jumpscale.sal import processes

__all__ = ["Keeper"]

_entries_max = 1024
_clients_max = 256
_lost_children_max = 64
_exit_code_tries_max = 50
_exit_code_wait_seconds = 0.02
_fault_rest_seconds = 1.0
_name = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


class Refusal(Exception):
    """A request that cannot be met; becomes the error of the reply."""

    def __init__(self, code: str, what: str, **details: object) -> None:
        super().__init__(what)
        self.message: dict[str, object] = {
            "error": {"code": code, "what": what, "details": details}
        }


class Keeper:
    """One node's keeper; a fault of one name stays with that name."""

    def __init__(self, run_dir: str, state_dir: str) -> None:
        self._run = run_dir
        self._records = f"{state_dir}/records"
        self._logs = f"{state_dir}/logs"
        self._pipes = f"{run_dir}/pipes"
        for folder in (run_dir, state_dir, self._records, self._logs, self._pipes):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        self._boot = processes.boot_id()
        self._entries: dict[str, Entry] = {}
        self._lost: dict[int, int] = {}
        self._handlers: dict[int, Callable[[], None]] = {}
        self._clients: dict[int, socket.socket] = {}
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._epoll = select.epoll()
        self._going = True
        self._open_files = resource.getrlimit(resource.RLIMIT_NOFILE)

    def run(self) -> bool:
        """Serve until told to quit; False at once if another keeper has this folder."""
        lock = os.open(f"{self._run}/keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        hard = self._open_files[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        processes.become_subreaper()
        self._catch_signals()
        self._adopt_all()
        self._listener = wire.listen(self._run)
        self._watch(self._listener.fileno(), self._accept)
        while self._going:
            self._turn()
        return True

    def _catch_signals(self) -> None:
        wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._quit)
        signal.signal(signal.SIGINT, self._quit)

        def woken() -> None:
            os.read(wake, 4096)
            self._reap()

        self._watch(wake, woken)

    def _quit(self, *_: object) -> None:
        self._going = False

    # The loop

    def _watch(self, descriptor: int, handler: Callable[[], None]) -> None:
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, select.EPOLLIN)

    def _unwatch(self, descriptor: int) -> None:
        if self._handlers.pop(descriptor, None):
            self._epoll.unregister(descriptor)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._timers.append((time.monotonic() + seconds, action))

    def _turn(self) -> None:
        due = min((moment for moment, _ in self._timers), default=None)
        wait = -1.0 if due is None else max(0.0, due - time.monotonic())
        for descriptor, _ in self._epoll.poll(wait, 64):
            handler = self._handlers.get(descriptor)
            if handler:
                handler()
        now = time.monotonic()
        ready = [action for moment, action in self._timers if moment <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        for action in ready:
            action()

    # Output

    def _watch_log(self, entry: Entry) -> None:
        if self._entries.get(entry.name) is entry and entry.log.descriptor not in self._handlers:
            self._watch(entry.log.descriptor, lambda: self._pump(entry))

    def _pump(self, entry: Entry) -> None:
        now = time.monotonic()
        try:
            rest_until = entry.log.pump(now)
        except OSError:
            rest_until = now + _fault_rest_seconds
        if rest_until:
            self._unwatch(entry.log.descriptor)
            self._later(rest_until - now, lambda: self._watch_log(entry))

    # Processes

    def _adopt_all(self) -> None:
        for name, record in records.load(self._records).items():
            entry = Entry(name, logs.Log(f"{self._pipes}/{name}", f"{self._logs}/{name}"))
            self._entries[name] = entry
            self._watch_log(entry)
            pid, ticks = record["pid"], record["start_ticks"]
            code = record.get("exit_code")
            assert isinstance(pid, int) and isinstance(ticks, int)  # noqa: PT018 - records.load
            entry.pid, entry.start_ticks = pid, ticks
            entry.exit_code = code if isinstance(code, int) else None
            same_boot = record.get("boot") == self._boot
            held = processes.Held.open(pid, ticks) if same_boot else None
            if record.get("ended") or held is None:
                entry.ended = True
                records.save(self._records, name, entry.record(self._boot))
            else:
                self._keep(entry, held, adopted=True)

    def _keep(self, entry: Entry, held: processes.Held, *, adopted: bool) -> None:
        entry.keep(held, adopted=adopted)
        records.save(self._records, entry.name, entry.record(self._boot))
        if adopted:
            self._watch(held.descriptor, lambda: self._ended_elsewhere(entry))

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._reaped(pid, processes.exit_code_of_status(status))

    def _reaped(self, pid: int, code: int) -> None:
        for entry in list(self._entries.values()):
            if entry.starter == pid:
                self._starter_left(entry, code)
                return
            if entry.pid == pid and not entry.ended:
                self._end(entry, code)
                return
        # A process whose starter has not been seen to leave yet, or an orphan of no interest.
        self._lost[pid] = code
        while len(self._lost) > _lost_children_max:
            del self._lost[next(iter(self._lost))]

    def _ended_elsewhere(self, entry: Entry) -> None:
        """Note the end of an adopted process, once its exit code is to be had."""
        if entry.held is None or entry.ended:
            return
        self._unwatch(entry.held.descriptor)
        code = entry.held.exit_code()
        entry.tries += 1
        if code is None and entry.tries < _exit_code_tries_max:
            self._later(_exit_code_wait_seconds, lambda: self._ended_elsewhere(entry))
            return
        self._end(entry, code)

    def _end(self, entry: Entry, code: int | None) -> None:
        entry.ended = True
        entry.exit_code = code
        if entry.held:
            self._unwatch(entry.held.descriptor)
        entry.release()
        with contextlib.suppress(OSError):
            entry.log.drain()
        # On a full disk the code is told from memory, and the next keeper does not know it.
        with contextlib.suppress(OSError):
            records.save(self._records, entry.name, entry.record(self._boot))
        waiters, entry.waiters = entry.waiters, []
        for _, reply in waiters:
            reply({"ok": entry.told()})

    # Requests

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        size = struct.calcsize("3i")
        _, uid, _ = struct.unpack(
            "3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        )
        if uid != os.geteuid() or len(self._clients) >= _clients_max:
            client.close()
            return
        client.setblocking(False)
        self._clients[client.fileno()] = client
        self._watch(client.fileno(), lambda: self._read(client))

    def _drop(self, client: socket.socket) -> None:
        descriptor = client.fileno()
        if descriptor >= 0:
            self._unwatch(descriptor)
            self._clients.pop(descriptor, None)
            client.close()

    def _read(self, client: socket.socket) -> None:
        try:
            packet = client.recv(wire.packet_bytes_max)
        except OSError:
            packet = b""
        if not packet:
            self._drop(client)
            return

        def reply(message: dict[str, object]) -> None:
            if client.fileno() < 0:
                return
            try:
                client.send(wire.encode(message))
            except OSError:
                self._drop(client)

        try:
            self._obey(wire.decode(packet), reply)
        except Refusal as refusal:
            reply(refusal.message)
        except (KeyError, TypeError, ValueError) as error:
            reply(Refusal("TFG-3022", f"a request is malformed: {error!r}"[:200]).message)
        except OSError as error:
            reply(Refusal("TFG-3021", f"the keeper could not: {error}", errno=error.errno).message)

    def _obey(self, request: dict[str, object], reply: Reply) -> None:
        verbs: dict[object, Callable[[dict[str, object], Reply], None]] = {
            "forget": self._forget,
            "list": self._list,
            "quit": self._leave,
            "signal": self._signal,
            "spawn": self._spawn,
            "wait": self._wait,
        }
        verb = verbs.get(request.get("verb"))
        if verb is None:
            raise ValueError("verb")
        verb(request, reply)

    def _known(self, request: dict[str, object]) -> Entry:
        entry = self._entries.get(str(request["name"]))
        if entry is None or entry.starter:
            raise Refusal("TFG-3023", "no process has that name")
        return entry

    def _list(self, request: dict[str, object], reply: Reply) -> None:
        del request
        known = [e.told() for e in self._entries.values() if not e.starter]
        reply({"ok": known[:_entries_max]})

    def _leave(self, request: dict[str, object], reply: Reply) -> None:
        del request
        reply({"ok": os.getpid()})
        self._quit()

    def _signal(self, request: dict[str, object], reply: Reply) -> None:
        entry, number = self._known(request), request["signal"]
        if not isinstance(number, int) or not 1 <= number <= 64:
            raise ValueError("signal")
        if entry.held:
            entry.held.signal(number)
        reply({"ok": None})

    def _wait(self, request: dict[str, object], reply: Reply) -> None:
        entry, timeout = self._known(request), request["timeout_ms"]
        if not isinstance(timeout, int) or timeout < 0:
            raise ValueError("timeout_ms")
        if entry.ended or timeout == 0:
            reply({"ok": entry.told()})
            return
        waiter = (time.monotonic() + timeout / 1000, reply)
        entry.waiters.append(waiter)

        def give_up() -> None:
            if waiter in entry.waiters:
                entry.waiters.remove(waiter)
                reply({"ok": entry.told()})

        self._later(timeout / 1000, give_up)

    def _forget(self, request: dict[str, object], reply: Reply) -> None:
        entry = self._entries.get(str(request["name"]))
        if entry and not entry.ended:
            raise Refusal("TFG-3024", "the process still runs")
        if entry:
            self._erase(entry)
        reply({"ok": None})

    def _erase(self, entry: Entry) -> None:
        self._unwatch(entry.log.descriptor)
        del self._entries[entry.name]
        entry.release()
        entry.log.remove()
        records.remove(self._records, entry.name)

    # Starting

    def _spawn(self, request: dict[str, object], reply: Reply) -> None:
        name, argv, env = request["name"], request["argv"], request["env"]
        if not isinstance(name, str) or not _name.fullmatch(name) or name.startswith("."):
            raise ValueError("name")
        if not isinstance(argv, list) or not argv or not isinstance(env, dict):
            raise ValueError("argv")
        if name in self._entries:
            raise Refusal("TFG-3020", "that name is known already")
        if len(self._entries) >= _entries_max:
            raise Refusal("TFG-4203", f"the keeper keeps {_entries_max} processes already")
        entry = Entry(name, logs.Log(f"{self._pipes}/{name}", f"{self._logs}/{name}"))
        self._entries[name] = entry
        try:
            self._start(entry, request, [str(a) for a in argv], reply)
        except OSError as error:
            self._erase(entry)
            number = error.errno
            what = f"{argv[0]} was not started: {error.strerror}"
            raise Refusal("TFG-3021", what, errno=number) from error

    def _start(
        self, entry: Entry, request: dict[str, object], argv: list[str], reply: Reply
    ) -> None:
        owner, env = request.get("log_owner", 0), request["env"]
        assert isinstance(env, dict)
        os.chown(entry.log.pipe, int(str(owner)), int(str(owner)), follow_symlinks=False)
        self._watch_log(entry)
        netns = request.get("netns")
        pid = children.start(
            argv,
            env={str(k): str(v) for k, v in env.items()},
            cwd=str(request.get("cwd") or "/"),
            netns=str(netns) if netns else None,
            output=entry.log.pipe,
            open_files=self._open_files,
        )
        pid_file = request.get("pid_file")
        if pid_file:
            entry.starter, entry.pid_file, entry.reply = pid, str(pid_file), reply
            seconds = min(120.0, float(str(request.get("settle_seconds", 20))))
            self._later(seconds, lambda: self._too_slow(entry, pid))
            return
        held = processes.Held.open(pid, unreaped=True)
        assert held, "a child is there until it is waited for"
        self._keep(entry, held, adopted=False)
        reply({"ok": entry.told()})

    def _too_slow(self, entry: Entry, pid: int) -> None:
        if entry.starter == pid:
            os.kill(pid, signal.SIGKILL)

    def _starter_left(self, entry: Entry, code: int) -> None:
        """A program with a pid file has left: keep its process, or tell why there is none."""
        reply, entry.reply = entry.reply, None
        assert reply is not None
        pid = _pid_in(entry.pid_file) if code == 0 else 0
        held = processes.Held.open(pid) if pid else None
        if held:
            self._keep(entry, held, adopted=False)
            reply({"ok": entry.told()})
            return
        if pid in self._lost:
            entry.pid, entry.starter = pid, 0
            self._end(entry, self._lost.pop(pid))
            reply({"ok": entry.told()})
            return
        with contextlib.suppress(OSError):
            entry.log.drain()
        said = logs.tail(f"{self._logs}/{entry.name}", 500).decode("utf-8", "replace").strip()
        self._erase(entry)
        what = f"it failed with {code}: {said}" if code else "it left no process behind"
        reply(Refusal("TFG-3021", what, exit_code=code).message)


def _pid_in(path: str) -> int:
    try:
        with open(path, "rb") as file:
            return int(file.read(32))
    except (OSError, ValueError):
        return 0
