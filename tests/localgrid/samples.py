"""One sample of each command, for --json on a grid that runs the guestbook and `stored`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["samples"]


def samples(home: Path) -> dict[str, tuple[str, ...]]:
    """The arguments after each command's words; what would change the grid is a dry run.

    `home` is where files are written; it holds `example/recipe.yaml`, a Zero-DB at rest in `rest`,
    and one that serves behind `serving/socket`. Order matters: the proof is written before it is
    verified.
    """
    image = home / "image"
    image.mkdir(exist_ok=True)
    (image / "image.toml").write_text(
        'name = "small"\nbase = "debian:bookworm"\npackages = ["hostname"]\n'
        'entrypoint = ["/usr/bin/hostname"]\n'
    )
    example, proof = str(home / "example"), str(home / "guestbook.proof")
    at_rest = (str(home / "rest/data"), str(home / "rest/index"))
    return {
        "demo unplug": ("n1", "--dry-run", "--timeout", "1"),
        "demo replug": ("n1", "--dry-run"),
        "doctor": (),
        "up": ("--dry-run",),
        "down": ("--dry-run",),
        "status": (),
        "plan": ("guestbook", "-o", str(home / "walk.plan")),
        "deploy": ("guestbook", "--dry-run"),
        "contract list": (),
        "contract show": ("guestbook",),
        "contract why": ("guestbook",),
        "contract sign": ("guestbook", "--as", "budget", "--dry-run"),
        "contract reject": ("guestbook", "--as", "budget", "--dry-run"),
        "contract update": ("stored", "data", "--disk", "24MiB", "--dry-run"),
        "contract cancel": ("guestbook", "--as", "budget", "--dry-run"),
        "contract proof": ("guestbook", "-o", proof),
        "contract verify": (proof,),
        "recipe lint": (example,),
        "recipe publish": (example, "--dry-run"),
        "recipe list": (),
        "recipe show": ("guestbook",),
        "image build": (str(image), "--dry-run"),
        "image list": (),
        "image show": ("redis",),
        "image verify": ("redis",),
        "node list": (),
        "node show": ("n1",),
        "farm list": (),
        "logs": ("guestbook/redis",),
        "zdb serve": ("--data", at_rest[0], "--index", at_rest[1], "--dry-run"),
        "zdb info": ("--server", str(home / "serving/socket")),
        "zdb check": at_rest,
        "zdb dump": at_rest,
        "zdb repair": at_rest,
        "zdb rebuild": (*at_rest, "--yes"),
        "config show": ("--origin",),
        "help": ("exit-codes",),
        "completion": ("bash",),
    }
