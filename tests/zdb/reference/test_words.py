"""The words of 0-db 2.0.7: each error text of its reference is provoked by a test, literally."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.zdb.ground import Error, Wire, serving

# Every error text that its commands, parser and access rules have, but for those of failures that
# do not exist here: there is no `Internal memory error`, and no index that a write waits for.
TEXTS = (
    "Malformed request, array expected", "Missing arguments", "Too many arguments",
    "Malformed query string", "Payload too big", "Unexpected arguments", "Invalid argument",
    "Invalid arguments", "Argument too long", "Namespace too long", "Permission denied",
    "Key too large", "Invalid key", "Command not supported",
    "Your active namespace is not available anymore (probably removed).",
    "Namespace is in read-only mode", "No space left on this namespace",
    "Namespace is protected by worm mode", "Invalid argument, key needed",
    "Invalid key, only update authorized", "Cannot write data right now", "Internal Error",
    "Key not found", "Cannot delete a key when namespace is in worm mode", "No more data",
    "Invalid key format", "No keys match", "No more history", "Invalid arguments (index query)",
    "Invalid arguments (invalid key)", "Timeout", "Unknown command to watch", "Invalid timeout",
    "Namespace not found", "Namespace protected and private", "Access denied", "Password too long",
    "Only SECURE extra method supported",
    "No CHALLENGE requested, secure authentication not available", "Invalid hash length",
    "Authentication disabled", "This name is not allowed", "This namespace is not available",
    "Cannot remove default namespace", "This namespace doesn't exists",
    "Cannot remove namespace you're currently using.", "Invalid property",
    "Cannot update default namespace", "Cannot change mode of used namespace",
    "This server instance is configured to use a single runtime mode",
    "Namespace is temporarily locked (read-only)",
    "Namespace is temporarily frozen (read-write disabled)", "Flushing public namespace denied",
    "EOF", "Invalid Request", "Unexpected Internal Error", "Unknown DATA subcommand",
    "Unauthorized",
)  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_each_error_text_is_provoked_somewhere(text: str) -> None:
    """A test beside this list expects the text as it is."""
    others = Path(__file__).parents[1].rglob("test_*.py")
    own = Path(__file__).read_text().partition("def test_each_error_text")[2]
    written = [own, *(path.read_text() for path in others if path.name != Path(__file__).name)]
    assert any(f'"{text}"' in source for source in written)


def test_a_namespace_is_made_once(call: Wire, request: pytest.FixtureRequest) -> None:
    """A second NSNEW of the same name is refused in the words of the original."""
    assert call("NSNEW", request.node.name) == Error("This namespace is not available")


@pytest.mark.parametrize("mode", ["user", "seq"])
def test_a_server_of_one_mode_keeps_it(tmp_path: Path, mode: str) -> None:
    """With --mode user or seq every namespace is of that mode, and NSSET says why not another."""
    with serving(tmp_path, "--mode", mode) as server, server.wire() as wire:
        refused = "This server instance is configured to use a single runtime mode"
        assert wire("NSSET", "default", "mode", "user") == Error(refused)
        made = wire("SET", "" if mode == "seq" else "k", "v")
        assert made == (struct.pack("<Q", 0) if mode == "seq" else b"k")
        shown = wire("NSINFO", "default")
        assert isinstance(shown, bytes)
        assert f"\nmode: {'sequential' if mode == 'seq' else 'userkey'}\n".encode() in shown


def test_raw_data_that_is_damaged_is_an_error(tmp_path: Path) -> None:
    """DATA RAW verifies what it reads: no invented record, and no damaged one."""
    with serving(tmp_path, "--sync", "always") as server, server.wire() as wire:
        assert wire("SET", "k", "value" * 20) == b"k"
        path = tmp_path / "data" / "default" / "d0"
        data = bytearray(path.read_bytes())
        data[data.index(b"value") + 3] ^= 0x40
        path.write_bytes(data)
        assert wire("RELOAD", "default") == "OK"
        assert wire("DATA", "RAW", "0", "64") == Error("Unexpected Internal Error")
        assert wire("CHECK", "k") == 0
        assert wire("GET", "k") == Error("Internal Error")


# Each command, a good request, and the type of its reply; None is nil.
TYPES: tuple[tuple[tuple[bytes | str, ...], type], ...] = (
    (("PING",), str), (("SET", "k", "v"), bytes), (("SETX", "k", "w"), bytes),
    (("GET", "k"), bytes), (("MGET", "k", "l"), list), (("EXISTS", "k"), int),
    (("CHECK", "k"), int), (("LENGTH", "k"), int), (("KEYTIME", "k"), int),
    (("KEYCUR", "k"), bytes), (("SCAN",), list), (("SCANX",), list), (("RSCAN",), list),
    (("KSCAN", "k"), list), (("HISTORY", "k"), list), (("INFO",), bytes), (("TIME",), list),
    (("NSLIST",), list), (("NSINFO", "default"), bytes), (("DBSIZE",), int),
    (("SELECT", "default"), str), (("AUTH", "SECURE", "CHALLENGE"), str), (("NSNEW", "t"), str),
    (("NSSET", "t", "worm", "1"), str), (("NSDEL", "t"), str), (("NSJUMP",), str),
    (("RELOAD", "default"), str), (("INDEX", "DIRTY"), list), (("INDEX", "DIRTY", "RESET"), str),
    (("DATA", "RAW", "0", "64"), list), (("HOOKS",), list), (("DEL", "k"), str),
)  # fmt: skip


def test_each_reply_has_the_type_of_the_original(tmp_path: Path) -> None:
    """Statuses, strings, integers and arrays are where clients expect them."""
    with serving(tmp_path) as server, server.wire() as wire:
        for words, expected in TYPES:
            reply = wire(*words)
            assert not isinstance(reply, Error), (words, reply)
            assert isinstance(reply, expected), (words, reply)
