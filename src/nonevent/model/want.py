"""What a host is wanted to do: the one input of ``apply``."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from nonevent.dataclass import dataclass
from nonevent.model.manifest import Manifest, manifest_from
from nonevent.model.parse import parse
from nonevent.model.service import CONFIRM_WITHIN, NAME, NAME_IN_WORDS
from nonevent.model.site import MANAGERS, read_site

if TYPE_CHECKING:
    from nonevent.model.parse import Table
    from nonevent.model.site import Site

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """A new release of an artifact whose layers, config and secrets are on the host."""

    manifest: Manifest
    config: int
    secrets: int
    ref: str = ""
    number: int = 0
    """The number it gets, even where the same serves already, so that several hosts have the same
    release under the same number; 0 is the next one of the host."""
    commands: bool = True
    """Whether the release commands run here: of several hosts, on one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """A release that is on the host; None is the previous good one."""

    release: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The release that the ledger names as current; also what a host does after a crash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Nothing of the app runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """Nothing else changes, and what is no longer needed is removed."""


Goal = Deploy | Rollback | Start | Stop | Prune


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A goal, and what goes with it."""

    app: str
    environment: str
    goal: Goal
    ledger: int | None = None
    """The ledger's count that the goal was chosen by; a host that has moved on refuses it."""
    address: str = "127.0.0.1"
    port: int | None = None
    """The TCP port of the embedded front; None where a proxy stands in front."""
    by: str = ""
    reason: str = ""
    manager: str = "embedded"
    """What keeps its services running: one of :data:`nonevent.model.site.MANAGERS`."""
    keep: int = 5
    """How many good releases stay on disk beside the current one."""
    keep_failed: int = 2
    services: tuple[str, ...] | None = None
    """Those that run on this host; None for all."""
    together: bool = False
    """Whether the host waits for the others, before it boots anything, before the switch and
    before the release counts."""
    confirm_within: float = CONFIRM_WITHIN
    """Seconds it waits for the others at most before it goes back."""
    site: Site | None = None
    """What is reloaded where the site keeps its services running itself."""
    standby: int = 0
    """Seconds for which the web of the release before stays up after the switch."""

    def as_dict(self) -> dict[str, object]:
        """The want as JSON."""
        goal: dict[str, object]
        match self.goal:
            case Deploy(manifest=manifest, config=config, secrets=secrets, ref=ref) as it:
                goal = {"do": "deploy", "manifest": manifest.as_dict(), "config": config,
                        "secrets": secrets, "ref": ref, "number": it.number,
                        "commands": it.commands}  # fmt: skip
            case Rollback(release=release):
                goal = {"do": "rollback", "release": release}
            case Start():
                goal = {"do": "start"}
            case Stop():
                goal = {"do": "stop"}
            case Prune():
                goal = {"do": "prune"}
            case _:
                assert_never(self.goal)
        return {
            "format": FORMAT,
            "app": self.app,
            "environment": self.environment,
            "goal": goal,
            "ledger": self.ledger,
            "address": self.address,
            "port": self.port,
            "by": self.by,
            "reason": self.reason,
            "manager": self.manager,
            "keep": self.keep,
            "keep_failed": self.keep_failed,
            "services": None if self.services is None else list(self.services),
            "together": self.together,
            "confirm_within": self.confirm_within,
            "site": self.site.as_dict() if self.site else None,
            "standby": self.standby,
        }


def read_want(raw: object) -> Want:
    """The want in decoded JSON.

    Raises:
        FormatInvalid: with every key that is wrong.
    """
    return parse("the want", raw, _want)


def _want(table: Table) -> Want:
    table.number("format", least=1, most=FORMAT)
    want = Want(
        app=table.text("app", pattern=NAME, expected=NAME_IN_WORDS),
        environment=table.text("environment", pattern=NAME, expected=NAME_IN_WORDS),
        goal=_goal(table.table("goal", required=True)),
        ledger=table.maybe_number("ledger"),
        address=table.text("address", "127.0.0.1"),
        port=table.maybe_number("port"),
        by=table.text("by", ""),
        reason=table.text("reason", ""),
        manager=table.choice("manager", MANAGERS, "embedded"),
        keep=table.number("keep", 5, least=1),
        keep_failed=table.number("keep_failed", 2),
        services=table.maybe_texts("services"),
        together=table.flag("together", default=False),
        confirm_within=table.real("confirm_within", CONFIRM_WITHIN),
        site=read_site(table),
        standby=table.number("standby", 0),
    )
    table.done()
    return want


def _goal(table: Table) -> Goal:
    goal: Goal
    match table.choice("do", ("deploy", "rollback", "start", "stop", "prune")):
        case "deploy":
            goal = Deploy(
                manifest=manifest_from(table.table("manifest", required=True)),
                config=table.number("config"),
                secrets=table.number("secrets"),
                ref=table.text("ref", ""),
                number=table.number("number", 0),
                commands=table.flag("commands", default=True),
            )
        case "rollback":
            goal = Rollback(release=table.maybe_number("release"))
        case "start":
            goal = Start()
        case "stop":
            goal = Stop()
        case _:
            goal = Prune()
    table.done()
    return goal
