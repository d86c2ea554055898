"""No process manager of ours: the site keeps its services running itself.

Nothing is started here, nothing stopped, and nothing kept between two commands. What runs is read
from /proc, as the user whom the site's processes run as.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from nonevent.agent import images
from nonevent.agent import logs as files
from nonevent.agent.tools import agent_command
from nonevent.dataclass import dataclass
from nonevent.errors import HostUnfit, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nonevent.agent.images import Image
    from nonevent.agent.logs import Asked, Entry
    from nonevent.agent.process.base import Observed, Program
    from nonevent.agent.proof import Sight
    from nonevent.model.layout import Layout
    from nonevent.model.manifest import Manifest

LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class Site:
    """The processes of one site."""

    user: str = ""
    """Whom they run as; empty for whoever the agent runs as."""

    def images(self, layout: Layout) -> tuple[Image, ...]:
        """What runs releases of the app.

        Raises:
            HostUnfit: we may not become the user.
        """
        argv = (*agent_command(), "look", "--root", str(layout.root))
        as_app = self.as_app(argv)
        if as_app == argv:
            return images.below(layout.root)
        try:
            done = subprocess.run(as_app, check=True, capture_output=True, text=True, timeout=LIMIT)
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", "") or error)
            raise HostUnfit(
                f"what {self.user} runs cannot be looked at",
                context=tuple(f"| {line}" for line in said.splitlines()),
                hint=f"allow it to the user who deploys: sudo -n -u {self.user} true",
            ) from error
        return images.decoded(done.stdout)

    def fit(self, manifest: Manifest) -> None:
        """Any release: what its services need is the site's affair."""

    def observe(self, layout: Layout) -> tuple[Observed, ...]:  # noqa: ARG002
        """Nothing is managed."""
        return ()

    def start(self, layout: Layout, program: Program) -> None:  # noqa: ARG002
        """Nothing is started; no plan of a site asks for it."""
        raise UsageError(f"{program.name} is to be started by the site itself")

    def stop(self, layout: Layout, name: str) -> None:
        """Nothing is stopped."""

    def forget(self, layout: Layout, names: tuple[str, ...]) -> None:
        """Nothing is known."""

    def dismiss(self, layout: Layout) -> None:
        """Nothing runs."""

    def look(self, layout: Layout, name: str, pid: int) -> tuple[Sight, ...]:  # noqa: ARG002
        """No program has a name."""
        return ()

    def last_lines(self, layout: Layout, name: str) -> tuple[str, ...]:  # noqa: ARG002
        """What services say goes where the site sends it."""
        return ()

    def logs(
        self, layout: Layout, asked: Asked, *, ended: Callable[[], bool] | None
    ) -> Iterator[Entry]:
        """What release commands said; what services say goes where the site sends it."""
        return files.lines(layout, asked, ended=ended)

    def as_app(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """Become the user through sudo, where it is another one."""
        return ("sudo", "-n", "-u", self.user, "--", *argv) if self.user else argv
