"""Carrying out a want: plan, journal, steps; and the way back when a step fails.

The ledger's line ``current`` divides everything. Before it, whatever goes wrong leads back to
the release that the ledger names; after it, forward. Both are :func:`nonevent.agent.plan.back`.
"""

from __future__ import annotations

import errno
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nonevent.agent import facts, journal, layers, ledger, lock, reload
from nonevent.agent import release as releases
from nonevent.agent.command import end_left_behind
from nonevent.agent.logs import EVIDENCE
from nonevent.agent.plan import back, plan
from nonevent.agent.steps import foresee, take
from nonevent.errors import Interrupted, NeedsPerson, NoneventError, UsageError, WentBack
from nonevent.model.ledger import Event, Line, State
from nonevent.model.plan import Dismiss, Gate, HoldPort, RunCommand, Step, step_as_dict
from nonevent.model.want import Start, Want

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.agent.host import Host
    from nonevent.agent.journal import Journal, Story
    from nonevent.model.layout import Layout
    from nonevent.model.plan import Plan

_FULL = {errno.ENOSPC, errno.EDQUOT}


def decide(host: Host, want: Want) -> Plan:
    """The plan for a want, from what is observed now; changes nothing.

    Raises:
        NoneventError: the want cannot be fulfilled here.
    """
    return plan(want, facts.gather(host.layout, host.manager))


def apply(host: Host, want: Want) -> Plan:
    """Make a want true. The caller holds the lock.

    Raises:
        Busy: a person has locked the environment.
        DeployFailed, Interrupted: it could not be done; the message says what serves now.
    """
    if not isinstance(want.goal, Start):
        # What a person locked is the release: after a reboot it may start all the same.
        lock.refuse_if_locked(host.layout, want.environment)
    refuse_other(host.layout, want.environment, app=want.app)
    recover_or_say(host)
    decided = decide(host, want)
    host.emit(
        {
            "event": "plan",
            "release": decided.release,
            "steps": [step_as_dict(step) for step in decided.steps],
        }
    )
    if not decided.steps:
        return decided
    foresee(host, decided.steps)
    written = journal.open_new(host.layout, want, decided)
    try:
        carry_out(host, decided.steps, want, written)
    except Exception as error:  # noqa: BLE001  (whatever it is, the host goes back)
        _failed(host, named(host.layout, error), want, decided, written)
    else:
        written.close("done")
    return decided


def carry_out(host: Host, steps: tuple[Step, ...], want: Want, written: Journal) -> None:
    """Take steps one after the other, noting each before and after.

    Raises:
        NoneventError, OSError: the first that a step raises.
    """
    gates = list(Gate)
    for number, step in enumerate(steps):
        host.check()
        while want.together and not host.going_back and gates and gates[0].is_before(step):
            host.wait_for_others(gates.pop(0), want.confirm_within)
        if not host.going_back:
            written.begun(number)
        raw = step_as_dict(step)
        host.emit({"event": "begun", "step": raw, "back": host.going_back})
        began = time.monotonic()
        detail = take(host, step, want)
        host.emit(
            {
                "event": "done",
                "step": raw,
                "back": host.going_back,
                "seconds": round(time.monotonic() - began, 3),
                "after": round(time.monotonic() - host.started, 3),
                "detail": detail,
            }
        )
        if not host.going_back:
            written.done(number)


def named(layout: Layout, error: Exception) -> NoneventError:
    """An error of ours for whatever a step ended with; a bug must not stop the way back."""
    match error:
        case NoneventError():
            return error
        case OSError(errno=number) if number in _FULL:
            return layers.disk_full(layout.root)
        case OSError():
            return NoneventError(f"the host refused: {error}")
        case _:
            from traceback import format_exception

            lines = "".join(format_exception(error)).splitlines()
            return NoneventError(
                f"the agent has a bug: {type(error).__name__}: {error}",
                context=tuple(f"| {line}" for line in lines[-EVIDENCE:]),
                hint="please report it with the lines above",
            )


def _failed(host: Host, error: NoneventError, want: Want, decided: Plan, written: Journal) -> None:
    """Lead back, and raise what happened with what serves now.

    After the release counts as serving there is no way back: what could not be tidied is said,
    and is tidied by the next command.
    """
    if host.confirmed:
        # The journal stays open: whoever recovers it goes forward from here.
        _unfinished(host, error, want, decided)
        return
    switched = host.switched
    with _even_if_full(host):
        _note_failed(host, decided.release, want.by, error.message)
    with _even_if_full(host):
        written.failed(error)
    try:
        go_back(host, want, written)
    except Exception as second:
        ours = named(host.layout, second)
        with _even_if_full(host):
            written.close("needs-person")
        raise NeedsPerson(
            f"{error.message}, and going back failed: {ours.message}",
            context=(*error.context, *ours.context),
            serves=serving(host, _unproved(want)),
            hint=f"nonevent status {want.environment}",
        ) from second
    with _even_if_full(host):
        written.close("went-back" if switched else "failed")
    serves = serving(host, "serves again" if switched else "still serves")
    context = (*error.context, *_commands_that_ran(decided, written))
    if switched and not isinstance(error, Interrupted):
        raise WentBack(
            f"{error.message}; the host went back",
            context=context,
            hint=_hint(error, want, decided),
            serves=serves,
        ) from error
    error.context, error.serves = context, serves
    error.hint = _hint(error, want, decided)
    raise error


