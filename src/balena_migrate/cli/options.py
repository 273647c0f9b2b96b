# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs have: the settings as flags, --config and --json."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import rich_click as click

from balena_migrate.cli.output import Session
from balena_migrate.core.errors import UsageError
from balena_migrate.core.kit import find_kit
from balena_migrate.core.system import System
from balena_migrate.settings import (
    CONFIG_FILES,
    SETTINGS,
    SWITCHES,
    Config,
    Setting,
    Switch,
    find_setting,
    parse_value,
    read_config,
)

F = TypeVar("F", bound=Callable[..., Any])

Flags = dict[str, Any]
"""What was given as flags: the text of a setting by its field of Config, None if it was not given; and the switches,
each by its flag without dashes."""


def settings_options(settings: Iterable[Setting] = SETTINGS) -> Callable[[F], F]:
    """Each of these settings as a flag, in groups, with its switches; and --config."""

    def decorate(function: F) -> F:
        for setting in reversed(tuple(settings)):
            for switch in SWITCHES:
                if switch.key == setting.key:
                    function = switch_option(switch, setting)(function)
            function = setting_option(setting)(function)
        file_help = f"The settings file.  [default: {CONFIG_FILES[0]}, where it exists]"
        return click.option("--config", "config_file", metavar="FILE", help=file_help)(function)

    return decorate


def setting_option(setting: Setting) -> Callable[[F], F]:
    """The flag for a setting; a flag without a value is TRUE."""
    kind: dict[str, Any] = {"is_flag": False, "flag_value": "TRUE"} if setting.is_flag else {}
    default = f"  [default: {setting.default}]" if setting.default else ""
    return click.option(
        setting.flag,
        setting.field,
        metavar="TRUE|FALSE" if setting.is_flag else "VALUE",
        help=setting.help + default,
        panel=setting.group.value,
        **kind,
    )


def switch_option(switch: Switch, setting: Setting) -> Callable[[F], F]:
    """The plain flag."""
    return click.option(switch.flag, is_flag=True, help=switch.help, panel=setting.group.value)


def _remember_json(ctx: click.Context, _: click.Parameter, as_json: bool) -> bool:
    session = ctx.find_object(Session)
    if session:
        session.as_json = as_json
    return as_json


json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    is_eager=True,
    callback=_remember_json,
    help="Print one JSON document, also where it fails; docs/json.md describes it.",
)


fresh_option = click.option(
    "--fresh",
    is_flag=True,
    help="Read the image again, also where it has not changed since it was read.",
)


def device_system() -> System:
    """The device that we run on, with the kit's programs where we run from a kit."""
    kit = find_kit()
    return System("/", programs=kit.programs() if kit else {})


def config_from(system: System, config_file: str | None, flags: Flags) -> Config:
    """The settings from file and flags. Raises ConfigError, and UsageError for flags that contradict each other."""
    fields = {setting.field: setting for setting in SETTINGS}
    values = {
        name: parse_value(fields[name], text, fields[name].flag)
        for name, text in flags.items()
        if name in fields and text is not None
    }
    for switch in SWITCHES:
        if flags.get(switch.flag.lstrip("-")):
            setting = find_setting(switch.key)
            wanted = parse_value(setting, switch.value, switch.flag)
            if values.setdefault(setting.field, wanted) != wanted:
                raise UsageError(
                    f"{switch.flag} and {setting.flag} contradict each other", hint="leave one of them out"
                )
    return read_config(system, config_file, values)
