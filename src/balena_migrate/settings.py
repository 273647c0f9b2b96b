# SPDX-License-Identifier: Apache-2.0
"""Settings: one table, read from the settings file and from flags; never executed.

The keys, their defaults and their meaning are those of the project's first description; the keys that came later
follow them. Every key is also a flag: HOME_DIR is --home-dir.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import urlsplit

from balena_migrate.core.errors import ConfigError
from balena_migrate.core.handover import TermExit
from balena_migrate.core.system import System

S = TypeVar("S", bound=StrEnum)

CONFIG_FILES = ("/etc/balena-migrate.conf", "/etc/balena-migration.conf")


class Strategy(StrEnum):
    DEFAULT = "DEFAULT"


class Keep(StrEnum):
    """What of this device's identity the new system can be asked to take over."""

    HOSTNAME = "hostname"
    SSH_KEYS = "ssh-keys"
    TIME_SERVERS = "time-servers"
    DNS_SERVERS = "dns-servers"
    COUNTRY = "country"
    MACHINE_ID = "machine-id"
    SSH_HOST_KEYS = "ssh-host-keys"


class Probe(StrEnum):
    """What is tried from this device because the new system will need it."""

    API = "api"
    VPN = "vpn"
    TIME = "time"


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings, each with its final value."""

    strategy: Strategy = Strategy.DEFAULT
    home_dir: str = "./"
    no_flash: bool = True
    term_exit: TermExit = TermExit.CONTINUE
    no_setup: bool = False
    do_reboot: bool = False
    image_name: str = ""
    debug: bool = False
    log_drive: str = ""
    log_fs_type: str = "ext4"
    backup_file: str = "backup.tgz"
    backup_script: str = ""
    backup_directories: tuple[str, ...] = ("/etc",)
    grub_boot_dev: str = "hd0"
    has_wifi_cfg: bool = False
    migrate_all_wifis: bool = False
    migrate_wifi_cfg: str = ""
    allow_offline: bool = False
    config_json: str = ""
    untested: bool = False
    backup_volumes: tuple[str, ...] = ()
    change_device_type: bool = False
    keep: tuple[Keep, ...] = ()
    skip_checks: tuple[Probe, ...] = ()
    check_timeout: int = 10
    proxy: str = field(default="", repr=False)

    def in_home(self, name: str) -> str:
        """The absolute path of a file that a setting names: as it is, or in HOME_DIR."""
        return os.path.normpath(os.path.join(self.home_dir, name))


def parse_flag(text: str) -> bool:
    """TRUE or FALSE in any case; empty is FALSE, as an unset shell variable would be."""
    value = text.strip().upper()
    if value in ("TRUE", "YES", "1"):
        return True
    if value in ("", "FALSE", "NO", "0"):
        return False
    raise ValueError("has to be TRUE or FALSE")


def parse_words(text: str) -> tuple[str, ...]:
    """Words, separated by blanks; one that holds a blank stands in quotes."""
    return tuple(shlex.split(text))


def parse_set(kind: type[S], text: str) -> tuple[S, ...]:
    """Words of a closed set, each once."""
    try:
        return tuple(kind(word) for word in dict.fromkeys(text.split()))
    except ValueError:
        raise ValueError(f"has to be words of: {' '.join(kind)}") from None


def parse_keep(text: str) -> tuple[Keep, ...]:
    return parse_set(Keep, text)


def parse_probes(text: str) -> tuple[Probe, ...]:
    return parse_set(Probe, text)


def parse_seconds(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,2}", text):
        raise ValueError("has to be from 1 to 999 seconds")
    return int(text)


def parse_proxy(text: str) -> str:
    """An address that may hold a password, so none of it is in an error."""
    try:
        parts = urlsplit(text)
        good = not text or (parts.scheme == "http" and parts.hostname and parts.port)
    except ValueError:
        good = False
    if not good:
        raise ValueError("has to be an address such as http://proxy.example.com:3128")
    return text


def parse_paths(text: str) -> tuple[str, ...]:
    """Absolute paths, separated by blanks; one that holds a blank stands in quotes."""
    paths = tuple(shlex.split(text))
    for path in paths:
        if not path.startswith("/"):
            raise ValueError(f"{path!r} is not an absolute path")
    return paths


def parse_name(text: str) -> str:
    """A plain file name: no folder, not empty."""
    if not text or "/" in text or text in (".", "..") or "\0" in text:
        raise ValueError("has to be a file name without a folder")
    return text


def parse_strategy(text: str) -> Strategy:
    if text == "RESIZE":
        raise ValueError("the strategy RESIZE is not available; leave the setting out")
    try:
        return Strategy(text)
    except ValueError:
        raise ValueError('has to be "DEFAULT"') from None


def parse_term_exit(text: str) -> TermExit:
    try:
        return TermExit(" ".join(text.split()))
    except ValueError:
        raise ValueError('has to be "exit 0" or "reboot -f"') from None


def parse_grub_device(text: str) -> str:
    if not re.fullmatch(r"[hf]d[0-9]+", text):
        raise ValueError('has to be a GRUB disk such as "hd0"')
    return text


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the table: the key in the file, how its text is read, and what it is for."""

    key: str
    parse: Callable[[str], Any]
    help: str

    @property
    def field(self) -> str:
        return self.key.lower()

    @property
    def flag(self) -> str:
        return "--" + self.key.lower().replace("_", "-")

    @property
    def is_flag(self) -> bool:
        return self.parse is parse_flag


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(key=key, parse=parse, help=text)
    for key, parse, text in (
        ("STRATEGY", parse_strategy, "how to migrate; only DEFAULT: all in memory, then flash"),
        ("HOME_DIR", str, "the folder that holds the image and the other files"),
        ("NO_FLASH", parse_flag, "stop before the flash and return to the old system (the default)"),
        ("TERM_EXIT", parse_term_exit, 'how stage 2 ends early: "exit 0" boots on, "reboot -f" reboots'),
        ("NO_SETUP", parse_flag, "make everything, but do not change what boots next"),
        ("DO_REBOOT", parse_flag, "reboot 5 s after stage 1 is done"),
        ("IMAGE_NAME", parse_name, "the balenaOS image, a file in HOME_DIR"),
        ("DEBUG", parse_flag, "boot the initramfs with the kernel argument debug"),
        ("LOG_DRIVE", str, "a partition on another disk that gets stage 2's log"),
        ("LOG_FS_TYPE", str, "the file system on LOG_DRIVE"),
        ("BACKUP_FILE", parse_name, "the name of the backup in HOME_DIR and on resin-data"),
        ("BACKUP_SCRIPT", str, "a program that makes the backup; it gets the file's path as its argument"),
        ("BACKUP_DIRECTORIES", parse_paths, "what to back up where there is no BACKUP_SCRIPT"),
        ("GRUB_BOOT_DEV", parse_grub_device, "the disk as GRUB names it, where the search by UUID fails"),
        ("HAS_WIFI_CFG", parse_flag, "the image holds resin-wifi-01 already: number ours from 02"),
        ("MIGRATE_ALL_WIFIS", parse_flag, "take all Wi-Fi networks along"),
        ("MIGRATE_WIFI_CFG", str, "a file in HOME_DIR with the names of the Wi-Fi networks to take along"),
        ("ALLOW_OFFLINE", parse_flag, "go on where the connection in use has no counterpart in the new system"),
        ("CONFIG_JSON", str, "the fleet's config.json, a file in HOME_DIR or an absolute path"),
        ("UNTESTED", parse_flag, "go on where this system or device was never tested"),
        ("BACKUP_VOLUMES", parse_words, 'back up into volumes: "volume=/path ...", or a YAML file in HOME_DIR'),
        ("CHANGE_DEVICE_TYPE", parse_flag, "write the image's device type into config.json"),
        ("KEEP", parse_keep, f"what the new system keeps: {' '.join(Keep)}"),
        ("SKIP_CHECKS", parse_probes, f"do not try whether the fleet is reached from here: {' '.join(Probe)}"),
        ("CHECK_TIMEOUT", parse_seconds, "how many seconds each step of such a try may take"),
        ("PROXY", parse_proxy, "the HTTP proxy for such a try, where the environment names none"),
    )
)

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")


