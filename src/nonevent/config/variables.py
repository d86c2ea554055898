"""The variables of an environment: its settings, and apart from them its secrets."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from dotenv.parser import parse_stream

from nonevent.config.env import EXPECTED, is_variable
from nonevent.config.secret import Secret
from nonevent.errors import ConfigInvalid, Problem, UsageError, VariableMissing
from nonevent.model.parse import plain

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from nonevent.config.app import App, Environment
    from nonevent.model.manifest import Manifest


def settings_file(environment: str) -> str:
    """Where the settings of an environment stand, beside the configuration."""
    return f"etc/{environment}.env"


def secrets_file(environment: str) -> str:
    """Where the secrets of an environment stand, beside the configuration."""
    return f"etc/{environment}.secrets.env"


def settings(folder: Path, environment: Environment) -> tuple[dict[str, str], dict[str, Secret]]:
    """The settings and the secrets of an environment, by name.

    A setting in ``etc/X.env`` wins over ``[environments.X.env]``. What is the same in every
    environment, ``[env]``, travels in the artifact; both of these win over it.

    Raises:
        ConfigInvalid: where a line of a file is no variable, with every such line.
        UsageError: where others may read the secrets, a file cannot be read, or a variable is
            both a setting and a secret.
    """
    secrets_path = folder / secrets_file(environment.name)
    _refuse_open(secrets_path, secrets_file(environment.name))
    plain = {
        **dict(environment.env),
        **_read(folder, settings_file(environment.name)),
    }
    secrets = _read(folder, secrets_file(environment.name))
    both = sorted(plain.keys() & secrets.keys())
    if both:
        raise UsageError(
            f"{', '.join(both)} is both a setting and a secret of `{environment.name}`",
            hint=f"keep it in {secrets_file(environment.name)} alone",
        )
    return plain, {name: Secret(value) for name, value in secrets.items()}


def require(app: App | Manifest, environment: Environment, given: Collection[str]) -> None:
    """Refuse an environment in which a variable is missing that the app requires.

    Raises:
        VariableMissing: naming all that are missing, and the file to put them in.
    """
    missing = [name for name in app.required if name not in given]
    if missing:
        what = "a variable" if len(missing) == 1 else f"{len(missing)} variables"
        raise VariableMissing(
            f"{what} that `{app.app}` requires {'is' if len(missing) == 1 else 'are'} "
            f"missing in `{environment.name}`: {', '.join(missing)}",
            hint=f"put {', '.join(f'{name}=…' for name in missing)} into "
            f"{secrets_file(environment.name)} (mode 600), "
            f"or into {settings_file(environment.name)} if it is no secret",
        )


def read_variables(text: str, file: str) -> dict[str, str]:
    """The variables in the text of an env file; nothing in a value is expanded.

    Raises:
        ConfigInvalid: with the number of every line that is no ``NAME=value``.
    """
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for binding in parse_stream(io.StringIO(text)):
        source = binding.original.string
        number = binding.original.line + source[: len(source) - len(source.lstrip())].count("\n")
        where = f"line {number}"
        if binding.error or (binding.key is not None and binding.value is None):
            # The line itself is not shown: it may hold a secret.
            problems.append(Problem(where=where, found="something else", expected="NAME=value"))
        elif binding.key is not None:
            if not is_variable(binding.key):
                problems.append(
                    Problem(
                        where=where, found=f"the name `{plain(binding.key)}`", expected=EXPECTED
                    )
                )
            found[binding.key] = binding.value or ""
    if problems:
        raise ConfigInvalid(file, tuple(problems))
    return found


def _read(folder: Path, name: str) -> dict[str, str]:
    try:
        text = (folder / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text") from error
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from error
    return read_variables(text, name)


def _refuse_open(path: Path, name: str) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if mode & 0o077:
        raise UsageError(f"{name} can be read by others", hint=f"chmod 600 {name}")
