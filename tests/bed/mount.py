"""What is mounted, and taking it away."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from .command import command
from .wait import until


def mounts_below(folder: Path) -> list[Path]:
    """What is mounted at a folder or below it, the last first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split()[4]) for line in lines]
    return [point for point in reversed(points) if point.is_relative_to(folder)]


def unmount(point: Path) -> None:
    """Unmount at once, or, if something outside the bed looks at it, as soon as it stops."""

    def done() -> bool:
        with suppress(RuntimeError):
            command("umount", str(point))
        return point not in mounts_below(point)

    try:
        until(done, seconds=5, what=f"{point} to be unmounted")
    except TimeoutError:
        command("umount", "--lazy", str(point))
