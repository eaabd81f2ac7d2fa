"""Every command's replies and errors, as the original words them."""

from __future__ import annotations

import re
import struct
import time

import pytest

from tests.zdb.ground import Error, Reply, Running, Wire

Words = tuple[bytes | str, ...]
nothing: tuple[Words, ...] = ()


def errors(*texts: str) -> tuple[Error, ...]:
    """Error replies of these texts."""
    return tuple(map(Error, texts))


UNEXPECTED, MISSING, INVALID = errors(
    "Unexpected arguments", "Missing arguments", "Invalid argument"
)
LONG = "k" * 256

# What was done before, the request, its reply.
TABLE: tuple[tuple[tuple[Words, ...], Words, Reply], ...] = (
    (nothing, ("PING",), "PONG"),
    (nothing, ("pInG",), "PONG"),
    (nothing, ("ECHO", "x"), b"x"),
    (nothing, ("SET", "k", "v"), b"k"),
    (nothing, ("SETX", "k", "v"), b"k"),
    (nothing, ("SET", "k", ""), b"k"),
    ((("SET", "k", "v"),), ("SET", "k", "v"), None),
    ((("SET", "k", "v"),), ("SET", "k", "w"), b"k"),
    (nothing, ("SET", "k", "v", "7"), b"k"),
    (nothing, ("SET", "k", "v", "junk"), INVALID),
    (nothing, ("SET", "k", "v", "-7"), INVALID),
    (nothing, ("SET", "k"), UNEXPECTED),
    (nothing, ("SET", "k", "v", "1", "2"), UNEXPECTED),
    (nothing, ("SET", "", "v"), Error("Invalid argument, key needed")),
    (nothing, ("SET", LONG, "v"), Error("Key too large")),
    ((("SET", "k", "v"),), ("GET", "k"), b"v"),
    ((("SET", "k", ""),), ("GET", "k"), b""),
    ((("SET", "k", "v"), ("DEL", "k")), ("GET", "k"), None),
    (nothing, ("GET", "k"), None),
    (nothing, ("GET",), UNEXPECTED),
    (nothing, ("GET", "k", "l"), UNEXPECTED),
    (nothing, ("GET", ""), INVALID),
    (nothing, ("GET", LONG), Error("Invalid key")),
    ((("SET", "k", "v"),), ("MGET", "a", "k", "b"), [None, b"v", None]),
    (nothing, ("MGET",), Error("Invalid arguments")),
    (nothing, ("MGET", "k", LONG), Error("Invalid key")),
    ((("SET", "k", "v"),), ("DEL", "k"), "OK"),
    ((("SET", "k", "v"), ("DEL", "k")), ("DEL", "k"), Error("Key not found")),
    (nothing, ("DEL", "k"), Error("Key not found")),
    ((("SET", "k", "v"),), ("DEL", "k", "junk"), INVALID),
    ((("SET", "k", "v"),), ("DEL", "k", "7"), "OK"),
    (nothing, ("DEL",), UNEXPECTED),
    (nothing, ("DEL", LONG), Error("Invalid key")),
    ((("SET", "k", "v"),), ("EXISTS", "k"), 1),
    (nothing, ("EXISTS", "k"), 0),
    ((("SET", "k", "v"),), ("CHECK", "k"), 1),
    (nothing, ("CHECK", "k"), None),
    ((("SET", "k", "abc"),), ("LENGTH", "k"), 3),
    (nothing, ("LENGTH", "k"), None),
    ((("SET", "k", "v", "1234"),), ("KEYTIME", "k"), 1234),
    (nothing, ("KEYTIME", "k"), None),
    (nothing, ("KEYCUR", "k"), Error("Key not found")),
    (nothing, ("SCAN",), Error("No more data")),
    (nothing, ("RSCAN",), Error("No more data")),
    (nothing, ("SCAN", "short"), Error("Invalid key format")),
    (nothing, ("SCAN", b"\1" + b"\xff" * 16), Error("Invalid key format")),
    (nothing, ("SCAN", "a", "b"), UNEXPECTED),
    ((("SET", "ab", "v"), ("SET", "b", "v")), ("KSCAN", "a"), [b"0", [b"ab"]]),
    (nothing, ("KSCAN", "a"), Error("No keys match")),
    (nothing, ("KSCAN",), UNEXPECTED),
    ((("SET", "k", "v", "9"),), ("HISTORY", "k"), [None, b"9", b"v"]),
    (nothing, ("HISTORY", "k"), Error("Key not found")),
    ((("SET", "k", "v"), ("DEL", "k")), ("HISTORY", "k"), Error("Key not found")),
    (nothing, ("HISTORY",), Error("Invalid arguments")),
    (nothing, ("HISTORY", "k", b"\0" * 8), Error("No more history")),
    (nothing, ("HISTORY", "k", b"\0" * 7), Error("Invalid arguments")),
    (nothing, ("HISTORY", "k", struct.pack("<II", 9, 9)), Error("Invalid arguments (index query)")),
    ((("SET", "k", "v"), ("SET", "l", "v"), ("DEL", "k")), ("DBSIZE",), 1),
    (nothing, ("WAIT",), Error("Invalid arguments")),
    (nothing, ("WAIT", "NOTHING"), Error("Unknown command to watch")),
    (nothing, ("WAIT", "SET", "99"), Error("Invalid timeout")),
    (nothing, ("WAIT", "SET", "1800001"), Error("Invalid timeout")),
    (nothing, ("WAIT", "SET", "100"), Error("Timeout")),
    (nothing, ("*",), Error("This is not a valid command")),
    (nothing, ("G",), Error("Command not supported")),
    (nothing, ("",), Error("Command not supported")),
    (nothing, ("x" * 8192,), Error("Command not supported")),
    (nothing, ("SELECT",), INVALID),
    (nothing, ("SELECT", "nowhere"), Error("Namespace not found")),
    (nothing, ("SELECT", "n" * 129), Error("Namespace too long")),
    (nothing, ("AUTH", "x"), Error("Authentication disabled")),
    (nothing, ("AUTH", "OTHER", "x"), Error("Only SECURE extra method supported")),
    (nothing, ("AUTH", "SECURE", "0" * 40), Error("Authentication disabled")),
    (nothing, ("AUTH", "a", "b", "c"), UNEXPECTED),
    (nothing, ("NSNEW", "default"), Error("This name is not allowed")),
    (nothing, ("NSNEW", ".."), Error("This name is not allowed")),
    (nothing, ("NSNEW", "a/b"), Error("This name is not allowed")),
    (nothing, ("NSNEW", "../x"), Error("This name is not allowed")),
    (nothing, ("NSNEW", b"a\0b"), Error("This name is not allowed")),
    (nothing, ("NSNEW", b"\xff"), Error("This name is not allowed")),
    (nothing, ("NSNEW", ""), INVALID),
    (nothing, ("NSNEW", "n" * 129), Error("Namespace too long")),
    (nothing, ("NSDEL", "default"), Error("Cannot remove default namespace")),
    (nothing, ("NSDEL", "nowhere"), Error("This namespace doesn't exists")),
    (nothing, ("NSINFO", "nowhere"), Error("Namespace not found")),
    (nothing, ("NSSET", "nowhere", "worm", "1"), Error("Namespace not found")),
    (nothing, ("NSSET", "default", "worm", "1"), Error("Cannot update default namespace")),
    (nothing, ("NSSET", "default", "mode", "cat"),
     Error("Invalid property value (expected: user, seq)")),
    (nothing, ("NSSET", "default", "lock"), UNEXPECTED),
    (nothing, ("NSSET", "default", "lock", "1" * 64), Error("Argument too long")),
    (nothing, ("NSJUMP",), "OK"),
    (nothing, ("RELOAD", "nowhere"), Error("Namespace not found")),
    (nothing, ("FLUSH",), Error("Flushing public namespace denied")),
    (nothing, ("INDEX", "CLEAN"), Error("Unknown INDEX subcommand")),
    (nothing, ("INDEX", "DIRTY", "RESET"), "OK"),
    (nothing, ("INDEX", "DIRTY", "NOW"), Error("Unknown INDEX DIRTY subcommand")),
    (nothing, ("INDEX",), MISSING),
    (nothing, ("DATA", "COOKED"), Error("Unknown DATA subcommand")),
    (nothing, ("DATA", "RAW"), MISSING),
    (nothing, ("DATA", "RAW", "0", "99999999"), Error("EOF")),
    (nothing, ("DATA", "RAW", "0", "junk"), Error("Invalid Request")),
    (nothing, ("HOOKS",), []),
    (nothing, ("MIRROR",), "Starting mirroring"),
    (nothing, ("MASTER",), "Hello, master"),
    (nothing, ("QUIT",), "OK"),
    (nothing, ("HELLO", "4"), Error("NOPROTO unsupported protocol version")),
    (nothing, ("CONFIG", "GET", "save"), [b"save", b""]),
    (nothing, ("CONFIG", "SET", "save", "1"), Error("Unknown CONFIG subcommand")),
    (nothing, ("COMMAND", "DOCS"), []),
    (nothing, ("COMMAND", "INFO", "nope"), [None]),
    (nothing, ("CLIENT", "SETNAME", "me"), "OK"),
    (nothing, ("CLIENT", "SETINFO", "LIB-NAME", "x"), "OK"),
    (nothing, ("CLIENT", "GETNAME"), None),
)  # fmt: skip


