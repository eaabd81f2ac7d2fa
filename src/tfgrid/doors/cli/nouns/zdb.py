"""`zdb serve info check repair rebuild dump`: a Zero-DB on this machine.

`serve` becomes the server: its process is replaced by one that runs native code alone. The tools
work on files at rest; `info` asks a server that runs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import click

from tfgrid.capacity import zdb
from tfgrid.core import units
from tfgrid.doors.cli import answers, render
from tfgrid.doors.cli.frame import (
    ExitCode,
    Noun,
    Settings,
    confirm,
    hints,
    leaf,
    say,
    show,
    stream,
)

__all__ = ["COMMANDS"]

zdb_noun: Final = Noun(
    "zdb", help="Zero-DB: serve, info, check, repair, rebuild, dump.",
    examples=("tfgrid zdb serve --data /srv/zdb/data --index /srv/zdb/index",
              "tfgrid zdb info --server 127.0.0.1:9900",
              "tfgrid zdb check /srv/zdb/data /srv/zdb/index"),
)  # fmt: skip

_OPTIONS: Final = (
    ("--data", "DIR", "Where data files are."),
    ("--index", "DIR", "Where index files are."),
    ("--listen", "ADDR", "Address to listen on (default: ::)."),
    ("--port", "PORT", "TCP port (default: 9900)."),
    ("--socket", "PATH", "A unix socket instead of TCP."),
    ("--admin-socket", "PATH", "A private unix socket that alone has admin commands."),
    ("--mode", "MODE", "Who chooses keys: user, seq or mixed (default: mixed)."),
    ("--admin-file", "PATH", "The admin's password in a file; - reads standard input."),
    ("--sync", "WHEN", "group (default), always, interval=MS or none."),
    ("--data-size", "BYTES", "Bytes of a data file (default: 256 MiB)."),
    ("--cache", "BYTES", "Memory to keep what was read in (default: 64 MiB; 0: none)."),
    ("--maxsize", "BYTES", "Quota of new namespaces (default: none)."),
    ("--rotate", "SECONDS", "Begin a new data file after so long."),
    ("--metrics", "ADDR:PORT", "Answer Prometheus."),
    ("--hook", "PROGRAM", "Tell this program of events."),
    ("--clients", "N", "Connections at a time (default: 10000)."),
    ("--client-timeout", "SECONDS", "How long a reply may stay unread (default: 60)."),
)
_FLAGS: Final = (
    ("--dualnet", "Listen on TCP beside --socket."),
    ("--private", "Listen on nothing but the admin socket."),
    ("--protect", "The default namespace is read-only without the admin's password."),
)


def _served(name: str) -> str:
    return name.removeprefix("--").replace("-", "_")


@leaf(
    zdb_noun, "serve", answers=("tfgrid.zdb-serve/1",),
    examples=("tfgrid zdb serve --data /srv/zdb/data --index /srv/zdb/index",
              "tfgrid zdb serve --data d --index i --listen 127.0.0.1 --sync interval=1000",
              "tfgrid zdb serve --data d --index i --admin-socket /run/zdb.sock --dry-run"),
)  # fmt: skip
@click.option("--admin", metavar="PASSWORD", help="The admin's password, where others may see it.")
def serve(settings: Settings, admin: str | None, **given: str | bool | None) -> None:
    """Serve until SIGTERM; the log is JSON lines on standard error."""
    words = ["serve"]
    for name, _, _ in _OPTIONS:
        if (value := given[_served(name)]) is not None:
            words += [name, str(value)]
    words += [name for name, _ in _FLAGS if given[_served(name)]]
    argv = [*zdb.PROGRAM, *words]
    if settings.dry_run:
        show(settings, answers.ZdbServe(arguments=argv), lambda a: " ".join(a.arguments))
        return
    if admin is not None:
        say(settings, "--admin shows the password to all of this machine; use --admin-file")
        argv += ["--admin-file", _hidden(admin)]
    sys.stdout.flush()
    # This process becomes the server.
    os.execve(sys.executable, argv, zdb.environment(os.environ))  # noqa: S606


def _hidden(secret: str) -> str:
    """A path that this process and what it becomes can read the secret from, and nobody else."""
    handle = os.memfd_create("zdb-admin", 0)
    os.write(handle, secret.encode())
    os.lseek(handle, 0, os.SEEK_SET)
    return f"/proc/self/fd/{handle}"


for _name, _metavar, _help in reversed(_OPTIONS):
    _needed = _name in {"--data", "--index"}
    serve.params.insert(0, click.Option((_name,), metavar=_metavar, help=_help, required=_needed))
for _name, _help in _FLAGS:
    serve.params.insert(len(_OPTIONS), click.Option((_name,), is_flag=True, help=_help))


@leaf(
    zdb_noun, "info", answers=("tfgrid.zdb-info/1",),
    examples=("tfgrid zdb info", "tfgrid zdb info --server 127.0.0.1:9900 --json",
              "tfgrid zdb info --server /run/zdb.sock"),
)  # fmt: skip
@click.option("--server", default="127.0.0.1:9900", metavar="ADDRESS",
              help="HOST:PORT or the path of a unix socket (default: 127.0.0.1:9900).")  # fmt: skip
def info(settings: Settings, server: str) -> None:
    """Say what a running server and its namespaces hold."""
    address = zdb.Address.parse(server)
    with zdb.Client(address, timeout_seconds=settings.timeout) as client:
        fields = client.info()
        spaces = [_seen(client.nsinfo(name)) for name in client.nslist()]
    answer = answers.ZdbInfo(server=str(address), fields=fields, namespaces=spaces)
    show(settings, answer, lambda a: _info_text(settings, a))


def _seen(space: zdb.Namespace) -> answers.ZdbNamespace:
    words = [word for word in ("worm", "locked", "password") if getattr(space, word)]
    words += [f"read-only: {space.read_only}"] if space.read_only else []
    return answers.ZdbNamespace(
        name=space.name, mode="seq" if space.sequential else "user", entries=space.entries,
        payload_bytes=space.payload_bytes, payload_bytes_max=space.payload_bytes_max,
        data_bytes=int(space.fields["data_file_bytes"]), state=", ".join(words),
    )  # fmt: skip


def _info_text(settings: Settings, answer: answers.ZdbInfo) -> str:
    told = (
        "server_revision",
        "uptime",
        "connected_clients",
        "commands_executed",
        "damaged_records",
    )
    facts = [("server", answer.server)]
    facts += [(name.replace("_", " "), answer.fields.get(name, "")) for name in told]
    return f"{render.field_list(facts)}\n\n{_spaces_text(settings, answer.namespaces)}"


def _spaces_text(settings: Settings, spaces: list[answers.ZdbNamespace]) -> str:
    rows = [
        (s.name, s.mode, str(s.entries), units.bytes_text(s.payload_bytes),
         units.bytes_text(s.payload_bytes_max) if s.payload_bytes_max else "-",
         units.bytes_text(s.data_bytes), s.state)
        for s in spaces
    ]  # fmt: skip
    columns = ("namespace", "mode", "keys", "payload", "quota", "on disk", "state")
    return render.table(settings, columns, rows)


def _stored(space: zdb.Stored) -> answers.ZdbNamespace:
    words = [name for name in ("worm", "lock", "freeze", "password") if getattr(space, name)]
    return answers.ZdbNamespace(
        name=space.name, mode=space.mode, entries=space.entries,
        payload_bytes=space.payload_bytes, payload_bytes_max=space.payload_bytes_max,
        data_bytes=space.data_bytes, state=", ".join(words),
    )  # fmt: skip


def _tell(settings: Settings, data: Path, report: zdb.Report, *, changed: bool) -> None:
    findings = [
        answers.ZdbFinding(namespace=f.namespace, file=f.file, offset=f.offset, length=f.length,
                           what=f.what, lost=f.lost)
        for f in report.findings
    ]  # fmt: skip
    answer = answers.ZdbReport(
        data=str(data), changed=changed, findings=findings,
        versions=sum(space.versions for space in report.namespaces),
        namespaces=[_stored(space) for space in report.namespaces],
    )  # fmt: skip
    show(settings, answer, lambda a: _report_text(settings, a))
    if report.lossy:
        click.get_current_context().exit(int(ExitCode.VERIFICATION_FAILED))


def _report_text(settings: Settings, answer: answers.ZdbReport) -> str:
    lines = [_spaces_text(settings, answer.namespaces), ""]
    for f in answer.findings:
        verb = "lost" if f.lost else "mended" if answer.changed else "can be mended"
        lines.append(f"  {verb}: {f.namespace}/{f.file} at {f.offset}, {f.length} bytes: {f.what}")
    good = f"{answer.versions} records read, " if answer.versions else ""
    count = len(answer.findings)
    lines.append(f"{good}{f'{count} findings' if count else 'nothing wrong'}")
    return "\n".join(lines)


_data = click.argument("data", type=click.Path(path_type=Path))
_index = click.argument("index", type=click.Path(path_type=Path))


@leaf(
    zdb_noun, "check", answers=("tfgrid.zdb-report/1",),
    examples=("tfgrid zdb check /srv/zdb/data /srv/zdb/index", "tfgrid zdb check d i --json",
              "tfgrid zdb check d i --quiet"),
)  # fmt: skip
@_data
@_index
def check(settings: Settings, data: Path, index: Path) -> None:
    """Read every byte of files at rest and say what is wrong; changes nothing."""
    report = zdb.check(data, index)
    _tell(settings, data, report, changed=False)
    if report.findings:
        hints(settings, f"tfgrid zdb repair {data} {index}")


@leaf(
    zdb_noun, "repair", answers=("tfgrid.zdb-report/1",),
    examples=("tfgrid zdb repair /srv/zdb/data /srv/zdb/index", "tfgrid zdb repair d i --dry-run",
              "tfgrid zdb repair d i --json"),
)  # fmt: skip
@_data
@_index
def repair(settings: Settings, data: Path, index: Path) -> None:
    """Cut torn tails, rebuild what is lost of the index, name what is lost of the data."""
    if settings.dry_run:
        _tell(settings, data, zdb.check(data, index), changed=False)
        return
    _tell(settings, data, zdb.mend(data, index), changed=True)


@leaf(
    zdb_noun, "rebuild", answers=("tfgrid.zdb-report/1",),
    examples=("tfgrid zdb rebuild /srv/zdb/data /srv/zdb/index", "tfgrid zdb rebuild d i --yes",
              "tfgrid zdb rebuild d i --yes --json"),
)  # fmt: skip
@_data
@_index
def rebuild(settings: Settings, data: Path, index: Path) -> None:
    """Throw the whole index away and make it again from the data."""
    if settings.dry_run:
        _tell(settings, data, zdb.check(data, index), changed=False)
        return
    confirm(settings, f"Remove the index in {index} and make it again from {data}?")
    _tell(settings, data, zdb.mend(data, index, rebuild=True), changed=True)


@leaf(
    zdb_noun, "dump", answers=("tfgrid.zdb-entry/1",),
    examples=("tfgrid zdb dump /srv/zdb/data /srv/zdb/index", "tfgrid zdb dump d i --json",
              "tfgrid zdb dump d i --plain"),
)  # fmt: skip
@_data
@_index
def dump(settings: Settings, data: Path, index: Path) -> None:
    """List every live key in files at rest, in the order of the log; changes nothing."""
    entries = (
        answers.ZdbEntry(
            namespace=e.namespace, key=e.key, length=e.length, timestamp=e.timestamp,
            file=e.file, offset=e.offset, crc=e.crc,
        )
        for e in zdb.dump(data, index)
    )  # fmt: skip
    stream(settings, entries, _entry_text)


def _entry_text(e: answers.ZdbEntry) -> str:
    shown = f"{e.namespace} {e.key} {e.length} bytes, {render.moment(e.timestamp * 1000)}"
    return f"{shown}, d{e.file} at {e.offset}, crc {e.crc}"


COMMANDS: Final = {"zdb": zdb_noun}
