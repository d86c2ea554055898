"""The agent's command line. Everything on a host is one of these.

``serve`` speaks the protocol on standard input and output; ``apply`` reads a want on standard
input and prints events, one JSON object a line; ``exec`` becomes a process of a release;
``unpack`` makes a folder of the zipapp, which starts faster.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.errors import NoneventError, UsageError
from nonevent.model.instance import read_instance_id
from nonevent.model.layout import Layout
from nonevent.model.site import MANAGERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nonevent.agent.launch import Launch


def main(arguments: Sequence[str]) -> int:
    """Run one command of the agent; returns the exit status."""
    parser = argparse.ArgumentParser(prog="nonevent-agent", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("serve", "apply"):
        commands.add_parser(name).add_argument("--root", type=Path, required=True)
    serving = commands.choices["serve"]
    serving.add_argument("--manager", choices=MANAGERS, default="embedded")
    serving.add_argument("--app", default="", help="whose units, with systemd")
    serving.add_argument("--environment", default="", help="what hints name")
    serving.add_argument("--user", default="", help="whom a site's processes run as")
    commands.choices["apply"].add_argument("--check", action="store_true")
    _exec_arguments(commands.add_parser("exec"))
    ending = commands.add_parser("end-commands")
    ending.add_argument("--root", type=Path, required=True)
    commands.add_parser("look").add_argument("--root", type=Path, required=True)
    setting_up = commands.add_parser("setup")
    setting_up.add_argument("--root", type=Path, required=True)
    setting_up.add_argument("--states", type=Path, required=True)
    setting_up.add_argument("--check", action="store_true")
    setting_up.add_argument("--json", action="store_true")
    commands.add_parser("unpack").add_argument("folder", type=Path)
    chosen = parser.parse_args(arguments)
    try:
        return _COMMANDS[chosen.command](chosen)
    except NoneventError as error:
        print(f"error: {error.message}", file=sys.stderr)  # noqa: T201
        for line in (*error.context, *error.serves.splitlines()):
            print(f"  {line}", file=sys.stderr)  # noqa: T201
        if error.hint:
            print(f"\nhint: {error.hint}", file=sys.stderr)  # noqa: T201
        return error.exit_status


def _exec_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--instance", help="become this instance, e.g. web-42")
    parser.add_argument("--release", type=int, help="run a command of this release instead")
    parser.add_argument("--name", default="run")
    parser.add_argument("--service", default="")
    parser.add_argument("--timer", help="become this timer's command, if a release serves")
    parser.add_argument("--secrets", type=int, help="default: what the ledger says")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--umask", type=lambda text: int(text, 8), default=0o027)
    parser.add_argument("argv", nargs="*")


def _layout(root: Path) -> Layout:
    root.mkdir(parents=True, exist_ok=True)
    return Layout(root.resolve())


def _serve(chosen: argparse.Namespace) -> int:
    from nonevent.agent.process.kinds import KINDS
    from nonevent.agent.serve import serve
    from nonevent.model.protocol import Channel

    os.umask(0o022)
    # Not sys.stdin: the thread that reads may still hold it when the interpreter ends.
    requests = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    manager = KINDS[chosen.manager](chosen.app, chosen.environment, chosen.user)
    serve(_layout(chosen.root), Channel(requests, sys.stdout.buffer), manager, kind=chosen.manager)
    return 0


def _apply(chosen: argparse.Namespace) -> int:
    from nonevent.agent import apply, ledger, lock
    from nonevent.agent.host import Host
    from nonevent.agent.process.kinds import KINDS
    from nonevent.model.plan import step_as_dict
    from nonevent.model.want import read_want

    def emit(event: dict[str, object]) -> None:
        print(json.dumps(event, ensure_ascii=False), flush=True)  # noqa: T201

    want = read_want(json.load(sys.stdin))
    manager = KINDS[want.manager](want.app, want.environment, want.site.user if want.site else "")
    host = Host(layout=_layout(chosen.root), manager=manager, emit=emit)
    if chosen.check:
        decided = apply.decide(host, want)
        for step in decided.steps:
            emit({"event": "would", "step": step_as_dict(step)})
        return 0
    note = lock.Note(by=want.by, reason="apply", since=ledger.now())
    with lock.held(host.layout, note):
        apply.apply(host, want)
    return 0


def _exec(chosen: argparse.Namespace) -> int:
    from nonevent.agent import launch

    layout = Layout(chosen.root.resolve())
    os.umask(chosen.umask)
    if chosen.timer and not _serves(layout):
        return 0
    return launch.execute(layout, _launch(layout, chosen))


def _serves(layout: Layout) -> bool:
    """Whether a release is to run, or the app was stopped, or never deployed."""
    from nonevent.agent import ledger

    history = ledger.history(layout)
    return bool(history.current) and history.running


def _launch(layout: Layout, chosen: argparse.Namespace) -> Launch:
    """What is to run, from the words of the command line.

    Raises:
        UsageError: there is no such instance, or no release.
    """
    from nonevent.agent import ledger, release
    from nonevent.agent.launch import Launch

    number, name, service = chosen.release, chosen.name, chosen.service
    if chosen.instance:
        instance = read_instance_id(chosen.instance)
        if instance is None:
            raise UsageError(f"{chosen.instance} is no instance such as web-42")
        number, name, service = instance.release, str(instance), instance.service
    elif chosen.timer:
        number, name, service = ledger.history(layout).current, chosen.timer, chosen.timer
    number = number or release.current(layout)
    if number is None:
        raise UsageError("no release serves here")
    secrets = chosen.secrets
    if secrets is None:
        secrets = ledger.history(layout).secrets_for(number)
    return Launch(
        release=number,
        name=name,
        service=service,
        secrets=secrets,
        port=chosen.port,
        argv=tuple(chosen.argv),
    )


def _setup(chosen: argparse.Namespace) -> int:
    from nonevent.agent import setup
    from nonevent.model.setup import read_setup

    os.umask(0o022)
    wanted = read_setup(json.loads(chosen.states.read_bytes()))
    changed = setup.carry_out(wanted, setup.told(as_json=chosen.json), check=chosen.check)
    if chosen.json:
        print(json.dumps({"event": "set-up", "changed": changed, "check": chosen.check}))  # noqa: T201
    elif not changed:
        print("nothing to do: the host is set up")  # noqa: T201
    return 0


def _unpack(chosen: argparse.Namespace) -> int:
    """Make a folder of the zipapp this runs from, with byte code, in one rename."""
    import compileall
    import py_compile
    import shutil
    import zipfile

    folder: Path = chosen.folder
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    with zipfile.ZipFile(sys.argv[0]) as archive:
        archive.extractall(partial)
    compileall.compile_dir(
        partial,
        quiet=2,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        stripdir=partial,
        prependdir=folder,
    )
    try:
        partial.rename(folder)
    except OSError:
        # Another client was faster; what it made is the same.
        shutil.rmtree(partial)
    return 0


def _end_commands(chosen: argparse.Namespace) -> int:
    from nonevent.agent import command

    command.end_commands(Layout(chosen.root.resolve()))
    return 0


def _look(chosen: argparse.Namespace) -> int:
    from nonevent.agent import images

    print(images.encoded(images.below(chosen.root)))  # noqa: T201
    return 0


_COMMANDS = {
    "serve": _serve,
    "apply": _apply,
    "exec": _exec,
    "end-commands": _end_commands,
    "look": _look,
    "setup": _setup,
    "unpack": _unpack,
}
