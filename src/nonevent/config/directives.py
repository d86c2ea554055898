"""The ``[services.X.systemd]`` of the configuration file: lines of one's own for a unit.

systemd ignores a name or a value that it does not know, and says so in the journal alone: a limit
with a typing error would be no limit. So only known directives are taken, and values of their form.
None of them gives a service more than a user without rights has; whoever commits to a project does
not become root on its hosts. See systemd.exec(5) and systemd.resource-control(5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nonevent.model.parse import did_you_mean, plain, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.model.parse import Table

_SPAN = r"\d+(\.\d+)? ?(us|ms|s|sec|min|m|h|d)?"
_FORMS = (
    (
        'a size such as "500M", a share such as "40%", or "infinity"',
        r"\d+(\.\d+)?[KMGT%]?|infinity",
        "MemoryMax MemoryHigh MemoryLow MemoryMin MemorySwapMax",
    ),
    ('a share of one processor such as "80%"', r"\d+%", "CPUQuota"),
    (
        'a limit such as 65536, "1G", "1024:65536" or "infinity"',
        r"(\d+[KMGT]?|infinity)(:(\d+[KMGT]?|infinity))?",
        "LimitNOFILE LimitNPROC LimitCORE LimitMEMLOCK LimitSTACK LimitDATA LimitFSIZE LimitAS",
    ),
    (
        "a whole number",
        r"-?\d+",
        (
            "CPUWeight StartupCPUWeight IOWeight Nice OOMScoreAdjust IOSchedulingPriority "
            "LogRateLimitBurst TasksMax"
        ),
    ),
    (
        'a time such as "30s"',
        rf"{_SPAN}( {_SPAN})*|infinity",
        "WatchdogSec RestartSec LogRateLimitIntervalSec",
    ),
    (
        "an absolute path without spaces, or a list of such",
        r"[-+]{0,2}/[^\s\"'\\]*",
        "ReadWritePaths ReadOnlyPaths InaccessiblePaths NoExecPaths ExecPaths",
    ),
    (
        "true or false",
        "yes|no",
        (
            "PrivateTmp PrivateDevices PrivateNetwork PrivateIPC MemoryDenyWriteExecute "
            "RestrictRealtime LockPersonality ProtectHostname ProtectClock RemoveIPC"
        ),
    ),
    (
        "words as systemd reads them",
        r"[A-Za-z0-9_@~:./* -]*",
        (
            "ProtectHome ProtectProc ProcSubset RestrictAddressFamilies RestrictNamespaces "
            "SystemCallFilter DevicePolicy DeviceAllow IPAddressAllow IPAddressDeny OOMPolicy "
            "IOSchedulingClass AllowedCPUs CPUAffinity"
        ),
    ),
)
DIRECTIVES = {
    name: (expected, pattern) for expected, pattern, names in _FORMS for name in names.split()
}
_REASONS = (
    ("Environment.*|(Pass|Unset)Environment", "variables stand in `env`, secrets in etc/"),
    ("ExecStart", "`command` says what runs"),
    ("Exec.*", "what runs before the switch stands in `release`"),
    ("User|Group|DynamicUser|SupplementaryGroups", "it runs as the app's user"),
    (".*KillSignal", "`stop_signal` says how it is asked to stop"),
    ("Timeout.*", "`stop_limit` says how long it may take to stop"),
    ("On.*|Persistent|.*DelaySec", "`schedule` says when it runs"),
    (
        "Type|NotifyAccess|Restart|KillMode|SendSIG.*|RemainAfterExit|PIDFile|Sockets",
        "nonevent starts and stops it; it is ready when it answers",
    ),
    ("WorkingDirectory", "it works in the folder of its release"),
    ("(State|Cache|Logs|Runtime|Configuration)Directory.*", "what it may write is {data}"),
    ("Standard.*|Syslog.*|LogExtraFields|LogNamespace", "`nonevent logs` finds its lines by them"),
    (
        (
            ".*Capabilit.*|SecureBits|NoNewPrivileges|RestrictSUIDSGID|(Load|Set)Credential.*"
            "|Bind.*|Root.*|Mount.*|Protect(System|ControlGroups|Kernel.*)|Delegate.*"
        ),
        "it is the wall between the app and the rest of the host",
    ),
    (
        "Description|After|Before|Wants|Requires|WantedBy|Condition.*|StartLimit.*",
        "it stands in another section",
    ),
)
"""Patterns of directives that are refused, and why."""


def read_directives(table: Table) -> tuple[str, ...]:
    """Lines for the end of a unit's ``[Service]``, such as ``MemoryMax=500M``."""
    own = table.table("systemd")
    return tuple(line for name in own.raw for line in _lines(own, name))


def _lines(own: Table, name: str) -> Iterator[str]:
    raw = own.take(name)
    if name not in DIRECTIVES:
        _refuse(own, name)
        return
    expected, pattern = DIRECTIVES[name]
    for each in raw if isinstance(raw, list) else (raw,):
        value = _value(each)
        if value is None or not re.fullmatch(pattern, value, re.ASCII):
            own.problem(name, expected=expected, found=shown(each))
        else:
            yield f"{name}={value}"


def _value(raw: object) -> str | None:
    """A value as a unit holds it; None where it can be none."""
    match raw:
        case bool():
            return "yes" if raw else "no"
        case int():
            return str(raw)
        case str():
            return raw
        case _:
            return None


def _refuse(own: Table, name: str) -> None:
    for pattern, reason in _REASONS:
        if re.fullmatch(pattern, name):
            own.problem(name, expected=f"no {name} here: {reason}")
            return
    own.problem(
        name,
        expected="a directive that may be set here",
        found=f"the unknown key `{plain(name)}`",
        hint=did_you_mean(name, tuple(DIRECTIVES)) or "`systemctl edit` on the host sets others",
    )
