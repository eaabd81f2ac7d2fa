"""The guestbook's page, against a redis of a few lines."""

from __future__ import annotations

import http.client
import importlib.util
import re
import socketserver
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from tfgrid.agents import builders

EXAMPLE = Path(__file__).parents[2] / "examples" / "guestbook"


class FakeRedis(socketserver.StreamRequestHandler):
    """PING, LPUSH, LTRIM and LRANGE on one list; or whatever bytes it is told to say."""

    entries: list[bytes]
    says: bytes | None

    def handle(self) -> None:
        """Answer commands until the connection ends."""
        while line := self.rfile.readline():
            words = [self._word() for _ in range(int(line[1:]))]
            self.wfile.write(self._answer(words) if self.says is None else self.says)

    def _word(self) -> bytes:
        size = int(self.rfile.readline()[1:])
        return self.rfile.read(size + 2)[:-2]

    def _answer(self, words: list[bytes]) -> bytes:
        if words[0] == b"LPUSH":
            self.entries.insert(0, words[2])
            return b":%d\r\n" % len(self.entries)
        if words[0] == b"LTRIM":
            del self.entries[int(words[3]) + 1 :]
            return b"+OK\r\n"
        if words[0] == b"LRANGE":
            found = self.entries[int(words[2]) : int(words[3]) + 1]
            parts = [b"$%d\r\n%s\r\n" % (len(entry), entry) for entry in found]
            return b"*%d\r\n" % len(found) + b"".join(parts)
        return b"+PONG\r\n" if words[0] == b"PING" else b"-ERR unknown\r\n"


