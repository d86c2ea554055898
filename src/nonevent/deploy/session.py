"""One conversation with one host, in the project's own words."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from nonevent.deploy.shipping import ship
from nonevent.model.ledger import History, fold, read_line
from nonevent.model.manifest import Manifest, manifest_from
from nonevent.model.parse import Table, parse
from nonevent.model.plan import Gate, Plan, read_step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nonevent.agent.logs import Asked
    from nonevent.build.artifact import Artifact
    from nonevent.model.want import Want
    from nonevent.transport.base import Connection


@dataclass(frozen=True, slots=True)
class Session:
    """Requests to the agent, typed."""

    connection: Connection
    on_event: Callable[[dict[str, object]], None]
    services: tuple[str, ...] | None = None
    """Those that run on the host; None for all."""

    def begin(self, environment: str, reason: str, *, through_lock: bool = False) -> int:
        """Take the lock for as long as this session lasts; returns the ledger's count.

        With ``through_lock`` it does not matter that a person has locked the environment.

        Raises:
            Busy: somebody else has it, or has locked the environment.
        """
        asked: dict[str, object] = {
            "request": "begin", "environment": environment, "reason": reason,
            "through_lock": through_lock,
        }  # fmt: skip
        result = self.connection.request(asked, on_event=self.on_event)
        return parse("the answer to begin", result, lambda table: table.number("ledger"))

    def configure(
        self, settings: Mapping[str, str], secrets: Mapping[str, str], *, check: bool = False
    ) -> tuple[int, int]:
        """Bring the environment's variables; returns the versions they have on the host.

        With ``check`` they are compared and not kept.
        """
        asked: dict[str, object] = {
            "request": "configure",
            "settings": dict(settings),
            "secrets": dict(secrets),
            "check": check,
        }
        result = self.connection.request(asked)

        def versions(table: Table) -> tuple[int, int]:
            return table.number("config"), table.number("secrets")

        return parse("the answer to configure", result, versions)

    def fit(self, manifest: Manifest) -> tuple[str, ...]:
        """Whether a release can run on the host; the names of the layers it does not have.

        Raises:
            HostUnfit: it cannot, with what to do about it.
        """
        asked: dict[str, object] = {
            "request": "fit",
            "manifest": manifest.as_dict(),
            "clock": time.time(),
            "services": None if self.services is None else list(self.services),
        }
        result = self.connection.request(asked)
        return parse("the answer to fit", result, lambda table: table.texts("missing"))

    def send(self, artifact: Artifact, name: str) -> int:
        """Send what the host lacks of a layer; returns the bytes that went out for it.

        Raises:
            ArtifactInvalid: found out here or on the host.
            DiskFull: the host has no room.
        """
        return ship(self.connection, artifact, name, self.on_event)

    def apply(
        self, want: Want, *, arrive: Callable[[Gate], bool] = lambda _: True
    ) -> tuple[int | None, bool]:
        """Make a want true; returns the release that runs then, and whether anything changed.

        ``arrive`` is called where the host waits for others, and says whether it may go on.

        Raises:
            NoneventError: with what serves now.
        """

        def on_event(event: dict[str, object]) -> None:
            if event.get("event") != "waiting":
                self.on_event(event)
            elif arrive(Gate(str(event.get("gate")))):
                self.connection.channel.send({"request": "proceed"})
            else:
                self.connection.cancel()

        result = self.connection.request(
            {"request": "apply", "want": want.as_dict()}, on_event=on_event
        )

        def outcome(table: Table) -> tuple[int | None, bool]:
            return table.maybe_number("release"), table.flag("changed")

        return parse("the answer to apply", result, outcome)

    def plan(self, want: Want) -> Plan:
        """What :meth:`apply` would do now."""
        result = self.connection.request({"request": "plan", "want": want.as_dict()})

        def decided(table: Table) -> Plan:
            steps = tuple(read_step(each) for each in table.tables("steps"))
            return Plan(release=table.maybe_number("release"), steps=steps)

        return parse("the plan", result, decided)

    def history(self) -> History:
        """What the host's ledger amounts to."""
        result = self.connection.request({"request": "history"})
        lines = parse("the ledger", result, lambda table: table.texts("lines"))
        return fold(read_line(line) for line in lines)

    def manifest(self, release: int) -> Manifest | None:
        """The manifest of a release on the host, or None where it is gone."""
        result = self.connection.request({"request": "manifest", "release": release})

        def found(table: Table) -> Manifest | None:
            has = table.take("manifest") is not None
            return manifest_from(table.table("manifest")) if has else None

        return parse("the answer to manifest", result, found)

    def status(self) -> dict[str, object]:
        """What really runs, as :func:`nonevent.agent.status.status` describes it."""
        return self.connection.request({"request": "status"})

    def logs(self, asked: Asked, *, follow: bool) -> None:
        """Lines of logs, as events."""
        request = {"request": "logs", "follow": follow, **asdict(asked)}

        def show(event: dict[str, object]) -> None:
            # An interrupt is how following ends.
            if event.get("event") != "interrupted":
                self.on_event(event)

        self.connection.request(request, on_event=show)

    def lock(self, environment: str, reason: str) -> None:
        """Lock the environment until somebody unlocks it.

        Raises:
            Busy: it is locked already.
        """
        self.connection.request({"request": "lock", "environment": environment, "reason": reason})

    def unlock(self) -> dict[str, object]:
        """Unlock the environment; returns who had locked it and why, or nothing."""
        return self.connection.request({"request": "unlock"})
