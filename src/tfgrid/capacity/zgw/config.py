"""HAProxy's configuration.

Generic, so that it is written once and only the runtime socket changes anything.

A route cannot get a backend of its own while HAProxy runs, so there is a pool of empty ones
(slots). Health checks ask each server for its own path and host: they are looked up by the
server's name in maps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tfgrid.capacity.zgw.model import Settings

__all__ = ["map_names", "map_path", "server_options", "slot_name", "socket_path", "text"]

map_names: Final = ("routes", "labels", "paths", "names")
"""routes: host to slot; labels: host to label.

Paths, names: server to what its check asks for, and of whom.
"""

# No `on-marked-down shutdown-sessions`: it also cuts those who are still connecting, without an
# answer, instead of sending them to another server (tried on 2.6). A peer that vanished under a
# request is found by keepalive.
_HEAD: Final = """\
global
  stats socket {socket} mode 600 level admin
  chroot {empty}
  user nobody
  group nogroup
  maxconn {connections_max}
  nbthread {threads}
  log stdout format raw local0 notice
  tune.bufsize 16384
  tune.maxrewrite 2048
  tune.http.maxhdr 64
  tune.h2.max-concurrent-streams 64
  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
  ssl-default-bind-ciphers ECDHE+AESGCM:ECDHE+CHACHA20

defaults slots
  mode http
  log global
  option dontlognull
  balance roundrobin
  http-reuse never
  timeout connect 500ms
  timeout server 60s
  timeout queue 5s
  timeout tunnel 1h
  timeout check 1s
  retries 3
  option redispatch 1
  option srvtcpka
  srvtcpka-idle 2s
  srvtcpka-intvl 1s
  srvtcpka-cnt 3
  retry-on conn-failure empty-response junk-response response-timeout
  option httpchk
  http-check send meth GET uri-lf "%[srv_name,map({paths},/)]" ver HTTP/1.1 \
hdr Host "%[srv_name,map({names},-)]" hdr User-Agent tfgrid hdr Connection close
  http-check expect rstatus ^[23]

defaults front
  mode http
  log global
  option dontlognull
  option dontlog-normal
  option http-ignore-probes
  timeout http-request 5s
  timeout http-keep-alive 15s
  timeout client 60s
  timeout client-fin 5s
  timeout tunnel 1h

frontend https from front
  bind {address}:{port} ssl crt {certificate} alpn h2,http/1.1 strict-sni
  http-request set-var(txn.host) req.hdr(host),host_only,lower
  http-request set-var(txn.name) ssl_fc_sni,lower
  http-request set-var(txn.slot) var(txn.host),map({routes})
  http-request set-var(txn.label) var(txn.host),map({labels})
  http-request deny deny_status 400 unless {{ req.hdr_cnt(host) eq 1 }}
  http-request deny deny_status 400 if {{ req.hdrs -m reg '[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f]' }}
  http-request deny deny_status 400 if {{ req.fhdr_cnt(transfer-encoding) gt 1 }}
  http-request return status 421 content-type text/plain string "another name was greeted" \
unless {{ var(txn.host),strcmp(txn.name) eq 0 }}
  http-request return status 421 content-type text/plain string "no such name here" \
unless {{ var(txn.slot) -m found }}
  http-request disable-l7-retry unless {{ method GET HEAD OPTIONS }}
  http-request del-header ^(x-forwarded-.*|x-real-ip|forwarded|via|client-ip)$ -m reg
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto https
  http-request set-header X-Forwarded-Host %[var(txn.host)]
  use_backend %[var(txn.slot)]
"""


def map_path(settings: Settings, name: str) -> Path:
    """Where a map is; HAProxy knows it by this path and reads it at start only."""
    return settings.directory / f"{name}.map"


def socket_path(settings: Settings) -> Path:
    """Where the runtime socket is."""
    return settings.directory / "runtime.sock"


def slot_name(number: int) -> str:
    """The backend with this number."""
    return f"slot{number}"


def text(settings: Settings) -> str:
    """The whole configuration."""
    head = _HEAD.format(
        socket=socket_path(settings), empty=settings.directory / "empty",
        connections_max=settings.connections_max, threads=settings.threads,
        address=settings.address, port=settings.port, certificate=settings.certificate,
        **{name: map_path(settings, name) for name in map_names},
    )  # fmt: skip
    slots = (f"backend {slot_name(number)} from slots\n" for number in range(settings.slots))
    return head + "\n" + "".join(slots)


def server_options(settings: Settings) -> str:
    """How a server is watched.

    By its own checks, and by what happens to the requests it is given. One that is down is looked
    at more often: it may be a container that has just begun, for whose page somebody waits.
    """
    interval = settings.check_interval_ms
    quick = max(100, interval // 4)
    return (
        f"check inter {interval}ms fastinter {quick}ms downinter {quick}ms fall 2 rise 1 "
        "observe layer4 error-limit 2 on-error mark-down"
    )