class ThreadingServer(socketserver.ThreadingTCPServer):
    """Threads that do not outlive a test."""

    daemon_threads = True


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """A server that answers meanwhile."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def guestbook() -> ModuleType:
    """The example's only module."""
    spec = importlib.util.spec_from_file_location("guestbook", EXAMPLE / "web/guestbook.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["guestbook"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeRedis]]:
    """An empty redis that the page finds."""
    handler = type("Handler", (FakeRedis,), {"entries": [], "says": None})
    server = ThreadingServer(("127.0.0.1", 0), handler)
    monkeypatch.setenv("REDIS_HOST", "127.0.0.1")
    monkeypatch.setenv("REDIS_PORT", str(server.server_address[1]))
    monkeypatch.setenv("WORKLOAD_NAME", "web<1>")
    with serving(server):
        yield handler


class Browser:
    """Asks the page, one connection for each question."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """Status and text of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def sign(self, name: str, text: str) -> int:
        """Sign the book as a form would."""
        form = urllib.parse.urlencode({"name": name, "text": text}).encode()
        return self.ask("POST", "/", form)[0]


@pytest.fixture
def browser(
    guestbook: ModuleType, redis: type[FakeRedis], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Browser]:
    """A browser at a page that answers."""
    monkeypatch.setattr(guestbook.Handler, "log_message", lambda *_: None)
    server = guestbook.Server(("127.0.0.1", 0), guestbook.Handler)
    with serving(server):
        yield Browser(server.server_address[1])


def test_health_checks_that_go_well_are_no_news(
    guestbook: ModuleType, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log shows visitors, and a check that failed; not one line a second."""
    lines: list[str] = []
    monkeypatch.setattr(
        guestbook.Handler, "log_message", lambda _self, form, *words: lines.append(form % words)
    )
    browser.ask("GET", "/healthz")
    browser.ask("GET", "/")
    monkeypatch.setenv("REDIS_PORT", "1")
    browser.ask("GET", "/healthz")
    assert [line.split('"')[1].split()[1] for line in lines] == ["/", "/healthz"]
    assert "503" in lines[1]


def test_an_entry_is_shown_to_the_next_visitor(browser: Browser) -> None:
    """What is signed is on the page, newest first, with the container that answered."""
    assert "Be the first" in browser.ask("GET", "/")[1]
    assert browser.sign("Ada", "First!") == 303
    assert browser.sign("Grace", "Second & last") == 303
    status, page = browser.ask("GET", "/")
    assert status == 200 and page.index("Grace") < page.index("Ada")
    assert "Second &amp; last" in page
    assert '<code id="container">web&lt;1&gt;</code>' in page


def test_what_visitors_write_is_never_markup(browser: Browser) -> None:
    """Names and texts are escaped, so that no script of a visitor runs."""
    browser.sign("<img src=x onerror=a>", "</li><script>alert('x')</script>{container}")
    page = browser.ask("GET", "/")[1]
    assert "<script" not in page and "<img" not in page and "{container}" in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in page


def test_the_book_is_bounded(browser: Browser, redis: type[FakeRedis]) -> None:
    """The oldest entries go, long ones are cut, and the page shows the latest."""
    redis.entries.extend(b"name=n%d&text=t" % n for n in range(150))
    browser.sign("x" * 100, "y" * 600)
    page = browser.ask("GET", "/")[1]
    assert len(redis.entries) == 100 and page.count("<li>") == 20
    assert "x" * 40 in page and "x" * 41 not in page and "y" * 501 not in page


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/etc/passwd", b"", {}, 404),
        ("GET", "/../healthz", b"", {}, 404),
        ("POST", "/", b"name=&text=x", {}, 400),
        ("POST", "/", b"nothing", {}, 400),
        ("POST", "/other", b"name=a&text=b", {}, 400),
        ("POST", "/", b"", {}, 400),
        ("POST", "/", b"a=b", {"Content-Length": "-1"}, 400),
        ("POST", "/", b"a=b", {"Content-Length": "99999999999"}, 413),
        ("POST", "/", b"name=\xff&text=%ff%00", {}, 303),
        ("PUT", "/", b"x", {}, 501),
        ("GET", "/?utm=1", b"", {}, 200),
    ],
)
def test_odd_requests_get_a_plain_answer(
    browser: Browser, method: str, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    """Unknown paths, empty forms and lying lengths are refused; the page lives on."""
    assert browser.ask(method, path, body, headers)[0] == status
    assert browser.ask("GET", "/")[0] == 200


def test_head_is_answered_without_a_body(browser: Browser) -> None:
    """HEAD has the headers of GET and nothing else."""
    assert browser.ask("HEAD", "/") == (200, "")


@pytest.mark.parametrize(
    "says",
    [b"", b"-ERR no\r\n", b"?\r\n", b"$99999999\r\n", b"*1\r\n", b"$x\r\n", b"$5\r\nab", b"+" * 99],
)
def test_without_a_sane_redis_the_page_says_so(
    guestbook: ModuleType, browser: Browser, redis: type[FakeRedis],
    monkeypatch: pytest.MonkeyPatch, says: bytes,
) -> None:  # fmt: skip
    """Errors, nonsense and silence of redis are a 503, never a hang or a trace."""
    monkeypatch.setattr(guestbook, "TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(redis, "says", says)
    assert browser.ask("GET", "/")[0] == 503
    assert browser.ask("GET", "/healthz")[0] == 503


def test_health_follows_redis(
    guestbook: ModuleType, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Healthy while redis answers, not healthy when nothing listens there."""
    assert browser.ask("GET", "/healthz") == (200, "ok\n")
    monkeypatch.setenv("REDIS_PORT", "1")
    assert browser.ask("GET", "/healthz")[0] == 503
    assert browser.sign("Ada", "x") == 503


@pytest.mark.parametrize("name", ["web", "redis"])
def test_the_examples_images_are_well_described(name: str) -> None:
    """Both descriptions are read, and neither image runs as root."""
    described = builders.read(EXAMPLE / name)
    assert described.user is not None and described.variant == "extract"


def test_redis_keeps_nothing_on_disk() -> None:
    """Persistence is off, and it answers on every address of its private network."""
    text = (EXAMPLE / "redis/guestbook.conf").read_text()
    for line in ('save ""', "appendonly no", "protected-mode no", r"bind \* -::\*"):
        assert re.search(rf"(?m)^{line}$", text)
