"""Commands about a project and its artifacts: init, check, build, verify."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nonevent.cli.command import Command, common
from nonevent.cli.output import size
from nonevent.config.reference import annotated
from nonevent.model.manifest import PLATFORMS

if TYPE_CHECKING:
    from nonevent.build.artifact import Artifact


@click.command(short_help="Write a nonevent.toml for the project in this folder.")
@common
def init(command: Command) -> None:
    """Look at the project in this folder and write a nonevent.toml for it.

    Nothing is overwritten, and nothing of the project is run.
    """
    from nonevent.detect.init import init as write

    path, found = write(command.folder)
    command.output.event("written", path=str(path))
    out = command.output
    for finding in found.findings:
        value = finding.value if isinstance(finding.value, str) else " && ".join(finding.value)
        out.event("found", key=".".join(finding.key), value=finding.value, why=finding.why)
        out.line(".".join(finding.key), f"{value}  ({finding.why})")
    for note in found.notes:
        out.event("note", text=note.text, hint=note.hint)
        out.line("note", f"{note.text}; {note.hint}" if note.hint else note.text)
    out.line("", f"wrote {path.name}")
    out.line("next", _commit(path))
    out.line("next", "nonevent deploy local")


def _commit(path: Path) -> str:
    """What to type so that the file is in a commit: a build takes nothing else."""
    if _git_says(path.parent, "--verify", "HEAD"):
        return f"git add {path.name} && git commit -m 'Add {path.name}'"
    begin = "" if _git_says(path.parent, "--git-dir") else "git init && "
    return f"{begin}git add . && git commit -m 'First commit'"


def _git_says(folder: Path, *question: str) -> bool:
    argv = ("git", "-C", str(folder), "rev-parse", "--quiet", *question)
    try:
        return subprocess.run(argv, capture_output=True, check=False, timeout=30).returncode == 0
    except FileNotFoundError:
        return False


@click.command(short_help="Say what is wrong with the configuration, or with a host.")
@click.argument("environment", required=False)
@click.option("--keys", is_flag=True, help="Print every key with its default and its meaning.")
@click.option("--as", "as_user", default="", help="Log in on the host as this user, e.g. root.")
@common
def check(command: Command, environment: str | None, keys: bool, as_user: str) -> None:
    """Read the configuration and say what is wrong with it; with ENVIRONMENT, look at its host.

    Nothing is changed. What is not as a deploy needs it is named with what mends it, and the exit
    status is 1.
    """
    if keys:
        command.output.data(annotated())
        return
    app = command.project().load()
    services = ", ".join(f"{each.name} ({each.kind})" for each in app.services)
    command.output.event("checked", app=app.app, services=[each.name for each in app.services])
    command.output.line("", f"the configuration of {app.app} is right: {services}")
    if environment:
        from nonevent.cli.setup import check_hosts

        check_hosts(command, environment, as_user)


@click.command(short_help="Build an artifact from a commit.")
@click.argument("ref", default="HEAD")
@click.option("--dirty", is_flag=True, help="Take uncommitted changes along, and mark it so.")
@click.option(
    "-o",
    "--output",
    "into",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the artifact goes (default: .nonevent/artifacts).",
)
@click.option(
    "--platform",
    type=click.Choice(PLATFORMS),
    default=None,
    help="Build for this platform, from wheels alone (default: that of this machine).",
)
@click.option("--on", "host", default="", help="Build on this machine, over ssh.")
@common
def build(
    command: Command,
    ref: str,
    dirty: bool,
    into: Path | None,
    platform: str | None,
    host: str,
) -> None:
    """Build an artifact from a commit: code, dependencies, assets, byte code.

    Prints the artifact's path and digest on standard output. REF is a commit, branch or tag.
    """
    project = command.project()
    built = command.build(
        project, ref, dirty=dirty, output=into, platform=platform or "", host=host
    )
    manifest = built.manifest
    if built.reused:
        command.output.scope = "build"
        command.output.row("unchanged", built.path.name)
    command.output.event(
        "built", path=str(built.path), digest=manifest.digest, commit=manifest.commit,
        dirty=manifest.dirty, reused=built.reused, bytes=built.path.stat().st_size,
    )  # fmt: skip
    command.output.quiet()
    command.output.data(f"{built.path} {manifest.digest}")


@click.command()
@click.argument("artifact", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--list", "listed", is_flag=True, help="Name every file inside.")
@common
def verify(command: Command, artifact: Path, listed: bool) -> None:
    """Hash every file of an artifact again and say what is inside."""
    from nonevent.build.artifact import verify as read

    command.output.doing("hashing", artifact.name)
    found = read(artifact)
    command.output.quiet()
    _describe(command, found)
    if listed:
        for layer in found.layers:
            for entry in layer.entries:
                command.output.event("file", layer=layer.name, path=entry.path)
                command.output.data(f"{layer.name}/{entry.path}")


def _describe(command: Command, found: Artifact) -> None:
    manifest = found.manifest
    command.output.event("verified", digest=manifest.digest, manifest=manifest.as_dict())
    out = command.output
    dirty = ", with uncommitted changes" if manifest.dirty else ""
    out.row("artifact", f"{manifest.app} {manifest.digest}")
    out.row("commit", f"{manifest.commit[:12]} {manifest.subject}{dirty}")
    out.row("python", f"{manifest.python.version}, {manifest.platform}")
    if manifest.glibc:
        out.row("needs", f"glibc {manifest.glibc} {' '.join(manifest.libraries)}".strip())
    for ref in manifest.layers:
        out.row(f"layer {ref.name}", f"{ref.files} files, {size(ref.size)}, {ref.digest[:16]}")
    for service in manifest.services:
        out.row(service.kind.value, f"{service.name}: {service.command}")
    out.line("", "every file is what the manifest says")
