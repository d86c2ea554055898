"""What every peer can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shipping.project import Site
    from shipping.stage import Ran, Stage


class Peer(Protocol):
    """One way of deploying. Its host bears its name."""

    name: str
    text: str
    """What it is, in a line of a table."""

    def why_not(self) -> str:
        """What must be installed on this machine, in a line; empty where all is there."""
        ...

    def prepare(self, stage: Stage, site: Site) -> None:
        """Get a fresh host ready for the first deploy; no part of the measured time."""
        ...

    def build(self, stage: Stage, site: Site) -> None:
        """What the client makes of a commit before a deploy; no part of the measured time."""
        ...

    def deploy(self, stage: Stage, site: Site) -> Ran:
        """The last commit gets to the host and serves: first, a change, a bump."""
        ...

    def rollback(self, stage: Stage, site: Site) -> Ran:
        """The release before serves again."""
        ...
