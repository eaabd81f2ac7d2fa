"""Asking a page over HTTPS at the edge, believing the grid's own authority and nobody else's."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfgrid.core import errors

__all__ = ["Page", "ask", "curl"]

timeout_seconds: Final = 5.0
_PAGE_BYTES_MAX: Final = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer; `container` is which container gave it, if it says so."""

    status: int
    text: str
    container: str


def ask(url: str, certificate: Path, *, form: Mapping[str, str] | None = None) -> Page:
    """GET a page, or POST a form to it; the host of the URL is asked at 127.0.0.1.

    Raises:
        errors.Unreachable: TFG-5021, no answer, or one whose certificate does not hold.

    """
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    headers = {"Host": parts.netloc, "Connection": "close"}
    body = urllib.parse.urlencode(form) if form else None
    if body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    try:
        context = ssl.create_default_context(cafile=str(certificate))
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_seconds) as plain:
            connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
            connection.sock = context.wrap_socket(plain, server_hostname=host)
            try:
                connection.request("POST" if body else "GET", parts.path or "/", body, headers)
                answer = connection.getresponse()
                text = answer.read(_PAGE_BYTES_MAX).decode("utf-8", errors="replace")
            finally:
                connection.close()
    except (OSError, http.client.HTTPException) as fault:
        raise errors.Unreachable(
            "TFG-5021", f"{url} does not answer: {fault}", where=url, hint="tfgrid status"
        ) from fault
    return Page(status=answer.status, text=text, container=answer.getheader("X-Container", ""))


def curl(url: str, certificate: Path) -> str:
    """The same question as a command line."""
    parts = urllib.parse.urlsplit(url)
    resolve = f"{parts.hostname}:{parts.port}:127.0.0.1"
    return f"curl --cacert {certificate} --resolve {resolve} {url}"
