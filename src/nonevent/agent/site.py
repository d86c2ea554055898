"""Acting on a site that keeps its services running itself: reload, prove."""

from __future__ import annotations

import shlex
import stat
import subprocess
import time
from typing import TYPE_CHECKING, assert_never

from nonevent.agent import images, kernel, ledger, release, switch, variables
from nonevent.agent.logs import EVIDENCE
from nonevent.agent.process.site import Site
from nonevent.errors import BootFailed, HostUnfit, ProbeFailed, ProofFailed, ReleaseUnknown
from nonevent.model.plan import Prove, Reload
from nonevent.model.service import Health

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.agent.host import Host
    from nonevent.agent.release import Staged
    from nonevent.model.layout import Layout
    from nonevent.model.manifest import LayerRef
    from nonevent.model.plan import Switch
    from nonevent.model.site import Site as Wanted
    from nonevent.model.want import Want

STEADY = 3.0
"""Seconds for which nothing may be started anew, once all run the release."""
LASTING = 60.0
"""Seconds that what has run for them is no job any more, and has to run again."""
PAUSE = 0.2
SHOWN = 8
"""How many processes an error names."""


def take(host: Host, step: Reload | Prove, want: Want) -> str:
    """Make a step's end state true; returns what is worth saying about it, or nothing.

    Raises:
        NoneventError: it could not be reached.
    """
    assert want.site  # noqa: S101  (no other want leads to these steps)
    match step:
        case Reload():
            return _reload(host, step, want.site.timeout)
        case Prove(release=number):
            return _prove(host, number, want.site)
        case _:
            assert_never(step)


def _images(host: Host) -> tuple[images.Image, ...]:
    assert isinstance(host.manager, Site)  # noqa: S101  (chosen with the same configuration)
    return host.manager.images(host.layout)


def refuse_unfit(host: Host, step: Switch) -> None:
    """Refuse what would only show half-way.

    Raises:
        HostUnfit: `current` is a folder, or the site's user may not read settings and secrets.
    """
    layout = host.layout
    if step.release and layout.current.is_dir() and not layout.current.is_symlink():
        raise HostUnfit(
            f"{layout.current} is a folder, and must be a link to be moved to another release",
            hint="move the folder away, and make a link to it",
        )
    user = host.manager.user if isinstance(host.manager, Site) else ""
    names = [each.name for each in (layout.configs, layout.secrets) if user and _is_ours(each)]
    if names:
        folders = " ".join(names)
        raise HostUnfit(
            f"{user} may not read {' and '.join(names)}, which release commands need",
            hint=f"on the host, as root: cd {layout.root} && chgrp -R $(id -gn {user}) {folders} "
            f"&& chmod -R g+rX {folders} && chmod g+s {folders}",
        )


def _is_ours(folder: Path) -> bool:
    """Whether what is in it can be read only by whoever deploys: the group is not passed on."""
    return bool(variables.numbers(folder)) and not folder.stat().st_mode & stat.S_ISGID


def point(host: Host, number: int | None) -> None:
    """``current`` names the release; None for what it named before the first one of ours."""
    if number is not None:
        switch.point_current(host.layout, number)
    elif before := switch.point_before(host.layout):
        host.note(f"{host.layout.current} names {before} again, as before the first deploy")


def _reload(host: Host, step: Reload, limit: float) -> str:
    """Have the site start its processes anew.

    On the way back a command may fail as it did before: what runs then is for the proof to say.
    """
    found = _images(host)
    there = frozenset(each.identity for each in found)
    if not host.going_back:
        host.lasting = frozenset(
            each.command(str(host.layout.root))
            for each in images.leaders(found)
            if each.age() > LASTING
        )
    # What ran before the switch is what is to go; on the way back, what was started since.
    host.stale = there - host.stale if host.going_back else there
    host.switched = host.switched or not host.going_back
    deadline = time.monotonic() + limit
    for text in step.commands:
        try:
            _run(host, text, deadline)
        except BootFailed as error:
            if not host.going_back:
                raise
            host.note(error.message)
    return ""


def _run(host: Host, text: str, deadline: float) -> None:
    left = max(deadline - time.monotonic(), 1.0)
    try:
        done = subprocess.run(
            shlex.split(text),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            timeout=left,
        )
    except subprocess.TimeoutExpired as error:
        raise BootFailed(f"`{text}` did not end within {left:.0f} s") from error
    except OSError as error:
        raise BootFailed(f"`{text}` cannot be run: {error.strerror}") from error
    lines = done.stdout.decode(errors="replace").splitlines()
    for line in lines:
        host.emit({"event": "output", "command": text, "text": line})
    if done.returncode:
        evidence = tuple(f"| {line}" for line in lines[-EVIDENCE:])
        raise BootFailed(f"`{text}` ended with status {done.returncode}", context=evidence)


