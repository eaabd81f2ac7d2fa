"""What a node keeps: every byte checked when it enters and again before each start."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from tests.flist import tampering, trees
from tfgrid.capacity import flist
from tfgrid.capacity.flist import image_store, listing
from tfgrid.core import canonical, errors
from tfgrid.core.ids import Digest
from tfgrid.core.transport import MemoryTransport, Request, Response

pytestmark = pytest.mark.root


def ensure(
    node: flist.ImageStore, published: trees.Published, *sources: MemoryTransport
) -> flist.Image:
    """The published image on a node, from an honest server unless others are given."""
    signer = published.keyring.identity
    return asyncio.run(node.ensure(published.digest, signer, sources or (published.transport(),)))


def refused(node: flist.ImageStore, published: trees.Published, *sources: MemoryTransport) -> str:
    """The code with which the image is refused; nothing may be left that counts."""
    with pytest.raises(errors.GridError) as caught:
        ensure(node, published, *sources)
    assert node.images() == () and not list((node.directory / "making").iterdir())
    return caught.value.code


@pytest.fixture
def published(tmp_path: Path) -> trees.Published:
    """The sample tree as an image."""
    return trees.publish(tmp_path)


@pytest.fixture
def node(tmp_path: Path) -> flist.ImageStore:
    """A node without images."""
    return flist.ImageStore(tmp_path / "node")


def test_an_image_becomes_the_tree_it_was(
    tmp_path: Path, published: trees.Published, node: flist.ImageStore
) -> None:
    """What is materialised packs to the very digest that was signed, and rechecks."""
    image = ensure(node, published)
    again = flist.pack(image.path, flist.ChunkStore(tmp_path / "again"))
    assert again.root == published.manifest.root
    assert asyncio.run(node.recheck(image.digest)) == image == node.get(image.digest)
    assert (image.path / "bin/tool").stat().st_ino == (image.path / "bin/also").stat().st_ino
    assert stat.S_IMODE(node.directory.stat().st_mode) == 0o700
    assert not list((node.directory / "incoming").iterdir())


def test_an_image_is_made_once(published: trees.Published, node: flist.ImageStore) -> None:
    """Two calls at once and one later ask the server for each thing once."""
    asked = list[Request]()
    service = flist.Service(published.store)

    async def counting(request: Request) -> Response:
        asked.append(request)
        return await service.handle(request)

    async def both() -> None:
        source = [MemoryTransport(counting)]
        signer = published.keyring.identity
        one, two = await asyncio.gather(
            node.ensure(published.digest, signer, source),
            node.ensure(published.digest, signer, source),
        )
        assert one == two == await node.ensure(published.digest, signer, [])

    asyncio.run(both())
    assert sum(request.path.startswith("/manifests") for request in asked) == 1


def test_the_signer_is_asked_for_each_time(
    published: trees.Published, node: flist.ImageStore
) -> None:
    """An image that is here already is not given to who expects another signer."""
    ensure(node, published)
    with pytest.raises(errors.VerificationFailed, match="TFG-3202"):
        asyncio.run(node.ensure(published.digest, trees.keyring("x").identity, []))


@pytest.mark.parametrize("name", tampering.TAMPERINGS)
def test_a_change_on_disk_between_two_starts_is_found(
    published: trees.Published, node: flist.ImageStore, name: str
) -> None:
    """Bytes, owners, modes, times, attributes, links and additions are all found."""
    image = ensure(node, published)
    asyncio.run(node.recheck(image.digest))
    code, tamper = tampering.TAMPERINGS[name]
    tamper(image.path)
    with pytest.raises(errors.VerificationFailed) as caught:
        asyncio.run(node.recheck(image.digest))
    assert caught.value.code == code


def test_a_bad_image_is_set_aside_and_fetched_again(
    published: trees.Published, node: flist.ImageStore
) -> None:
    """After a failed recheck the tree is discarded, not removed, and the next one is good."""
    image = ensure(node, published)
    with (image.path / "etc/same").open("rb") as still_in_use:
        tampering.turn_a_bit(image.path)
        node.discard(image.digest)
        node.discard(image.digest)
        assert node.get(image.digest) is None
        with pytest.raises(errors.NotFound, match="TFG-3224"):
            asyncio.run(node.recheck(image.digest))
        assert ensure(node, published) == asyncio.run(node.recheck(image.digest))
        assert still_in_use.read() and os.fstat(still_in_use.fileno()).st_nlink == 1
    assert len(list((node.directory / "discarded").iterdir())) == 1


@pytest.mark.parametrize("damage", ["changed", "gone", "nonsense"])
def test_an_image_without_its_own_record_is_made_again(
    published: trees.Published, node: flist.ImageStore, damage: str
) -> None:
    """A damaged manifest hides its image, stops no other, and is mended by `ensure`."""
    path = ensure(node, published).path.parent / "manifest"
    path.write_bytes(b"{}" if damage == "nonsense" else path.read_bytes().replace(b"app", b"axp"))
    if damage == "gone":
        path.unlink()
    assert node.images() == ()
    assert ensure(node, published) == asyncio.run(node.recheck(published.digest))


def test_one_image_is_removed_alone(
    tmp_path: Path, published: trees.Published, node: flist.ImageStore
) -> None:
    """Removing an image leaves the others, and may be repeated."""
    (tmp_path / "t").mkdir()
    other = trees.publish(tmp_path, name="other", tree=tmp_path / "t")
    ensure(node, published)
    ensure(node, other)
    for _ in range(2):
        node.remove(published.digest)
    assert [image.digest for image in node.images()] == [other.digest]


def test_only_what_is_in_use_is_kept(
    tmp_path: Path, published: trees.Published, node: flist.ImageStore
) -> None:
    """What no container needs is removed, with what was fetched or discarded of it."""
    (tmp_path / "t").mkdir()
    other = trees.publish(tmp_path, name="other", tree=tmp_path / "t")
    ensure(node, published)
    ensure(node, other)
    node.discard(other.digest)
    ensure(node, other)
    assert node.keep_only([published.digest]) == (other.digest,)
    assert [image.digest for image in node.images()] == [published.digest]
    assert not list((node.directory / "discarded").iterdir())
    assert node.keep_only([]) == (published.digest,) and node.images() == ()


def flip_chunks(request: Request, body: bytes) -> bytes:
    """What a server sends when every chunk has one bit turned."""
    return trees.flipped(body, len(body) - 6) if request.path == "/chunks" else body


def test_a_byte_flipped_in_transit_is_refused(
    published: trees.Published, node: flist.ImageStore
) -> None:
    """Wrong chunks are not kept, and no image is made of them."""
    source = trees.altering(published, flip_chunks)
    assert refused(node, published, source) == "TFG-3222"


def test_a_manifest_flipped_in_transit_is_refused(
    published: trees.Published, node: flist.ImageStore
) -> None:
    """A manifest with one bit turned is not looked into."""
    source = trees.altering(published, lambda _, body: trees.flipped(body, 99))
    assert refused(node, published, source) == "TFG-3222"


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0\0\x09short", b"\xff" * 100, b"\0" * 4000])
def test_nonsense_for_chunks_is_refused(
    published: trees.Published, node: flist.ImageStore, body: bytes
) -> None:
    """An answer that is not framed chunks ends the try with that source."""
    source = trees.altering(
        published, lambda request, good: body if request.path == "/chunks" else good
    )
    assert refused(node, published, source) == "TFG-3222"


def test_another_source_makes_good(published: trees.Published, node: flist.ImageStore) -> None:
    """With one honest server among a liar, a dead one and an empty one, the image is made."""
    dead = published.transport()
    dead.cut = True
    empty = MemoryTransport(flist.Service(flist.ChunkStore(node.directory.parent / "empty")).handle)
    liar = trees.altering(published, flip_chunks)
    image = ensure(node, published, dead, empty, liar, published.transport())
    assert asyncio.run(node.recheck(image.digest))


def test_a_missing_chunk_is_refused_and_the_rest_kept(
    published: trees.Published, node: flist.ImageStore
) -> None:
    """When the lost chunk is back, only that one is fetched."""
    entries = listing.parse(
        b"".join(published.store.get(d) or b"" for d in published.manifest.metadata)
    )
    lost = list(listing.content(entries)[0])[-1]
    frame = published.store.stored(lost)
    assert frame is not None
    published.store.remove(lost)
    assert refused(node, published) == "TFG-3220"
    published.store.put_stored(lost, frame, size=listing.content(entries)[0][lost])
    asked = list[str]()

    def noting(request: Request, body: bytes) -> bytes:
        asked.append(request.query.get("digests", ""))
        return body

    ensure(node, published, trees.altering(published, noting))
    assert [digests for digests in asked if digests] == [lost]


def test_no_answer_is_said_to_be_worth_another_try(
    published: trees.Published, node: flist.ImageStore
) -> None:
    """An unreachable server is another error than a lying one, and says that trying again helps."""
    source = published.transport()
    source.cut = True
    assert refused(node, published, source) == "TFG-3221"
    assert errors.Unreachable.retry


def test_chunks_that_a_crash_damaged_are_fetched_again(
    published: trees.Published, node: flist.ImageStore
) -> None:
    """What an earlier try left half written is not believed and does not stand in the way."""
    incoming = flist.ChunkStore(node.directory / "incoming" / published.digest)
    for path in (published.store.directory / "chunks").rglob("*"):
        if path.is_file():
            half = incoming.directory / path.relative_to(published.store.directory)
            half.parent.mkdir(exist_ok=True)
            half.write_bytes(path.read_bytes()[:-3])
    assert asyncio.run(node.recheck(ensure(node, published).digest))


def resigned(published: trees.Published, **changes: object) -> trees.Published:
    """An image whose manifest says something else, properly signed by its (hostile) publisher."""
    fields = {f: getattr(published.manifest, f) for f in flist.Manifest.__struct_fields__}
    manifest = flist.Manifest(**(fields | changes))
    digest = published.store.put_manifest(flist.sign(manifest, published.keyring))
    return trees.Published(
        store=published.store, digest=digest, manifest=manifest, keyring=published.keyring
    )


def test_the_chunks_of_one_image_do_not_serve_the_manifest_of_another(
    tmp_path: Path, published: trees.Published, node: flist.ImageStore
) -> None:
    """Metadata of A under the root of B is refused, as are totals that do not agree."""
    (tmp_path / "t").mkdir()
    other = trees.publish(tmp_path, name="other", tree=tmp_path / "t")
    theirs = {"metadata": other.manifest.metadata, "metadata_bytes": other.manifest.metadata_bytes}
    flist.copy(
        flist.pack(tmp_path / "t", other.store, mtime_max=trees.LATEST),
        other.store, published.store,
    )  # fmt: skip
    assert refused(node, resigned(published, **theirs)) == "TFG-3204"
    for total in ("entries", "chunks", "content_bytes"):
        more = getattr(published.manifest, total) + 1
        assert refused(node, resigned(published, **{total: more})) == "TFG-3204"


def test_metadata_that_is_not_as_long_as_signed_is_refused(
    published: trees.Published, node: flist.ImageStore
) -> None:
    """The sizes of metadata chunks follow from what was signed, before any is fetched."""
    assert refused(node, resigned(published, metadata_bytes=5 * 1024**2)) == "TFG-3210"
    assert refused(node, resigned(published, metadata_bytes=7)) == "TFG-3222"


def hostile(published: trees.Published, data: bytes) -> trees.Published:
    """An image with any metadata at all, signed by its publisher."""
    return resigned(
        published, root=canonical.digest(data), metadata=(published.store.put(data),),
        metadata_bytes=len(data),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("TFG-3206", b'{"gid":0,"mtime":0,"path":"..","target":"x","type":"symlink","uid":0}\n'),
        (
            "TFG-3208",
            (
                b'{"gid":0,"mtime":0,"path":"a","target":"/tmp","type":"symlink","uid":0}\n'
                b'{"path":"a/b","target":"c","type":"link"}\n'
            ),
        ),
        ("TFG-3209", b'{"path":"a","target":"../../../etc/shadow","type":"link"}\n'),
        ("TFG-3205", b'{"gid":0,"mode":420,"path":"a","type":"device","uid":0}\n'),
    ],
)
def test_a_hostile_image_that_its_publisher_signed_is_refused(
    published: trees.Published, node: flist.ImageStore, code: str, lines: bytes
) -> None:
    """A good signature under an image that climbs out does not help it."""
    root = b'{"gid":0,"mode":493,"mtime":0,"path":"","type":"directory","uid":0,"xattrs":{}}\n'
    assert refused(node, hostile(published, listing.magic + root + lines)) == code


def test_the_kernel_refuses_what_the_parser_would_have_let_through(
    tmp_path: Path, published: trees.Published, node: flist.ImageStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Even with the rules of metadata switched off, nothing is written through a link."""
    outside = tmp_path / "outside"
    outside.mkdir()
    data = (
        listing.magic
        + b'{"gid":0,"mode":493,"mtime":0,"path":"","type":"directory","uid":0,"xattrs":{}}\n'
        + b'{"gid":0,"mtime":0,"path":"a","target":"%s","type":"symlink","uid":0}\n'
        % str(outside).encode()
        + b'{"gid":0,"mtime":0,"path":"a/b","target":"x","type":"symlink","uid":0}\n'
    )
    monkeypatch.setattr(listing, "check", lambda entries: entries)
    monkeypatch.setattr(image_store, "read_entries", lambda data, manifest: listing.parse(data))
    assert refused(node, hostile(published, data)) == "TFG-3225"
    assert not list(outside.iterdir())


def test_a_digest_is_all_that_names_an_image(
    published: trees.Published, node: flist.ImageStore
) -> None:
    """An image whose manifest nobody has is not there."""
    unknown = trees.Published(
        store=published.store, digest=Digest("0" * 64), manifest=published.manifest,
        keyring=published.keyring,
    )  # fmt: skip
    assert refused(node, unknown) == "TFG-3220"
