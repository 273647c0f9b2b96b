# SPDX-License-Identifier: Apache-2.0
"""docs/man/balena-migrate.1: the commands as click knows them, the settings, exit status and files.

Written for man(7), in the few macros that every man knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import rich_click as click

from balena_migrate import VERSION
from balena_migrate.cli import STATUSES, cli
from balena_migrate.core.paths import STAGE1_LOG, STATE_DIR
from balena_migrate.settings import CONFIG_FILES, SETTINGS, SWITCHES, Group, Setting


def manual_page() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="balena-migrate")
    commands = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    lines = [
        '.\\" Written by tools/generate; change the source, not this page.',
        f'.TH BALENA\\-MIGRATE 1 "" "balena\\-migrate {VERSION}"',
        ".SH NAME",
        "balena\\-migrate \\- migrate a running Linux device to balenaOS, remotely and in place",
        ".SH SYNOPSIS",
        ".B balena\\-migrate",
        ".I COMMAND",
        "[\\fIOPTION\\fR]...",
        ".br",
        ".B balena\\-stage1",
        "[\\fIOPTION\\fR]...",
        ".SH DESCRIPTION",
        _text(cli.help or ""),
        ".B balena\\-stage1",
        "is",
        ".B balena\\-migrate run",
        "under its old name.",
        ".SH COMMANDS",
        *(line for name, command in commands.items() if command for line in _command(name, command)),
        ".SH SETTINGS",
        "These options of",
        ".BR check ,",
        ".B plan",
        "and",
        ".B run",
        "are also keys of the settings file.",
        *(line for group in Group for line in _group(group)),
        ".SH EXIT STATUS",
        *(line for status, text in STATUSES.items() for line in _item(str(int(status)), text)),
        ".SH ENVIRONMENT",
        *_item("BALENA_API_KEY", "The token that config takes where no file is named."),
        *_item("BALENA_MIGRATE_DEBUG", "Where it is set, an error is shown with its traceback."),
        ".SH FILES",
        *_item(CONFIG_FILES[0], "The settings."),
        *_item(CONFIG_FILES[1], "The settings, where the first file does not exist."),
        *_item(STATE_DIR, "The journal, by which undo rolls back, and what stage 2 needs."),
        *_item(STAGE1_LOG, "The log of stage 1."),
        ".SH SHELL COMPLETION",
        "For bash, this line in ~/.bashrc completes verbs and options:",
        ".PP",
        '.RS\n.nf\neval "$(_BALENA_MIGRATE_COMPLETE=bash_source balena\\-migrate)"\n.fi\n.RE',
        ".PP",
        "For zsh and fish it is zsh_source and fish_source. The kit of a device does not set it up.",
        ".SH SEE ALSO",
        "docs/settings.md, docs/findings.md and docs/json.md of the source.",
    ]
    return "\n".join(lines) + "\n"


def _command(name: str, command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        for inner, each in command.commands.items():
            yield from _command(f"{name} {inner}", each)
        return
    settings = {setting.field for setting in SETTINGS} | {switch.flag.lstrip("-") for switch in SWITCHES}
    arguments = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
    has_settings = any(p.name == "config_file" for p in command.params)
    options = [p for p in command.params if isinstance(p, click.Option)]
    own = [p for p in options if not (has_settings and p.name in settings)]
    words = [*(["[SETTING]..."] if has_settings else []), *(["[OPTION]..."] if own else []), *arguments]
    yield f".SS {_escape(' '.join([name, *words]))}"
    yield _text(command.help or "")
    for option in own:
        value = option.metavar or (option.type.name.upper() if not option.is_flag else "")
        yield from _item(", ".join(option.opts), option.help or "", value)


def _group(group: Group) -> Iterator[str]:
    yield f".SS {_escape(group.value)}"
    for setting in SETTINGS:
        if setting.group is group:
            yield from _setting(setting)
            for switch in SWITCHES:
                if switch.key == setting.key:
                    yield from _item(switch.flag, switch.help)


def _setting(setting: Setting) -> Iterator[str]:
    default = f"Default: {setting.default}." if setting.default else ""
    example = f"Example: {setting.example}." if setting.example else ""
    text = " ".join(filter(None, (setting.help, setting.details.replace("`", ""), default, example)))
    yield from _item(f"{setting.flag}, {setting.key}", text, "TRUE|FALSE" if setting.is_flag else "VALUE")


def _item(name: str, text: str, value: str = "") -> Iterable[str]:
    argument = f" \\fI{_escape(value)}\\fR" if value else ""
    return (".TP", f"\\fB{_escape(name)}\\fR{argument}", _text(text))


def _text(text: str) -> str:
    """Paragraphs of text, as lines that no macro begins."""
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return "\n.PP\n".join(_escape(part).replace("`", "") for part in paragraphs if part)


def _escape(text: str) -> str:
    """The text for roff: backslashes and hyphens as they are, and no line that begins like a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith(".") else text