def parse_settings(text: str, source: str) -> dict[str, Any]:
    """The settings of a file of KEY="value" lines, as values for the fields of Config.

    Quotes and comments are those of the shell, but nothing is expanded. The last of two lines with one key wins.
    Raises ConfigError with the line for an unknown key, a bad value, or a line of another form.
    """
    values: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip().removeprefix("\ufeff")
        if not stripped or stripped.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(stripped)
        if match is None:
            raise ConfigError('not a line of the form KEY="value"', source=source, line=number)
        value = _unquote(match[2], source, number)
        setting = find_setting(match[1], source, number)
        values[setting.field] = parse_value(setting, value, source, number)
    return values


def _unquote(text: str, source: str, line: int) -> str:
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        raise ConfigError(f"{error}".lower(), source=source, line=line) from None
    if len(words) > 1:
        raise ConfigError("a value with blanks has to stand in quotes", source=source, line=line)
    return words[0] if words else ""


def find_setting(key: str, source: str = "", line: int = 0) -> Setting:
    """The row for a key. Raises ConfigError for an unknown one, with the nearest name."""
    names = [setting.key for setting in SETTINGS]
    if key in names:
        return SETTINGS[names.index(key)]
    nearest = difflib.get_close_matches(key.upper(), names, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "balena-migrate run --help lists all settings"
    raise ConfigError(f"unknown setting {key}", source=source, line=line, hint=hint)


def parse_value(setting: Setting, text: str, source: str, line: int = 0) -> Any:
    """The value of a setting. Raises ConfigError for a bad one."""
    try:
        if "\0" in text:
            raise ValueError("holds a NUL byte")
        return setting.parse(text)
    except ValueError as error:
        raise ConfigError(f"{setting.key} {error}", source=source, line=line) from None


def read_config(system: System, file: str | None, flags: Mapping[str, Any]) -> Config:
    """Defaults, then the settings file, then flags (fields of Config; None is not given); HOME_DIR is absolute.

    `file` names the settings file; without it the first of CONFIG_FILES that exists is read, if any.
    """
    path = file or next((name for name in CONFIG_FILES if system.exists(name)), None)
    values: dict[str, Any] = {}
    if path is not None:
        if not system.exists(path):
            raise ConfigError("there is no such file", source=path)
        values = parse_settings(system.read_text(path), path)
    values.update({name: value for name, value in flags.items() if value is not None})
    assert set(values) <= {f.name for f in fields(Config)}
    config = Config(**values)
    return replace(config, home_dir=os.path.abspath(config.home_dir))