def _unfinished(host: Host, error: NoneventError, want: Want, decided: Plan) -> None:
    """Say what could not be done after the release counted as serving.

    Raises:
        NeedsPerson: nobody holds the app's port.
    """
    text = f"release {decided.release} serves, but tidying up failed: {error.message}"
    moved = any(isinstance(step, HoldPort) for step in decided.steps)
    if moved and facts.front(host.layout, host.manager) != (want.address, want.port):
        raise NeedsPerson(
            text, context=error.context, hint=f"nonevent start {want.environment}"
        ) from error
    host.note(text)


def _hint(error: NoneventError, want: Want, decided: Plan) -> str:
    """What to type next: the log of what failed, unless the error knows better."""
    if error.hint or isinstance(error, Interrupted) or decided.release is None:
        return error.hint
    return f"nonevent logs {want.environment} --release {decided.release}"


def _note_failed(host: Host, number: int | None, by: str, reason: str) -> None:
    """The ledger says that a release that was only staged is no good."""
    release = ledger.history(host.layout).release(number or 0)
    if not release or release.state is not State.STAGED:
        return
    line = Line(
        event=Event.FAILED,
        release=release.number,
        by=by,
        reason=reason,
    )
    ledger.append(host.layout, line)


@contextmanager
def _even_if_full(host: Host) -> Iterator[None]:
    """Go on where something cannot be written down: the way back matters more."""
    try:
        yield
    except OSError as error:
        host.note(f"this could not be written down: {error}")


def go_back(host: Host, want: Want, written: Journal) -> None:
    """Converge to what the ledger says.

    Raises:
        NoneventError, OSError: a step failed on the way back.
    """
    host.going_back = True
    found = facts.gather(host.layout, host.manager)
    story = journal.read(written.path)
    address, port = want.address, want.port
    if found.front and story.release != found.history.current:
        # The port that a failed release came with is not for the one that serves.
        address, port = found.front
    if want.site:
        steps = reload.back(found, want.site, switched=story.switched)
    else:
        steps = back(found, switched=story.switched, address=address, port=port)
    if host.inside:
        steps = tuple(step for step in steps if not isinstance(step, Dismiss))
    carry_out(host, steps, want, written)
    host.going_back = False


def _commands_that_ran(decided: Plan, written: Journal) -> tuple[str, ...]:
    """What no way back undoes."""
    begun = set(journal.read(written.path).begun)
    return tuple(
        f"`{step.command}` was run and is not undone"
        for number, step in enumerate(decided.steps)
        if number in begun and isinstance(step, RunCommand)
    )


def _unproved(want: Want) -> str:
    """How what serves is named where going back failed: of a site only the ledger is known."""
    return "should serve" if want.site else "serves"


def serving(host: Host, how: str = "serves") -> str:
    """What serves now, in words: the last line of every error after something was begun."""
    history = ledger.history(host.layout)
    release = history.release(history.current or 0)
    if release is None and host.layout.current.is_symlink():
        return f"{host.layout.current} names what it named before: {host.layout.current.readlink()}"
    if release is None:
        return "nothing serves: this app has no good release here yet"
    if not history.running:
        return (
            f"release {release.number} ({release.commit[:7]}) is the last good one; it is stopped"
        )
    return f"release {release.number} ({release.commit[:7]}) {how}"


def refuse_other(layout: Layout, environment: str, *, app: str = "") -> None:
    """Refuse to work in a folder that belongs to another app or environment.

    Raises:
        UsageError: naming whose it is.
    """
    current = ledger.history(layout).current
    staged = releases.read(layout, current) if current else None
    if staged is None:
        return
    if staged.environment != environment or app not in {"", staged.manifest.app}:
        raise UsageError(
            f"{layout.root} belongs to `{staged.manifest.app}` in `{staged.environment}`",
            hint=f"give `{environment}` another `root`",
        )


def recover_or_say(host: Host) -> None:
    """Recover; where that fails, go on: the plan to come is made from what is there."""
    try:
        recover(host)
    except NeedsPerson as error:
        host.note(error.message)


def recover(host: Host) -> Story | None:
    """Bring a plan that was cut off to an end: back before its confirmation, forward after it.

    The caller holds the lock. Returns the story of the plan, or None where none was cut off.

    Raises:
        NeedsPerson: it could not be done.
    """
    story = journal.interrupted(host.layout)
    if story is None:
        return None
    host.note(f"an earlier {story.goal} by {story.by} was cut off; tidying up after it")
    for command in story.unfinished_commands():
        host.note(f"`{command.command}` was begun and may have ended half-way")
        end_left_behind(host)
    written = journal.resume(host.layout, story)
    want = Want(
        app="app",
        environment="environment",
        goal=Start(),
        address=story.address,
        port=story.port,
        site=story.site,
        by=story.by,
        reason="cut off",
    )
    _note_failed(host, story.release, story.by, "cut off")
    releases.clean(host.layout)
    try:
        go_back(host, want, written)
    except Exception as error:
        ours = named(host.layout, error)
        host.going_back = False
        raise NeedsPerson(
            f"an earlier {story.goal} was cut off, and tidying up failed: {ours.message}",
            context=ours.context,
            serves=serving(host, _unproved(want)),
            hint=ours.hint,
        ) from error
    written.close("recovered")
    return story
