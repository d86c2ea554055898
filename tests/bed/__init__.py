"""The bed: real Debian hosts with systemd and sshd, booted on this machine in seconds.

Linux, root, systemd-nspawn and debootstrap are needed; ``why_not`` says what is missing. From
the lowest up: ``command``, ``wait``, ``mount`` and ``cgroup``; ``network`` and ``distance``;
``root``, the tree that all hosts share; ``claim``, what a bed owns and how it is cleared away;
``ssh`` and ``dial``; ``host``; ``site``; ``http2`` and ``visit``.
"""

from .host import Host
from .site import Bed, why_not

__all__ = ["Bed", "Host", "why_not"]