@pytest.mark.parametrize(
    ("before", "words", "expected"),
    TABLE,
    ids=[f"{i}-{row[1][0]!r:.20}" for i, row in enumerate(TABLE)],
)
def test_a_request_has_its_reply(
    call: Wire, before: tuple[Words, ...], words: Words, expected: Reply
) -> None:
    """Each request of the table is answered as the original answers it."""
    for earlier in before:
        assert not isinstance(call(*earlier), Error)

    assert call(*words) == expected


def test_time_is_two_strings(call: Wire) -> None:
    """TIME gives seconds and microseconds."""
    reply = call("TIME")
    assert isinstance(reply, list)
    seconds, microseconds = (int(part) for part in reply if isinstance(part, bytes))
    assert abs(seconds - time.time()) < 5
    assert 0 <= microseconds < 10**6


def test_scans_walk_the_log_both_ways(call: Wire) -> None:
    """SCAN gives live keys in the order they were written last, RSCAN the same backwards."""
    for key in ("a", "b", "c", "d"):
        call("SET", key, key * 3, "5")
    call("SET", "b", "newer", "6")
    call("DEL", "c")

    rows = [[b"a", 3, 5], [b"d", 3, 5], [b"b", 5, 6]]
    forward, backward = call("SCAN"), call("RSCAN")
    assert isinstance(forward, list)
    assert isinstance(backward, list)
    assert forward[1] == rows
    assert backward[1] == rows[::-1]
    assert len(forward[0]) == 17 if isinstance(forward[0], bytes) else False
    cursor = call("KEYCUR", "a")
    assert isinstance(cursor, bytes)
    following = call("SCANX", cursor)
    assert isinstance(following, list)
    assert following[1] == rows[1:]
    assert call("RSCAN", cursor) == Error("No more data")


