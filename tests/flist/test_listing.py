"""Metadata: what a hostile image may not say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfgrid.capacity.flist import listing
from tfgrid.capacity.flist.model import Directory, Entry, File, Link, Symlink
from tfgrid.core import canonical, errors, limits
from tfgrid.core.ids import Digest

A, B = (canonical.digest(text) for text in (b"a", b"b"))


def folder(path: str = "", mode: int = 0o755, xattrs: dict[str, str] | None = None) -> Directory:
    """A directory of root's; nothing is checked before it is parsed."""
    return Directory(path=path, mode=mode, uid=0, gid=0, mtime=0, xattrs=xattrs or {})


def file(
    path: str, size: int = 0, chunks: tuple[Digest, ...] = (), xattrs: dict[str, str] | None = None
) -> File:
    """A file of root's; nothing is checked before it is parsed."""
    return File(
        path=path, mode=0o644, uid=0, gid=0, mtime=0, size=size, chunks=chunks,
        xattrs=xattrs or {},
    )  # fmt: skip


def symlink(path: str, target: str) -> Symlink:
    """A link of root's; nothing is checked before it is parsed."""
    return Symlink(path=path, uid=0, gid=0, mtime=0, target=target)


def parsed(*entries: Entry) -> tuple[Entry, ...]:
    """The entries after a way through bytes."""
    return listing.parse(listing.encode(entries))


def test_metadata_comes_back_as_it_was_written() -> None:
    """What `encode` writes, `parse` reads."""
    entries = (
        folder(), folder("bin", mode=0o1777), file("bin/sh", 5, (A,), xattrs={"user.a": "AA"}),
        Link(path="bin/zsh", target="bin/sh"), symlink("bin-old", "/usr/../x"), file("c"),
    )  # fmt: skip
    assert parsed(*entries) == entries


HOSTILE_NAMES = [
    "..", "../x", "a/../x", "a/..", "/etc/passwd", "/", "a//b", "a/", ".", "a/.", "a\0b", "\0",
    "n" * 256, "é" * 128, "a/" * 200 + "b", "/".join(["d" * 250] * 17),
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "link"])
def test_a_name_that_could_leave_the_image_is_refused(name: str, kind: str) -> None:
    """No entry of any kind may be called anything but a plain relative path within the limits."""
    parts = name.split("/")[:-1]
    parents = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    plain = [p for p in parents if p and ".." not in p and "//" not in p and not p.startswith("/")]
    entries: dict[str, Entry] = {
        "file": file(name), "directory": folder(name), "symlink": symlink(name, "x"),
        "link": Link(path=name, target="0"),
    }  # fmt: skip
    with pytest.raises(errors.BadInput) as caught:
        parsed(folder(), file("0"), *map(folder, plain), entries[kind])
    assert caught.value.code in {"TFG-3206", "TFG-3205", "TFG-3208", "TFG-3207"}


