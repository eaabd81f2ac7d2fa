"""Notes: pages that remember what they said before, kept in Zero-DB, standard library only.

Environment:
    ZDB_HOST        name or address of the namespace (default `data`)
    ZDB_PORT        its port (default 9900)
    PORT            where to listen (default 8080)

`GET /` lists the notes, `GET /note?name=N` shows one with its earlier versions, `POST /note` writes
one, `POST /forget` deletes one, `GET /healthz` answers 200 while the namespace answers.
"""

# ruff: noqa: INP001 - one file that stands alone

from __future__ import annotations

import html
import os
import signal
import socket
import sys
import time
import urllib.parse
from contextlib import closing, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

NOTES_SHOWN = 200
VERSIONS_SHOWN = 20
NAME_CHARS_MAX = 60
TEXT_CHARS_MAX = 10_000
BODY_BYTES_MAX = 128 * 1024
REPLY_BYTES_MAX = 256 * 1024
REPLY_PARTS_MAX = 1024
TIMEOUT_SECONDS = 2.0

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --edge: color-mix(in srgb, currentColor 18%, transparent) }}
body {{ font: 1.05rem/1.6 system-ui, sans-serif; max-width: 38rem; margin: 3rem auto;
  padding: 0 1rem }}
h1 {{ font-weight: 650; letter-spacing: -.02em }}
form {{ display: grid; gap: .6rem; margin: 1rem 0 }}
input, textarea, button {{ font: inherit; padding: .55rem .7rem; border: 1px solid var(--edge);
  border-radius: .5rem; background: transparent; color: inherit }}
button {{ cursor: pointer; font-weight: 600; justify-self: start; padding-inline: 1.2rem }}
ol {{ list-style: none; padding: 0 }}
li {{ border-top: 1px solid var(--edge); padding: .8rem 0; overflow-wrap: anywhere;
  white-space: pre-wrap }}
