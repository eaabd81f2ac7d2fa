"""A root file system from Debian packages, by mmdebstrap.

Runs in a mount namespace of its own, with the machine's own Debian sources and proxy settings and
none of its other configuration. Whatever goes wrong, nothing stays mounted: the namespace ends with
its last process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from tfgrid.agents.builders.description import Description
from tfgrid.core import canonical, errors

__all__ = ["Progress", "bootstrap", "command", "releases_digest", "run", "sources_of"]

Progress: TypeAlias = Callable[[str], None]
"""Called with one short line for people whenever a step begins."""

epoch_seconds: Final = 1_700_000_000
"""No file in an image is younger, so that a build leaves no trace of when it ran."""

_MERGED_USR: Final = "/usr/share/mmdebstrap/hooks/merged-usr"
_APT_LISTS: Final = Path("/var/lib/apt/lists")
_PASSED_ON: Final = ("Acquire::http::", "Acquire::https::", "Acquire::Retries")
_STEPS: Final = {
    "running apt-get update": "reading Debian's package lists",
    "downloading packages": "downloading packages",
    "extracting archives": "unpacking packages",
    "installing": "installing packages",
}
_LINES_KEPT: Final = 20
_APT_SECONDS_MAX: Final = 60


def bootstrap(description: Description, tree: Path, *, progress: Progress) -> None:
    """Make the packages' tree at `tree`, which must not exist.

    Raises:
        errors.MachineLacks: TFG-3306 no mmdebstrap, TFG-3308 not root.
        errors.Failed: TFG-3307, with the last lines it said.

    """
    if os.geteuid() != 0:
        raise errors.MachineLacks(
            "TFG-3308", "building an image needs root", hint="run the command as root"
        )
    for program in ("mmdebstrap", "unshare"):
        if shutil.which(program) is None:
            raise errors.MachineLacks(
                "TFG-3306", f"{program} is not installed", hint=f"apt-get install {program}"
            )
    argv = command(
        description, tree,
        sources=sources_of(description.suite, _apt("indextargets")),
        options=_passed_on(_apt("dump")),
    )  # fmt: skip
    code, last = run(argv, on_line=lambda line: _report(line, progress))
    if code != 0:
        raise errors.Failed(
            "TFG-3307", f"mmdebstrap ended with {code}: {' / '.join(last)}",
            where=description.name, hint="check the package names and the network, then repeat",
        )  # fmt: skip


def command(
    description: Description, tree: Path, *, sources: Sequence[str], options: Sequence[str]
) -> list[str]:
    """The argument vector that makes the tree."""
    return [
        "unshare", "--mount", "--propagation", "private", "--",
        "mmdebstrap", "--mode=root", "--format=directory",
        f"--variant={description.variant}",
        f"--include={','.join(sorted(description.packages))}",
        f"--hook-directory={_MERGED_USR}",
        "--skip=output/dev,output/mknod",
        *(f"--aptopt={option}" for option in options),
        description.suite, str(tree), *sources,
    ]  # fmt: skip


def sources_of(suite: str, targets: Iterable[str]) -> list[str]:
    """One-line apt sources for a suite, from the machine's own as lines `URI RELEASE COMPONENT`.

    Empty where the machine has none, and mmdebstrap then uses Debian's own mirror.
    """
    wanted = (suite, f"{suite}-updates", f"{suite}-security")
    found = dict[tuple[str, str], list[str]]()
    for target in targets:
        uri, release, component = target.split()[:3]
        if release in wanted and component not in found.setdefault((release, uri), []):
            found[release, uri].append(component)
    ordered = sorted(found.items(), key=lambda item: wanted.index(item[0][0]))
    return [f"deb {uri} {release} {' '.join(parts)}" for (release, uri), parts in ordered]


def releases_digest(suite: str, lists: Path = _APT_LISTS) -> str:
    """The digest of the signed indexes that this machine has of a suite, or of nothing.

    It stands for the versions of all packages: it changes when the machine learns of new ones,
    costs no network, and an `apt-get update` is what asks for fresh packages.
    """
    paths = sorted(lists.glob(f"*_dists_{suite}*_InRelease"))
    return canonical.digest(b"".join(canonical.sha256(path.read_bytes()) for path in paths))


def run(argv: Sequence[str], *, on_line: Callable[[str], None]) -> tuple[int, list[str]]:
    """Run a program to its end, handing on what it says; its exit code and last lines."""
    last = deque[str](maxlen=_LINES_KEPT)
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=_environment(os.environ), text=True, errors="replace", umask=0o022,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last.append(line.strip()[:500])
                on_line(last[-1])
        except BaseException:
            process.terminate()
            raise
    return process.returncode, list(last)


def _environment(outer: Mapping[str, str]) -> dict[str, str]:
    passed = {key: outer[key] for key in ("http_proxy", "https_proxy", "no_proxy") if key in outer}
    return passed | {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": outer.get("TMPDIR", "/tmp"),  # noqa: S108 - mmdebstrap makes its own names there
        "SOURCE_DATE_EPOCH": str(epoch_seconds),
        "PYTHONHASHSEED": "0",
        "DEBIAN_FRONTEND": "noninteractive",
    }


def _apt(what: str) -> list[str]:
    argv = {
        "indextargets": [
            "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
        ],
        "dump": ["apt-config", "dump", "--no-empty", "--format", '%f "%v";%n'],
    }[what]  # fmt: skip
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=_APT_SECONDS_MAX
    )
    return done.stdout.splitlines() if done.returncode == 0 else []


def _passed_on(settings: Iterable[str]) -> list[str]:
    return [line for line in settings if line.startswith(_PASSED_ON)]


def _report(line: str, progress: Progress) -> None:
    for said, step in _STEPS.items():
        if line.startswith(f"I: {said}"):
            progress(step)
