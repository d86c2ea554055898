"""Building: from a commit to an artifact."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import operator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

from nonevent.build.app import AppLayer, finish, install_local, open_workshop, run_commands
from nonevent.build.artifact import Artifact, write
from nonevent.build.bundle import build_bundle, bundle_key
from nonevent.build.cache import scratch, write_beside
from nonevent.build.deps import making_deps
from nonevent.build.event import Noticed, counted, phase
from nonevent.build.lock.base import Project
from nonevent.build.lock.kinds import find_lock, lock_digest, read_lock
from nonevent.build.platform import Target, refuse_compiled
from nonevent.build.process import clean_environment
from nonevent.build.python import Interpreter, find_python, wanted
from nonevent.build.source import Source, export, find_source, submodules
from nonevent.build.uv import uv_version
from nonevent.config.read import FILES, NONEVENT, app_among
from nonevent.errors import ArtifactInvalid, BuildFailed, ConfigMissing, ConfigNotCommitted
from nonevent.model.manifest import Manifest, Python
from nonevent.model.parse import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nonevent.build.event import Report
    from nonevent.build.lock.base import Locked
    from nonevent.build.stored import Stored
    from nonevent.config.app import App

FORMAT = 4
"""Counts up when the same input gives another artifact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be built, from what, and where it goes."""

    project: Path
    output: Path
    cache: Path
    """``$XDG_CACHE_HOME/nonevent``; may be removed at any time."""
    ref: str = "HEAD"
    dirty: bool = False
    """Whether the working tree's changes are taken along."""
    platform: str = ""
    """One of :data:`~nonevent.model.manifest.PLATFORMS`; empty for this machine's."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """The environment of the caller, of which little is passed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An artifact, and whether it was there already."""

    path: Path
    manifest: Manifest
    reused: bool


def build(request: Request, report: Report) -> Built:
    """The artifact of a commit; nothing is made where it is there already.

    Raises:
        UsageError: where the project, its lock or its configuration cannot be built from.
        BuildFailed: where a step failed; nothing is left behind.
    """
    request.cache.mkdir(parents=True, exist_ok=True)
    cache = request.cache.resolve()
    env = clean_environment(request.environ)
    # A wheel that was built with other flags must not come from the cache of other projects.
    env.setdefault("UV_CACHE_DIR", str(cache / "uv"))
    source = find_source(request.project, ref=request.ref, dirty=request.dirty, env=env)
    app = _configuration(source)
    _notice_changes(source, report)
    want = wanted(
        app.python.version,
        pinned=source.text(".python-version") or "",
        pyproject=source.text("pyproject.toml") or "",
        pipfile=source.text("Pipfile") or "",
    )
    python = find_python(want, env=env, scratch=cache, python=app.python)
    bundle = bundle_key(python) if app.python.bundled else ""
    target = Target(python=python, platform=request.platform or python.platform)
    if target.is_elsewhere and bundle:
        raise BuildFailed(
            f"the interpreter in {python.prefix} is not for {target.platform}",
            hint=f"build on a {target.platform} machine, or without a bundled interpreter",
        )
    record = cache / "artifacts" / f"{_key(source, target, bundle)[:32]}.json"
    if not source.dirty and (known := _known(record, request.output)):
        return known
    with scratch(cache) as work:
        job = _Job(
            request=request, source=source, app=app, target=target, env=env, cache=cache, work=work
        )
        try:
            built = _build(job, report)
        except OSError as error:
            place = f" at {error.filename}" if error.filename else ""
            raise BuildFailed(
                f"the build could not write or read{place}: {error.strerror}",
                hint="is there room on the disk? the cache may be removed: " + str(cache),
            ) from error
    if not source.dirty:
        record.parent.mkdir(exist_ok=True)
        size = built.path.stat().st_size
        write_beside(record, canonical({"name": built.path.name, "size": size}))
    return built


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What all phases of one build share."""

    request: Request
    source: Source
    app: App
    target: Target
    env: dict[str, str]
    cache: Path
    work: Path

    @property
    def python(self) -> Interpreter:
        """What builds."""
        return self.target.python


