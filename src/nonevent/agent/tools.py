"""The agent as a program on this host: where it lies, and how it is started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nonevent

AGENT = "current"
"""The link in ``tools/`` by which units of systemd find the agent."""


def folder() -> Path:
    """The unpacked agent that this code runs from."""
    return Path(nonevent.__file__).resolve().parent.parent


def python() -> str:
    """The interpreter the agent runs on; not one of a virtualenv, which may go away."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def is_brought() -> bool:
    """Whether that interpreter came with the agent, to a host that has none."""
    return folder().parent in Path(python()).parents


def agent_command() -> tuple[str, ...]:
    """What starts the agent: isolated, and without the site packages of the host."""
    return (python(), "-I", "-S", str(folder()))
