"""What `setup` makes true of a host, once, as root: end states, as the client sends them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from nonevent.dataclass import dataclass, fields
from nonevent.model.parse import parse

if TYPE_CHECKING:
    from nonevent.model.parse import Table

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """There is a system group of this name."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """There is a system user of this name, without a shell or a home, that is ours."""

    name: str
    comment: str
    """Tells our own user from one of the system that happens to have the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """There is a user who can log in; a new one with the keys that root has."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A user belongs to a group."""

    user: str
    group: str
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder has this owner and mode; what lies in it is not touched."""

    path: str
    owner: str
    group: str
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of root's has this text."""

    path: str
    text: str
    mode: int = 0o644
    test: tuple[str, ...] = ()
    """A command that must accept the text, in a file named ``{}``, before it is put in place."""
    after: str = ""
    """The :class:`After` that a change makes necessary."""
    shared: bool = False
    """Whether it serves several apps, and stays when this one does without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A file that somebody else wrote has this line, wherever; else it becomes the last."""

    path: str
    text: str
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link leads there."""

    path: str
    to: str
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """The process of a unit, if it has one, has this group and this argument, where named.

    It gets them when it starts. Where it lacks them it is started again.
    """

    unit: str
    group: str = ""
    argument: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enabled:
    """A unit starts at boot; and it runs now, where ``started`` says so."""

    unit: str
    started: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """The agent that makes this true lies here too, as root's."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Of a user's ``authorized_keys``, the lines that begin so are these."""

    user: str
    start: str
    options: str
    """What stands in front of each key."""
    keys: tuple[str, ...]


State = (
    Group | Account | Login | Member | Folder | File | Line | Link | Fresh | Enabled | Agent | Keys
)


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """What is done once after changes that need it: never where the test fails."""

    name: str
    run: tuple[str, ...]
    test: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """All that is to be true of a host for an app, in the order in which it is made so."""

    app: str
    states: tuple[State, ...]
    afters: tuple[After, ...]

    def as_dict(self) -> dict[str, object]:
        """The set-up as JSON."""
        return {
            "format": FORMAT,
            "app": self.app,
            "states": [{"kind": _NAMES[type(each)], **asdict(each)} for each in self.states],
            "afters": [asdict(each) for each in self.afters],
        }


_KINDS: dict[str, type[State]] = {
    "group": Group,
    "account": Account,
    "login": Login,
    "member": Member,
    "folder": Folder,
    "file": File,
    "line": Line,
    "link": Link,
    "fresh": Fresh,
    "enabled": Enabled,
    "agent": Agent,
    "keys": Keys,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def read_setup(raw: object) -> Setup:
    """The set-up in decoded JSON.

    Raises:
        FormatInvalid: with every key that is wrong.
    """
    return parse("the set-up", raw, _setup)


def _setup(table: Table) -> Setup:
    table.number("format", least=1, most=FORMAT)
    setup = Setup(
        app=table.text("app"),
        states=tuple(_state(each) for each in table.tables("states", required=True)),
        afters=tuple(
            After(name=each.text("name"), run=each.texts("run"), test=each.texts("test"))
            for each in table.tables("afters", required=True)
        ),
    )
    table.done()
    return setup


def _state(table: Table) -> State:
    kind = _KINDS[table.choice("kind", tuple(_KINDS))]
    values = {field.name: _READERS[str(field.type)](table, field.name) for field in fields(kind)}
    table.done()
    return kind(**values)


_READERS = {
    "str": lambda table, key: table.text(key),
    "int": lambda table, key: table.number(key, most=0o7777),
    "bool": lambda table, key: table.flag(key),
    "tuple[str, ...]": lambda table, key: table.texts(key),
}
