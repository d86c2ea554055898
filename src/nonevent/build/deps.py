"""The deps layer: a virtualenv that can stand anywhere, without its interpreter.

uv makes it. What names this machine is taken out: the host makes ``bin/python`` itself, and
``pyvenv.cfg`` without ``home`` works wherever that link leads.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from nonevent.build.bytecode import compile_tree, compiled_by
from nonevent.build.earlier import Made, earlier_of
from nonevent.build.installed import packages_in, settle
from nonevent.build.layer import Known
from nonevent.build.lock.parts import COMMON, only, parts
from nonevent.build.platform import refuse_without_wheels, uv_options
from nonevent.build.stored import Filled, Making, making
from nonevent.build.unchanged import NOTHING, unchanged_since
from nonevent.build.uv import settings_of, uv, uv_version
from nonevent.errors import BuildFailed, LockInvalid
from nonevent.model.parse import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from nonevent.build.earlier import Earlier
    from nonevent.build.lock.base import Locked
    from nonevent.build.platform import Target
    from nonevent.build.unchanged import Linked, Unchanged

FORMAT = 4
"""Of the layer's making: counts up when the same input gives other bytes."""

_USELESS = re.compile(r"activate.*|deactivate.*|pydoc\.bat|python(\d.*)?|pypy.*")
_MARKERS = (".lock", ".gitignore", "CACHEDIR.TAG")


def made_from(locked: Locked, target: Target, bundle: str, settings: str) -> Made:
    """What decides the layer's bytes, each package for itself; see :func:`settings_of`."""
    terms = {
        "format": FORMAT,
        "file": locked.file,
        "hashed": locked.hashed,
        "python": [target.python.version, target.python.abi, target.platform],
        "compiled": not target.is_elsewhere,
        "bundle": bundle,
        "uv": uv_version(),
    }
    return Made(
        terms=hashlib.sha256(canonical(terms)).hexdigest(),
        settings=settings,
        lock={
            name: hashlib.sha256(text.encode()).hexdigest() for name, text in parts(locked).items()
        },
    )


def layer_key(locked: Locked, made: Made) -> str:
    """What decides the layer's bytes."""
    return hashlib.sha256(canonical([made.terms, locked.text])).hexdigest()


def making_deps(
    locked: Locked,
    target: Target,
    *,
    bundle: str,
    cache: Path,
    config: Path,
    env: Mapping[str, str],
) -> AbstractContextManager[Making]:
    """The layer of a lock, from the cache where it is there.

    ``bundle`` is the id of the python layer, where there is one; ``config`` is the project's
    folder, whose uv settings name private indexes.

    Raises:
        BuildFailed, LockInvalid: with uv's own words.
    """

    def fill(tree: Path, *, alone: bool = False) -> Filled:
        if target.is_elsewhere:
            refuse_without_wheels(locked, target, work=tree.parent, config=config, env=env)
        others = () if alone else folder.parent.glob(f"{maker}-*/")
        earlier = earlier_of(others, made)
        linked = install(locked, tree, target=target, config=config, env=env, like=like(earlier))
        normalise(tree, bundle=bundle)
        compile_tree(
            tree, ("lib",), python=target.python, env=env, earlier=earlier, done=linked.folders
        )
        known = Known()
        if earlier:
            known = Known(entries=linked.entries, frames=earlier.frames, binaries=earlier.binaries)
        return Filled(
            packages=packages_in(site_packages(tree)),
            known=known,
            notes=asdict(made),
        )

    def like(earlier: Earlier | None) -> Unchanged | None:
        return unchanged_since(earlier, made) if earlier else None

    maker = compiled_by(target.python)
    made = made_from(locked, target, bundle, settings_of(config, env))
    folder = cache / "deps" / f"{maker}-{layer_key(locked, made)[:32]}"
    anew = partial(fill, alone=True)
    return making("deps", folder, fill, mark="pyvenv.cfg", anew=anew)