def test_history_goes_back_to_the_first_version(call: Wire) -> None:
    """Each HISTORY reply has the position of the version before it, and other keys are refused."""
    for stamp, value in enumerate(("one", "two", "three")):
        call("SET", "k", value, str(stamp))
    call("SET", "other", "x")

    newest = call("HISTORY", "k")
    assert isinstance(newest, list)
    assert newest[1:] == [b"2", b"three"]
    position = newest[0]
    assert isinstance(position, bytes)
    assert call("HISTORY", "other", position) == Error("Invalid arguments (invalid key)")
    middle = call("HISTORY", "k", position)
    assert isinstance(middle, list)
    assert middle[1:] == [b"1", b"two"]
    assert isinstance(middle[0], bytes)
    assert call("HISTORY", "k", middle[0]) == [None, b"0", b"one"]


def test_sequential_ids_have_gaps_after_updates(call: Wire, request: pytest.FixtureRequest) -> None:
    """The server makes ids of eight bytes; an update uses one up; a deleted id stays dead."""
    assert call("NSSET", request.node.name, "mode", "seq") == "OK"

    ids = [struct.pack("<Q", number) for number in (0, 1, 3)]
    assert [call("SET", "", "a"), call("SET", "", "b")] == ids[:2]
    assert call("SET", ids[0], "c") == ids[0]
    assert call("SET", "", "d") == ids[2]
    assert call("GET", ids[0]) == b"c"
    assert call("SET", struct.pack("<Q", 99), "x") == Error("Invalid key, only update authorized")
    assert call("GET", "short") is None
    assert call("DEL", ids[1]) == "OK"
    assert call("SET", ids[1], "x") == Error("Invalid key, only update authorized")
    assert call("NSSET", request.node.name, "mode", "user") == Error(
        "Cannot change mode of used namespace"
    )
    info = call("NSINFO", request.node.name)
    assert isinstance(info, bytes)
    assert b"\nmode: sequential\n" in info
    assert b"\nnext_internal_id: 0x400000000000000\n" in info


def test_raw_data_shows_tombstones(call: Wire) -> None:
    """DATA RAW gives key, previous offset, CRC of the original, flags, time and payload."""
    first = 0
    call("SET", "k", "1", "77")
    call("DEL", "k", "78")
    found: list[Reply] = []
    for offset in range(512):
        reply = call("DATA", "RAW", "0", str(offset))
        if isinstance(reply, list):
            first = first or offset
            found.append(reply)
    assert found[0] == [b"k", 0, b"0xc288cab2", 0, 77, b"1"]
    assert found[1] == [b"k", first, b"0x00000000", 1, 78, None]
    assert len(found) == 2


