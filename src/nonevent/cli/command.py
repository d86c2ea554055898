"""What every command has in common: its options, its project, its host."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from nonevent.cli.output import Output
from nonevent.errors import Interrupted, ProtocolBroken, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nonevent.build.build import Built
    from nonevent.cli.narrate import Narrator
    from nonevent.config.app import App, Environment
    from nonevent.deploy.deploy import Task
    from nonevent.deploy.fleet import Fleet
    from nonevent.deploy.project import Project

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Command:
    """One invocation. Imports what it needs when it needs it: ssh logs in meanwhile."""

    folder: Path
    output: Output

    @cached_property
    def narrator(self) -> Narrator:
        """What says how it goes."""
        from nonevent.cli.narrate import Narrator

        return Narrator(self.output)

    def project(self) -> Project:
        """The project this was called in.

        Raises:
            ConfigMissing: there is none.
        """
        from nonevent.deploy.project import find_project

        return find_project(self.folder)

    def task(self, project: Project, environment: str, reason: str = "") -> Task:
        """The task in an environment; what follows on the screen is about that."""
        app = project.load()
        return self._task(app, app.environment(environment), reason)

    def reach(self, project: Project, environment: str, reason: str = "") -> Task:
        """The same, on the way to the environment's hosts already."""
        app = project.load()
        chosen = app.environment(environment)
        click.get_current_context().call_on_close(project.stay)
        project.approach(app.app, chosen)
        return self._task(app, chosen, reason)

    def _task(self, app: App, environment: Environment, reason: str) -> Task:
        from nonevent.deploy.deploy import Task
        from nonevent.deploy.project import operator

        return Task(app=app, environment=environment, by=operator(), reason=reason)

    @contextmanager
    def fleet(self, project: Project, task: Task, *, host: str = "") -> Iterator[Fleet]:
        """Conversations with the environment's hosts, or with one of them.

        Raises:
            UsageError: there is no host of that name.
        """
        from nonevent.deploy.fleet import labels_of, reached

        labels = labels_of(task.environment.hosts)
        chosen = {each: label for each, label in labels.items() if host in ("", each, label)}
        if host and not chosen:
            raise UsageError(
                f"there is no host `{host}` in {task.environment.name}",
                context=("hosts: " + ", ".join(labels.values()),),
            )
        self.output.several = max(map(len, chosen.values())) if len(chosen) > 1 else 0
        talked = False
        try:
            with reached(project, task, self.narrator, chosen) as fleet:
                talked = True
                self.output.scope = task.environment.name
                yield fleet
        except KeyboardInterrupt:
            if not talked:
                raise
            # Also while connections are closed: what was asked for may have been done.
            raise Interrupted(
                "interrupted", hint=f"nonevent status {task.environment.name}"
            ) from None
        except (Interrupted, ProtocolBroken) as error:
            if talked and not error.serves:
                error.hint = error.hint or f"nonevent status {task.environment.name}"
            raise

    def build(
        self,
        project: Project,
        ref: str,
        *,
        dirty: bool,
        output: Path | None = None,
        platform: str = "",
        host: str = "",
    ) -> Built:
        """Build a commit, saying how it goes; on another machine where ``host`` names one."""
        from nonevent.build.build import Request, build
        from nonevent.deploy.project import cache_folder

        project.make_state()
        request = Request(
            project=project.folder,
            output=output or project.artifacts,
            cache=cache_folder(os.environ),
            ref=ref or "HEAD",
            dirty=dirty,
            platform=platform,
            environ=dict(os.environ),
        )
        if not host:
            return build(request, self.narrator.build)
        from nonevent.deploy.elsewhere import build_on
        from nonevent.transport.ssh import Ssh, ssh_program

        return build_on(Ssh(host, Path(), ssh_program(os.environ)), request)


def common(function: Callable[..., R]) -> Callable[..., R]:
    """The options of every command; the function gets a :class:`Command` first."""

    @click.option("--json", "as_json", is_flag=True, help="One JSON event a line on stdout.")
    @click.option(
        "-C",
        "--project",
        "folder",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=Path(),
        show_default=False,
        help="The project's folder (default: the current one).",
    )
    def wrapper(as_json: bool, folder: Path, **arguments: object) -> R:
        output = Output(as_json=as_json)
        click.get_current_context().obj = output
        command = Command(folder.resolve(), output)
        try:
            return function(command, **arguments)
        finally:
            output.quiet()

    wrapper.__name__ = function.__name__
    wrapper.__doc__ = function.__doc__
    wrapper.__click_params__ = [  # type: ignore[attr-defined]
        *getattr(function, "__click_params__", []),
        *getattr(wrapper, "__click_params__", []),
    ]
    return wrapper
