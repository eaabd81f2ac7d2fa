"""The notes' page, behind the entrance of a namespace of a real Zero-DB."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.builders.test_guestbook import Browser, FakeRedis, ThreadingServer, serving
from tests.zdb import ground
from tfgrid.agents import builders
from tfgrid.capacity.zdb import Address, Client

EXAMPLE = Path(__file__).parents[2] / "examples" / "notes"


@pytest.fixture(scope="module")
def notes() -> ModuleType:
    """The example's only module."""
    spec = importlib.util.spec_from_file_location("notes", EXAMPLE / "web/notes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["notes"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A Zero-DB as on a node: it listens on its admin socket alone."""
    folder = tmp_path_factory.mktemp("zdb")
    path = folder / "admin.sock"
    with (
        ground.serving(folder, "--admin-socket", str(path), "--private"),
        Client(Address(socket=path)) as client,
    ):
        yield client


@pytest.fixture
def namespace(admin: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty namespace that the page finds behind its entrance, as in a contract's network."""
    name = "notes"
    admin.nsnew(name)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("ZDB_HOST", "127.0.0.1")
        monkeypatch.setenv("ZDB_PORT", str(listener.getsockname()[1]))
        admin.entrance_add("here", name, listener)
    yield name
    admin.nsdel(name)


@pytest.fixture
def zdb(namespace: str) -> Iterator[ground.Wire]:
    """Another client of that namespace."""
    del namespace
    address = Address(os.environ["ZDB_HOST"], int(os.environ["ZDB_PORT"]))
    with ground.Wire(address) as wire:
        yield wire


@pytest.fixture
def page(notes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    """A browser at a page that answers."""
    monkeypatch.setattr(notes.Handler, "log_message", lambda *_: None)
    web = notes.Server(("127.0.0.1", 0), notes.Handler)
    with serving(web):
        yield Browser(web.server_address[1])


def _write(page: Browser, name: str, text: str, path: str = "/note") -> int:
    form = urllib.parse.urlencode({"name": name, "text": text}).encode()
    return page.ask("POST", path, form)[0]


def test_a_note_is_kept_with_what_it_said_before(page: Browser, zdb: ground.Wire) -> None:
    """What is written is listed and shown, the newest version first, and is in the namespace."""
    assert "Nothing is written yet" in page.ask("GET", "/")[1]
    assert _write(page, "milk & honey", "one") == 303
    assert _write(page, "milk & honey", "two\nlines") == 303
    assert zdb("GET", "milk & honey") == b"two\nlines"

    assert "/note?name=milk%20%26%20honey'>milk &amp; honey" in page.ask("GET", "/")[1]
    status, text = page.ask("GET", "/note?name=milk%20%26%20honey")
    assert status == 200
    assert text.index("</time>two\nlines") < text.index("</time>one")
    assert text.count("<li>") == 2


def test_a_deleted_note_is_gone(page: Browser, zdb: ground.Wire) -> None:
    """A deleted note is listed no more; one of the same name begins anew."""
    _write(page, "gone", "secret plan")
    assert _write(page, "gone", "", "/forget") == 303
    assert _write(page, "gone", "", "/forget") == 303
    assert zdb("EXISTS", "gone") == 0
    assert "gone" not in page.ask("GET", "/")[1]
    assert "secret plan" not in page.ask("GET", "/note?name=gone")[1]
    _write(page, "gone", "another plan")
    text = page.ask("GET", "/note?name=gone")[1]
    assert "another plan" in text and "secret plan" not in text


def test_many_notes_are_listed_up_to_a_bound(
    notes: ModuleType, page: Browser, zdb: ground.Wire
) -> None:
    """Several pages of a scan make one list, sorted, no longer than what is shown."""
    for number in range(notes.NOTES_SHOWN + 50):
        zdb("SET", f"n{number:04}", "x")
    text = page.ask("GET", "/")[1]
    assert text.count("<li>") == notes.NOTES_SHOWN
    assert text.index(">n0000<") < text.index(">n0001<") < text.index(">n0150<")


def test_what_visitors_write_is_never_markup(page: Browser, zdb: ground.Wire) -> None:
    """Names and texts are escaped everywhere, also what others put into the namespace."""
    name = "'><script>alert(1)</script>{body}"
    _write(page, name, "</textarea></li><script>x</script>{title}")
    zdb("SET", b"\xff<b>", b"\xff<script>")
    for path in ("/", f"/note?name={urllib.parse.quote(name)}", "/note?name=%EF%BF%BD%3Cb%3E"):
        text = page.ask("GET", path)[1]
        assert "<script" not in text and "<b>" not in text
    assert "&lt;script&gt;alert(1)" in page.ask("GET", "/")[1]


def test_a_full_namespace_says_so_and_lets_delete(
    page: Browser, admin: Client, namespace: str
) -> None:
    """What does not fit is a 507; after a delete there is room again."""
    _write(page, "first", "x")
    admin.nsset(namespace, "maxkeys", "1")
    assert _write(page, "second", "y") == 507
    assert "second" not in page.ask("GET", "/")[1]
    assert _write(page, "first", "", "/forget") == 303
    assert _write(page, "second", "y") == 303


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/etc/passwd", b"", {}, 404),
        ("GET", "/note", b"", {}, 404),
        ("GET", "/note?name=", b"", {}, 404),
        ("GET", f"/note?name={'x' * 61}", b"", {}, 404),
        ("GET", "/note?name=a%0Ab", b"", {}, 404),
        ("GET", "/note?name=nobody", b"", {}, 200),
        ("HEAD", "/", b"", {}, 200),
        ("POST", "/note", b"name=&text=x", {}, 400),
        ("POST", "/note", b"name=a&text=+", {}, 400),
        ("POST", "/note", b"name=%F0%9F%8D%89" + b"%F0%9F%8D%89" * 59 + b"&text=x", {}, 303),
        ("POST", "/note", b"name=a&text=b", {"Content-Length": "-1"}, 400),
        ("POST", "/note", b"name=a&text=b", {"Content-Length": "99999999999"}, 413),
        ("POST", "/other", b"name=a&text=b", {}, 400),
        ("POST", "/forget", b"name=never", {}, 303),
        ("PUT", "/", b"x", {}, 501),
    ],
)
def test_odd_requests_get_a_plain_answer(
    page: Browser, zdb: ground.Wire, method: str, path: str, body: bytes,
    headers: dict[str, str], status: int,
) -> None:  # fmt: skip
    """Unknown paths, odd names, empty forms and lying lengths are refused; the page lives on."""
    del zdb
    assert page.ask(method, path, body, headers)[0] == status
    assert page.ask("GET", "/")[0] == 200


@pytest.mark.parametrize(
    "says",
    [b"", b"-ERR no\r\n", b"?\r\n", b"$99999999\r\n", b"*2\r\n$1\r\nx\r\n:1\r\n", b"$x\r\n",
     b"$5\r\nab", b"+" * 99, b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n+x\r\n", b"*99999\r\n"],
)  # fmt: skip
def test_without_a_sane_namespace_the_page_says_so(
    notes: ModuleType, page: Browser, monkeypatch: pytest.MonkeyPatch, says: bytes
) -> None:
    """Errors, nonsense and silence of the namespace are a 503, never a hang or a trace."""
    handler = type("Handler", (FakeRedis,), {"entries": [], "says": says})
    server = ThreadingServer(("127.0.0.1", 0), handler)
    monkeypatch.setenv("ZDB_HOST", "127.0.0.1")
    monkeypatch.setenv("ZDB_PORT", str(server.server_address[1]))
    monkeypatch.setattr(notes, "TIMEOUT_SECONDS", 0.05)
    with serving(server):
        assert page.ask("GET", "/")[0] == 503
        assert page.ask("GET", "/note?name=a")[0] == 503


def test_health_follows_the_namespace(page: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not healthy, nor written to, when nothing listens there."""
    monkeypatch.setenv("ZDB_HOST", "127.0.0.1")
    monkeypatch.setenv("ZDB_PORT", "1")
    assert page.ask("GET", "/healthz")[0] == 503
    assert _write(page, "a", "b") == 503


def test_healthy_while_it_answers(page: Browser, zdb: ground.Wire) -> None:
    """Healthy while the namespace answers."""
    del zdb
    assert page.ask("GET", "/healthz") == (200, "ok\n")


def test_the_image_is_well_described() -> None:
    """The description is read, needs nothing but Python, and does not run as root."""
    described = builders.read(EXAMPLE / "web")
    assert described.packages == ("python3",)
    assert described.user is not None and described.variant == "extract"
