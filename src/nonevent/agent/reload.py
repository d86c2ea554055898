"""Deciding for a site that keeps its services running itself: the steps of a switch by reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.model.plan import Confirm, Prove, Reload, Step, Switch

if TYPE_CHECKING:
    from nonevent.model.facts import Facts
    from nonevent.model.site import Site


def towards(
    number: int, facts: Facts, site: Site, confirm: tuple[Confirm, ...], *, again: bool
) -> tuple[Step, ...]:
    """The steps after which every process of the site runs a release that is staged.

    Where it is the current one already nothing is to be done, except ``again``.
    """
    if facts.current_link == number and not confirm and not again:
        return ()
    return (Switch(number, ()), Reload(site.commands), Prove(number), *confirm)


def back(facts: Facts, site: Site, *, switched: bool) -> tuple[Step, ...]:
    """The steps that undo what was begun: to the release that the ledger names.

    Where none was ever confirmed, ``current`` is what it was before the first one.
    """
    if not switched:
        return ()
    current = facts.history.current
    return (Switch(current, ()), Reload(site.commands), Prove(current))
