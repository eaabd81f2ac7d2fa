"""Who may do what: passwords, challenges, protection, the admin socket, guessing."""

from __future__ import annotations

import hashlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zdb.ground import Error, Running, Wire, request, serving
from tfgrid.capacity import zdb

DENIED = Error("Access denied")
NOT_ADMIN = Error("Permission denied")
ADMIN_COMMANDS = (
    ("NSNEW", "x"), ("NSDEL", "x"), ("NSSET", "x", "worm", "1"), ("NSJUMP",), ("RELOAD", "default"),
    ("INDEX", "DIRTY"), ("DATA", "RAW", "0", "28"), ("HOOKS",), ("MIRROR",), ("MASTER",),
    ("SET", "k", "v", "1"), ("DEL", "k", "1"),
)  # fmt: skip


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A protected server with an admin's password."""
    folder = tmp_path_factory.mktemp("guarded")
    secret = folder / "secret"
    secret.write_text("master\n")
    with serving(folder, "--admin-file", str(secret), "--protect") as running:
        with running.wire() as admin:
            assert admin("AUTH", "master") == "OK"
            for name, public in (("open", "1"), ("closed", "0")):
                assert admin("NSNEW", name) == "OK"
                assert admin("NSSET", name, "password", "sesame") == "OK"
                assert admin("NSSET", name, "public", public) == "OK"
        yield running


@pytest.fixture
def stranger(guarded: Running) -> Iterator[Wire]:
    """A new connection to it."""
    with guarded.wire() as wire:
        yield wire


def proof(challenge: object, password: str, hasher: str) -> str:
    """The answer to a challenge."""
    return hashlib.new(hasher, f"{challenge}:{password}".encode()).hexdigest()


@pytest.mark.parametrize("words", ADMIN_COMMANDS, ids=[words[0] for words in ADMIN_COMMANDS])
def test_strangers_have_no_admin_command(stranger: Wire, words: tuple[str, ...]) -> None:
    """Every command of admins is refused before its arguments are looked at."""
    assert stranger(*words) == NOT_ADMIN
    assert stranger("STOP") == Error("Unauthorized")


def test_a_protected_default_namespace_is_read_only(stranger: Wire) -> None:
    """Without the admin's password default is read-only, with it writable."""
    assert stranger("SET", "k", "v") == Error("Namespace is in read-only mode")
    assert stranger("DEL", "k") == Error("Namespace is in read-only mode")
    assert stranger("GET", "k") is None
    assert stranger("SELECT", "default", "wrong") == DENIED
    assert stranger("SELECT", "default", "master") == "OK"
    assert stranger("SET", "mine", "v") == b"mine"


def test_the_admin_proves_the_password_plainly_or_by_challenge(guarded: Running) -> None:
    """The password, its SHA-1 and its SHA-256 after a challenge each make an admin."""
    for hasher in ("", "sha1", "sha256"):
        with guarded.wire() as wire:
            assert wire("NSJUMP") == NOT_ADMIN
            if hasher:
                challenge = wire("AUTH", "SECURE", "CHALLENGE")
                assert isinstance(challenge, str)
                assert re.fullmatch("[0-9a-f]{16}", challenge)
                assert wire("AUTH", "SECURE", proof(challenge, "master", hasher)) == "OK"
            else:
                assert wire("AUTH", "master") == "OK"
            assert wire("NSJUMP") == "OK"


def test_a_challenge_is_good_for_one_attempt(stranger: Wire) -> None:
    """A right answer uses it up, a wrong one too, and none is refused."""
    none = Error("No CHALLENGE requested, secure authentication not available")
    assert stranger("AUTH", "SECURE", "0" * 40) == none
    challenge = stranger("AUTH", "SECURE", "CHALLENGE")
    assert stranger("AUTH", "SECURE", "short") == Error("Invalid hash length")
    assert stranger("AUTH", "SECURE", proof(challenge, "master", "sha1")) == "OK"
    assert stranger("AUTH", "SECURE", proof(challenge, "master", "sha1")) == none
    challenge = stranger("AUTH", "SECURE", "CHALLENGE")
    assert stranger("SELECT", "closed", "SECURE", "0" * 40) == DENIED
    assert stranger("SELECT", "closed", "SECURE", proof(challenge, "sesame", "sha1")) == none


def test_select_asks_for_the_password(stranger: Wire) -> None:
    """Public namespaces are read-only without it, private ones closed; each form proves it."""
    assert stranger("SELECT", "closed") == Error("Namespace protected and private")
    assert stranger("SELECT", "closed", "x" * 256) == Error("Password too long")
    assert stranger("SELECT", "closed", "a", "b", "c") == Error("Too many arguments")
    assert stranger("SELECT", "closed", "OTHER", "b") == Error("Only SECURE extra method supported")
    assert stranger("SELECT", "open") == "OK"
    assert stranger("SET", "k", "v") == Error("Namespace is in read-only mode")
    assert stranger("SELECT", "open", "sesame") == "OK"
    assert stranger("SET", "k2", "v") == b"k2"
    challenge = stranger("AUTH", "SECURE", "CHALLENGE")
    for name, hasher in (("closed", "sha1"), ("open", "sha256")):
        assert stranger("SELECT", name, "SECURE", proof(challenge, "sesame", hasher)) == "OK"
        assert stranger("SET", "k3", name) == b"k3"


