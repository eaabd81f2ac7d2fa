"""A blocking connection to a server.

A connection that failed stays closed; make another. Nothing is retried: whether a write that was
not answered is there, only a look can tell.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

from tfgrid.capacity.zdb import format, model, verbs  # noqa: A004 - the wire format of this package
from tfgrid.core import errors

__all__ = ["Client"]

_T = TypeVar("_T")
read_bytes: Final = 256 * 1024
end_of_scan: Final = "No more data"
no_match: Final = "No keys match"


def lost(address: model.Address, why: object) -> errors.Unreachable:
    """The error of a connection that failed."""
    return errors.Unreachable(
        "TFG-3708", f"the server does not answer: {why}", where=str(address),
        hint=f"is it there? tfgrid zdb info --server {address}",
    )  # fmt: skip


def is_end(refused: model.Refused, text: str) -> bool:
    """Whether a refusal is the end of a listing."""
    return refused.details.get("reply") == text


def _connected(address: model.Address, timeout_seconds: float) -> socket.socket:
    if address.socket is None:
        target = (address.host, address.port)
        made = socket.create_connection(target, timeout=timeout_seconds)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(timeout_seconds)
    try:
        made.connect(str(address.socket))
    except OSError:
        made.close()
        raise
    return made


class Client:
    """A blocking connection; use it in a `with` statement.

    Raises:
        errors.Unreachable: TFG-3708, nobody answers, or not in time; from any verb.
        errors.VerificationFailed: TFG-3703, it answers something that is not RESP2.

    """

    def __init__(self, address: model.Address, *, timeout_seconds: float = 10.0) -> None:
        self._address = address
        self._decoder = format.Decoder()
        try:
            self._socket = _connected(address, timeout_seconds)
        except OSError as error:
            raise lost(address, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def run(self, request: verbs.Request[_T]) -> _T:
        """Send a request and read its reply."""
        return verbs.finish(request, self.call([request.arguments])[0])

    def call(self, requests: Sequence[Sequence[bytes]]) -> list[format.Reply]:
        """Send raw requests together and read as many replies; errors come as `ErrorReply`.

        Raises:
            errors.Unreachable: TFG-3708; how much was done is not known.

        """
        try:
            self._socket.sendall(b"".join(map(format.encode, requests)))
        except OSError as error:
            self.close()
            raise lost(self._address, error) from error
        return self._replies(len(requests))

    def _replies(self, count: int) -> list[format.Reply]:
        replies: list[format.Reply] = []
        try:
            while len(replies) < count:
                while (reply := self._decoder.next()) is not None:
                    replies.append(reply[0])
                if len(replies) < count:
                    self._more()
        except OSError as error:
            self.close()
            raise lost(self._address, error) from error
        return replies

    def _more(self) -> None:
        data = self._socket.recv(read_bytes)
        if not data:
            raise ConnectionResetError("it closed the connection")
        self._decoder.feed(data)

    def ping(self) -> str:
        """PING: `PONG`."""
        return self.run(verbs.ping())

    def set(self, key: bytes, payload: bytes, *, timestamp: int | None = None) -> bytes | None:
        """SET: the key (made by the server if it is empty), or None if nothing had to change."""
        return self.run(verbs.put(key, payload, timestamp))

    def get(self, key: bytes) -> bytes | None:
        """GET: the payload, or None."""
        return self.run(verbs.get(key))

    def mget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """MGET: the payloads of 1 to 1023 keys."""
        return self.run(verbs.mget(keys))

    def delete(self, key: bytes, *, timestamp: int | None = None) -> None:
        """DEL.

        Raises:
            errors.NotFound: TFG-3705.

        """
        self.run(verbs.delete(key, timestamp))

    def exists(self, key: bytes) -> bool:
        """EXISTS."""
        return self.run(verbs.exists(key))

    def check(self, key: bytes) -> bool | None:
        """CHECK: whether the payload is what was stored; None if there is no such key."""
        return self.run(verbs.check(key))

    def length(self, key: bytes) -> int | None:
        """LENGTH of the payload in bytes, or None."""
        return self.run(verbs.length(key))

    def keytime(self, key: bytes) -> int | None:
        """KEYTIME: when it was set, in unix seconds, or None."""
        return self.run(verbs.keytime(key))

    def keycur(self, key: bytes) -> bytes:
        """KEYCUR: where scans may begin."""
        return self.run(verbs.keycur(key))

    def scan(self, *, cursor: bytes | None = None, backward: bool = False) -> Iterator[model.Entry]:
        """SCAN or RSCAN: every live key, in the order of the log."""
        while True:
            try:
                cursor, entries = self.run(verbs.scan(cursor, backward=backward))
            except model.Refused as refused:
                if is_end(refused, end_of_scan):
                    return
                raise
            yield from entries

    def kscan(self, prefix: bytes) -> Iterator[bytes]:
        """KSCAN: every live key that begins so, in no order."""
        cursor = 0
        while True:
            try:
                cursor, keys = self.run(verbs.kscan(prefix, cursor))
            except model.Refused as refused:
                if is_end(refused, no_match):
                    return
                raise
            yield from keys
            if cursor == 0:
                return

    def history(self, key: bytes) -> Iterator[model.Version]:
        """HISTORY: every version, newest first."""
        version = self.run(verbs.history(key, None))
        yield version
        while version.older is not None:
            version = self.run(verbs.history(key, version.older))
            yield version

    def wait(self, command: str = "*", *, timeout_ms: int = 5000) -> str:
        """WAIT until another client of the namespace runs a command; its name.

        Raises:
            model.Refused: TFG-3707, nobody did in time.

        """
        before = self._socket.gettimeout()
        self._socket.settimeout(timeout_ms / 1000 + (before or 10.0))
        try:
            return self.run(verbs.wait(command, timeout_ms))
        finally:
            self._socket.settimeout(before)

    def auth(self, password: str) -> None:
        """AUTH by challenge: the password does not cross the wire.

        Raises:
            errors.NotAllowed: TFG-3704.

        """
        answer = verbs.answer(self.run(verbs.challenge()), password)
        self.run(verbs.plain("AUTH", "SECURE", answer))

    def select(self, name: str, password: str | None = None) -> None:
        """SELECT a namespace, by challenge if a password is given.

        Raises:
            errors.NotFound: TFG-3705.
            errors.NotAllowed: TFG-3704.

        """
        if password is None:
            self.run(verbs.plain("SELECT", name))
            return
        answer = verbs.answer(self.run(verbs.challenge()), password)
        self.run(verbs.plain("SELECT", name, "SECURE", answer))

    def nsnew(self, name: str) -> None:
        """NSNEW.

        Raises:
            errors.Conflict: TFG-3706, there is one of that name.

        """
        self.run(verbs.plain("NSNEW", name))

    def nsdel(self, name: str) -> None:
        """NSDEL: with all its data."""
        self.run(verbs.plain("NSDEL", name))

    def nslist(self) -> list[str]:
        """NSLIST."""
        return self.run(verbs.nslist())

    def nsinfo(self, name: str) -> model.Namespace:
        """NSINFO."""
        return self.run(verbs.nsinfo(name))

    def nsset(self, name: str, property: str, value: str) -> None:  # noqa: A002 - the field's word
        """NSSET a property: maxsize, maxdisk, maxkeys, history, mode, lock and others."""
        self.run(verbs.plain("NSSET", name, property, value))

    def entrance_add(self, name: str, namespace: str, listener: socket.socket) -> None:
        """ENTRANCE ADD: let the server take connections of `listener` into one namespace.

        The caller may close its own end of `listener` then. Only the admin socket permits this.

        Raises:
            errors.NotFound: TFG-3705, no such namespace.
            model.Refused: TFG-3707, it is no listening stream socket.

        """
        request = verbs.plain("ENTRANCE", "ADD", name, namespace)
        packet = format.encode(request.arguments)
        try:
            sent = socket.send_fds(self._socket, [packet], [listener.fileno()])
            self._socket.sendall(packet[sent:])
        except OSError as error:
            self.close()
            raise lost(self._address, error) from error
        verbs.finish(request, self._replies(1)[0])

    def entrance_remove(self, name: str) -> None:
        """ENTRANCE DEL: stop listening and cut the connections of an entrance.

        Raises:
            errors.NotFound: TFG-3705, no such entrance.

        """
        self.run(verbs.plain("ENTRANCE", "DEL", name))

    def entrance_list(self) -> tuple[model.Entrance, ...]:
        """ENTRANCE LIST."""
        return self.run(verbs.entrances())

    def nsjump(self) -> None:
        """NSJUMP: begin new files."""
        self.run(verbs.plain("NSJUMP"))

    def reload(self, name: str) -> None:
        """RELOAD a namespace from its files."""
        self.run(verbs.plain("RELOAD", name))

    def flush(self) -> None:
        """FLUSH: remove all keys of a private namespace."""
        self.run(verbs.plain("FLUSH"))

    def dbsize(self) -> int:
        """DBSIZE: how many live keys."""
        return self.run(verbs.dbsize())

    def info(self) -> dict[str, str]:
        """INFO."""
        return self.run(verbs.info())

    def stop(self) -> None:
        """STOP the server."""
        self.run(verbs.plain("STOP"))