time {{ display: block; font-size: .85rem; opacity: .7 }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


class ZdbError(Exception):
    """The namespace said no, or something that is not its protocol."""


class Full(ZdbError):
    """The namespace has no room for more."""


class Absent(ZdbError):
    """The namespace has no such key."""


Reply: TypeAlias = str | int | bytes | list["Reply"] | None


class Zdb:
    """The commands that notes need, over RESP2; one connection per request."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=TIMEOUT_SECONDS)
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self._socket.close()

    def command(self, *words: bytes) -> Reply:
        """Send one command; its answer: text, number, bytes, a list of these, or nothing."""
        lines = [b"*%d" % len(words)]
        for word in words:
            lines += [b"$%d" % len(word), word]
        self._socket.sendall(b"\r\n".join(lines) + b"\r\n")
        return self._answer()

    def _answer(self, depth: int = 0) -> Reply:
        line = self._file.readline(REPLY_BYTES_MAX)
        kind, rest = line[:1], line[1:].strip()
        if not line.endswith(b"\r\n") or kind not in b"+-:$*" or depth > 3:
            raise ZdbError("not an answer of Zero-DB")
        if kind == b"-":
            raise _fault(rest.decode(errors="replace"))
        if kind == b"+":
            return rest.decode(errors="replace")
        number = int(rest)
        if kind == b":":
            return number
        if number < 0:
            return None
        if number > (REPLY_PARTS_MAX if kind == b"*" else REPLY_BYTES_MAX):
            raise ZdbError("an answer too long")
        if kind == b"*":
            return [self._answer(depth + 1) for _ in range(number)]
        data = self._file.read(number + 2)
        if len(data) != number + 2:
            raise ZdbError("an answer cut short")
        return data[:-2]


def _fault(said: str) -> ZdbError:
    if said.startswith("No space left"):
        return Full(said)
    return Absent(said) if said == "Key not found" else ZdbError(said)


def connect() -> Zdb:
    """A connection to the namespace that the environment names."""
    host = os.environ.get("ZDB_HOST", "data")
    return Zdb(host, int(os.environ.get("ZDB_PORT", "9900")))


def note_names() -> list[str]:
    """The names of the notes, sorted; no more than are shown."""
    names: list[str] = []
    with closing(connect()) as zdb:
        words = [b"SCAN"]
        while len(names) < NOTES_SHOWN:
            try:
                answer = zdb.command(*words)
            except ZdbError as end:
                if str(end) == "No more data":
                    break
                raise
            cursor, rows = _list(answer, 2)
            names += [_bytes(_list(row, 3)[0]).decode(errors="replace") for row in _list(rows)]
            words = [b"SCAN", _bytes(cursor)]
    return sorted(names[:NOTES_SHOWN], key=str.casefold)


def versions(name: str) -> list[tuple[int, str]]:
    """What a note said and when (unix time), newest first; nothing of one that is not there."""
    found: list[tuple[int, str]] = []
    words = [b"HISTORY", name.encode()]
    with closing(connect()) as zdb, suppress(Absent):
        while len(found) < VERSIONS_SHOWN:
            older, moment, payload = _list(zdb.command(*words), 3)
            found.append((int(_bytes(moment)), _bytes(payload).decode(errors="replace")))
            if older is None:
                break
            words = [b"HISTORY", name.encode(), _bytes(older)]
    return found


def write(name: str, text: str) -> None:
    """Write a note; answered once it is on the disk."""
    with closing(connect()) as zdb:
        zdb.command(b"SET", name.encode(), text.encode())


def forget(name: str) -> None:
    """Delete a note; one of the same name begins a history of its own."""
    with closing(connect()) as zdb, suppress(Absent):
        zdb.command(b"DEL", name.encode())


def _list(reply: Reply, size: int = -1) -> list[Reply]:
    if not isinstance(reply, list) or size not in {-1, len(reply)}:
        raise ZdbError("not the answer that was asked for")
    return reply


def _bytes(reply: Reply) -> bytes:
    if not isinstance(reply, bytes):
        raise ZdbError("not the answer that was asked for")
    return reply


def front_page() -> str:
    """All notes, and a form for a new one; whatever visitors wrote is escaped."""
    items = [
        f"<li><a href='/note?name={_query(name)}'>{html.escape(name)}</a></li>"
        for name in note_names()
    ]
    empty = "" if items else "<p>Nothing is written yet.</p>"
    return PAGE.format(title="Notes", body=f"{_form('', '')}{empty}<ol>{''.join(items)}</ol>")


def note_page(name: str) -> str:
    """One note to change, and what it said before."""
    found = versions(name)
    text = found[0][1] if found else ""
    earlier = [f"<li><time>{_moment(at)}</time>{html.escape(said)}</li>" for at, said in found]
    forms = (
        f"{_form(name, text)}<form method='post' action='/forget'>"
        f"<input type='hidden' name='name' value='{html.escape(name)}'>"
        "<button>Delete</button></form><p><a href='/'>All notes</a></p>"
    )
    return PAGE.format(title=html.escape(name), body=f"{forms}<ol>{''.join(earlier)}</ol>")


def _form(name: str, text: str) -> str:
    shown = f"<input name='name' placeholder='Name' maxlength='{NAME_CHARS_MAX}' required>"
    if name:
        shown = f"<input type='hidden' name='name' value='{html.escape(name)}'>"
    return (
        f"<form method='post' action='/note'>{shown}"
        f"<textarea name='text' rows='6' maxlength='{TEXT_CHARS_MAX}' required>"
        f"{html.escape(text)}</textarea><button>Keep</button></form>"
    )


def _query(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _moment(at: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


class Handler(BaseHTTPRequestHandler):
    """The pages and their health."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """Show a page, or answer for the health of container and namespace."""
        path, _, query = self.path.partition("?")
        name = urllib.parse.parse_qs(query).get("name", [""])[0].strip()
        if path not in {"/", "/note", "/healthz"} or (path == "/note" and not _is_name(name)):
            self._send(HTTPStatus.NOT_FOUND, "There is no such page.\n")
            return
        try:
            if path == "/healthz":
                with closing(connect()) as zdb:
                    zdb.command(b"PING")
                answer, kind = "ok\n", "text/plain"
            else:
                answer, kind = front_page() if path == "/" else note_page(name), "text/html"
        except (OSError, ZdbError, ValueError):
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "The notes cannot be reached.\n")
        else:
            self._send(HTTPStatus.OK, answer, kind=kind)

    def do_HEAD(self) -> None:
        """As GET, without the page."""
        self.do_GET()

    def do_POST(self) -> None:
        """Write or delete a note, and show what is there."""
        length = self.headers.get("Content-Length", "")
        if self.path not in {"/note", "/forget"} or not (length.isascii() and length.isdigit()):
            self._send(HTTPStatus.BAD_REQUEST, "Write at /note with a form.\n", close=True)
            return
        if int(length) > BODY_BYTES_MAX:
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Too long.\n", close=True)
            return
        form = urllib.parse.parse_qs(self.rfile.read(int(length)).decode(errors="replace"))
        name = form.get("name", [""])[0].strip()
        text = form.get("text", [""])[0].strip().replace("\r\n", "\n")[:TEXT_CHARS_MAX]
        if not _is_name(name) or (self.path == "/note" and not text):
            self._send(HTTPStatus.BAD_REQUEST, "Please give a name and a text.\n")
            return
        self._change(name, text)

    def _change(self, name: str, text: str) -> None:
        try:
            if self.path == "/note":
                write(name, text)
            else:
                forget(name)
        except Full:
            self._send(HTTPStatus.INSUFFICIENT_STORAGE, "The namespace is full. Delete a note.\n")
        except (OSError, ZdbError, ValueError):
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "The notes cannot be reached.\n")
        else:
            place = f"/note?name={_query(name)}" if self.path == "/note" else "/"
            self._send(HTTPStatus.SEE_OTHER, "", location=place)

    def _send(
        self, status: HTTPStatus, text: str, *, kind: str = "text/plain", location: str = "",
        close: bool = False,
    ) -> None:  # fmt: skip
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
        )
        self.send_header("Cache-Control", "no-store")
        if location:
            self.send_header("Location", location)
        if close:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _is_name(name: str) -> bool:
    """Whether a note may be called so: a line of visible text that fits a key of the namespace."""
    return name.isprintable() and 0 < len(name) <= NAME_CHARS_MAX and len(name.encode()) <= 255


class Server(ThreadingHTTPServer):
    """A thread per connection, on IPv4 and IPv6."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Bind for both families where the socket can."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say what went wrong, but not that a prober hung up: it does so every two seconds."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def main() -> None:
    """Serve until told to stop."""
    port = int(os.environ.get("PORT", "8080"))
    # The first process of a container has no default actions: unhandled, this would be ignored.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    both = socket.has_dualstack_ipv6()
    Server.address_family = socket.AF_INET6 if both else socket.AF_INET
    everywhere = "::" if both else "0.0.0.0"  # noqa: S104 - its network is private
    with Server((everywhere, port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
