"""Every error that Nonevent raises.

::

    NoneventError
    ├── UsageError                usage                    2
    │   ├── ConfigInvalid         config-invalid           2   all mistakes of a file at once
    │   ├── ConfigMissing         config-missing           2
    │   ├── NotARepository        not-a-repository         2
    │   ├── RefUnknown            ref-unknown              2
    │   ├── ConfigNotCommitted    config-not-committed     2
    │   ├── LockMissing           lock-missing             2
    │   ├── LockStale             lock-stale               2
    │   ├── LockInvalid           lock-invalid             2
    │   ├── VariableMissing       variable-missing         2
    │   ├── ReleaseUnknown        release-unknown          2
    │   └── PythonMissing         python-missing           2
    ├── FormatInvalid             format-invalid           1   a file of ours that cannot be read
    ├── BuildFailed               build-failed             1
    │   └── CommandFailed         command-failed           1   an asset or release command
    ├── ArtifactInvalid           artifact-invalid         1
    ├── TransportFailed           transport-failed         1
    │   └── ProtocolBroken        protocol-broken          1
    ├── HostUnfit                 host-unfit               1
    │   ├── PortTaken             port-taken               1
    │   └── DiskFull              disk-full                1
    ├── WantStale                 want-stale               1
    ├── ImportFailed              import-failed            1
    ├── BootFailed                boot-failed              1
    ├── ProbeFailed               probe-failed             1
    ├── ProofFailed               proof-failed             1   a process runs something else
    ├── DeployFailed              deploy-failed            1   nothing was switched
    │   ├── WentBack              went-back                3   it was, and the host went back
    │   └── NeedsPerson           needs-person             4
    ├── Busy                      busy                     5
    └── Interrupted               interrupted            130

The number is the exit code. The code in the middle is stable: scripts may rely on it.
"""

from __future__ import annotations

from typing import ClassVar

from nonevent.dataclass import dataclass


