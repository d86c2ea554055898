"""The units of an app, as text: one template per service, for timers a pair, and the keeper.

See systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.timer(5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.model.service import Kind
from nonevent.setup.calendar import trigger

if TYPE_CHECKING:
    from nonevent.model.service import Service
    from nonevent.setup.place import Place

FOLDER = "/etc/systemd/system"
_HEAD = "# Written by `nonevent setup {environment}`; `systemctl edit` makes additions that last.\n"
_AFTER = (
    "network.target postgresql.service mariadb.service redis-server.service "
    "rabbitmq-server.service memcached.service"
)

_INSTANCE = """\
[Unit]
Description={app}: {service}, release %i
# When the host shuts down, they are stopped only when tasks and requests have ended.
After={after}
# It is started again for as long as it is wanted, and forgotten when it is not.
StartLimitIntervalSec=0
CollectMode=inactive-or-failed

[Service]
Type=exec
ExecStart={agent} exec --root {root} --instance {service}-%i --umask 007
Restart=always
RestartSec=1
# Asked by this signal, its main process alone; whatever is left after the limit is killed.
KillSignal=SIG{signal}
KillMode=mixed
TimeoutStopSec={limit}
# A process that the kernel ended for want of memory does not end the others.
OOMPolicy=continue
{log}NONEVENT_RUN=%i
SyslogIdentifier={app}-{service}-%i

{sandbox}{own}"""

_TIMER_SERVICE = """\
[Unit]
Description={app}: {service}, on its schedule
ConditionPathExists={root}/current
After={after}
# However often it is due: systemd would leave out what comes five times in ten seconds.
StartLimitIntervalSec=0

[Service]
# A run that has not ended keeps the next one from beginning.
Type=oneshot
ExecStart={agent} exec --root {root} --timer {service} --umask 007
KillSignal=SIG{signal}
KillMode=mixed
TimeoutStopSec={limit}
{log}
SyslogIdentifier={app}-{service}

{sandbox}{own}"""

_TIMER = """\
[Unit]
Description={app}: {service}, {schedule}

[Timer]
{trigger}
AccuracySec=1s

[Install]
WantedBy=timers.target
"""

_KEEPER = """\
[Unit]
Description={app}: starts at boot what the ledger names, and tidies up after what was cut off
ConditionPathExists={root}/tools/current
After=nss-lookup.target {after}

[Service]
ExecStart={agent} keeper --root {root} --manager systemd --app {app} --environment {environment}
User={deployer}
Restart=always
RestartSec=5
LogExtraFields=NONEVENT_APP={app} NONEVENT_SERVICE=keeper
SyslogIdentifier={app}-keeper

[Install]
WantedBy=multi-user.target
"""

_SANDBOX = """\
User={app}
Group={app}
UMask=0007
# What it may write: its data and its sockets.
ProtectSystem=strict
ReadWritePaths={root}/data {root}/run
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
# Of other processes it sees nothing.
ProtectProc=invisible
ProcSubset=pid
NoNewPrivileges=yes
CapabilityBoundingSet=
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# gunicorn hands its socket to itself.
SystemCallFilter=@chown
SystemCallErrorNumber=EPERM
"""


def units(place: Place, services: tuple[Service, ...]) -> dict[str, str]:
    """The text of each unit, by its name."""
    found = {f"{place.app}.nonevent_keeper.service": _filled(_KEEPER, place)}
    for service in services:
        name = f"{place.app}.{service.name}"
        if service.kind is Kind.TIMER:
            found[f"{name}.service"] = _filled(_TIMER_SERVICE, place, service)
            found[f"{name}.timer"] = _filled(_TIMER, place, service)
        else:
            found[f"{name}@.service"] = _filled(_INSTANCE, place, service)
    return found


def _own(service: Service) -> str:
    """The directives that the configuration adds; a later one wins over ours."""
    head = f"\n# From [services.{service.name}.systemd].\n" if service.systemd else ""
    return head + "".join(f"{line}\n" for line in service.systemd)


def _filled(template: str, place: Place, service: Service | None = None) -> str:
    values: dict[str, object] = {
        "app": place.app,
        "environment": place.environment,
        "root": place.root,
        "deployer": place.deployer,
        "after": _AFTER,
        "agent": f"{place.python} -I -S {place.root}/tools/current",
        "sandbox": _SANDBOX.format(app=place.app, root=place.root),
    }
    if service:
        values |= {
            "service": service.name,
            "signal": service.stop_signal,
            "limit": max(1, round(service.stop_limit)),
            "schedule": service.schedule,
            "trigger": trigger(service.schedule) if service.schedule else "",
            "own": _own(service),
            "log": f"LogExtraFields=NONEVENT_APP={place.app} NONEVENT_SERVICE={service.name} ",
        }
    return (_HEAD + template).format(**values).replace(" \n", "\n")
