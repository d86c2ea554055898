"""Observing: everything that a plan depends on, read from the host and changed nowhere."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.agent import kernel, layers, ledger, release, switch, variables
from nonevent.agent.tools import AGENT
from nonevent.model.facts import Facts
from nonevent.model.instance import Instance, InstanceId, RunState, read_instance_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.agent.process.base import Observed, ProcessManager
    from nonevent.model.layout import Layout
    from nonevent.model.ledger import History
    from nonevent.model.manifest import Manifest


NEW = 3600.0
"""Seconds for which an agent that was brought along is not removed."""


def gather(layout: Layout, manager: ProcessManager) -> Facts:
    """All facts about an app on this host.

    Raises:
        FormatInvalid: a file that belongs to nonevent cannot be read.
    """
    observed = manager.observe(layout)
    history = ledger.history(layout)
    manifests = tuple(_manifests(layout))
    return Facts(
        history=history,
        manifests=manifests,
        instances=_instances(layout, observed),
        links=switch.links(layout),
        current_link=release.current(layout),
        front=_front(observed),
        keeper=_runs(observed, "keeper"),
        standby=standby(history),
        in_use=_in_use(layout),
        orphans=_orphans(layout, history, dict(manifests)),
    )


def standby(history: History) -> int | None:
    """The release that stands by now, or None."""
    noted = history.standby
    return noted.release if noted and time.time() < noted.until else None


def instances(layout: Layout, manager: ProcessManager) -> tuple[Instance, ...]:
    """The instances alone: for those who look again and again."""
    return _instances(layout, manager.observe(layout))


def instance(layout: Layout, manager: ProcessManager, wanted: InstanceId) -> Instance | None:
    """One of :func:`instances`; all processes are looked through only where no manager runs it."""
    observed = manager.observe(layout)
    known = _managed(observed).get(wanted)
    if known and known.alive:
        return known
    return next((each for each in _instances(layout, observed) if each.id == wanted), None)


def _manifests(layout: Layout) -> Iterator[tuple[int, Manifest]]:
    for number in release.numbers(layout):
        staged = release.read(layout, number)
        if staged:
            yield number, staged.here


def _runs(observed: tuple[Observed, ...], name: str) -> bool:
    return any(
        each.name == name and each.state in {RunState.RUNNING, RunState.STARTING}
        for each in observed
    )


def held_ports(layout: Layout, manager: ProcessManager) -> set[int]:
    """The ports that fronts of this app hold, also one that its process manager left behind."""
    return {port for _, (_, port) in _fronts(manager.observe(layout))}


def front(layout: Layout, manager: ProcessManager) -> tuple[str, int] | None:
    """Address and port of the front that runs and is managed."""
    return _front(manager.observe(layout))


def _front(observed: tuple[Observed, ...]) -> tuple[str, int] | None:
    managed = {RunState.RUNNING, RunState.STARTING}
    return next((front for state, front in _fronts(observed) if state in managed), None)


def _fronts(observed: tuple[Observed, ...]) -> Iterator[tuple[RunState, tuple[str, int]]]:
    """Address and port of each front, from its command line: what really runs."""
    for each in observed:
        if each.name == "front" and each.pid:
            words = kernel.arguments(each.pid)
            with contextlib.suppress(ValueError, IndexError):
                address, port = (words[words.index(name) + 1] for name in ("--address", "--port"))
                yield each.state, (address, int(port))


def _managed(observed: tuple[Observed, ...]) -> dict[InstanceId, Instance]:
    return {
        name: Instance(
            id=name,
            state=each.state,
            pid=each.pid,
            started=each.started,
            detail=each.detail,
            restarts=each.restarts,
        )
        for each in observed
        if (name := read_instance_id(each.name))
    }


def _instances(layout: Layout, observed: tuple[Observed, ...]) -> tuple[Instance, ...]:
    found = _managed(observed)
    for lost in _lost(layout, {each.pid for each in observed if each.pid}):
        if lost.id not in found or not found[lost.id].alive:
            found[lost.id] = lost
    return tuple(found[key] for key in sorted(found))


def _lost(layout: Layout, managed: set[int]) -> Iterator[Instance]:
    """Main processes of instances that no process manager knows, e.g. after it was killed."""
    everything = kernel.processes()
    known = {each.pid for pid in managed for each in kernel.descendants(pid, everything)}
    for process in everything:
        if process.pid in known or process.state == "Z" or not _is_mine(process.pid):
            continue
        values = kernel.environment(process.pid)
        if values.get("NONEVENT_ROOT") != str(layout.root):
            continue
        instance = read_instance_id(values.get("NONEVENT_INSTANCE", ""))
        parent = kernel.environment(process.parent).get("NONEVENT_INSTANCE")
        if instance and parent != str(instance):
            yield Instance(
                id=instance, state=RunState.LOST, pid=process.pid, started=process.started
            )


def _is_mine(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.getuid()  # noqa: PTH116
    except OSError:
        return False


def _in_use(layout: Layout) -> frozenset[int]:
    """The releases that processes of this app were started for, or work in, whatever they are."""
    numbers = set()
    for each in kernel.processes():
        values = kernel.environment(each.pid)
        if values.get("NONEVENT_ROOT") == str(layout.root):
            numbers.add(values.get("NONEVENT_RELEASE", ""))
        inside = kernel.working_folder(each.pid).removeprefix(f"{layout.releases}/")
        numbers.add(inside.partition("/")[0])
    return frozenset(int(number) for number in numbers if number.isdigit())


def _orphans(layout: Layout, history: History, manifests: dict[int, Manifest]) -> tuple[str, ...]:
    """Layers that no release on disk refers to, and versions of variables that none needs.

    Of transfers that were cut off too: the next deploy goes on with one, and then it is none.
    """
    used = {ref.id for manifest in manifests.values() for ref in manifest.layers}
    kept = [each for each in history.releases if each.number in manifests]
    configs = {each.config for each in kept}
    secrets = {history.secrets_for(each.number) for each in kept}
    return (
        *sorted(f"layers/{name}" for name in layers.present(layout) - used),
        *(f"layers/{name}" for name in layers.unfinished(layout)),
        *_unused("configs", variables.numbers(layout.configs), configs),
        *_unused("secrets", variables.numbers(layout.secrets), secrets),
        *sorted(f"tools/{name}" for name in _tools(layout)),
    )


def _tools(layout: Layout) -> set[str]:
    """Agents that were brought along, that no process runs, ours included, and none is to run.

    A service that is started again goes through the agent that its definition names. One that was
    just brought is about to be started by its client, who holds no lock for only looking.
    """
    try:
        ages = {path.name: time.time() - path.lstat().st_mtime for path in layout.tools.iterdir()}
    except FileNotFoundError:
        return set()
    names = {name for name, age in ages.items() if age > NEW}
    if layout.tools.joinpath(AGENT).is_symlink():
        names -= {AGENT, os.readlink(layout.tools / AGENT)}
    running = (word for each in kernel.processes() for word in kernel.arguments(each.pid))
    defined = "".join(_definitions(layout))
    names = {name for name in names if name not in defined}
    inside = (Path(word) for word in running if word.startswith(f"{layout.tools}/"))
    return names - {path.relative_to(layout.tools).parts[0] for path in inside}


def _definitions(layout: Layout) -> Iterator[str]:
    """What the embedded process manager is to run; a deploy may take one away at any moment."""
    for path in layout.programs.glob("*.conf"):
        with contextlib.suppress(FileNotFoundError):
            yield path.read_text()


def _unused(folder: str, numbers: list[int], used: set[int]) -> Iterator[str]:
    """All but the newest, which a deploy that is about to come may have brought."""
    yield from (f"{folder}/{number}" for number in numbers[:-1] if number not in used)
