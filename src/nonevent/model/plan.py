"""Plans: the steps that lead from facts to a want.

A step names an end state, so it can be repeated after a crash. The one that cannot is
:class:`RunCommand`; the journal says whether it was begun, and nobody guesses about it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar, assert_never

from nonevent.dataclass import dataclass, fields
from nonevent.model.instance import InstanceId, read_instance_id

if TYPE_CHECKING:
    from nonevent.model.parse import Table


@dataclass(frozen=True, slots=True)
class Stage:
    """The release's folder is complete and in the ledger."""

    release: int


@dataclass(frozen=True, slots=True)
class Import:
    """The modules that the release's services name were imported once, by its interpreter."""

    release: int


@dataclass(frozen=True, slots=True)
class RunCommand:
    """A release command has run once, by the new release's interpreter."""

    release: int
    number: int
    command: str


@dataclass(frozen=True, slots=True)
class HoldPort:
    """The embedded front holds the app's TCP port."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Keep:
    """The embedded keeper runs: timers, recovery after a crash, tidying."""


@dataclass(frozen=True, slots=True)
class Boot:
    """The instance was started."""

    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Probe:
    """The instance answers on its own socket, and runs its release."""

    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Steady:
    """The instance stays up, and runs its release."""

    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Retire:
    """The instance was told to stop; it finishes in the background."""

    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Halt:
    """The instance has ended."""

    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Switch:
    """New connections go to these instances, by web service; no other link is left."""

    release: int | None
    links: tuple[InstanceId, ...]


@dataclass(frozen=True, slots=True)
class Reload:
    """What makes the site's processes start anew has been done."""

    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prove:
    """All processes of the site run the release, or none of ours, and it answers."""

    release: int | None


@dataclass(frozen=True, slots=True)
class Watch:
    """The instances have stayed healthy since the switch."""

    instances: tuple[InstanceId, ...]


@dataclass(frozen=True, slots=True)
class Confirm:
    """The ledger says that the release serves."""

    release: int
    left: int | None
    """The release that a rollback leaves, or None."""
    standby: int | None = None
    """Seconds for which the web of the release before stays up, or None."""


@dataclass(frozen=True, slots=True)
class Drain:
    """The instance has no connection left, or its drain limit is over, and has ended."""

    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Dismiss:
    """The embedded process manager and all it ran have ended."""


@dataclass(frozen=True, slots=True)
class NoteStopped:
    """The ledger says that a person stopped the app."""


@dataclass(frozen=True, slots=True)
class Remove:
    """These releases are gone from the disk, with all that only they used."""

    releases: tuple[int, ...]


Step = (
    Stage
    | Import
    | RunCommand
    | HoldPort
    | Keep
    | Boot
    | Probe
    | Steady
    | Retire
    | Halt
    | Switch
    | Reload
    | Prove
    | Watch
    | Confirm
    | Drain
    | Dismiss
    | NoteStopped
    | Remove
)

_STEPS: dict[str, type[Step]] = {
    "stage": Stage,
    "import": Import,
    "run-command": RunCommand,
    "hold-port": HoldPort,
    "keep": Keep,
    "boot": Boot,
    "probe": Probe,
    "steady": Steady,
    "retire": Retire,
    "halt": Halt,
    "switch": Switch,
    "reload": Reload,
    "prove": Prove,
    "watch": Watch,
    "confirm": Confirm,
    "drain": Drain,
    "dismiss": Dismiss,
    "note-stopped": NoteStopped,
    "remove": Remove,
}
_NAMES = {kind: name for name, kind in _STEPS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps in order, and the release that runs after them (None where nothing does)."""

    release: int | None
    steps: tuple[Step, ...]


def step_name(step: Step) -> str:
    """The step's stable name, e.g. ``boot``."""
    return _NAMES[type(step)]


def step_as_dict(step: Step) -> dict[str, object]:
    """The step as JSON: its name under ``do``, and its fields."""
    raw: dict[str, object] = {"do": step_name(step)}
    for field in fields(step):
        raw[field.name] = _plain(getattr(step, field.name))
    return raw


def _plain(value: object) -> object:
    if isinstance(value, InstanceId):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


class Gate(StrEnum):
    """Where the hosts of an environment wait for each other, in order."""

    BOOT = "boot"
    """Every host has the release, and its commands have run on the one that runs them."""
    SWITCH = "switch"
    """On every host the release is healthy, and its workers run."""
    CONFIRM = "confirm"
    """Every host has switched, and the release is still healthy."""

    def is_before(self, step: Step) -> bool:
        """Whether the hosts must have met here before this step is taken."""
        match self:
            case Gate.BOOT:
                return not isinstance(step, Stage | Import | RunCommand)
            case Gate.SWITCH:
                return isinstance(step, Switch | Watch | Confirm)
            case Gate.CONFIRM:
                return isinstance(step, Confirm)
            case _:
                assert_never(self)


T = TypeVar("T")


def read_step(table: Table) -> Step:
    """A step from JSON; problems are noted in the table."""
    kind = _STEPS[table.choice("do", tuple(_STEPS))]
    values = {field.name: _READERS[str(field.type)](table, field.name) for field in fields(kind)}
    table.done()
    return kind(**values)


def _one(table: Table, key: str) -> InstanceId:
    found = read_instance_id(table.text(key))
    if found is None:
        table.problem(key, expected="an instance such as web-42")
        return InstanceId("none", 0)
    return found


def _several(table: Table, key: str) -> tuple[InstanceId, ...]:
    found = [read_instance_id(name) for name in table.texts(key)]
    if None in found:
        table.problem(key, expected="instances such as web-42")
    return tuple(each for each in found if each is not None)


def _numbers(table: Table, key: str) -> tuple[int, ...]:
    values = table.take(key)
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        table.problem(key, expected="a list of whole numbers")
        return ()
    return tuple(values)


def _texts(table: Table, key: str) -> tuple[str, ...]:
    return table.texts(key, None)


_READERS = {
    "int": lambda table, key: table.number(key),
    "int | None": lambda table, key: table.maybe_number(key),
    "str": lambda table, key: table.text(key),
    "InstanceId": _one,
    "tuple[InstanceId, ...]": _several,
    "tuple[int, ...]": _numbers,
    "tuple[str, ...]": _texts,
}