def expected(
    layout: Layout, staged: Staged | None, stale: frozenset[images.Identity] = frozenset()
) -> images.Expected:
    """What the processes of a release must be like; of None, those that run none of ours."""
    history = ledger.history(layout)
    if staged:
        layers = {f"layers/{ref.id}" for ref in staged.manifest.layers}
        own = {f"releases/{staged.number}", *layers}
    else:
        own = {f"releases/{path.name}" for path in layout.releases.iterdir()}
        own -= {f"releases/{each.number}" for each in history.releases}
    before = release.read(layout, history.current or 0)
    return images.Expected(
        root=str(layout.root),
        release=staged.number if staged else None,
        own=frozenset(own),
        stale=stale,
        other_deps=_deps(before) != _deps(staged),
    )


def _deps(staged: Staged | None) -> LayerRef | None:
    return staged.manifest.layer("deps") if staged else None


def _prove(host: Host, number: int | None, site: Wanted) -> str:
    """Wait until all processes run the release, stay, and visitors get good answers.

    What served until now is gone back to without asking it: it may fail for the same reason.

    Raises:
        ProofFailed: a process runs something else, or is started again and again.
        ProbeFailed: the site does not answer as it must.
    """
    staged = release.read(host.layout, number or 0)
    if number and not staged:
        raise ReleaseUnknown(f"release {number} is not on this host")
    wanted = expected(host.layout, staged, host.stale)
    public = staged.here.public if staged else None
    health = public.health if public else Health()
    deadline = time.monotonic() + site.timeout + STEADY
    good, known, since = 0, frozenset[images.Identity](), time.monotonic()
    while True:
        found = _images(host)
        gone = images.gone(found, host.lasting, wanted.root)
        # On the way back that is no reason to give up: it may have been a job, and at its end.
        wrong = (*images.complaints(found, wanted), *(() if host.going_back else gone))
        there = frozenset(each.identity for each in images.leaders(found))
        asked = staged and site.probe and not wrong and not host.going_back
        answer = _ask(site.probe, staged, health) if staged and asked else ""
        good = 0 if wrong or answer else good + 1
        if wrong or answer or there != known:
            known, since = there, time.monotonic()
        if time.monotonic() - since >= STEADY and good >= health.answers:
            break
        if time.monotonic() > deadline:
            raise _failed(number, site, wrong, answer)
        host.pause(PAUSE)
    for text in gone:
        host.note(text)
    for name in images.survivors(found, wanted):
        host.note(f"{name} goes on with what it had imported itself of other dependencies")
    return "a process" if len(found) == 1 else f"{len(found)} processes"


def _ask(address: str, staged: Staged, health: Health) -> str:
    """What is wrong with the answer that visitors get now, or nothing."""
    # Only sites need it here, and it takes a while to import.
    from nonevent.agent import probe

    name, _, port = address.rpartition(":")
    answer = probe.probe_port(name.strip("[]"), int(port), health)
    return answer.complaint(probe.names_of(staged.number, staged.manifest))


def _failed(
    number: int | None, site: Wanted, wrong: tuple[str, ...], answer: str
) -> ProofFailed | ProbeFailed:
    within = f"within {site.timeout:g} s"
    if wrong:
        more = (f"and {len(wrong) - SHOWN} more",) if len(wrong) > SHOWN else ()
        hint = ""
        if any("cannot be looked into" in text for text in wrong):
            hint = "processes are shown to their own `user`, and with capabilities to root alone"
        elif wrong[0].startswith("no "):
            hint = "the `user` of [reload] must be whom the site's processes run as"
        release = f"release {number}" if number else "what ran before the first deploy"
        text = f"not every process of the site runs {release} {within}"
        return ProofFailed(text, context=(*wrong[:SHOWN], *more), hint=hint)
    if answer:
        return ProbeFailed(f"the site {answer} at {site.probe} {within}")
    return ProofFailed(f"the processes of the site do not stay up {within}")


def shown(layout: Layout, manager: Site, number: int | None) -> list[dict[str, object]]:
    """What runs, as `status` shows instances: by process that no other of them started.

    Each is held to ``number``, the release that serves.
    """
    found = manager.images(layout)
    everything = kernel.processes()
    staged = release.read(layout, number or 0)
    wanted = expected(layout, staged)
    rows = []
    for leader in images.leaders(found):
        tree = kernel.descendants(leader.pid, everything)
        pids = {each.pid for each in tree}
        mine = tuple(each for each in found if each.pid in pids)
        name = tree[0].name if tree else ""
        rows.append(
            {
                "instance": f"{name}-{leader.pid}",
                "service": name,
                "release": max(
                    images.release_of(each, str(layout.root)) for each in (leader, *mine)
                ),
                "kind": "",
                "state": "running",
                "detail": "",
                "restarts": 0,
                "pid": leader.pid,
                "processes": len(tree),
                "memory": sum(each.memory for each in tree),
                "seconds": round(time.time() - tree[0].started) if tree else 0,
                "serves": False,
                "standby": 0,
                "connections": 0,
                "complaints": list(images.complaints(mine, wanted)),
            }
        )
    return rows
