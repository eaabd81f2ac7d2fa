"""A guestbook of busybox and shell: the recipe of the example, with images that are there at once.

Both images answer HTTP with busybox's httpd. The store appends what is posted to a file; the web
containers pass a visitor's entry on to the store and show what the store has, and say who they are.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tfgrid.capacity import flist
from tfgrid.doors.localgrid import create, model

__all__ = ["publish"]

_STORE_ADD = """#!/bin/sh
head -c "$CONTENT_LENGTH" >>/tmp/entries; echo >>/tmp/entries
printf 'Content-Type: text/plain\\r\\n\\r\\nkept\\n'
"""
_STORE_LIST = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
cat /tmp/entries 2>/dev/null
"""
_WEB = """#!/bin/sh
store="http://$REDIS_HOST:$REDIS_PORT/cgi-bin"
if [ "$REQUEST_METHOD" = POST ]; then
  told=$(wget -q -O - --post-data "$(head -c "$CONTENT_LENGTH")" "$store/add") || exit 1
else
  told=$(wget -q -O - "$store/list") || exit 1
fi
printf 'Content-Type: text/plain\\r\\nX-Container: %s\\r\\n\\r\\n' "$(hostname)"
httpd -d "$told"
"""
_APPLETS = ("sh", "httpd", "cat", "head", "wget", "hostname", "printf", "echo")


def publish(paths: model.Paths, grid: model.GridFile, scratch: Path) -> None:
    """Publish `redis` and `guestbook-web`, signed by the grid's expert."""
    store = flist.ChunkStore(paths.images)
    ring = create.keyring(paths, grid, "expert")
    scripts = {
        ("redis", "6379"): {"cgi-bin/add": _STORE_ADD, "cgi-bin/list": _STORE_LIST},
        ("guestbook-web", "8080"): {"cgi-bin/index.cgi": _WEB},
    }
    for (name, port), files in scripts.items():
        tree = _tree(scratch / name, files)
        packed = flist.pack(tree, store)
        config = flist.Config(
            arguments=("/bin/httpd", "-f", "-p", port, "-h", "/www"), environment={"PATH": "/bin"}
        )
        flist.publish(packed, store, name=name, keyring=ring, config=config)


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "www/cgi-bin"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for name in _APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    (root / "www" / "healthz").write_text("ok\n")
    for name, text in files.items():
        path = root / "www" / name
        path.write_text(text)
        path.chmod(0o755)
    return root
