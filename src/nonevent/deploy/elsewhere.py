"""Building on another machine, over ssh: in a folder there that is gone afterwards.

The commit travels with its id and nothing before it, and so does this very Nonevent; what both
need, the machine gets from its index.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import subprocess
import tarfile
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

import nonevent
from nonevent.build.artifact import verify
from nonevent.build.build import Built
from nonevent.build.cache import publish
from nonevent.build.process import clean_environment, run
from nonevent.build.source import find_source
from nonevent.errors import BuildFailed, UsageError

if TYPE_CHECKING:
    from typing import IO

    from nonevent.build.build import Request
    from nonevent.transport.ssh import Ssh

GIT_LIMIT = 300.0
END_LIMIT = 60.0
_SAID = b"nonevent: artifact "
_NOISE = 200
"""Lines that a chatty shell may print before the artifact."""
_CHUNK = 1 << 20

# Whatever ends it, also that nobody is there any more: the folder goes. The build has a session of
# its own, so that what it started can be ended.
SCRIPT = """\
dir=$(mktemp -d "${{TMPDIR:-/tmp}}/nonevent-XXXXXX") || exit 73
trap 'kill -- "-$child" 2>/dev/null; kill "$watch" 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 143' HUP INT TERM
head -c {size} | tar -xzf - -C "$dir" || exit 74
exec 3<&0
(cat <&3 > /dev/null; kill -TERM $$) > /dev/null 2>&1 & watch=$!
setsid sh -c {build} sh "$dir" < /dev/null >&2 3<&- & child=$!
wait "$child" || exit $?
for file in "$dir"/out/*.tar.zst; do
  echo "nonevent: artifact $(basename "$file") $(($(wc -c < "$file")))"
  cat "$file"
done
"""
_BUILD = """\
cd "$1" || exit 73
for name in python3 python3.15 python3.14 python3.13 python3.12 python3.11; do
  if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python="$name"; break
  fi
done
[ "$python" ] || {{ echo 'this machine has no Python 3.11 or newer'; exit 69; }}
git clone --quiet --no-checkout commit.git project || exit 69
git -C project checkout --quiet --detach {commit} || exit 69
"$python" -m venv tools > said 2>&1 || uv venv --quiet --seed tools || {{ cat said; exit 69; }}
tools/bin/python -m pip install --quiet --disable-pip-version-check -r needs.txt || exit 69
export PYTHONPATH="$1/nonevent" XDG_CACHE_HOME="$1/cache"
exec tools/bin/python -P -m nonevent.cli build {commit} --project project/{prefix} \\
  --output out > said
"""


def build_on(host: Ssh, request: Request) -> Built:
    """The artifact of a commit, built on a host and brought back.

    Raises:
        UsageError: what is wanted can only be built here.
        TransportFailed: the host cannot be reached.
        BuildFailed: with what stands on the terminal above; nothing is left there.
    """
    if request.dirty or request.platform:
        raise UsageError("--on builds a commit, without --dirty, for the machine it is built on")
    if host.host.startswith("-"):
        raise UsageError(f"{host.host!r} is no host")
    env = clean_environment(request.environ)
    source = find_source(request.project, ref=request.ref, dirty=False, env=env)
    packed = _packed(source.root, source.commit, env)
    build = _BUILD.format(
        commit=source.commit, prefix=shlex.quote(source.prefix) if source.prefix else ""
    )
    script = SCRIPT.format(size=len(packed), build=shlex.quote(build))
    child = subprocess.Popen(
        host.start(script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdin  # noqa: S101  (both are pipes)
    assert child.stdout  # noqa: S101
    try:
        child.stdin.write(packed)
        child.stdin.flush()
        built = _receive(child.stdout, request.output)
    except BrokenPipeError:
        built = None
    finally:
        # The host's shell notices, and cleans up.
        child.stdout.close()
        _close(child.stdin)
        status = _ended(child)
    if built is None:
        raise BuildFailed(
            f"the build on {host.host} failed, with exit code {status}",
            hint=f"what it needs stands above; ssh {host.host} looks there",
        )
    return built


def _close(stream: IO[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        stream.close()


def _ended(child: subprocess.Popen[bytes]) -> int:
    try:
        return child.wait(timeout=END_LIMIT)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _packed(root: Path, commit: str, env: dict[str, str]) -> bytes:
    """All that the other machine needs, in a tar."""
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(fileobj=out, mode="w:gz") as packed:
        packed.add(_alone(root, commit, Path(scratch), env), "commit.git")
        needs = Path(scratch, "needs.txt")
        needs.write_text("".join(f"{line}\n" for line in _needs()))
        packed.add(needs, needs.name)
        package = Path(nonevent.__file__).parent
        packed.add(package, "nonevent/nonevent", filter=_without_byte_code)
        about = "nonevent/nonevent.dist-info/METADATA"
        text = (distribution("nonevent").read_text("METADATA") or "").encode()
        member = tarfile.TarInfo(about)
        member.size = len(text)
        packed.addfile(member, io.BytesIO(text))
    return out.getvalue()


def _without_byte_code(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name else member


def _alone(root: Path, commit: str, scratch: Path, env: dict[str, str]) -> Path:
    """A repository of one commit, without those before it."""
    made = scratch / "commit.git"
    for words in (
        ("init", "--quiet", "--bare", str(made)),
        (
            "-C",
            str(made),
            "fetch",
            "--quiet",
            "--depth",
            "1",
            root.as_uri(),
            f"{commit}:refs/heads/build",
        ),
        ("-C", str(made), "symbolic-ref", "HEAD", "refs/heads/build"),
    ):
        ended = run(("git", *words), cwd=scratch, env=env, limit=GIT_LIMIT)
        if ended.status != 0:
            raise BuildFailed("the commit could not be packed", context=ended.quoted(10))
    return made


def _needs() -> list[str]:
    """What this Nonevent runs on, in the versions that it runs on here."""
    wanted = (Requirement(line) for line in distribution("nonevent").requires or ())
    plain = {each.name for each in wanted if each.marker is None or each.marker.evaluate()}
    return sorted(f"{name}=={distribution(name).version}" for name in plain)


def _receive(stream: IO[bytes], output: Path) -> Built | None:
    """Write the artifact that arrives into a folder; None where none does.

    Raises:
        ArtifactInvalid: it is not whole.
    """
    for _ in range(_NOISE):
        line = stream.readline(4096)
        if not line:
            return None
        if line.startswith(_SAID):
            break
    else:
        return None
    name, size = line.removeprefix(_SAID).decode().split()
    output.mkdir(parents=True, exist_ok=True)
    file = output / Path(name).name
    with tempfile.NamedTemporaryFile(dir=output, prefix=".", suffix=".part", delete=False) as out:
        beside = Path(out.name)
        try:
            left = int(size)
            while left and (chunk := stream.read(min(left, _CHUNK))):
                out.write(chunk)
                left -= len(chunk)
            out.flush()
            beside.chmod(0o644)
            manifest = verify(beside).manifest
            publish(beside, file)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    return Built(path=file, manifest=manifest, reused=False)