def _build(job: _Job, report: Report) -> Built:
    with phase(report, "source", f"{job.source.commit[:7]} {job.source.subject}"):
        root = job.work / "export"
        folder = export(job.source, root)
    for name in submodules(job.source) if (root / ".gitmodules").is_file() else ():
        report(
            Noticed(
                message=f"the submodule {name} is not in this build",
                hint="commit its files, or install it from its lock",
            )
        )
    lock = find_lock(
        folder, root, configured=job.app.build.lock, working=job.source.root / job.source.prefix
    )
    digest = lock_digest(lock)
    project = Project(
        folder=folder,
        root=root,
        groups=job.app.build.groups,
        extras=job.app.build.extras,
        python=job.python,
        env=job.env,
        cache=job.cache,
    )
    with phase(report, "lock", lock.name):
        locked = read_lock(project, lock)
    bundle = _bundle(job, report)
    own = functools.partial(making_deps, locked, cache=job.cache, config=folder, env=job.env)
    with ExitStack() as stack:
        with phase(report, "dependencies", f"Python {job.python.version}") as current:
            deps = stack.enter_context(own(job.target, bundle=bundle.ref.id if bundle else ""))
            current.detail = counted(len(deps.packages), "package") + ", unchanged" * deps.reused
        tools = deps
        if job.target.is_elsewhere and job.app.build.commands:
            # Commands run here, so they get the same packages as they are for here.
            here = Target(python=job.python, platform=job.python.platform)
            tools = stack.enter_context(own(here, bundle=""))
        finished = _build_app(job, tools.tree, locked, folder, report)
        if tools is not deps:
            tools.stored()
        with phase(report, "artifact") as current:
            layers = (deps.stored(), bundle) if bundle else (deps.stored(),)
            manifest = _manifest(job, digest, layers, finished)
            packed = (finished.packed, *(each.packed for each in layers))
            path = write(job.request.output, manifest, packed)
            current.detail = path.name
    return Built(path=path, manifest=manifest, reused=False)


def _bundle(job: _Job, report: Report) -> Stored | None:
    """The interpreter as a layer, where it is to travel."""
    if not job.app.python.bundled:
        return None
    with phase(report, "python", job.python.version) as current:
        made = build_bundle(job.python, cache=job.cache, env=job.env)
        current.detail += ", unchanged" * made.reused
    return made


def _build_app(job: _Job, deps: Path, locked: Locked, folder: Path, report: Report) -> AppLayer:
    shop = open_workshop(deps, folder, work=job.work, python=job.python, env=job.env)
    if locked.local:
        names = (job.app.app if path == folder else path.name for path in locked.local)
        with phase(report, "project", ", ".join(names)):
            install_local(shop, locked.local, version=f"0+g{job.source.commit[:12]}")
        if job.target.is_elsewhere:
            refuse_compiled(shop.tree, job.target)
    run_commands(shop, job.app, report)
    with phase(report, "app") as current:
        finished = finish(shop, job.app, frames=job.work / "frames", report=report)
        current.detail = counted(finished.ref.files, "file")
    return finished


def _manifest(job: _Job, lock: str, layers: tuple[Stored, ...], finished: AppLayer) -> Manifest:
    needs = functools.reduce(operator.or_, (each.needs for each in layers), finished.needs)
    installed = itertools.chain(*(each.packages for each in layers), finished.packages)
    app = job.app
    return Manifest(
        app=app.app,
        commit=job.source.commit,
        subject=job.source.subject,
        dirty=job.source.dirty,
        lock=lock,
        python=Python(version=job.python.version, abi=job.python.abi),
        platform=job.target.platform,
        glibc=needs.glibc,
        cpu=needs.cpu,
        libraries=needs.libraries,
        packages=tuple(sorted(dict(installed).items())),
        services=app.services,
        release=app.release,
        required=app.required,
        env=tuple(sorted(app.env)),
        layers=(finished.ref, *(each.ref for each in layers)),
    )


def _configuration(source: Source) -> App:
    """The configuration as it is committed.

    Raises:
        ConfigNotCommitted: where it is only in the working tree.
        ConfigMissing, ConfigInvalid: see :mod:`nonevent.config.read`.
    """
    texts = {name: text for name in FILES if (text := source.text(name)) is not None}
    try:
        return app_among(texts, where=f"commit {source.commit[:7]}")
    except ConfigMissing:
        if not (source.root / source.prefix / NONEVENT).is_file():
            raise
    raise ConfigNotCommitted(
        f"{NONEVENT} is not in commit {source.commit[:7]}, and a build takes only what is",
        hint=f"git add {NONEVENT} && git commit -m 'Add {NONEVENT}'",
    )


def _notice_changes(source: Source, report: Report) -> None:
    if source.changed and not source.dirty:
        files = counted(source.changed, "changed file")
        report(
            Noticed(
                message=f"this build takes commit {source.commit[:7]}, without {files} of the "
                "working tree",
                hint="commit them, or pass --dirty",
            )
        )


def _key(source: Source, target: Target, bundle: str) -> str:
    """What decides an artifact's bytes; lock and configuration are part of the commit."""
    inputs = [
        FORMAT,
        version("nonevent"),
        uv_version(),
        source.commit,
        source.prefix,
        target.python.version,
        target.python.abi,
        target.python.platform,
        target.platform,
        bundle,
    ]
    return hashlib.sha256(canonical(inputs)).hexdigest()


def _known(record: Path, output: Path) -> Built | None:
    """The artifact that an earlier build of the same made, if it is still there and whole."""
    try:
        known = json.loads(record.read_bytes())
        path = output / known["name"]
        if path.stat().st_size != known["size"]:
            return None
        artifact = Artifact.open(path)
    except (OSError, ValueError, ArtifactInvalid):
        return None
    same = artifact.manifest.filename == path.name
    return Built(path=path, manifest=artifact.manifest, reused=True) if same else None
