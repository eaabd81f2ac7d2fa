"""The import contracts of `.importlinter` can each be broken, and are known by name here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.house import tree

_PLANTED = {
    "core/planted.py": "from tfgrid import doors\n",
    "ledger/farm/planted.py": "from tfgrid.ledger import contract\nimport httpx\nimport socket\n",
    "capacity/container/planted.py": "from tfgrid.capacity import znet\n",
    "agents/zos/planted.py": "from tfgrid.agents import threebot\nimport litestar\n",
    "capacity/flist/model.py": "from tfgrid.capacity.flist import client\n",
    "capacity/flist/client.py": "x = 1\n",
    "capacity/zdb/__init__.py": "from tfgrid.capacity import flist\n",
    "doors/api/planted.py": "from tfgrid.doors import cli\n",
}


def test_every_contract_can_be_broken(tmp_path: Path) -> None:
    """Imports planted against each contract are found by it."""
    shutil.copytree(
        tree.root / "src/tfgrid",
        tmp_path / "tfgrid",
        ignore=lambda folder, names: [n for n in names if not _is_source(Path(folder, n))],
    )
    for name, text in _PLANTED.items():
        (tmp_path / "tfgrid" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "tfgrid" / name).write_text(text)
    said = subprocess.run(
        [
            Path(sys.prefix, "bin/lint-imports"),
            "--no-cache",
            "--config",
            tree.root / ".importlinter",
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    contracts = re.findall(
        r"^name = (.*)$", (tree.root / ".importlinter").read_text(), re.MULTILINE
    )
    assert [c for c in contracts if f"{c} BROKEN" not in said] == []


def _is_source(path: Path) -> bool:
    return path.suffix == ".py" or (path.is_dir() and path.name != "__pycache__")