def test_rights_end_with_the_connection(guarded: Running) -> None:
    """A new connection has to authenticate again."""
    with guarded.wire() as wire:
        assert wire("AUTH", "master") == "OK"
    with guarded.wire() as wire:
        assert wire("NSJUMP") == NOT_ADMIN


def test_masters_alone_see_passwords(guarded: Running) -> None:
    """NSINFO shows a password to who said MASTER, and paths to admins."""
    with guarded.wire() as wire:
        shown = wire("NSINFO", "closed")
        assert isinstance(shown, bytes)
        assert b"sesame" not in shown
        assert b"data_path" not in shown
        assert wire("AUTH", "master") == "OK"
        assert wire("MASTER") == "Hello, master"
        shown = wire("NSINFO", "closed", "0")
        assert isinstance(shown, bytes)
        assert b"\npassword_raw: sesame\n" in shown


@pytest.mark.slow
def test_guessing_is_slowed_for_every_connection_of_a_source(tmp_path: Path) -> None:
    """From the fourth failure on attempts wait longer and longer; other commands do not."""
    (tmp_path / "secret").write_text("master")
    with serving(tmp_path, "--admin-file", str(tmp_path / "secret")) as server:
        began = time.monotonic()
        with server.wire() as wire:
            for _ in range(3):
                assert wire("AUTH", "guess") == DENIED
            assert time.monotonic() - began < 0.3
        began = time.monotonic()
        with server.wire() as one, server.wire() as two:
            for wire in (one, two, one, two):
                assert wire("AUTH", "guess") == DENIED
                assert wire("PING") == "PONG"
            assert time.monotonic() - began > 0.5
            one.send(request("AUTH", "master") + request("PING"))
            assert [one.reply(), one.reply()] == ["OK", "PONG"]
        with server.wire() as wire:
            shown = wire("INFO")
        assert isinstance(shown, bytes)
        assert "guess" not in server.log()
        assert "master" not in server.log()


def test_admins_have_a_socket_of_their_own(tmp_path: Path) -> None:
    """With an admin socket the network has no admin commands, no AUTH, and no foreign names."""
    path = tmp_path / "admin.sock"
    with serving(tmp_path, "--admin-socket", str(path)) as server:
        assert path.stat().st_mode & 0o777 == 0o600
        with server.wire() as tenant, Wire(_unix(path)) as admin:
            assert admin("NSNEW", "a") == admin("NSNEW", "b") == "OK"
            for name in ("a", "b"):
                assert admin("NSSET", name, "password", "pw" + name) == "OK"
                assert admin("NSSET", name, "public", "0") == "OK"
            for words in ADMIN_COMMANDS:
                assert tenant(*words) == NOT_ADMIN
            assert tenant("AUTH", "anything") == Error("Authentication disabled")
            assert tenant("STOP") == Error("Unauthorized")
            assert tenant("NSLIST") == [b"default"]
            assert tenant("NSINFO", "b") == Error("Namespace not found")
            assert tenant("SELECT", "a", "pwa") == "OK"
            assert tenant("NSLIST") == [b"a", b"default"]
            assert admin("NSLIST") == [b"a", b"b", b"default"]
        assert server.stop() == 0
        assert not path.exists()


def _unix(path: Path) -> zdb.Address:
    return zdb.Address(socket=path)


def test_a_private_server_listens_on_nothing_else(tmp_path: Path) -> None:
    """--private has the admin socket alone; a socket left by a dead server is replaced."""
    path = tmp_path / "admin.sock"
    for _ in range(2):
        with serving(tmp_path, "--admin-socket", str(path), "--private") as server:
            assert server.addresses == [f"unix://{path}"]
            with Wire(_unix(path)) as admin:
                assert admin("NSJUMP") == "OK"
            listening = subprocess.run(
                ["ss", "-Hltnp"], capture_output=True, text=True, check=True
            ).stdout
            assert f"pid={server.pid}," not in listening


def test_a_password_on_the_command_line_is_warned_of(tmp_path: Path) -> None:
    """--admin works as before, and the log says what is wrong with it."""
    with serving(tmp_path, "--admin", "master") as server:
        assert any("--admin-file" in line["event"] for line in server.lines())
        with server.wire() as wire:
            assert wire("AUTH", "master") == "OK"


def test_directories_have_one_server(tmp_path: Path) -> None:
    """A second server on the same directories ends with a reason and touches nothing."""
    with serving(tmp_path) as server:
        second = subprocess.run(
            [*zdb.PROGRAM, "--data", str(tmp_path / "data"),
             "--index", str(tmp_path / "index"), "--listen", "127.0.0.1", "--port", "0"],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert second.returncode == 3
        assert "in use by another process" in second.stderr
        with server.wire() as wire:
            assert wire("SET", "k", "v") == b"k"
