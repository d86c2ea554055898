"""Dataclasses for what runs on hosts: the standard library's, but made when they are used.

Every command starts the agent anew, and every service is started through it. Of the 75 ms that a
start took, 30 went into dataclasses: for each class the standard library generates and compiles
six methods, with the help of ``inspect``. Here ``__init__`` is compiled for the first instance, and
the other methods are the same for all classes.

A type checker sees those of :mod:`dataclasses`, whose functions take the classes made here too.
What none of them needs is not there: inheritance, order, ``__post_init__``, copying and
pickling.
"""

from __future__ import annotations

from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

__all__ = ("dataclass", "field", "fields", "replace")

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from dataclasses import dataclass, field, fields, replace
else:

    def dataclass(*, slots, frozen=False, kw_only=False):  # noqa: ANN001, ANN201
        """As :func:`dataclasses.dataclass`, always with slots."""
        assert slots  # noqa: S101
        return lambda plain: _slotted(plain, frozen=frozen, kw_only=kw_only)

    def field(*, default_factory):  # noqa: ANN001, ANN201
        """As :func:`dataclasses.field`."""
        return _Factory(default_factory)

    def fields(of):  # noqa: ANN001, ANN201
        """As :func:`dataclasses.fields`; each has its ``name`` and ``type``."""
        kinds = of.__annotations__
        return tuple(SimpleNamespace(name=name, type=kinds[name]) for name in of.__slots__)

    def replace(value, /, **changes):  # noqa: ANN001, ANN003, ANN201
        """As :func:`dataclasses.replace`."""
        return type(value)(**{name: getattr(value, name) for name in value.__slots__} | changes)


class _Factory:
    """A default that is made anew for each instance."""

    def __init__(self, make: Callable[[], object]) -> None:
        self.make = make


class _Fields:
    """The fields of one class, for whoever asks for them."""

    def __init__(self, defaults: Mapping[str, object], *, frozen: bool, kw_only: bool) -> None:
        self.defaults = defaults
        self.frozen = frozen
        self.kw_only = kw_only

    def __get__(self, instance: object, owner: type) -> object:
        """What the standard library's functions go by."""
        import dataclasses

        defaults = {
            name: dataclasses.field(default_factory=default.make)
            if isinstance(default, _Factory)
            else default
            for name, default in self.defaults.items()
        }
        plain = type(owner.__name__, (), {"__annotations__": owner.__annotations__} | defaults)
        return vars(dataclasses.dataclass(plain, kw_only=self.kw_only))["__dataclass_fields__"]

    def init(self, owner: type) -> FunctionType:
        """The class's ``__init__``, so that Python itself refuses what does not fit."""
        names, known = tuple(owner.__annotations__), self.defaults
        words = [f"{name}=__defaults__[{name!r}]" if name in known else name for name in names]
        if self.kw_only and names:
            words.insert(0, "*")
        text = f"def __init__(self, {', '.join(words)}):\n pass"
        for name in names:
            value = f"__value__({name})" if isinstance(known.get(name), _Factory) else name
            put = f"__put__(self, {name!r}, {value})" if self.frozen else f"self.{name} = {value}"
            text += f"\n {put}"
        scope: dict[str, Any] = {
            "__defaults__": known,
            "__put__": object.__setattr__,
            "__value__": _value,
        }
        exec(text, scope)  # noqa: S102  (as the standard library does)
        init: FunctionType = scope["__init__"]
        init.__qualname__ = f"{owner.__qualname__}.__init__"
        return init


def _value(given: object) -> object:
    return given.make() if isinstance(given, _Factory) else given


def _slotted(plain: type, *, frozen: bool, kw_only: bool) -> type:
    """The class anew: slots cannot be added to one that is there."""
    assert plain.__bases__ == (object,), plain  # noqa: S101
    names = tuple(plain.__annotations__)
    own = {name: value for name, value in vars(plain).items() if name not in _UNSLOTTED}
    defaults = {name: own.pop(name) for name in names if name in own}
    for name, default in defaults.items():
        if default.__hash__ is None:
            raise ValueError(f"the default of {plain.__qualname__}.{name} can change: use field()")
    return type(plain)(
        plain.__name__,
        plain.__bases__,
        {
            "__init__": _first_init,
            "__repr__": _repr,
            "__eq__": _eq,
            "__hash__": None,
            **(_FROZEN if frozen else {}),
            **own,
            "__qualname__": plain.__qualname__,
            "__slots__": names,
            "__match_args__": () if kw_only else names,
            "__dataclass_fields__": _Fields(defaults, frozen=frozen, kw_only=kw_only),
        },
    )


def _first_init(self: object, *values: object, **named: object) -> None:
    kind: Any = type(self)
    kind.__init__ = vars(kind)["__dataclass_fields__"].init(kind)
    kind.__init__(self, *values, **named)


def _values(self: object) -> dict[str, object]:
    return {name: getattr(self, name) for name in vars(type(self))["__slots__"]}


def _repr(self: object) -> str:
    shown = (f"{name}={value!r}" for name, value in _values(self).items())
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: object, other: object) -> bool:
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def _hash(self: object) -> int:
    return hash(tuple(_values(self).values()))


def _refuse(self: object, name: str, *value: object) -> None:  # noqa: ARG001
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot {'assign to' if value else 'delete'} field {name!r}")


_FROZEN = {"__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse}
_UNSLOTTED = {"__dict__", "__weakref__"}
