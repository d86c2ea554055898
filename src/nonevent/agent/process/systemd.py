"""systemd as the process manager: an instance of a generated unit per service and release.

The agent runs as the user who deploys. Looking needs no rights; starting, stopping and looking
into the processes of the app's user go through :mod:`nonevent.agent.units`, which `nonevent setup`
has installed. What is to run after a reboot is nowhere but in the ledger: the keeper, one more
unit, brings it up at boot.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.agent import durable, journald, kernel
from nonevent.agent.process.base import Observed, Program
from nonevent.agent.proof import Sight
from nonevent.agent.tools import AGENT, folder
from nonevent.agent.units import KEEPER, TOLD, unit
from nonevent.dataclass import dataclass
from nonevent.errors import BootFailed, HostUnfit
from nonevent.model.instance import RunState, read_instance_id
from nonevent.model.layout import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nonevent.agent.logs import Asked, Entry
    from nonevent.model.layout import Layout
    from nonevent.model.manifest import Manifest
    from nonevent.model.service import Service

UNITS = "/usr/local/lib/nonevent/units"
"""Where the helper lies; see :mod:`nonevent.agent.units`."""
LIMIT = 60.0
_SHOWN = (
    "Id",
    "ActiveState",
    "SubState",
    "MainPID",
    "Result",
    "ExecMainCode",
    "ExecMainStatus",
    "NRestarts",
)
_STATES = {
    "active": RunState.RUNNING,
    "reloading": RunState.RUNNING,
    "activating": RunState.STARTING,
    "deactivating": RunState.STOPPING,
}


@dataclass(frozen=True, slots=True)
class Systemd:
    """The units of one app."""

    app: str
    environment: str = ""
    """What hints name."""

    def fit(self, manifest: Manifest) -> None:
        """Refuse a release that this host was not set up for.

        Raises:
            HostUnfit: with what is missing.
        """
        found = record(self.app)
        hint = f"nonevent setup {self.environment}"
        if found is None:
            raise HostUnfit(f"this host is not set up for {self.app}", hint=hint)
        known = found.get("services")
        lacking = lacks(manifest.services, known if isinstance(known, dict) else {})
        if lacking:
            raise HostUnfit(
                "this host is set up for other services than this release has",
                context=lacking,
                hint=hint,
            )

    def observe(self, layout: Layout) -> tuple[Observed, ...]:  # noqa: ARG002
        """All units of this app that systemd has in memory; one that has ended is forgotten.

        Raises:
            HostUnfit: systemd does not answer.
        """
        argv = (
            "systemctl",
            "show",
            f"--property={','.join(_SHOWN)}",
            "--",
            f"{self.app}.*@*.service",
            unit(self.app, KEEPER),
        )
        try:
            shown = subprocess.run(
                argv, check=True, capture_output=True, text=True, timeout=LIMIT
            ).stdout
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", "") or error).strip()
            raise HostUnfit("systemd does not answer", context=(f"| {said}",)) from error
        blocks = (dict(_pairs(block)) for block in shown.split("\n\n") if block.strip())
        found = (self._observed(values) for values in blocks)
        return tuple(each for each in found if each)

    def _observed(self, values: Mapping[str, str]) -> Observed | None:
        name = name_of(self.app, values["Id"])
        if name is None:
            return None
        pid = int(values["MainPID"])
        process = kernel.process(pid) if pid else None
        state = _STATES.get(values["ActiveState"], RunState.ENDED)
        if values["SubState"].startswith("auto-restart"):
            state = RunState.FAILING
        over = state in {RunState.FAILING, RunState.ENDED}
        return Observed(
            name=name,
            state=state,
            pid=pid,
            started=process.started if process else 0.0,
            detail=_end_in_words(values) if over else "",
            restarts=int(values.get("NRestarts") or 0),
        )

    def start(self, layout: Layout, program: Program) -> None:
        """Start the unit of a program; how it is started stands in the unit.

        Raises:
            BootFailed: systemd refuses.
        """
        if program.name != KEEPER and read_instance_id(program.name) is None:
            # A relay: the unit of its server has one, see launch.py.
            return
        here = folder()
        layout.tools.mkdir(exist_ok=True)
        durable.point(layout.tools / AGENT, here.name if here.parent == layout.tools else str(here))
        self._act("start", program.name)

    def stop(self, layout: Layout, name: str) -> None:
        """Tell a unit to stop; what is stopped already stays so."""
        if any(each.name == name and each.state.value != "ended" for each in self.observe(layout)):
            self._act("stop", name)

    def forget(self, layout: Layout, names: tuple[str, ...]) -> None:
        """Drop what systemd knows of units that have ended; most are forgotten by themselves."""
        left = {each.name for each in self.observe(layout)}
        known = tuple(name for name in names if name in left)
        if known:
            self._act("reset", *known)

    def dismiss(self, layout: Layout) -> None:
        """Nothing: systemd and the keeper stay."""

    def look(self, layout: Layout, name: str, pid: int) -> tuple[Sight, ...]:  # noqa: ARG002
        """What /proc shows of a unit's processes to root: they are another user's."""
        (seen,) = json.loads(self._act("prove", name))
        release, instance = TOLD
        return tuple(
            Sight(
                pid=each["pid"],
                release=each[release],
                instance=each[instance],
                executable=each["executable"],
                folder=each["folder"],
                files=tuple(each["files"]),
            )
            for each in seen
        )

    def last_lines(self, layout: Layout, name: str) -> tuple[str, ...]:  # noqa: ARG002
        """The end of what a unit said, from the journal."""
        return journald.last_lines(unit(self.app, name))

    def logs(
        self,
        layout: Layout,  # noqa: ARG002
        asked: Asked,
        *,
        ended: Callable[[], bool] | None,
    ) -> Iterator[Entry]:
        """Lines from the journal."""
        return journald.lines(self.app, asked, ended=ended)

    def as_app(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """The rule for sudo that `nonevent setup` installed allows to become the app's user."""
        return ("sudo", "-n", "-u", self.app, "--", *argv)

    def _act(self, verb: str, *names: str) -> str:
        argv = ("sudo", "-n", UNITS, "--app", self.app, verb, *names)
        try:
            done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=LIMIT)
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", "") or error)
            raise BootFailed(
                f"`{' '.join((verb, *names))}` was refused on this host",
                context=tuple(f"| {line}" for line in said.splitlines()),
                hint=f"nonevent setup {self.environment}",
            ) from error
        return done.stdout


