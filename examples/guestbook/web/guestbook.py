"""A guestbook: one page, entries kept in redis, standard library only.

Environment:
    REDIS_HOST      name or address of redis (default `redis`)
    REDIS_PORT      its port (default 6379)
    PORT            where to listen (default 8080)
    WORKLOAD_NAME   which container this is, shown on the page (default: the host name)

`GET /` shows the latest entries, `POST /` adds one, `GET /healthz` answers 200 while redis answers.
"""

# ruff: noqa: INP001 - one file that stands alone

from __future__ import annotations

import html
import os
import signal
import socket
import sys
import urllib.parse
from contextlib import closing
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ENTRIES_KEPT = 100
ENTRIES_SHOWN = 20
NAME_CHARS_MAX = 40
TEXT_CHARS_MAX = 500
BODY_BYTES_MAX = 8 * 1024
REPLY_BYTES_MAX = 64 * 1024
TIMEOUT_SECONDS = 2.0

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Guestbook</title>
<style>
:root {{ color-scheme: light dark; --edge: color-mix(in srgb, currentColor 18%, transparent) }}
body {{ font: 1.05rem/1.6 system-ui, sans-serif; max-width: 38rem; margin: 3rem auto;
  padding: 0 1rem }}
h1 {{ font-weight: 650; letter-spacing: -.02em; margin-bottom: .25rem }}
p.lead {{ opacity: .7; margin-top: 0 }}
form {{ display: grid; gap: .6rem; margin: 1.5rem 0 2rem }}
input, textarea, button {{ font: inherit; padding: .55rem .7rem; border: 1px solid var(--edge);
  border-radius: .5rem; background: transparent; color: inherit }}
button {{ cursor: pointer; font-weight: 600; justify-self: start; padding-inline: 1.2rem }}
ol {{ list-style: none; padding: 0 }}
li {{ border-top: 1px solid var(--edge); padding: .8rem 0; overflow-wrap: anywhere }}
li b {{ display: block }}
footer {{ border-top: 1px solid var(--edge); margin-top: 2rem; padding-top: .8rem; font-size: .9rem;
  opacity: .7 }}
</style></head><body>
<h1>Guestbook</h1>
<p class="lead">{lead}</p>
<form method="post" action="/">
<input name="name" placeholder="Your name" maxlength="{name_max}" required>
<textarea name="text" placeholder="Say something kind" rows="3" maxlength="{text_max}"
 required></textarea>
<button>Sign</button>
</form>
<ol>
{entries}
</ol>
<footer>answered by <code id="container">{container}</code></footer>
</body></html>
"""


class RedisError(Exception):
    """Redis said no, or something that is not its protocol."""


class Redis:
    """The four commands a guestbook needs, over RESP2; one connection per request."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=TIMEOUT_SECONDS)
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self._socket.close()

    def command(self, *words: str) -> str | int | list[str] | None:
        """Send one command; its answer: text, number, list of texts or nothing."""
        parts = [word.encode() for word in words]
        lines = [b"*%d" % len(parts)]
        for part in parts:
            lines += [b"$%d" % len(part), part]
        self._socket.sendall(b"\r\n".join(lines) + b"\r\n")
        answer = self._answer()
        if isinstance(answer, list):
            return [part for part in answer if isinstance(part, str)]
        return answer

    def _answer(self) -> str | int | list[object] | None:
        line = self._file.readline(REPLY_BYTES_MAX)
        kind, rest = line[:1], line[1:].strip()
        if not line.endswith(b"\r\n") or kind not in b"+-:$*":
            raise RedisError("not an answer of redis")
        if kind == b"-":
            raise RedisError(rest.decode(errors="replace"))
        if kind == b"+":
            return rest.decode(errors="replace")
        number = int(rest)
        if kind == b":":
            return number
        if number < 0:
            return None
        if kind == b"*":
            return [self._answer() for _ in range(min(number, ENTRIES_KEPT))]
        if number > REPLY_BYTES_MAX:
            raise RedisError("an answer too long")
        data = self._file.read(number + 2)
        if len(data) != number + 2:
            raise RedisError("an answer cut short")
        return data[:-2].decode(errors="replace")


