"""The app layer: the commit's files with what the asset commands made of them.

::

    app/      the project's files, the outcome of the commands, byte code
    lib/      the project installed as a package, and others of the same repository
    static -> app/<the configured folder>
"""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nonevent.build.artifact import Packed
from nonevent.build.bytecode import compile_tree
from nonevent.build.elf import Needs, needs_of
from nonevent.build.event import Noticed, counted, phase
from nonevent.build.installed import Packages, packages_in, settle
from nonevent.build.layer import pack, paths
from nonevent.build.process import run
from nonevent.build.uv import uv
from nonevent.errors import BuildFailed, CommandFailed

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.build.event import Report
    from nonevent.build.python import Interpreter
    from nonevent.config.app import App
    from nonevent.model.manifest import LayerRef

COMMAND_LIMIT = 3600.0
"""Seconds that an asset command may take."""
_LEFTOVERS = {"__pycache__", ".git"}
_VERSION_VARIABLES = ("SETUPTOOLS_SCM_PRETEND_VERSION", "PDM_BUILD_SCM_VERSION")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Where the app layer is made: its tree, and the virtualenv that commands run in."""

    tree: Path
    venv: Path
    python: Interpreter
    env: dict[str, str]
    """A clean environment."""
    project: Path
    """The commit's files as they were."""

    def command_env(self, app: App) -> dict[str, str]:
        """What an asset command sees; the configuration's own variables win."""
        search = [str(self.venv / "bin"), str(self.tree / "lib" / "bin"), self.env["PATH"]]
        mine = {
            "PATH": os.pathsep.join(search),
            "PYTHONPATH": str(self.tree / "lib"),
            "VIRTUAL_ENV": str(self.venv),
        }
        return self.env | mine | dict(app.env) | dict(app.build.env)


def open_workshop(
    deps: Path, project: Path, *, work: Path, python: Interpreter, env: dict[str, str]
) -> Workshop:
    """A workshop in ``work`` with the project's files and a virtualenv of the deps tree.

    The virtualenv has an interpreter, which the cached tree must not have, and shares its
    packages. Scripts are copied: they look for the interpreter beside where they really are.
    """
    tree, venv = work / "app", work / "venv"
    # A copy: building the project as a package leaves files in its folder.
    shutil.copytree(project, tree / "app", symlinks=True)
    shutil.copytree(deps / "bin", venv / "bin", symlinks=True)
    shutil.copyfile(deps / "pyvenv.cfg", venv / "pyvenv.cfg")
    (venv / "lib").symlink_to(deps / "lib")
    minor = python.minor
    (venv / "bin" / "python").symlink_to(python.path)
    for name in ("python3", f"python{minor}"):
        (venv / "bin" / name).symlink_to("python")
    return Workshop(
        tree=tree,
        venv=venv,
        python=python,
        env=env,
        project=project,
    )


def install_local(shop: Workshop, projects: tuple[Path, ...], *, version: str) -> None:
    """Build projects of the repository and put them below ``lib``, without dependencies.

    ``version`` is for those that ask git for theirs: there is no git where they are built, and
    which tags a clone has must not count.

    Raises:
        BuildFailed: with the end of what the build wrote.
    """
    target = shop.tree / "lib"
    env = shop.env | dict.fromkeys(_VERSION_VARIABLES, version)
    for project in projects:
        made = uv(
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            target,
            "--python",
            shop.venv,
            project,
            cwd=project if project.is_dir() else project.parent,
            env=env,
        )
        if made.status != 0:
            raise BuildFailed(
                f"the package in {project.name} could not be built",
                context=made.quoted(),
                hint="where it is no package, say so in pyproject.toml: [tool.uv] package = false, "
                "or [tool.poetry] package-mode = false",
            )
    (target / ".lock").unlink(missing_ok=True)
    settle(target, target / "bin", beside=False)


def run_commands(shop: Workshop, app: App, report: Report) -> None:
    """Run the asset commands in the project's folder, one after the other.

    Raises:
        CommandFailed: with the command, how it ended, and the end of its output.
    """
    for command in app.build.commands:
        with phase(report, "command", command):
            _run_command(command, shop, app)


def _run_command(command: str, shop: Workshop, app: App) -> None:
    env = shop.command_env(app)
    words = tuple(shlex.split(command))
    program = shutil.which(words[0], path=env["PATH"])
    if program is None and "/" not in words[0]:
        raise CommandFailed(
            f"there is no program {words[0]!r} for the command `{command}`",
            hint="is it in the lock, or installed on this machine?",
        )
    try:
        ended = run(
            (program or words[0], *words[1:]),
            cwd=shop.tree / "app",
            env=env,
            limit=COMMAND_LIMIT,
            merge=True,
        )
    except OSError as error:
        raise CommandFailed(f"`{command}` could not be started: {error.strerror}") from error
    if ended.status != 0:
        raise CommandFailed(f"`{command}` {ended.ending}", context=ended.quoted())


@dataclass(frozen=True, slots=True, kw_only=True)
class AppLayer:
    """The layer, what its binaries need, and what is installed in its ``lib``."""

    ref: LayerRef
    packed: Packed
    needs: Needs
    packages: Packages


def finish(shop: Workshop, app: App, *, frames: Path, report: Report) -> AppLayer:
    """Prune, compile and pack what the commands left.

    Raises:
        BuildFailed: where the static folder is missing, or a file cannot be in a layer.
    """
    files = shop.tree / "app"
    for excluded in app.build.exclude:
        _remove(files / excluded)
    for path in sorted({_leftover(path, shop.project) for path in paths(files)} - {""}):
        _remove(files / path)
    if app.build.static:
        static = app.build.static.rstrip("/")
        if not (files / static).is_dir():
            raise BuildFailed(
                f"there is no folder {static} after the commands, which `static` names",
                hint="correct `static` in `[build]`, or add the command that makes it",
            )
        (shop.tree / "static").symlink_to(f"app/{static}")
    broken = compile_tree(shop.tree, ("app", "lib"), python=shop.python, env=shop.env)
    if broken:
        report(
            Noticed(
                message=f"{counted(len(broken), 'file')} of the app cannot be compiled by Python "
                f"{shop.python.version}: {', '.join(broken[:5])}{', …' * (len(broken) > 5)}",
                hint="fine for templates and the like; what imports them will fail",
            )
        )
    lib = shop.tree / "lib"
    layer, packed = pack("app", shop.tree, frames)
    return AppLayer(
        ref=layer.ref,
        packed=Packed(name="app", encoded=layer.encoded(), frames=packed),
        needs=needs_of(shop.tree),
        packages=packages_in(lib) if lib.is_dir() else (),
    )


def _leftover(path: str, project: Path) -> str:
    """The topmost folder of a path that is never shipped, or nothing.

    What a package manager installed for the commands is not: only a committed one is meant.
    """
    parts = path.split("/")
    for depth, part in enumerate(parts, 1):
        folder = "/".join(parts[:depth])
        if part in _LEFTOVERS or (part == "node_modules" and not (project / folder).exists()):
            return folder
    return ""


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
