"""Command-line options generated from the settings struct.

.. code-block:: python

    @click.command()
    @settings_options("data", "kafka", "database")
    @click.argument("sku")
    def explain(settings: Settings, sku: str) -> None: ...
"""

from __future__ import annotations

import functools
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from onhand.configuration import CONFIG_ENV, SettingField, load_settings, settings_fields
from onhand.logging import configure_logging
from onhand.model.validate import choices
from onhand.units import format_duration, format_size_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ALWAYS: Final = ("log_format", "log_level")
"""Settings that every command takes."""

Result = TypeVar("Result")


def settings_options(
    *names: str, flags: Mapping[str, Sequence[str]] | None = None
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Give a command the options of settings, and the settings as its first argument.

    Parameters
    ----------
    names
        Fields of :class:`~onhand.settings.Settings`; none means all of them. What a command has
        no option for still comes from the environment and the file.
    flags
        More option names for a field, such as ``{"storefront_worker_count": ["--workers"]}``.

    Notes
    -----
    Logging is configured before the command runs.
    """
    fields = {field.name: field for field in settings_fields() if field.flags}
    chosen = [fields[name] for name in dict.fromkeys((*(names or fields), *ALWAYS))]
    more = flags or {}

    def decorate(command: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(command)
        def with_settings(*, config: Path | None, **arguments: Any) -> Result:
            given = {field.name: arguments.pop(field.name) for field in chosen}
            settings = load_settings(given, config=config)
            configure_logging(settings.log_format, settings.log_level)
            return command(settings, **arguments)

        decorated: Callable[..., Result] = with_settings
        for field in reversed(chosen):
            decorated = _option(field, more.get(field.name, ()))(decorated)
        return _config_option(decorated)

    return decorate


def default_text(field: SettingField) -> str:
    """Write a setting's default as a person would type it."""
    default = field.default
    if field.parse == "duration" and (default is None or isinstance(default, timedelta)):
        return format_duration(default)
    if field.parse == "size":
        return format_size_bytes(default)
    if default is None or default in ("", {}):
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def _option(
    field: SettingField, more: Sequence[str]
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    text = f"{field.description}  [{field.env}; default {default_text(field)}]"
    names = [*more, *field.flags, field.name]
    if field.is_flag:
        return click.option(*names, is_flag=True, default=None, help=text)
    listed = choices(field.type)
    if listed:
        return click.option(*names, default=None, type=click.Choice(listed), help=text)
    return click.option(*names, default=None, metavar=_metavar(field), help=text)


def _metavar(field: SettingField) -> str:
    kinds = {"duration": "DURATION", "size": "SIZE"}
    if field.parse is not None:
        return kinds[field.parse]
    special = {"kafka": "HOST:PORT", "database": "URL", "otlp_endpoint": "URL", "host": "ADDRESS"}
    if field.name in special:
        return special[field.name]
    if isinstance(field.default, Path):
        return "DIR"
    return "N" if isinstance(field.default, (int, float)) else "TEXT"


def _config_option(command: Callable[..., Result]) -> Callable[..., Result]:
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        default=None,
        help=f"TOML file of settings.  [{CONFIG_ENV}]",
    )(command)
