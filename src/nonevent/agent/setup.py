"""Acting as root, once: making the end states of a set-up true, or showing what is not.

Folders lie below one that the user who deploys owns, who must not be able to lead root elsewhere:
no link is followed on the way to them.
"""

from __future__ import annotations

import contextlib
import difflib
import grp
import json
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from nonevent.agent import durable, keys, tools
from nonevent.dataclass import dataclass, field
from nonevent.errors import HostUnfit
from nonevent.model.layout import RECORDS
from nonevent.model.parse import parse_json
from nonevent.model.setup import (
    Account,
    After,
    Agent,
    Enabled,
    File,
    Folder,
    Fresh,
    Group,
    Keys,
    Line,
    Link,
    Login,
    Member,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from nonevent.model.setup import Setup

LIMIT = 120.0


@dataclass(slots=True)
class Work:
    """One set-up that is being made true, or looked at with ``check``."""

    setup: Setup
    say: Callable[[str, str], None]
    """Is told of each state that is not true yet: in words, and the difference of a file."""
    check: bool
    changed: int = 0
    needed: set[str] = field(default_factory=set)
    before: dict[str, bytes | None] = field(default_factory=dict)
    """What stood in the files that were changed."""


def carry_out(setup: Setup, say: Callable[[str, str], None], *, check: bool) -> int:
    """Make a set-up true; returns how many states were not. With ``check`` nothing is changed.

    Raises:
        HostUnfit: something of the host is in the way; the message says what.
    """
    _refuse_files_of_others(setup)
    work = Work(setup=setup, say=say, check=check)
    record = setup.states[-1]
    units = [each for each in setup.states if isinstance(each, Fresh | Enabled)]
    if difference(record):
        # An earlier one may have ended before what its changes needed was done.
        work.needed = {getattr(each, "after", "") for each in setup.states}
    for state in setup.states[:-1]:
        if not isinstance(state, Fresh | Enabled):
            _make_true(work, state)
    _remove_stale(work)
    if not check:
        for after in setup.afters:
            if after.name in work.needed:
                _do_after(work, after)
    for unit in units:
        _make_true(work, unit)
    if difference(record) and not check:
        _make(record)
    return work.changed


def _make_true(work: Work, state: State) -> None:
    found = difference(state)
    if not found:
        return
    work.changed += 1
    words, _, diff = found.partition("\n")
    # A person who looks first wants to read it all; afterwards it stands on the host.
    work.say(words, diff if work.check else "")
    work.needed.add(getattr(state, "after", ""))
    if work.check:
        return
    if isinstance(state, File | Line):
        path = Path(state.path)
        work.before[state.path] = path.read_bytes() if path.exists() else None
    if isinstance(state, File):
        _test(state)
        _silence(Path(state.path))
    _make(state)


def difference(state: State) -> str:  # noqa: C901, PLR0911, PLR0912  (a table)
    """What is not true yet, in words; for a file also its lines. Nothing where all is well."""
    match state:
        case Group(name=name):
            return "" if _group(name) else f"group {name}"
        case Account(name=name):
            return "" if _own_account(state) else f"user {name}, without a shell or a home"
        case Login(name=name):
            return "" if _user(name) else f"user {name}, who logs in with the keys that root has"
        case Member(user=user, group=group):
            return "" if _belongs(user, group) else f"user {user} belongs to group {group}"
        case Folder():
            words = f"folder {state.path}, {state.owner}:{state.group}, {state.mode:o}"
            return "" if _is_so(state) else words
        case File():
            return _file_difference(state)
        case Line(path=path, text=text):
            return "" if text in _lines(path) else f"line in {path}\n+{text}"
        case Link(path=path, to=to):
            linked = Path(path).is_symlink() and os.readlink(path) == to
            return "" if linked else f"link {path} to {to}"
        case Fresh(unit=unit):
            return f"unit {unit} is started again" if _is_stale(state) else ""
        case Enabled(unit=unit, started=started):
            if not _asks("is-enabled", unit):
                return f"unit {unit} starts at boot" + (", and now" if started else "")
            return f"unit {unit} runs" if started and not _asks("is-active", unit) else ""
        case Agent(path=path):
            return "" if Path(path).is_dir() else f"agent {path}"
        case Keys():
            return keys.difference(state)
        case _:
            assert_never(state)


def _make(state: State) -> None:  # noqa: C901, PLR0912  (a table)
    match state:
        case Group(name=name):
            _run(("groupadd", "--system", name))
        case Account(name=name, comment=comment):
            _run(
                ("useradd", "--system", "--user-group", "--no-create-home", "--comment", comment,
                 "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name)
            )  # fmt: skip
        case Login(name=name):
            _make_login(name)
        case Member(user=user, group=group):
            _run(("usermod", "--append", "--groups", group, user))
        case Folder():
            _make_folder(state)
        case File(path=path, text=text, mode=mode):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            durable.write(Path(path), text.encode(), mode=mode)
        case Line(path=path, text=text):
            lines = "\n".join((*_lines(path), text, ""))
            real = Path(path).resolve()
            durable.write(real, lines.encode(), mode=real.stat().st_mode & 0o7777)
        case Link(path=path, to=to):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            durable.point(Path(path), to)
        case Fresh(unit=unit):
            _run(("systemctl", "restart", unit))
            _refuse_stale(state)
        case Enabled(unit=unit, started=started):
            _run(("systemctl", "--quiet", "enable", *(("--now",) if started else ()), unit))
        case Agent(path=path):
            _make_agent(Path(path))
        case Keys():
            keys.make(state)
        case _:
            assert_never(state)


def _group(name: str) -> grp.struct_group | None:
    try:
        return grp.getgrnam(name)
    except KeyError:
        return None


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _own_account(state: Account) -> bool:
    found = _user(state.name)
    if found and found.pw_gecos != state.comment:
        raise HostUnfit(
            f"this host has a user {state.name} already, who is somebody else",
            hint="give the app another name, or remove that user",
        )
    return found is not None


def _belongs(user: str, group: str) -> bool:
    found = _group(group)
    return found is not None and user in found.gr_mem


def _make_login(name: str) -> None:
    _run(("useradd", "--create-home", "--shell", "/bin/bash", name))
    keys = Path("/root/.ssh/authorized_keys")
    account = _user(name)
    if not keys.exists() or account is None:
        return
    folder = Path(account.pw_dir) / ".ssh"
    folder.mkdir(mode=0o700)
    durable.write(folder / "authorized_keys", keys.read_bytes(), mode=0o600)
    for path in (folder, folder / "authorized_keys"):
        os.chown(path, account.pw_uid, account.pw_gid)


def _make_agent(path: Path) -> None:
    partial = path.with_name(f".{path.name}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(tools.folder(), partial, symlinks=True)
    partial.rename(path)


def _open(path: str, *, make: bool) -> int:
    """A descriptor of a folder, on the way to which there is no link.

    Raises:
        FileNotFoundError: it is not there, and is not to be made.
        HostUnfit: a link, or something else, is in the way.
    """
    descriptor = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    for name in path.strip("/").split("/"):
        above = descriptor
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=above)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            descriptor = os.open(name, flags, dir_fd=above)
        except NotADirectoryError as error:
            raise HostUnfit(
                f"`{name}` in {path} is no folder but a link, or a file",
                hint="name the real folder as `root` of the environment",
            ) from error
        finally:
            os.close(above)
    return descriptor


def _is_so(state: Folder) -> bool:
    try:
        descriptor = _open(state.path, make=False)
    except FileNotFoundError:
        return False
    found = os.fstat(descriptor)
    os.close(descriptor)
    owner, group = _user(state.owner), _group(state.group)
    wanted = (owner and owner.pw_uid, group and group.gr_gid, state.mode)
    return (found.st_uid, found.st_gid, found.st_mode & 0o7777) == wanted


def _make_folder(state: Folder) -> None:
    descriptor = _open(state.path, make=True)
    try:
        owner, group = pwd.getpwnam(state.owner), grp.getgrnam(state.group)
        os.fchown(descriptor, owner.pw_uid, group.gr_gid)
        os.fchmod(descriptor, state.mode)
    finally:
        os.close(descriptor)


def _refuse_files_of_others(setup: Setup) -> None:
    """Overwrite nothing that a person or another program wrote; whatever is ours says so."""
    for state in setup.states:
        if not isinstance(state, File) or not Path(state.path).exists():
            continue
        found = Path(state.path).read_text(errors="replace")
        if found != state.text and "nonevent" not in found:
            raise HostUnfit(
                f"{state.path} is there already, and `nonevent setup` did not write it",
                hint="move it away, or give the app another name",
            )


def _file_difference(state: File) -> str:
    path = Path(state.path)
    try:
        before, mode = path.read_text(errors="replace"), path.stat().st_mode & 0o7777
    except OSError:
        before, mode = "", -1
    if (before, mode) == (state.text, state.mode):
        return ""
    words = f"file {path}, {state.mode:o}"
    lines = difflib.unified_diff(
        before.splitlines(), state.text.splitlines(), str(path), str(path), lineterm=""
    )
    return "\n".join((words, *lines))


def _lines(path: str) -> list[str]:
    """The lines of a file that the system has, whether or not the last one ends.

    Raises:
        HostUnfit: it is not there.
    """
    try:
        return Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise HostUnfit(f"{path} cannot be read: {error}") from error


def _is_stale(state: Fresh) -> bool:
    """Whether the process of a unit, if it has one, lacks the group or the argument."""
    argv = ("systemctl", "show", "--property=MainPID", "--value", state.unit)
    pid = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=LIMIT).stdout
    process = Path("/proc") / (pid.strip() or "0")
    try:
        status, command = (process / "status").read_text(), (process / "cmdline").read_bytes()
    except OSError:
        return False
    groups = next(line for line in status.splitlines() if line.startswith("Groups:")).split()[1:]
    group = _group(state.group) if state.group else None
    return bool(
        (state.group and not (group and str(group.gr_gid) in groups))
        or (state.argument and state.argument.encode() not in command.split(b"\0"))
    )


def _refuse_stale(state: Fresh) -> None:
    if _is_stale(state):
        raise HostUnfit(
            f"{state.unit} was started again and lacks {state.argument or state.group} still",
            hint=f"look for settings of its start that win: systemctl cat {state.unit}",
        )


def _silence(path: Path) -> None:
    """Stop what listens or runs by a unit that is about to change or to go.

    A socket that is changed goes on listening where it did; as it is then wanted, it is started.
    """
    if path.suffix not in (".socket", ".timer") or not path.exists():
        return
    _run(("systemctl", "--quiet", "disable", "--now", path.name))
    if path.suffix == ".socket":
        _run(("systemctl", "stop", path.with_suffix(".service").name))


def _test(state: File) -> None:
    """Refuse a text that its own program does not accept, before it is in place."""
    if not state.test:
        return
    with tempfile.NamedTemporaryFile("w", prefix="nonevent-") as file:
        file.write(state.text)
        file.flush()
        _run(tuple(word.replace("{}", file.name) for word in state.test))


def _remove_stale(work: Work) -> None:
    """Remove the units that an earlier set-up of this app wrote and this one does not want."""
    record = Path(RECORDS) / f"{work.setup.app}.json"
    if not record.exists():
        return
    before = parse_json(str(record), record.read_bytes(), lambda table: table.texts("files"))
    wanted = {each.path for each in work.setup.states if isinstance(each, File | Link)}
    for path in map(Path, before):
        if str(path) in wanted or not os.path.lexists(path):
            continue
        work.changed += 1
        work.say(f"no file {path}", "")
        # Below /etc a folder is called as what reads it.
        work.needed |= {each for each in path.parts[2:3] if shutil.which(each) or each == "systemd"}
        if work.check:
            continue
        _silence(path)
        path.unlink()


def _do_after(work: Work, after: After) -> None:
    """Do it where its test passes; else every file that was changed is as it was before.

    Raises:
        HostUnfit: with what the test said.
    """
    if not shutil.which(after.run[0]) or (after.test and not shutil.which(after.test[0])):
        raise HostUnfit(f"{after.name} is not installed here", hint=f"apt install {after.name}")
    if after.test:
        try:
            _run(after.test)
        except HostUnfit:
            _put_back(work, after)
            raise
    _run(after.run)


def _put_back(work: Work, after: After) -> None:
    mine = [each for each in work.setup.states if isinstance(each, File | Line)]
    for state in mine:
        if state.after != after.name or state.path not in work.before:
            continue
        path, before = Path(state.path).resolve(), work.before[state.path]
        if before is None:
            path.unlink()
        else:
            durable.write(path, before, mode=path.stat().st_mode & 0o7777)


def _asks(question: str, unit: str) -> bool:
    argv = ("systemctl", "--quiet", question, unit)
    return subprocess.run(argv, check=False, capture_output=True, timeout=LIMIT).returncode == 0


def _run(argv: tuple[str, ...]) -> None:
    """Run one command of the system.

    Raises:
        HostUnfit: it ended with an error; the context is what it said.
    """
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, timeout=LIMIT)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or getattr(error, "stdout", "") or str(error)).strip()
        raise HostUnfit(
            f"`{' '.join(argv)}` failed on this host",
            context=tuple(f"| {line}" for line in said.splitlines()[-15:]),
        ) from error


def told(*, as_json: bool) -> Callable[[str, str], None]:
    """What says, on standard output, what is not true yet."""

    def say(words: str, diff: str) -> None:
        if as_json:
            line = json.dumps({"event": "state", "state": words, "diff": diff}, ensure_ascii=False)
        else:
            line = f"  {words}" + "".join(f"\n      {each}" for each in diff.splitlines())
        print(line, flush=True)  # noqa: T201

    return say
