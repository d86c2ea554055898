"""A host over ssh: the user's own OpenSSH, with the user's own configuration.

Names, jump hosts, agents, hardware keys and ``known_hosts`` are OpenSSH's affair, see
ssh_config(5). One connection serves a whole command: the first one becomes the master, and
whatever follows goes through it.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import TYPE_CHECKING

from nonevent.agent import folder
from nonevent.errors import HostUnfit, ProtocolBroken, TransportFailed
from nonevent.transport import zipapp
from nonevent.transport.child import Started, attach, converse, greeted, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nonevent.transport.base import Connection

REACH_LIMIT = 120.0
"""Seconds for a person to touch a key or type a passphrase, and for a host's shell to get ready."""
_SSH_FAILED = 255
"""ssh(1), exit status: the command's own, or 255 if an error occurred."""
CONNECT_LIMIT = 15
"""Seconds until a host that does not answer counts as unreachable."""
HANDSHAKES = 8
"""Connections that are opened at a time: sshd drops some of more, sshd_config(5), MaxStartups."""
KEPT = 60
"""Seconds the master connection outlives its last use."""
MOST_NOISE = 200
"""Lines that a host's shell may print before the agent says that it is ready."""

# Read by the host's sh. It says one word a line, in front of which a chatty shell may have said
# anything; after `ready` the stream is the agent's.
# The first line means nothing to a shell. With a restricted key it is all that counts: the door
# reads it, see `agent/door.py`, and says what the rest would have said. What was used just now is
# not pruned before it is started, hence `touch`.
_START = """\
: nonevent agent-{digest} {what}
root={root}; agent="$root/tools/agent-{digest}"
umask 022
python="$(readlink "$agent/python")"
if ! "$python" -I -S -c 'import json, zlib' 2>/dev/null; then
  {asked} && echo 'nonevent: first' || {{ echo 'no Python here runs the agent' >&2; exit 69; }}
  script=; while IFS= read -r line && [ "$line" ]; do script="$script$line
"; done
  eval "$script"
fi
touch -c "$agent"
{asked} && echo 'nonevent: ready'
exec {before}"$python" -I -S "$agent" {command}
"""
# What follows it where the agent is not there, or what it was unpacked with has gone. An empty line
# ends it.
_FIRST = """\
usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
python=
for name in python3 python3.15 python3.14 python3.13 python3.12 python3.11 \\
    "$root"/tools/python-*/bin/python3; do
  if usable "$name"; then python="$name"; break; fi
done
if [ -z "$python" ]; then
  echo 'nonevent: python'
  echo "$(python3 --version 2>/dev/null)"
  read -r name digest size || exit 69
  mkdir -p "$root/tools" || { echo 'nonevent: root'; exit 73; }
  partial="$root/tools/.$name.$$"; python="$root/tools/$name/bin/python3"
  mkdir "$partial" && head -c "$size" > "$partial.gz" &&
    echo "$digest  $partial.gz" | sha256sum -c - > /dev/null &&
    tar -xzf "$partial.gz" -C "$partial" &&
    # Another client may have brought it meanwhile, and its agent runs on it.
    { usable "$python" || { rm -rf "$root/tools/$name" && mv "$partial" "$root/tools/$name"; }; }
  rm -rf "$partial" "$partial.gz"
  usable "$python" || { echo 'nonevent: unusable'; exit 74; }
fi
if [ ! -d "$agent" ]; then
  mkdir -p "$root/tools" || { echo 'nonevent: root'; exit 73; }
  echo 'nonevent: need'
  read -r size || exit 74
  "$python" -c '
import os, sys
left, parts = int(sys.argv[2]), []
while left:
    part = os.read(0, min(left, 1 << 20))
    if not part: sys.exit(1)
    parts.append(part); left -= len(part)
with open(sys.argv[1], "wb") as file: file.write(b"".join(parts))
' "$agent.pyz.$$" "$size" || exit 74
  "$python" -I -S "$agent.pyz.$$" unpack "$agent" || exit 74
  rm -f "$agent.pyz.$$"
fi
# The program itself: not a shim, and not that of a virtualenv, which may go away. Its name stays as
# it is: `python3` is there after an upgrade too, and units name it.
ln -sfn "$("$python" -I -S -c 'import sys; print(sys._base_executable)')" "$agent/python"
"""
_SAID = "nonevent: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """An interpreter for the agent, to be sent to a host that has none."""

    name: str
    """The folder in ``tools/``, e.g. ``python-0d0a3f5c4a1b2e77``."""
    packed: Callable[[], bytes]
    """A tar in gzip, which any host can unpack."""


@dataclass(frozen=True, slots=True)
class Approach:
    """The agent, being started in the background by an ssh that asks nobody for anything."""

    started: Started
    began: float = field(default_factory=time.monotonic)

    @property
    def is_of_use(self) -> bool:
        """Whether it got there, or is young: since then a host may have come up, or gone."""
        child = self.started.child
        assert child.stdout  # noqa: S101  (a pipe)
        young = time.monotonic() - self.began < CONNECT_LIMIT + 1
        return young or bool(child.poll() is None and select([child.stdout], [], [], 0)[0])


@dataclass(frozen=True, slots=True)
class Ssh:
    """An app's folder on a host that ``ssh`` reaches by this name."""

    host: str
    root: Path
    program: tuple[str, ...] = ("ssh",)
    """What runs as ssh, with options that come first."""
    controls: Path = field(default_factory=lambda: control_folder(os.environ))
    manager: str = "embedded"
    """What keeps the app's services running there."""
    app: str = ""
    environment: str = ""
    user_there: str = ""
    """Whom a site's processes run as, where it is not who logs in."""
    interpreter: Brought | None = None
    approached: Approach | None = None

    def connect(self, by: str) -> Connection:
        """Start the agent on the host, bringing it along where it is missing.

        Raises:
            TransportFailed: ssh does not get there, or the agent does not start.
            HostUnfit: the host has no usable Python.
        """
        if connection := self._approached(by):
            return connection
        return converse(self.start(self._serving()), by, prepare=self._bring)

    def start(self, script: str) -> tuple[str, ...]:
        """What runs a script of sh on the host, which is reached with this.

        Raises:
            TransportFailed: with what ssh said.
        """
        self._reach()
        return (*self._ssh(), "-T", self.host, script)

    def approach(self) -> Approach | None:
        """Begin to start the agent, as far as that needs nobody; None where there is no ssh."""
        argv = (*self._ssh(), "-o", "BatchMode=yes", "-T", self.host, self._serving())
        # A jump host's ssh does not get BatchMode: without a terminal it can ask nobody either.
        env = {**os.environ, "SSH_ASKPASS_REQUIRE": "never"}
        try:
            return Approach(start(argv, env))
        except OSError:
            return None

    def _approached(self, by: str) -> Connection | None:
        """What came of the approach; None where there was none, or somebody must be asked.

        Raises:
            TransportFailed, HostUnfit: what asking would not mend.
        """
        if self.approached is None:
            return None
        started = self.approached.started
        if not self.approached.is_of_use:
            started.end()
            return None
        try:
            return greeted(started, by, prepare=self._bring)
        except ProtocolBroken:
            # It was there, and went away before it was asked for anything.
            return None
        except TransportFailed as error:
            got_there = started.child.returncode not in {_SSH_FAILED, -signal.SIGKILL}
            asks = any(sign in line for sign in _ASKS for line in error.context)
            if got_there or asks:
                return None
            raise

    def _serving(self) -> str:
        """The script that becomes the agent."""
        words = (
            *("serve", "--root", str(self.root), "--manager", self.manager),
            *("--app", self.app, "--environment", self.environment),
            *("--user", self.user_there),
        )
        return self._script(words, is_asked=True)

    def _reach(self) -> None:
        """Open the master connection, in this terminal: ssh may have to ask for something.

        Raises:
            TransportFailed: with what ssh said.
        """
        # What ssh says goes to a file: the master goes on in the background and would keep a pipe
        # open. Its output is one, which `true` closes: subprocess sees that at once, where it looks
        # for the end of a process only now and then.
        with tempfile.TemporaryFile() as said:
            argv = (*self._ssh(), "-n", "-T", self.host, "true")
            try:
                status = subprocess.run(
                    argv, stdout=subprocess.PIPE, stderr=said, check=False, timeout=REACH_LIMIT
                ).returncode
            except subprocess.TimeoutExpired:
                status = _SSH_FAILED
            except FileNotFoundError as error:
                raise TransportFailed(
                    f"`{self.program[0]}` is not installed here", hint="apt install openssh-client"
                ) from error
            said.seek(0)
            text = said.read().decode(errors="replace")
        if status == _SSH_FAILED:
            raise self._unreachable(text)

    def attach(self, arguments: tuple[str, ...]) -> int:
        """Run one command of the agent with this terminal, as the user of the app's services."""
        user = self.app if self.manager == "systemd" else self.user_there
        if not user:
            return self.attach_as((), arguments)
        word, *rest = arguments
        return self.attach_as(("sudo", "-n", "-u", user, "--"), (word, "--umask", "007", *rest))

    def attach_as(self, before: tuple[str, ...], arguments: tuple[str, ...]) -> int:
        """Run one command of the agent with this terminal, through the command ``before``."""
        words = (arguments[0], "--root", str(self.root), *arguments[1:])
        script = self._script(words, before=before)
        terminal = ("-t",) if sys.stdin.isatty() else ("-T",)
        return attach((*self._ssh(), *terminal, self.host, script))

    def _ssh(self) -> tuple[str, ...]:
        for level in (self.controls.parent, self.controls):
            folder.make(level, otherwise="set XDG_RUNTIME_DIR")
        options = {
            "ControlMaster": "auto",
            # %C is a hash: the whole stays below the 104 bytes that a socket's name may have.
            "ControlPath": f"{self.controls}/%C",
            "ControlPersist": str(KEPT),
            "ConnectTimeout": str(CONNECT_LIMIT),
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "4",
            "LogLevel": "ERROR",
        }
        words = (word for name, value in options.items() for word in ("-o", f"{name}={value}"))
        return (*self.program, *words)

    def _script(
        self, words: tuple[str, ...], *, is_asked: bool = False, before: tuple[str, ...] = ()
    ) -> str:
        """What the host's sh runs; the only place where anything is quoted.

        ``is_asked`` is whether somebody answers what it asks for.
        """
        return _START.format(
            root=shlex.quote(str(self.root)),
            digest=zipapp.digest(),
            asked="true" if is_asked else "false",
            what=words[0],
            before="".join(f"{shlex.quote(word)} " for word in before),
            command=" ".join(shlex.quote(word) for word in words),
        )

    def _bring(self, started: Started) -> None:
        """Answer what the host's shell asks for, until the agent has taken over."""
        connection = started.connection
        try:
            for word in self._words(started):
                if word == "ready":
                    return
                self._answer(word, connection)
        except OSError as error:
            raise self._unreachable(connection.close()) from error

    def _words(self, started: Started) -> Iterator[str]:
        """What the host's shell says to us, among whatever else it prints.

        Raises:
            TransportFailed: it ends, says nothing for too long, or too much.
        """
        reader = started.connection.channel.reader
        silent = threading.Timer(REACH_LIMIT, started.child.kill)
        silent.daemon = True
        silent.start()
        try:
            for _ in range(MOST_NOISE):
                line = reader.readline(4096).decode(errors="replace").strip()
                if not line:
                    raise self._unreachable(started.connection.close())
                if line.startswith(_SAID):
                    silent.cancel()
                    yield line.removeprefix(_SAID)
        finally:
            silent.cancel()
        raise TransportFailed(
            f"{self.host} says too much before the agent starts",
            hint="a start-up file of its shell prints to every session",
        )

    def _answer(self, word: str, connection: Connection) -> None:
        reader, writer = connection.channel.reader, connection.channel.writer
        match word:
            case "first":
                writer.write(f"{_FIRST}\n".encode())
            case "need":
                packed = zipapp.encoded()
                writer.write(f"{len(packed)}\n".encode() + packed)
            case "python":
                found = reader.readline(4096).decode(errors="replace").strip()
                writer.write(self._packed_interpreter(found))
            case "unusable":
                raise HostUnfit(
                    f"{self.host} cannot use the interpreter that the artifact brings",
                    context=tuple(f"| {line}" for line in connection.close().splitlines()),
                    hint="install python3.11 or newer on the host",
                )
            case "other":
                raise HostUnfit(
                    f"{self.host} was set up by another version of nonevent",
                    context=("a key for this app alone finds the agent of that version",),
                    hint=f"with a key of your own: nonevent setup {self.environment}",
                )
            case "root":
                raise HostUnfit(
                    f"{self.root} cannot be made on {self.host}", hint=self._root_hint()
                )
        writer.flush()

    def _packed_interpreter(self, found: str) -> bytes:
        """What a host without a usable Python gets: a line that names it, and the tar.

        Raises:
            HostUnfit: there is none to bring.
        """
        if self.interpreter is None:
            raise HostUnfit(
                f"{self.host} has no Python 3.11 or newer",
                context=(f"it has {found}",) if found else (),
                hint='install python3.11 or newer on the host, or deploy with python = "bundled"',
            )
        packed = self.interpreter.packed()
        digest = hashlib.sha256(packed).hexdigest()
        return f"{self.interpreter.name} {digest} {len(packed)}\n".encode() + packed

    def _root_hint(self) -> str:
        if self.manager == "systemd":
            return f"nonevent setup {self.environment}"
        return f"ssh {self.host} -t 'sudo install -d -o $USER {self.root}'"

    def sudo_asks(self) -> bool:
        """Whether sudo wants a password there."""
        argv = (*self._ssh(), "-n", "-T", self.host, "LC_ALL=C sudo -n true")
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=CONNECT_LIMIT
        )
        return "a password is required" in done.stderr

    def leave(self) -> None:
        """Close the master connection: whoever logs in next has the groups that are new."""
        argv = (*self._ssh(), "-O", "exit", self.host)
        subprocess.run(argv, capture_output=True, check=False, timeout=CONNECT_LIMIT)

    def user(self) -> str:
        """The user that ssh logs in as, by its own configuration; nothing is connected to."""
        argv = (*self._ssh(), "-G", self.host)
        shown = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=CONNECT_LIMIT
        ).stdout
        lines = (line.partition(" ") for line in shown.splitlines())
        return next((value for name, _, value in lines if name == "user"), "")

    def _unreachable(self, said: str) -> TransportFailed:
        lines = tuple(line for line in said.splitlines() if line.strip())
        known = (hint for sign, hint in _HINTS if sign in said)
        return TransportFailed(
            f"{self.host} cannot be reached over ssh",
            context=tuple(f"| {line}" for line in lines[-8:]),
            hint=next(known, f"ssh {self.host} true"),
        )


_ASKS = ("Permission denied", "Host key verification failed")
"""What ssh says where it would have asked for a password, a passphrase, or about a new host."""
_HINTS = (
    ("Host key verification failed", "compare the host's key, then mend known_hosts"),
    ("REMOTE HOST IDENTIFICATION", "compare the host's key, then mend known_hosts"),
    ("Permission denied", "is the right key loaded? `ssh-add -l` lists them"),
    ("Could not resolve", "is the name right, here and in ~/.ssh/config?"),
    ("timed out", "is the host up, and does its firewall let ssh in?"),
    ("Connection refused", "is sshd running on the host, and on that port?"),
)


def ssh_program(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What runs as ssh: ``$NONEVENT_SSH``, as git has ``$GIT_SSH_COMMAND``, or ``ssh``."""
    return tuple(shlex.split(environ.get("NONEVENT_SSH", ""))) or ("ssh",)


def control_folder(environ: Mapping[str, str]) -> Path:
    """Where master connections have their sockets: short, and for this user alone."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    # After su(1) it may be another user's.
    if runtime and folder.is_own(Path(runtime)):
        return Path(runtime) / "nonevent-ssh"
    return Path(f"/tmp/nonevent-{os.getuid()}/nonevent-ssh")  # noqa: S108
