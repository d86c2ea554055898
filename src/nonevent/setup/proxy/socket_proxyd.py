"""``systemd-socket-proxyd`` in front of an app: a bare TCP port, or another socket.

See systemd-socket-proxyd(8) and systemd.socket(5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.model.setup import Enabled, File, Fresh

if TYPE_CHECKING:
    from nonevent.model.setup import After, State
    from nonevent.setup.place import Place

AFTERS: tuple[After, ...] = ()

_SOCKET = """\
# Written by `nonevent setup {environment}`.
[Unit]
Description={app}: where visitors reach it

[Socket]
ListenStream={listen}
{options}
[Install]
WantedBy=sockets.target
"""

# No PrivateNetwork, although it needs no network: connections from another network namespace are
# not in /proc/net/unix, and a release would be stopped while it still answers.
_SERVICE = """\
# Written by `nonevent setup {environment}`.
[Unit]
Description={app}: leads visitors to the release that serves

[Service]
# The socket is a link, followed at each connect.
ExecStart=/usr/lib/systemd/systemd-socket-proxyd --connections-max=4096 {door}
# A connection takes two sockets and two pipes.
LimitNOFILE=32768
DynamicUser=yes
SupplementaryGroups={group}
ProtectHome=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
ProcSubset=pid
CapabilityBoundingSet=
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SyslogIdentifier={app}-proxy
"""


def states(place: Place) -> tuple[State, ...]:
    """Whoever connects to the port reaches the app."""
    address = f"[{place.address}]" if ":" in place.address else place.address
    return pair(place, f"{address}:{place.port}", "NoDelay=yes\n")


def pair(place: Place, listen: str, options: str) -> tuple[State, ...]:
    """A socket unit that listens there, and the service that leads from it to the app."""
    name = f"{place.app}.nonevent_proxy"
    socket = _SOCKET.format(
        environment=place.environment, app=place.app, listen=listen, options=options
    )
    service = _SERVICE.format(
        environment=place.environment, app=place.app, door=place.door, group=place.site
    )
    folder = "/etc/systemd/system"
    return (
        File(path=f"{folder}/{name}.socket", text=socket, after="systemd"),
        File(path=f"{folder}/{name}.service", text=service, after="systemd"),
        Fresh(unit=f"{name}.service", argument=place.door),
        Enabled(unit=f"{name}.socket"),
    )