@pytest.mark.parametrize(
    ("code", "entries"),
    [
        ("TFG-3208", []),
        ("TFG-3208", [file("a")]),
        ("TFG-3208", [file("")]),
        ("TFG-3207", [folder(), file("b"), file("a")]),
        ("TFG-3207", [folder(), file("a"), file("a")]),
        ("TFG-3207", [folder(), folder("a"), symlink("a", "/etc")]),
        ("TFG-3207", [folder(), file("a-b"), folder("a"), file("a/c")]),
        ("TFG-3207", [folder(), folder()]),
        ("TFG-3208", [folder(), symlink("a", "/etc"), file("a/passwd")]),
        ("TFG-3208", [folder(), symlink("a", "b"), folder("a/c")]),
        ("TFG-3208", [folder(), file("a"), file("a/b")]),
        ("TFG-3208", [folder(), file("a/b")]),
        ("TFG-3209", [folder(), Link(path="a", target="../../etc/shadow")]),
        ("TFG-3209", [folder(), Link(path="a", target="/etc/shadow")]),
        ("TFG-3209", [folder(), Link(path="a", target="b"), file("b")]),
        ("TFG-3209", [folder(), Link(path="a", target="a")]),
        ("TFG-3209", [folder(), folder("a"), Link(path="b", target="a")]),
        ("TFG-3209", [folder(), symlink("a", "x"), Link(path="b", target="a")]),
        ("TFG-3209", [folder(), file("a"), Link(path="b", target="a"), Link(path="c", target="b")]),
        ("TFG-3210", [folder(), file("a", 1, ())]),
        ("TFG-3210", [folder(), file("a", 0, (A,))]),
        ("TFG-3210", [folder(), file("a", 1, (A, B))]),
        ("TFG-3210", [folder(), file("a", limits.chunk_bytes_max + 1, (A,))]),
        ("TFG-3211", [folder(), file("a", xattrs={"user.overlay.redirect": "AA"})]),
        ("TFG-3211", [folder(xattrs={"user.overlay.opaque": "AA"})]),
        ("TFG-3211", [folder(), file("a", xattrs={"user.x": "A" * 90_000})]),
        ("TFG-3206", [folder(), symlink("a", "é" * 4000)]),
    ],
)
def test_a_listing_that_breaks_a_rule_is_refused(code: str, entries: list[Entry]) -> None:
    """Order, parents, links, sizes and attributes each have their rule and their code."""
    with pytest.raises(errors.BadInput) as caught:
        parsed(*entries)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "line",
    [
        b'{"gid":0,"mode":8630,"mtime":0,"path":"dev","type":"device","uid":0}',
        b'{"gid":0,"mode":420,"mtime":0,"path":"a","type":"fifo","uid":0}',
        listing.encode([file("a")])[24:-1].replace(b'"mode":420', b'"mode":2541'),
        listing.encode([folder("a")])[24:-1].replace(b'"mode":493', b'"mode":1517'),
        listing.encode([file("a")])[24:-1].replace(b'"uid":0', b'"uid":65536'),
        listing.encode([file("a")])[24:-1].replace(b'"uid":0', b'"uid":-1'),
        listing.encode([file("a")])[24:-1].replace(b'"size":0', b'"size":-1'),
        listing.encode([file("a")])[24:-1].replace(b'"mtime":0', b'"mtime":4294967296'),
        listing.encode([file("a", xattrs={"trusted.overlay.redirect": "AA"})])[24:-1],
        listing.encode([file("a", xattrs={"security.capability": "AA"})])[24:-1],
        listing.encode([file("a", xattrs={"user.": "AA"})])[24:-1],
        listing.encode([symlink("a", "x\0y")])[24:-1],
        listing.encode([symlink("a", "")])[24:-1],
        listing.encode([file("a")])[24:-1].replace(b'"size":0', b'"size":0,"extra":1'),
        listing.encode([file("a")])[24:-1].replace(b',"xattrs":{}', b""),
        listing.encode([file("a")])[24:-1].replace(b'"a"', b'"\\u0061"'),
        listing.encode([file("a")])[24:-1].replace(b'"a"', b'"\\ud800"'),
        listing.encode([file("a")])[24:-1] + b" ",
        b"",
    ],
)
def test_an_entry_that_no_image_may_hold_does_not_parse(line: bytes) -> None:
    """Devices, pipes, setuid bits, owners, attributes and other byte forms are refused."""
    start = listing.encode([folder()])
    assert listing.parse(start + listing.encode([file("a")])[24:])
    with pytest.raises(errors.BadInput) as caught:
        listing.parse(start + line + b"\n")
    assert caught.value.code == "TFG-3205"


@pytest.mark.parametrize("cut", [0, 5, 23, -1, -20])
def test_truncated_metadata_is_refused(cut: int) -> None:
    """Metadata that ends early is not metadata."""
    data = listing.encode([folder(), file("a")])
    with pytest.raises(errors.BadInput):
        listing.parse(data[:cut])


def test_one_chunk_cannot_have_two_sizes() -> None:
    """The size of a chunk is known before it is fetched, so it must be one."""
    with pytest.raises(errors.BadInput, match="TFG-3210"):
        listing.content([folder(), file("a", 1, (A,)), file("b", 2, (A,))])


def test_files_over_the_limit_are_refused_as_a_whole() -> None:
    """The sum of all files is bounded, not only each of them."""
    size = limits.image_bytes_max
    chunks = (A,) * (size // limits.chunk_bytes_max)
    with pytest.raises(errors.BadInput, match="TFG-3210"):
        listing.content([file("a", size, chunks), file("b", size, chunks)])


names = st.text(alphabet="ab./\0é-", max_size=8)
anything = st.one_of(
    st.builds(folder, names, mode=st.integers(0, 0o1777)),
    st.builds(file, names, st.integers(0, 3), st.sampled_from([(), (A,), (A, B)])),
    st.builds(symlink, names, st.text(max_size=4)),
    st.builds(lambda path, target: Link(path=path, target=target), names, names),
)


@settings(deadline=None)
@given(st.lists(anything, max_size=8))
def test_whatever_parses_stays_inside(entries: list[Entry]) -> None:
    """Any listing is either refused with an error of ours or holds every rule."""
    try:
        found = parsed(folder(), *entries)
    except errors.BadInput:
        return
    directories = {entry.path for entry in found if isinstance(entry, Directory)}
    paths = [entry.path for entry in found]
    assert len(set(paths)) == len(paths)
    for path in paths[1:]:
        assert not {"", ".", ".."} & set(path.split("/")) and "\0" not in path
        assert path.rpartition("/")[0] in directories


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 255))
def test_no_bytes_crash_the_parser(tail: bytes, at: int, value: int) -> None:
    """Any bytes are refused with an error of ours, or are the very same listing."""
    good = listing.encode([folder(), file("a", 3, (A,)), symlink("b", "c")])
    damaged = good[:at] + bytes([value]) + good[at + 1 :]
    for data in (listing.magic + tail, tail, damaged, good + tail):
        try:
            found = listing.parse(data)
        except errors.BadInput:
            continue
        assert listing.encode(found) == data