class NoneventError(Exception):
    """The root: one sentence, evidence below it, and what to do about it.

    ``context`` holds lines of evidence in the order they are to be read; ``hint`` names the
    next command to type; ``serves`` says what serves now. All of these may be empty.
    """

    code: ClassVar[str] = "failed"
    exit_status: ClassVar[int] = 1

    def __init__(
        self, message: str, *, context: tuple[str, ...] = (), hint: str = "", serves: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.context = context
        self.hint = hint
        self.serves = serves

    def as_dict(self) -> dict[str, object]:
        """The error as JSON carries it from the agent to the client."""
        return {
            "code": self.code,
            "message": self.message,
            "context": list(self.context),
            "hint": self.hint,
            "serves": self.serves,
        }


def from_dict(raw: dict[str, object]) -> NoneventError:
    """Rebuild an error that crossed the protocol; an unknown code becomes the root class.

    The text is kept as the agent wrote it, so an older client shows a newer agent's error.
    """
    context = raw.get("context", ())
    lines = tuple(str(line) for line in context) if isinstance(context, list | tuple) else ()
    kind = _by_code(NoneventError).get(str(raw.get("code")), NoneventError)
    error = NoneventError.__new__(kind)
    NoneventError.__init__(
        error,
        str(raw.get("message", "failed without a message")),
        context=lines,
        hint=str(raw.get("hint", "")),
        serves=str(raw.get("serves", "")),
    )
    return error


def _by_code(root: type[NoneventError]) -> dict[str, type[NoneventError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _by_code(child)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake in a file: where it is, what stands there, and what was expected."""

    where: str
    found: str
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        """One line for people."""
        tail = f" ({self.hint})" if self.hint else ""
        where = f"{self.where}: " if self.where else ""
        return f"{where}expected {self.expected}, found {self.found}{tail}"


class UsageError(NoneventError):
    """The command or its configuration is wrong; nothing was started."""

    code = "usage"
    exit_status = 2


class ConfigInvalid(UsageError):
    """A configuration file has mistakes; ``problems`` holds all of them."""

    code = "config-invalid"

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        count = "a mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__(
            f"{file} has {count}",
            context=tuple(str(problem) for problem in problems),
            hint="nonevent check --keys",
        )
        self.file = file
        self.problems = problems


class ConfigMissing(UsageError):
    """There is no configuration here."""

    code = "config-missing"


class NotARepository(UsageError):
    """The folder is not in a git repository, so there is no commit to build."""

    code = "not-a-repository"


class RefUnknown(UsageError):
    """Git knows no such commit, branch or tag."""

    code = "ref-unknown"


class ConfigNotCommitted(UsageError):
    """The commit to build has no configuration."""

    code = "config-not-committed"


class LockMissing(UsageError):
    """The project has no lock file, so its dependencies are not decided."""

    code = "lock-missing"


class LockStale(UsageError):
    """The lock file does not belong to the project's declared dependencies."""

    code = "lock-stale"


class LockInvalid(UsageError):
    """The lock file cannot be read, or does not pin everything."""

    code = "lock-invalid"


class VariableMissing(UsageError):
    """Variables that the app requires have no value in this environment."""

    code = "variable-missing"


class ReleaseUnknown(UsageError):
    """The release that was asked for does not exist on the host."""

    code = "release-unknown"


class PythonMissing(UsageError):
    """No interpreter of the version that the project needs was found."""

    code = "python-missing"


class FormatInvalid(NoneventError):
    """A manifest, want, journal, ledger or message cannot be read; ``problems`` say why."""

    code = "format-invalid"

    def __init__(self, what: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(
            f"{what} cannot be read", context=tuple(str(problem) for problem in problems)
        )
        self.what = what
        self.problems = problems


class BuildFailed(NoneventError):
    """An artifact could not be built; nothing was left behind."""

    code = "build-failed"


class CommandFailed(BuildFailed):
    """A command of the project ended with an error; ``context`` is the end of its output."""

    code = "command-failed"


class ArtifactInvalid(NoneventError):
    """An artifact file is damaged, incomplete, or not what its manifest says."""

    code = "artifact-invalid"


class TransportFailed(NoneventError):
    """The agent could not be reached or started."""

    code = "transport-failed"


class ProtocolBroken(TransportFailed):
    """The other side of the connection does not speak our protocol, or went away."""

    code = "protocol-broken"


class HostUnfit(NoneventError):
    """The release cannot run on this host, and nothing was sent."""

    code = "host-unfit"


class PortTaken(HostUnfit):
    """Another process holds the port that the app is to be reached at."""

    code = "port-taken"


class DiskFull(HostUnfit):
    """There is not enough room, in bytes or in inodes."""

    code = "disk-full"


class WantStale(NoneventError):
    """The host's ledger has moved since the want was made."""

    code = "want-stale"


class ImportFailed(NoneventError):
    """A module that a service names cannot be imported on the host; nothing was started."""

    code = "import-failed"


class BootFailed(NoneventError):
    """A service of the new release did not start, or did not stay up."""

    code = "boot-failed"


class ProbeFailed(NoneventError):
    """A service of the new release did not answer as it must."""

    code = "probe-failed"


class ProofFailed(NoneventError):
    """The kernel shows a process that runs something other than its release."""

    code = "proof-failed"


class DeployFailed(NoneventError):
    """A plan failed before traffic moved; the release that served still serves."""

    code = "deploy-failed"


class WentBack(DeployFailed):
    """A plan failed after traffic had moved, and the host went back."""

    code = "went-back"
    exit_status = 3


class NeedsPerson(DeployFailed):
    """A plan failed and the host could not go back by itself."""

    code = "needs-person"
    exit_status = 4


class Busy(NoneventError):
    """Another command holds the lock, or a person locked the environment."""

    code = "busy"
    exit_status = 5


class Interrupted(NoneventError):
    """The operator interrupted the command."""

    code = "interrupted"
    exit_status = 130
