"""A connection to a server for asyncio: the verbs of `Client`, awaited.

Requests of several tasks take turns on the connection. As with `Client`, one that failed stays
closed and nothing is retried; a request that is cancelled half-way closes the connection, since
its reply would be taken for another's.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

from tfgrid.capacity.zdb import format, model, verbs  # noqa: A004 - the wire format of this package
from tfgrid.capacity.zdb.client import end_of_scan, is_end, lost, no_match, read_bytes

__all__ = ["AsyncClient"]

_T = TypeVar("_T")


class AsyncClient:
    """An open connection; `async with await AsyncClient.connect(address) as client`.

    Raises:
        errors.Unreachable: TFG-3708, nobody answers, or not in time; from any verb.
        errors.VerificationFailed: TFG-3703, it answers something that is not RESP2.

    """

    def __init__(
        self, address: model.Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
        timeout_seconds: float,
    ) -> None:  # fmt: skip
        self._address = address
        self._reader = reader
        self._writer = writer
        self._timeout_seconds = timeout_seconds
        self._decoder = format.Decoder()
        self._turn = asyncio.Lock()

    @classmethod
    async def connect(cls, address: model.Address, *, timeout_seconds: float = 10.0) -> Self:
        """Connect."""
        try:
            async with asyncio.timeout(timeout_seconds):
                if address.socket is not None:
                    reader, writer = await asyncio.open_unix_connection(address.socket)
                else:
                    reader, writer = await asyncio.open_connection(address.host, address.port)
        except (OSError, TimeoutError) as error:
            raise lost(address, error) from error
        return cls(address, reader, writer, timeout_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._writer.close()

    async def run(self, request: verbs.Request[_T], *, more_seconds: float = 0.0) -> _T:
        """Send a request and read its reply."""
        replies = await self.call([request.arguments], more_seconds=more_seconds)
        return verbs.finish(request, replies[0])

    async def call(
        self, requests: Sequence[Sequence[bytes]], *, more_seconds: float = 0.0
    ) -> list[format.Reply]:
        """Send raw requests together and read as many replies; errors come as `ErrorReply`.

        Raises:
            errors.Unreachable: TFG-3708; how much was done is not known.

        """
        packet = b"".join(map(format.encode, requests))
        return await self._exchange(packet, len(requests), more_seconds)

    async def _exchange(
        self, packet: bytes, count: int, more_seconds: float, carrying: int | None = None
    ) -> list[format.Reply]:
        """Send bytes, with a descriptor on the first of them if there is one; read the replies."""
        async with self._turn:
            try:
                async with asyncio.timeout(self._timeout_seconds + more_seconds):
                    sent = 0 if carrying is None else self._attach(packet, carrying)
                    self._writer.write(packet[sent:])
                    await self._writer.drain()
                    return [await self._reply() for _ in range(count)]
            except (OSError, TimeoutError) as error:
                self.close()
                raise lost(self._address, error) from error
            except BaseException:
                self.close()
                raise

    def _attach(self, packet: bytes, carried: int) -> int:
        """Send a descriptor with as many bytes as leave at once.

        Nothing else waits to be sent: every exchange before this one was answered.
        """
        own = os.dup(self._writer.get_extra_info("socket").fileno())
        with socket.socket(fileno=own) as plain:
            return socket.send_fds(plain, [packet], [carried])

    async def _reply(self) -> format.Reply:
        while (reply := self._decoder.next()) is None:
            data = await self._reader.read(read_bytes)
            if not data:
                raise ConnectionResetError("it closed the connection")
            self._decoder.feed(data)
        return reply[0]

    async def ping(self) -> str:
        """See `Client.ping`."""
        return await self.run(verbs.ping())

    async def set(
        self, key: bytes, payload: bytes, *, timestamp: int | None = None
    ) -> bytes | None:
        """See `Client.set`."""
        return await self.run(verbs.put(key, payload, timestamp))

    async def get(self, key: bytes) -> bytes | None:
        """See `Client.get`."""
        return await self.run(verbs.get(key))

    async def mget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Client.mget`."""
        return await self.run(verbs.mget(keys))

    async def delete(self, key: bytes, *, timestamp: int | None = None) -> None:
        """See `Client.delete`."""
        await self.run(verbs.delete(key, timestamp))

    async def exists(self, key: bytes) -> bool:
        """See `Client.exists`."""
        return await self.run(verbs.exists(key))

    async def check(self, key: bytes) -> bool | None:
        """See `Client.check`."""
        return await self.run(verbs.check(key))

    async def length(self, key: bytes) -> int | None:
        """See `Client.length`."""
        return await self.run(verbs.length(key))

    async def keytime(self, key: bytes) -> int | None:
        """See `Client.keytime`."""
        return await self.run(verbs.keytime(key))

    async def keycur(self, key: bytes) -> bytes:
        """See `Client.keycur`."""
        return await self.run(verbs.keycur(key))

    async def scan(
        self, *, cursor: bytes | None = None, backward: bool = False
    ) -> AsyncIterator[model.Entry]:
        """See `Client.scan`."""
        while True:
            try:
                cursor, entries = await self.run(verbs.scan(cursor, backward=backward))
            except model.Refused as refused:
                if is_end(refused, end_of_scan):
                    return
                raise
            for entry in entries:
                yield entry

    async def kscan(self, prefix: bytes) -> AsyncIterator[bytes]:
        """See `Client.kscan`."""
        cursor = 0
        while True:
            try:
                cursor, keys = await self.run(verbs.kscan(prefix, cursor))
            except model.Refused as refused:
                if is_end(refused, no_match):
                    return
                raise
            for key in keys:
                yield key
            if cursor == 0:
                return

    async def history(self, key: bytes) -> AsyncIterator[model.Version]:
        """See `Client.history`."""
        version = await self.run(verbs.history(key, None))
        yield version
        while version.older is not None:
            version = await self.run(verbs.history(key, version.older))
            yield version

    async def wait(self, command: str = "*", *, timeout_ms: int = 5000) -> str:
        """See `Client.wait`."""
        return await self.run(verbs.wait(command, timeout_ms), more_seconds=timeout_ms / 1000)

    async def auth(self, password: str) -> None:
        """See `Client.auth`."""
        answer = verbs.answer(await self.run(verbs.challenge()), password)
        await self.run(verbs.plain("AUTH", "SECURE", answer))

    async def select(self, name: str, password: str | None = None) -> None:
        """See `Client.select`."""
        if password is None:
            await self.run(verbs.plain("SELECT", name))
            return
        answer = verbs.answer(await self.run(verbs.challenge()), password)
        await self.run(verbs.plain("SELECT", name, "SECURE", answer))

    async def nsnew(self, name: str) -> None:
        """See `Client.nsnew`."""
        await self.run(verbs.plain("NSNEW", name))

    async def nsdel(self, name: str) -> None:
        """See `Client.nsdel`."""
        await self.run(verbs.plain("NSDEL", name))

    async def nslist(self) -> list[str]:
        """See `Client.nslist`."""
        return await self.run(verbs.nslist())

    async def nsinfo(self, name: str) -> model.Namespace:
        """See `Client.nsinfo`."""
        return await self.run(verbs.nsinfo(name))

    async def nsset(self, name: str, property: str, value: str) -> None:  # noqa: A002
        """See `Client.nsset`."""
        await self.run(verbs.plain("NSSET", name, property, value))

    async def entrance_add(self, name: str, namespace: str, listener: socket.socket) -> None:
        """See `Client.entrance_add`."""
        request = verbs.plain("ENTRANCE", "ADD", name, namespace)
        packet = format.encode(request.arguments)
        verbs.finish(request, (await self._exchange(packet, 1, 0.0, listener.fileno()))[0])

    async def entrance_remove(self, name: str) -> None:
        """See `Client.entrance_remove`."""
        await self.run(verbs.plain("ENTRANCE", "DEL", name))

    async def entrance_list(self) -> tuple[model.Entrance, ...]:
        """See `Client.entrance_list`."""
        return await self.run(verbs.entrances())

    async def nsjump(self) -> None:
        """See `Client.nsjump`."""
        await self.run(verbs.plain("NSJUMP"))

    async def reload(self, name: str) -> None:
        """See `Client.reload`."""
        await self.run(verbs.plain("RELOAD", name))

    async def flush(self) -> None:
        """See `Client.flush`."""
        await self.run(verbs.plain("FLUSH"))

    async def dbsize(self) -> int:
        """See `Client.dbsize`."""
        return await self.run(verbs.dbsize())

    async def info(self) -> dict[str, str]:
        """See `Client.info`."""
        return await self.run(verbs.info())

    async def stop(self) -> None:
        """See `Client.stop`."""
        await self.run(verbs.plain("STOP"))