def install(
    locked: Locked,
    tree: Path,
    *,
    target: Target,
    config: Path,
    env: Mapping[str, str],
    like: Unchanged | None = None,
) -> Linked:
    """Make the virtualenv with exactly what is locked; the same packages are linked."""
    linked = NOTHING
    if like:
        left = parts(locked).keys() - like.names
        _make_virtualenv(tree, target=target, env=env)
        try:
            if left - {COMMON}:
                _sync(only(locked, left), tree, target=target, config=config, env=env)
            linked = like.link(tree) or NOTHING
        except BuildFailed:
            pass  # All together says what is wrong, if anything is.
        if linked is NOTHING:
            shutil.rmtree(tree)
    if linked is NOTHING:
        _make_virtualenv(tree, target=target, env=env)
        _sync(locked, tree, target=target, config=config, env=env)
    there = uv_options(target.platform)[:2] if target.is_elsewhere else ()
    checked = uv("pip", "check", "--python", tree, *there, cwd=tree.parent, env=env)
    # Two versions that do not agree may be meant (uv has overrides); one that is missing is not.
    missing = tuple(line for line in checked.stderr.splitlines() if "not installed" in line)
    if missing:
        raise LockInvalid(
            "the lock is not complete", context=missing, hint=_how_to_complete(missing)
        )
    return linked


def _make_virtualenv(tree: Path, *, target: Target, env: Mapping[str, str]) -> None:
    made = uv(
        "venv",
        "--quiet",
        "--relocatable",
        "--no-project",
        "--python",
        target.python.path,
        tree,
        cwd=tree.parent,
        env=env,
    )
    if made.status != 0:
        raise BuildFailed("the virtualenv could not be made", context=made.quoted())


def _sync(
    locked: Locked, tree: Path, *, target: Target, config: Path, env: Mapping[str, str]
) -> None:
    """Install what is locked into an empty virtualenv."""
    file = tree.parent / locked.file
    file.write_text(locked.text, encoding="utf-8")
    options = ("--require-hashes",) if locked.hashed else ()
    there = uv_options(target.platform) if target.is_elsewhere else ()
    synced = uv(
        "pip",
        "sync",
        "--quiet",
        "--allow-empty-requirements",
        "--python",
        tree,
        *options,
        *there,
        file,
        cwd=config,
        env=env,
    )
    file.unlink()
    if synced.status != 0:
        raise BuildFailed("the dependencies could not be installed", context=synced.quoted())
    # Before anything is linked: what an earlier layer has too must not be written to.
    settle(site_packages(tree), tree / "bin", beside=True)


def _how_to_complete(missing: tuple[str, ...]) -> str:
    if any("setuptools" in line for line in missing):
        return "pip-compile leaves setuptools out unless it is given --allow-unsafe"
    return "lock again with the tool that wrote it"


def site_packages(tree: Path) -> Path:
    """Where a virtualenv's packages are."""
    return next((tree / "lib").glob("python3.*")) / "site-packages"


def normalise(tree: Path, *, bundle: str) -> None:
    """Take out of a virtualenv what names this machine, or differs between two of its kind."""
    for name in _MARKERS:
        (tree / name).unlink(missing_ok=True)
    for script in sorted((tree / "bin").iterdir()):
        if _USELESS.fullmatch(script.name):
            script.unlink()
    _normalise_config(tree / "pyvenv.cfg", bundle)


def _normalise_config(file: Path, bundle: str) -> None:
    """What is left decides nothing but which layer this is.

    A host points ``bin/python`` of a layer to one interpreter: a release that brings its own
    must not share the layer with one that does not.
    """
    kept_keys = ("implementation", "version_info", "include-system-site-packages")
    lines = file.read_text().splitlines()
    chosen = [line for line in lines if line.partition("=")[0].strip() in kept_keys]
    own = [f"interpreter = {bundle}"] if bundle else []
    file.write_text("".join(f"{line}\n" for line in chosen + own))