def test_properties_hold_a_namespace_to_its_rules(
    server: Running, call: Wire, request: pytest.FixtureRequest
) -> None:
    """Quota, worm, lock and freeze each refuse in their own words, and can be lifted."""
    name = request.node.name
    with server.wire() as admin:

        def set_to(property_name: str, value: str) -> None:
            assert admin("NSSET", name, property_name, value) == "OK"

        assert call("SET", "k", "12345") == b"k"
        set_to("maxsize", "10")
        assert call("SET", "l", "123456") == Error("No space left on this namespace")
        assert call("SET", "l", "12345") == b"l"
        assert call("SET", "k", "1234") == b"k"
        assert call("SET", "m", "12") == Error("No space left on this namespace")
        set_to("maxsize", "0")
        set_to("worm", "1")
        assert call("SET", "k", "x") == Error("Namespace is protected by worm mode")
        assert call("DEL", "k") == Error("Cannot delete a key when namespace is in worm mode")
        assert call("SET", "new", "x") == b"new"
        set_to("worm", "0")
        set_to("lock", "1")
        locked = Error("Namespace is temporarily locked (read-only)")
        assert call("SET", "k", "x") == call("DEL", "k") == locked
        assert call("GET", "k") == b"1234"
        set_to("lock", "0")
        set_to("freeze", "1")
        frozen = Error("Namespace is temporarily frozen (read-write disabled)")
        for words in (("SET", "k", "x"), ("GET", "k"), ("MGET", "k"), ("DEL", "k"), ("SCAN",),
                      ("EXISTS", "k"), ("HISTORY", "k"), ("KSCAN", "k"),
                      ("KEYCUR", "k")):  # fmt: skip
            assert call(*words) == frozen, words
        set_to("freeze", "0")
        assert call("GET", "k") == b"1234"
        assert admin("NSSET", name, "colour", "red") == Error("Invalid property")


def test_a_removed_namespace_ends_its_clients(
    server: Running, call: Wire, request: pytest.FixtureRequest
) -> None:
    """Who is attached to a removed namespace is told so at its next command, and cut."""
    with server.wire() as admin:
        assert call("NSDEL", request.node.name) == Error(
            "Cannot remove namespace you're currently using."
        )
        assert admin("NSDEL", request.node.name) == "OK"
    gone = "Your active namespace is not available anymore (probably removed)."
    assert call("PING") == Error(gone)
    assert call.closed()


def test_reload_keeps_clients_and_keys(
    server: Running, call: Wire, request: pytest.FixtureRequest
) -> None:
    """RELOAD reads the files again; who is attached goes on."""
    call("SET", "k", "v")
    with server.wire() as admin:
        assert admin("RELOAD", request.node.name) == "OK"
    assert call("GET", "k") == b"v"
    assert call("RELOAD", request.node.name) == "OK"
    assert call("GET", "k") == b"v"


def test_flush_frees_a_private_namespace(
    server: Running, call: Wire, request: pytest.FixtureRequest
) -> None:
    """FLUSH removes every key, and the space is given back."""
    name = request.node.name
    for property_name, value in (("password", "secret"), ("public", "0")):
        assert call("NSSET", name, property_name, value) == "OK"
    call("SET", "k", "v" * 100_000)
    assert call("FLUSH") == "OK"
    assert [call("DBSIZE"), call("GET", "k")] == [0, None]
    info = call("NSINFO", name)
    assert isinstance(info, bytes)
    size = re.search(rb"data_file_bytes: (\d+)", info)
    assert size
    assert int(size[1]) < 10_000


def test_nsinfo_and_info_have_the_lines_that_clients_read(call: Wire) -> None:
    """The texts begin as those of the original do, with a blank after each colon."""
    info, namespace = call("INFO"), call("NSINFO", "default")
    assert isinstance(info, bytes)
    assert isinstance(namespace, bytes)
    for name in ("server_name", "instance_id", "boot_time", "uptime", "clients_lifetime",
                 "sequential_key_size", "data_version", "index_version", "commands_executed",
                 "commands_failed", "commands_unauthorized", "network_rx_bytes"):  # fmt: skip
        assert f"\n{name}: ".encode() in info, name
    for name in ("name", "entries", "public", "worm", "locked", "password", "data_size_bytes",
                 "data_limits_bytes", "index_size_bytes", "next_internal_id", "mode",
                 "stats_data_faults", "data_disk_freespace_bytes", "data_path", "data_active",
                 "index_path", "data_current_id", "data_current_offset"):  # fmt: skip
        assert f"\n{name}: ".encode() in namespace, name
    assert b"\nmode: userkey\n" in namespace


def test_every_command_is_described(call: Wire) -> None:
    """COMMAND lists the commands with name, arity, flags and key places."""
    every, count = call("COMMAND"), call("COMMAND", "COUNT")
    assert isinstance(every, list)
    assert len(every) == count
    assert call("COMMAND", "INFO", "GET") == [[b"get", 2, ["readonly"], 1, 1, 1]]
