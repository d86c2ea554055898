"""The configuration file that findings amount to."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import tomlkit

from nonevent.model.service import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tomlkit.items import Item, Table
    from tomlkit.toml_document import TOMLDocument

    from nonevent.detect.found import Finding, Found, Value

_WIDTH = 96
_TOP = ("app", "python", "require", "release")
_BUILD = ("commands", "static", "exclude", "lock", "groups", "extras")
_SERVICE = ("kind", "command", "health", "schedule", "stop_signal", "stop_limit")


def write(found: Found) -> str:
    """TOML that says what was found, with the reasons as comments."""
    written = {each.key: each for each in found.findings if each.written}
    document = tomlkit.document()
    _comment(
        document, "Made by `nonevent init`, which never changes it again: it is yours to edit."
    )
    for key in _TOP:
        if finding := written.get((key,)):
            document.add(tomlkit.nl())
            _explained(document, key, finding)
    for key in ("env", "build", "services"):
        part = [each for path, each in written.items() if path[0] == key and len(path) > 1]
        if key == "services":
            document.add(key, _services(part))
        elif part:
            document.add(tomlkit.nl())
            document.add(key, _build(part) if key == "build" else _env(part))
    return tomlkit.dumps(document).rstrip() + "\n"


def _env(findings: Iterable[Finding]) -> Table:
    table = tomlkit.table()
    for finding in findings:
        _explained(table, finding.key[1], finding)
    return table


def _build(findings: Iterable[Finding]) -> Table:
    table = tomlkit.table()
    by_key = {each.key[1:]: each for each in findings}
    for key in _BUILD:
        if finding := by_key.get((key,)):
            _explained(table, key, finding)
    stand_ins = {key[1]: each for key, each in by_key.items() if key[0] == "env"}
    if stand_ins:
        env = tomlkit.inline_table()
        env.update({name: str(each.value) for name, each in stand_ins.items()})
        _comment(table, "stand-ins " + next(iter(stand_ins.values())).why)
        table.add("env", env)
    return table


def _services(findings: list[Finding]) -> Table:
    services = tomlkit.table(is_super_table=True)
    names = dict.fromkeys(each.key[1] for each in findings if each.key[2] == "command")
    for name in sorted(names, key=lambda each: each != "web"):
        table = tomlkit.table()
        by_key = {each.key[2:]: each for each in findings if each.key[1] == name}
        for key in _SERVICE:
            path = by_key.get((key,))
            if path is None or (key == "kind" and path.value == name and name in tuple(Kind)):
                continue
            if key == "command" or (key == "health" and path.why):
                _explained(table, key, path)
            else:
                table.add(key, _item(path.value))
        health = {key[1]: each for key, each in by_key.items() if key[0] == "health" and key[1:]}
        if health:
            inline = tomlkit.inline_table()
            inline.update({key: str(each.value) for key, each in health.items()})
            _comment(table, "; ".join(each.why for each in health.values() if each.why))
            table.add("health", inline)
        table.add(tomlkit.nl())
        services.add(name, table)
    if not names:
        services.add("web", _unknown())
    return services


def _unknown() -> Table:
    table = tomlkit.table()
    _comment(table, "Nothing was recognised: say here how the app starts, and where it listens.")
    table.add("command", "gunicorn app:app --bind unix:{socket}")
    return table


def _explained(table: Table | TOMLDocument, key: str, finding: Finding) -> None:
    _comment(table, finding.why)
    table.add(key, _item(finding.value))


def _comment(table: Table | TOMLDocument, text: str) -> None:
    for line in textwrap.wrap(text, _WIDTH):
        table.add(tomlkit.comment(line))


def _item(value: Value) -> Item:
    if isinstance(value, str):
        return tomlkit.item(value)
    items = tomlkit.array()
    items.extend(value)
    return items.multiline(multiline=sum(len(each) for each in value) > _WIDTH - 20)
