"""Where settings come from: flags over environment over a TOML file over defaults.

Values are judged one by one, each with the name of the place it came from, so that a person sees
every mistake at once and where to mend it.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import msgspec

from onhand.errors import SettingsError
from onhand.model.validate import choices, worded
from onhand.settings import Settings
from onhand.units import parse_duration, parse_size_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

ENV_PREFIX: Final = "ONHAND_"
CONFIG_ENV: Final = "ONHAND_CONFIG"

_NEAR_MISS: Final = 0.85
"""Likeness from which an unknown ONHAND_ variable counts as a misspelt setting."""


class SettingField(msgspec.Struct, frozen=True, kw_only=True):
    """One field of :class:`~onhand.settings.Settings` and how it is given from outside."""

    name: str
    type: Any
    default: Any
    description: str
    flags: tuple[str, ...]
    parse: str | None
    secret: bool
    lowest: float | None
    highest: float | None

    @property
    def env(self) -> str:
        """The environment variable that sets it."""
        return ENV_PREFIX + self.name.upper()

    @property
    def is_flag(self) -> bool:
        """Whether its command-line option takes no value."""
        return isinstance(self.default, bool)


class _Given(msgspec.Struct, frozen=True):
    origin: str
    value: Any


def settings_fields() -> tuple[SettingField, ...]:
    """Describe every setting, in the struct's order."""
    hints = get_type_hints(Settings, include_extras=True)
    return tuple(_describe(field, hints[field.name]) for field in msgspec.structs.fields(Settings))


def load_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> Settings:
    """Gather the settings and check them.

    Parameters
    ----------
    flags
        Values from the command line by field name; None means not given.
    environ
        The environment, by default the process's own.
    config
        A TOML file; left out, the one that ``ONHAND_CONFIG`` names, if any.

    Raises
    ------
    SettingsError
        Naming every value that is unknown or out of bounds and where it was given.
    """
    environ = os.environ if environ is None else environ
    if config is None and environ.get(CONFIG_ENV):
        config = Path(environ[CONFIG_ENV])
    fields = {field.name: field for field in settings_fields()}
    given: dict[str, _Given] = {}
    problems: list[str] = []
    if config is not None:
        _take_file(config, fields, given, problems)
    _take_environment(environ, fields, given, problems)
    for name, value in (flags or {}).items():
        if value is not None:
            given[name] = _Given(f"--{name.replace('_', '-')}", value)
    values = _convert_all(given, fields, problems)
    if problems:
        raise SettingsError("; ".join(problems), "See docs/reference/settings.md for all settings")
    return Settings(**values)


def _describe(field: msgspec.structs.FieldInfo, hint: Any) -> SettingField:
    meta = next(part for part in hint.__metadata__ if isinstance(part, msgspec.Meta))
    extra = meta.extra or {}
    default = field.default
    if default is msgspec.NODEFAULT:
        default = field.default_factory()
    option = f"--{field.name.replace('_', '-')}"
    return SettingField(
        name=field.name,
        type=hint,
        default=default,
        description=meta.description or "",
        flags=() if extra.get("no_flag") else (*extra.get("flags", ()), option),
        parse=extra.get("parse"),
        secret=bool(extra.get("secret")),
        lowest=meta.ge,
        highest=meta.le,
    )


def _take_file(
    path: Path,
    fields: Mapping[str, SettingField],
    given: dict[str, _Given],
    problems: list[str],
) -> None:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        what = f"cannot read the settings file {path}: {error.strerror}"
        raise SettingsError(what, f"Correct --config or {CONFIG_ENV}") from error
    except ValueError as error:
        what = f"the settings file {path} is not valid TOML: {error}"
        raise SettingsError(what, "Correct the file") from error
    for name, value in document.items():
        if name in fields:
            given[name] = _Given(f"{name} in {path}", value)
        else:
            problems.append(f"{name} in {path} is no setting{_did_you_mean(name, fields)}")


def _take_environment(
    environ: Mapping[str, str],
    fields: Mapping[str, SettingField],
    given: dict[str, _Given],
    problems: list[str],
) -> None:
    for field in fields.values():
        text = environ.get(field.env)
        # Empty is how compose files and charts leave a variable out.
        if text and not _is_service_link(text):
            given[field.name] = _Given(field.env, text)
    for variable in environ:
        name = variable.removeprefix(ENV_PREFIX).lower()
        # Other ONHAND_ variables belong to tools and platforms; only a slip of a setting is ours.
        if variable.startswith(ENV_PREFIX) and name not in fields and variable != CONFIG_ENV:
            hint = _did_you_mean(name, fields, _NEAR_MISS)
            if hint:
                problems.append(f"{variable} is no setting{hint}")


def _is_service_link(text: str) -> bool:
    # Kubernetes sets ONHAND_PORT=tcp://10.0.0.1:8000 in every pod beside a service named onhand.
    return text.startswith("tcp://")


def _did_you_mean(name: str, fields: Mapping[str, SettingField], cutoff: float = 0.6) -> str:
    near = difflib.get_close_matches(name, fields, n=1, cutoff=cutoff)
    return f", did you mean {near[0]}" if near else ""


def _convert_all(
    given: Mapping[str, _Given], fields: Mapping[str, SettingField], problems: list[str]
) -> dict[str, Any]:
    values = {}
    for name, item in given.items():
        field = fields[name]
        try:
            values[name] = _convert(field, item.value)
        except ValueError as error:
            shown = "" if field.secret else f" {item.value!r}"
            problems.append(f"{item.origin}{shown}: {_rule(field, error)}")
    return values


def _rule(field: SettingField, error: ValueError) -> str:
    listed = ", ".join(choices(field.type))
    if listed:
        return f"must be one of {listed}"
    # All that comes from the environment is text; saying so helps nobody.
    return worded(str(error)).removesuffix(", got string")


def _convert(field: SettingField, value: Any) -> Any:
    if isinstance(value, str):
        if field.parse == "duration":
            value = parse_duration(value)
        elif field.parse == "size":
            value = parse_size_bytes(value)
        elif isinstance(field.default, dict):
            value = msgspec.json.decode(value)
    elif field.parse == "duration" and not isinstance(value, timedelta):
        msg = 'write a duration as text with its unit, such as "72h"'
        raise ValueError(msg)
    # Text from the environment may stand for a number or a boolean; a file's own types may not.
    return msgspec.convert(value, field.type, strict=not isinstance(value, str), dec_hook=_path)


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, (str, Path)) and str(value):
        return Path(value).expanduser()
    msg = f"Expected a path, got {value!r}"
    raise ValueError(msg)