def connect() -> Redis:
    """A connection to the redis that the environment names."""
    host = os.environ.get("REDIS_HOST", "redis")
    return Redis(host, int(os.environ.get("REDIS_PORT", "6379")))


def container_name() -> str:
    """Which container this is."""
    return os.environ.get("WORKLOAD_NAME") or socket.gethostname()


def add_entry(name: str, text: str) -> None:
    """Put an entry on top of the book, and let the oldest go when the book is full."""
    value = urllib.parse.urlencode({"name": name, "text": text, "by": container_name()})
    with closing(connect()) as redis:
        redis.command("LPUSH", "entries", value)
        redis.command("LTRIM", "entries", "0", str(ENTRIES_KEPT - 1))


def latest_entries() -> list[dict[str, str]]:
    """The entries that the page shows, newest first."""
    with closing(connect()) as redis:
        found = redis.command("LRANGE", "entries", "0", str(ENTRIES_SHOWN - 1))
    values = found if isinstance(found, list) else []
    return [dict(urllib.parse.parse_qsl(value)) for value in values]


def page(entries: list[dict[str, str]]) -> str:
    """The page as HTML; whatever visitors wrote is escaped."""
    items = [
        f"<li><b>{html.escape(entry.get('name', ''))}</b>{html.escape(entry.get('text', ''))}</li>"
        for entry in entries
    ]
    lead = "Leave a line for whoever comes next." if entries else "Nobody signed yet. Be the first."
    return PAGE.format(
        lead=lead, name_max=NAME_CHARS_MAX, text_max=TEXT_CHARS_MAX, entries="\n".join(items),
        container=html.escape(container_name()),
    )  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """The page and its health."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """Show the page, or answer for the health of container and redis."""
        path = self.path.partition("?")[0]
        if path not in {"/", "/healthz"}:
            self._send(HTTPStatus.NOT_FOUND, "There is only one page here.\n")
            return
        try:
            if path == "/healthz":
                with closing(connect()) as redis:
                    redis.command("PING")
                answer, kind = "ok\n", "text/plain"
            else:
                answer, kind = page(latest_entries()), "text/html"
        except (OSError, RedisError, ValueError):
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "The guestbook cannot reach its redis.\n")
        else:
            self._send(HTTPStatus.OK, answer, kind=kind)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say who asked for what; a health check that went well, each second, is no news."""
        if not (self.path == "/healthz" and code == HTTPStatus.OK):
            super().log_request(code, size)

    def do_POST(self) -> None:
        """Add an entry, and show the page."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/" or not length.isascii() or not length.isdigit():
            self._send(HTTPStatus.BAD_REQUEST, "Sign at / with a form.\n", close=True)
            return
        if int(length) > BODY_BYTES_MAX:
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Too long.\n", close=True)
            return
        form = urllib.parse.parse_qs(self.rfile.read(int(length)).decode(errors="replace"))
        name = form.get("name", [""])[0].strip()[:NAME_CHARS_MAX]
        text = form.get("text", [""])[0].strip()[:TEXT_CHARS_MAX]
        if not name or not text:
            self._send(HTTPStatus.BAD_REQUEST, "Please give a name and a text.\n")
            return
        try:
            add_entry(name, text)
        except (OSError, RedisError, ValueError):
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "The guestbook cannot reach its redis.\n")
        else:
            self._send(HTTPStatus.SEE_OTHER, "", location="/")

    def do_HEAD(self) -> None:
        """As GET, without the page."""
        self.do_GET()

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
        self.send_header("X-Container", container_name().encode("ascii", "replace").decode())
        if location:
            self.send_header("Location", location)
        if close:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


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
