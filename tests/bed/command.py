"""Short commands of the machine that must work."""

from __future__ import annotations

import subprocess


def command(*argv: str, timeout: float = 30.0) -> str:
    """Run a command and return its output; ``RuntimeError`` says what it complained about."""
    done = subprocess.run(
        argv,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if done.returncode:
        raise RuntimeError(f"`{' '.join(argv)}` failed: {done.stderr.strip()}")
    return done.stdout
