"""Every command as a typed request: what is sent, and how its reply is read.

Both clients run the same requests, so that what a command means is written once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, NoReturn, TypeVar, cast

from tfgrid.capacity.zdb import model
from tfgrid.capacity.zdb.format import ErrorReply, Reply
from tfgrid.core import errors

__all__ = ["Request"]

_T = TypeVar("_T")

_DENIED: Final = (
    "Permission denied", "Access denied", "Namespace protected and private", "Unauthorized",
    "Flushing public namespace denied", "Authentication disabled",
)  # fmt: skip
_ABSENT: Final = (
    "Key not found", "Namespace not found", "This namespace doesn't exists",
    "This entrance doesn't exists",
)  # fmt: skip
_TAKEN: Final = ("This namespace is not available",)


@dataclass(frozen=True, slots=True)
class Request(Generic[_T]):
    """Arguments, and how to read what comes back."""

    arguments: tuple[bytes, ...]
    read: Callable[[Reply], _T]


def refuse(error: ErrorReply, command: str) -> NoReturn:
    """Raise what an error reply means.

    Raises:
        errors.NotAllowed: TFG-3704.
        errors.NotFound: TFG-3705.
        errors.Conflict: TFG-3706.
        model.Refused: TFG-3707.

    """
    text = f"{command}: {error.text}"
    if error.text in _DENIED:
        raise errors.NotAllowed("TFG-3704", text, reply=error.text)
    if error.text in _ABSENT:
        raise errors.NotFound("TFG-3705", text, reply=error.text)
    if error.text in _TAKEN:
        raise errors.Conflict("TFG-3706", text, reply=error.text)
    raise model.Refused("TFG-3707", text, reply=error.text)


def finish(request: Request[_T], reply: Reply) -> _T:
    """Read the reply of a request; an error reply is raised."""
    if isinstance(reply, ErrorReply):
        refuse(reply, request.arguments[0].decode())
    try:
        return request.read(reply)
    except (TypeError, ValueError, KeyError) as fault:
        raise errors.VerificationFailed(
            "TFG-3703", f"{request.arguments[0].decode()} was answered with something else"
        ) from fault


def _is(kind: type[_T], reply: Reply) -> _T:
    if not isinstance(reply, kind):
        raise TypeError(type(reply).__name__)
    return reply


def _text(reply: Reply) -> str:
    return _is(str, reply)


def _nothing(reply: Reply) -> None:
    _text(reply)


def _bytes(reply: Reply) -> bytes:
    return _is(bytes, reply)


def _maybe(reply: Reply) -> bytes | None:
    return None if reply is None else _bytes(reply)


def _integer(reply: Reply) -> int:
    return _is(int, reply)


def _maybe_integer(reply: Reply) -> int | None:
    return None if reply is None else _integer(reply)


def _items(reply: Reply) -> list[Reply]:
    if not isinstance(reply, list):
        raise TypeError(type(reply).__name__)
    return reply


def _key(key: bytes) -> bytes:
    if len(key) > model.key_bytes_max:
        raise errors.BadInput("TFG-3702", "a key has at most 255 bytes", where=repr(key[:32]))
    return key


def ping() -> Request[str]:
    """PING."""
    return Request((b"PING",), _text)


def put(key: bytes, payload: bytes, timestamp: int | None) -> Request[bytes | None]:
    """SET: the key, or None when the same payload is there already."""
    if len(payload) > model.payload_bytes_max:
        raise errors.BadInput("TFG-3702", "a payload has at most 8 MiB", where=repr(key[:32]))
    extra = () if timestamp is None else (b"%d" % timestamp,)
    return Request((b"SET", _key(key), payload, *extra), _maybe)


def get(key: bytes) -> Request[bytes | None]:
    """GET."""
    return Request((b"GET", _key(key)), _maybe)


def mget(keys: Sequence[bytes]) -> Request[list[bytes | None]]:
    """MGET of 1 to 1023 keys."""
    if not 0 < len(keys) < model.arguments_max:
        raise errors.BadInput("TFG-3702", "MGET takes 1 to 1023 keys", where=str(len(keys)))
    return Request((b"MGET", *map(_key, keys)), _payloads)


def _payloads(reply: Reply) -> list[bytes | None]:
    for item in _items(reply):
        if isinstance(item, ErrorReply):
            refuse(item, "MGET")
    return [_maybe(item) for item in _items(reply)]


def delete(key: bytes, timestamp: int | None) -> Request[None]:
    """DEL."""
    extra = () if timestamp is None else (b"%d" % timestamp,)
    return Request((b"DEL", _key(key), *extra), _nothing)


def exists(key: bytes) -> Request[bool]:
    """EXISTS."""
    return Request((b"EXISTS", _key(key)), lambda reply: bool(_integer(reply)))


def check(key: bytes) -> Request[bool | None]:
    """CHECK: whether the stored payload is what was stored."""
    return Request((b"CHECK", _key(key)), _verdict)


def _verdict(reply: Reply) -> bool | None:
    return None if reply is None else _integer(reply) == 1


def length(key: bytes) -> Request[int | None]:
    """LENGTH in bytes."""
    return Request((b"LENGTH", _key(key)), _maybe_integer)


def keytime(key: bytes) -> Request[int | None]:
    """KEYTIME in unix seconds."""
    return Request((b"KEYTIME", _key(key)), _maybe_integer)


def keycur(key: bytes) -> Request[bytes]:
    """KEYCUR."""
    return Request((b"KEYCUR", _key(key)), _bytes)


def scan(
    cursor: bytes | None, *, backward: bool
) -> Request[tuple[bytes | None, list[model.Entry]]]:
    """SCAN or RSCAN: the next cursor and entries."""
    extra = () if cursor is None else (cursor,)
    return Request((b"RSCAN" if backward else b"SCAN", *extra), _page)


def _page(reply: Reply) -> tuple[bytes | None, list[model.Entry]]:
    cursor, rows = _items(reply)
    return _bytes(cursor), [_entry(row) for row in _items(rows)]


def _entry(reply: Reply) -> model.Entry:
    key, size, timestamp = _items(reply)
    return model.Entry(_bytes(key), _integer(size), _integer(timestamp))


def kscan(prefix: bytes, cursor: int) -> Request[tuple[int, list[bytes]]]:
    """KSCAN: the next cursor, 0 at the end, and keys."""
    return Request((b"KSCAN", _key(prefix), b"%d" % cursor), _keys)


def _keys(reply: Reply) -> tuple[int, list[bytes]]:
    cursor, keys = _items(reply)
    return int(_bytes(cursor)), [_bytes(key) for key in _items(keys)]


def history(key: bytes, position: bytes | None) -> Request[model.Version]:
    """HISTORY: one version and where the older one is."""
    extra = () if position is None else (position,)
    return Request((b"HISTORY", _key(key), *extra), _version)


def _version(reply: Reply) -> model.Version:
    older, timestamp, payload = _items(reply)
    return model.Version(_maybe(payload), int(_bytes(timestamp)), _maybe(older))


def wait(command: str, timeout_ms: int) -> Request[str]:
    """WAIT."""
    return Request((b"WAIT", command.encode(), b"%d" % timeout_ms), _text)


def dbsize() -> Request[int]:
    """DBSIZE."""
    return Request((b"DBSIZE",), _integer)


def info() -> Request[dict[str, str]]:
    """INFO."""
    return Request((b"INFO",), _fields)


def _fields(reply: Reply) -> dict[str, str]:
    lines = _bytes(reply).decode().splitlines()
    pairs = [line.split(": ", 1) for line in lines if ": " in line and not line.startswith("#")]
    return dict(cast("list[tuple[str, str]]", pairs))


def nsinfo(name: str) -> Request[model.Namespace]:
    """NSINFO."""
    return Request((b"NSINFO", name.encode()), _namespace)


def _namespace(reply: Reply) -> model.Namespace:
    fields = _fields(reply)
    return model.Namespace(
        name=fields["name"],
        entries=int(fields["entries"]),
        payload_bytes=int(fields["data_size_bytes"]),
        payload_bytes_max=int(fields["data_limits_bytes"]),
        # A server that was started before there were these quotas has none.
        disk_bytes=int(fields.get("data_disk_bytes", "0")),
        disk_bytes_max=int(fields.get("data_limits_disk_bytes", "0")),
        entries_max=int(fields.get("entries_limit", "0")),
        history=fields["history"],
        sequential=fields["mode"] == "sequential",
        public=fields["public"] == "yes",
        worm=fields["worm"] == "yes",
        locked=fields["locked"] == "yes",
        password="yes" in fields["password"],
        read_only=fields.get("read_only", ""),
        fields=fields,
    )


def nslist() -> Request[list[str]]:
    """NSLIST."""
    return Request((b"NSLIST",), lambda reply: [_bytes(name).decode() for name in _items(reply)])


def entrances() -> Request[tuple[model.Entrance, ...]]:
    """ENTRANCE LIST."""
    return Request(
        (b"ENTRANCE", b"LIST"), lambda reply: tuple(_entrance(row) for row in _items(reply))
    )


def _entrance(reply: Reply) -> model.Entrance:
    name, namespace, address, connections = _items(reply)
    return model.Entrance(
        name=_bytes(name).decode(),
        namespace=_bytes(namespace).decode(),
        address=_bytes(address).decode(),
        connections=_integer(connections),
    )


def plain(*words: str) -> Request[None]:
    """A command that is answered with a status and nothing else."""
    return Request(tuple(word.encode() for word in words), _nothing)


def challenge() -> Request[str]:
    """AUTH SECURE CHALLENGE."""
    return Request((b"AUTH", b"SECURE", b"CHALLENGE"), _text)


def answer(challenge_text: str, password: str) -> str:
    """What proves a password: SHA-256 of challenge and password."""
    return hashlib.sha256(f"{challenge_text}:{password}".encode()).hexdigest()