def record(app: str) -> dict[str, object] | None:
    """What `setup` left behind about the app, or None where it was not here."""
    with suppress(OSError, ValueError):
        found = json.loads((Path(RECORDS) / f"{app}.json").read_text())
        if isinstance(found, dict):
            return found
    return None


def lacks(services: tuple[Service, ...], known: Mapping[str, object]) -> tuple[str, ...]:
    """What services need and a host was not set up for, in words."""
    return tuple(
        f"{each.name}: needs a {each.set_up_as()}; there is {known.get(each.name, 'none')}"
        for each in services
        if known.get(each.name) != each.set_up_as()
    )


def _pairs(block: str) -> Iterator[tuple[str, str]]:
    for line in block.splitlines():
        name, _, value = line.partition("=")
        yield name, value


def name_of(app: str, unit_name: str) -> str | None:
    """The program of a unit, e.g. ``web-42`` of ``shop.web@42.service``; None where it is none."""
    if unit_name == unit(app, KEEPER):
        return KEEPER
    service, at, release = unit_name.removesuffix(".service").removeprefix(f"{app}.").partition("@")
    return f"{service}-{release}" if at else None


def _end_in_words(values: Mapping[str, str]) -> str:
    """How the main process ended; see waitid(2) for the codes."""
    match values["ExecMainCode"], values["Result"]:
        case _, "timeout":
            return "did not end in time and was killed"
        case "1", _:
            return f"exited with status {values['ExecMainStatus']}"
        case "2" | "3", _:
            return f"was killed by signal {values['ExecMainStatus']}"
        case _:
            return ""
