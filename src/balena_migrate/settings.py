# SPDX-License-Identifier: Apache-2.0
"""Settings: one table, read from the settings file and from flags; never executed.

The original keys, their defaults and their meanings are those of the project's first description. Every key is also a
flag: HOME_DIR is --home-dir. `--help`, the manual page and docs/settings.md are generated from this table.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import partial
from pathlib import PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from balena_migrate.core.errors import ConfigError
from balena_migrate.core.handover import TermExit
from balena_migrate.core.system import System

S = TypeVar("S", bound=StrEnum)

CONFIG_FILES = ("/etc/balena-migrate.conf", "/etc/balena-migration.conf")


class Group(StrEnum):
    """Groups of settings, in the order of `--help`."""

    IMAGE = "Image and files"
    MIGRATION = "Migration"
    BOOT = "Boot and log"
    BACKUP = "Backup"
    NETWORK = "Network"
    CARRIED = "Carried over"
    CHECKS = "Checks"


class StrategyName(StrEnum):
    DEFAULT = "DEFAULT"


class InitramfsName(StrEnum):
    """The ways to make the initramfs of stage 2."""

    COMPOSED = "composed"
    INITRAMFS_TOOLS = "initramfs-tools"


class Keep(StrEnum):
    """The parts of this device's identity that the new system can keep."""

    HOSTNAME = "hostname"
    SSH_KEYS = "ssh-keys"
    TIME_SERVERS = "time-servers"
    DNS_SERVERS = "dns-servers"
    COUNTRY = "country"
    MACHINE_ID = "machine-id"
    SSH_HOST_KEYS = "ssh-host-keys"


class Probe(StrEnum):
    """A connectivity check: this device tries what the new system will need."""

    API = "api"
    VPN = "vpn"
    TIME = "time"


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings, each with its final value."""

    image_name: str = ""
    home_dir: str = "./"
    config_json: str = ""
    change_device_type: bool = False
    strategy: StrategyName = StrategyName.DEFAULT
    no_flash: bool = True
    no_setup: bool = False
    do_reboot: bool = False
    term_exit: TermExit = TermExit.CONTINUE
    initramfs: InitramfsName = InitramfsName.COMPOSED
    debug: bool = False
    log_drive: str = ""
    log_fs_type: str = "ext4"
    grub_boot_dev: str = "hd0"
    backup_file: str = "backup.tgz"
    backup_script: str = ""
    backup_directories: tuple[str, ...] = ("/etc",)
    backup_volumes: tuple[str, ...] = ()
    has_wifi_cfg: bool = False
    migrate_all_wifis: bool = False
    migrate_wifi_cfg: str = ""
    keep: tuple[Keep, ...] = ()
    untested: bool = False
    allow_offline: bool = False
    skip_checks: tuple[Probe, ...] = ()
    check_timeout: int = 10
    proxy: str = field(default="", repr=False)

    def in_home(self, name: str) -> str:
        """The absolute path of a file named by a setting, which is absolute or relative to HOME_DIR."""
        return os.path.normpath(PurePosixPath(self.home_dir, name))


def parse_flag(text: str) -> bool:
    """TRUE or FALSE in any case; empty is FALSE, as an unset shell variable would be."""
    value = text.strip().upper()
    if value in ("TRUE", "YES", "1"):
        return True
    if value in ("", "FALSE", "NO", "0"):
        return False
    raise ValueError("must be TRUE or FALSE")


def parse_words(text: str) -> tuple[str, ...]:
    """Words, separated by spaces; a word that contains a space is in quotes."""
    return tuple(shlex.split(text))


def parse_set(kind: type[S], text: str) -> tuple[S, ...]:
    """Words of a closed set, each once."""
    try:
        return tuple(kind(word) for word in dict.fromkeys(text.split()))
    except ValueError:
        raise ValueError(f"must consist of words from: {' '.join(kind)}") from None


def parse_seconds(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,2}", text):
        raise ValueError("must be 1 to 999 seconds")
    return int(text)


def parse_proxy(text: str) -> str:
    """An address, which may contain a password, so no error repeats any of it."""
    try:
        parts = urlsplit(text)
        good = not text or (parts.scheme == "http" and parts.hostname and parts.port)
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be an address such as http://proxy.example.com:3128")
    return text


def parse_paths(text: str) -> tuple[str, ...]:
    """Absolute paths, separated by spaces; a path that contains a space is in quotes."""
    paths = tuple(shlex.split(text))
    for path in paths:
        if not path.startswith("/"):
            raise ValueError(f"{path!r} is not an absolute path")
    return paths


def parse_name(text: str) -> str:
    """A plain file name: no folder, not empty."""
    if not text or "/" in text or text in (".", "..") or "\0" in text:
        raise ValueError("must be a file name without a folder")
    return text


def parse_image_name(text: str) -> str:
    """A file below HOME_DIR, or an absolute path."""
    path = PurePosixPath(text)
    if not path.name or ".." in path.parts or "\0" in text:
        raise ValueError("must be an absolute path, or that of a file below HOME_DIR")
    return text


def parse_strategy(text: str) -> StrategyName:
    if text == "RESIZE":
        raise ValueError("cannot be RESIZE, which is not available; omit the setting")
    try:
        return StrategyName(text)
    except ValueError:
        raise ValueError('must be "DEFAULT"') from None


def parse_initramfs(text: str) -> InitramfsName:
    try:
        return InitramfsName(text)
    except ValueError:
        raise ValueError(f"must be one of: {' '.join(InitramfsName)}") from None


TERM_EXITS = {"exit 0": TermExit.CONTINUE, "reboot -f": TermExit.REBOOT}


def parse_term_exit(text: str) -> TermExit:
    try:
        return TERM_EXITS[" ".join(text.split())]
    except KeyError:
        raise ValueError('must be "exit 0" or "reboot -f"') from None


def parse_grub_device(text: str) -> str:
    if not re.fullmatch(r"[hf]d[0-9]+", text):
        raise ValueError('must be a GRUB disk such as "hd0"')
    return text


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the table: the key in the file, how its text is read, and what it is for."""

    key: str
    group: Group
    parse: Callable[[str], Any]
    help: str
    example: str = ""
    """A value, if neither the default nor the help shows what one looks like."""
    details: str = ""
    """Details that do not fit into `--help`."""

    @property
    def field(self) -> str:
        return self.key.lower()

    @property
    def flag(self) -> str:
        return "--" + self.key.lower().replace("_", "-")

    @property
    def is_flag(self) -> bool:
        return self.parse is parse_flag

    @property
    def default(self) -> str:
        """The default as in a settings file, or ""."""
        value = getattr(Config(), self.field)
        if isinstance(value, TermExit):
            return next(text for text, known in TERM_EXITS.items() if known is value)
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        return " ".join(value) if isinstance(value, tuple) else str(value)


SETTINGS: tuple[Setting, ...] = (
    Setting(
        key="IMAGE_NAME",
        group=Group.IMAGE,
        parse=parse_image_name,
        help="The balenaOS image: a file below HOME_DIR or an absolute path.",
        example="balena-cloud-gates-raspberrypi4-64-6.0.10.img.gz",
        details="Required.",
    ),
    Setting(
        key="HOME_DIR",
        group=Group.IMAGE,
        parse=str,
        help="The folder of the image and of the other files.",
        example="/srv/migrate",
        details="A relative path starts at the folder in which balena-migrate is started.",
    ),
    Setting(
        key="CONFIG_JSON",
        group=Group.IMAGE,
        parse=str,
        help="The fleet's config.json: a file in HOME_DIR or an absolute path.",
        example="config.json",
        details="Without it, and without one in the image, the new system does not join a fleet.",
    ),
    Setting(
        key="CHANGE_DEVICE_TYPE",
        group=Group.IMAGE,
        parse=parse_flag,
        help="Write the image's device type into config.json.",
        details="Without it, a config.json for another device type than the image's is refused.",
    ),
    Setting(
        key="STRATEGY",
        group=Group.MIGRATION,
        parse=parse_strategy,
        help="How to migrate; DEFAULT loads all files into memory, then flashes.",
        details="DEFAULT is the only strategy.",
    ),
    Setting(
        key="NO_FLASH",
        group=Group.MIGRATION,
        parse=parse_flag,
        help="Stop stage 2 before the flash and return to the old system.",
        details="This is the default, so that a first run is a rehearsal. `--flash` is the same as `NO_FLASH=FALSE`.",
    ),
    Setting(
        key="NO_SETUP",
        group=Group.MIGRATION,
        parse=parse_flag,
        help="Prepare everything, but do not change what boots next.",
    ),
    Setting(
        key="DO_REBOOT",
        group=Group.MIGRATION,
        parse=parse_flag,
        help="Reboot 5 s after stage 1 is done.",
        details="`--reboot` is the same as `DO_REBOOT=TRUE`.",
    ),
    Setting(
        key="TERM_EXIT",
        group=Group.MIGRATION,
        parse=parse_term_exit,
        help='How stage 2 ends before the flash: "exit 0" boots on, "reboot -f" reboots.',
        example="reboot -f",
    ),
    Setting(
        key="INITRAMFS",
        group=Group.BOOT,
        parse=parse_initramfs,
        help="How the initramfs of stage 2 is made: composed or initramfs-tools.",
        example="initramfs-tools",
        details=(
            "`composed` needs none of the device's programs: the kit and the kernel modules that this device needs."
            " `initramfs-tools` runs the device's own mkinitramfs, with its hooks."
        ),
    ),
    Setting(
        key="DEBUG",
        group=Group.BOOT,
        parse=parse_flag,
        help="Boot the initramfs with the kernel argument debug.",
        details="The initramfs's log is then in /run/initramfs/initramfs.debug.",
    ),
    Setting(
        key="LOG_DRIVE",
        group=Group.BOOT,
        parse=str,
        help="A partition on another disk for stage 2's log.",
        example="/dev/disk/by-uuid/3c1f7a52-9d0e-4b39-8e21-5c1b8a7e2f41",
        details=(
            "The log is migrate.log in its root folder. A name such as /dev/sdb1 works as well, but may be another"
            " disk's after the next start of the old system."
        ),
    ),
    Setting(key="LOG_FS_TYPE", group=Group.BOOT, parse=str, help="The file system of LOG_DRIVE."),
    Setting(
        key="GRUB_BOOT_DEV",
        group=Group.BOOT,
        parse=parse_grub_device,
        help="GRUB's name of the disk, for use if its search by UUID fails.",
        example="hd1",
    ),
    Setting(
        key="BACKUP_FILE",
        group=Group.BACKUP,
        parse=parse_name,
        help="The name of the backup in HOME_DIR and on resin-data.",
    ),
    Setting(
        key="BACKUP_SCRIPT",
        group=Group.BACKUP,
        parse=str,
        help="A program that makes the backup; its argument is the file to write.",
        example="backup.sh",
        details="It takes the place of BACKUP_DIRECTORIES.",
    ),
    Setting(
        key="BACKUP_DIRECTORIES",
        group=Group.BACKUP,
        parse=parse_paths,
        help="The directories to back up if there is no BACKUP_SCRIPT.",
        example="/etc /home/pi",
        details="Absolute paths, separated by spaces; a path that contains a space is in quotes.",
    ),
    Setting(
        key="BACKUP_VOLUMES",
        group=Group.BACKUP,
        parse=parse_words,
        help='Back up into volumes: "volume=/path ...", or a YAML file in HOME_DIR.',
        example="data=/var/lib/gate",
        details="The supervisor unpacks them into the volumes of the fleet's services.",
    ),
    Setting(
        key="HAS_WIFI_CFG",
        group=Group.NETWORK,
        parse=parse_flag,
        help="The image contains resin-wifi-01 already: number ours from 02.",
    ),
    Setting(key="MIGRATE_ALL_WIFIS", group=Group.NETWORK, parse=parse_flag, help="Migrate all Wi-Fi networks."),
    Setting(
        key="MIGRATE_WIFI_CFG",
        group=Group.NETWORK,
        parse=str,
        help="A file in HOME_DIR with the SSIDs of the Wi-Fi networks to migrate.",
        example="wifis.txt",
        details="One SSID on each line.",
    ),
    Setting(
        key="KEEP",
        group=Group.CARRIED,
        parse=partial(parse_set, Keep),
        help=f"What the new system keeps of: {' '.join(Keep)}.",
        example="hostname ssh-keys",
        details="Words, separated by spaces.",
    ),
    Setting(
        key="UNTESTED",
        group=Group.CHECKS,
        parse=parse_flag,
        help="Continue although this system or device was never tested.",
    ),
    Setting(
        key="ALLOW_OFFLINE",
        group=Group.CHECKS,
        parse=parse_flag,
        help="Continue although the connection in use cannot be migrated.",
    ),
    Setting(
        key="SKIP_CHECKS",
        group=Group.CHECKS,
        parse=partial(parse_set, Probe),
        help=f"Connectivity checks to skip: {' '.join(Probe)}.",
        example="vpn time",
        details="Words, separated by spaces.",
    ),
    Setting(
        key="CHECK_TIMEOUT",
        group=Group.CHECKS,
        parse=parse_seconds,
        help="Time limit for each step of a connectivity check, in seconds.",
        details="From 1 to 999.",
    ),
    Setting(
        key="PROXY",
        group=Group.CHECKS,
        parse=parse_proxy,
        help="The HTTP proxy for the connectivity checks.",
        example="http://proxy.example.com:3128",
        details="Without it, they use the proxy set in the environment.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Switch:
    """A plain flag that sets a setting to a fixed value."""

    flag: str
    key: str
    value: str
    help: str


SWITCHES = (
    Switch(flag="--flash", key="NO_FLASH", value="FALSE", help="Flash the image: NO_FLASH=FALSE."),
    Switch(flag="--reboot", key="DO_REBOOT", value="TRUE", help="Reboot into stage 2: DO_REBOOT=TRUE."),
)

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")


def parse_settings(text: str, source: str) -> dict[str, Any]:
    """The settings of a file of KEY="value" lines, as values for the fields of Config.

    Quoting and comments are the shell's, but nothing is expanded. If a key occurs twice, the last line wins. Raises
    ConfigError, with the line number, for an unknown key, an invalid value, or a malformed line.
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
        raise ConfigError("a value with spaces must be in quotes", source=source, line=line)
    return words[0] if words else ""


def find_setting(key: str, source: str = "", line: int = 0) -> Setting:
    """The row for a key. Raises ConfigError for an unknown key, with the closest name."""
    names = [setting.key for setting in SETTINGS]
    if key in names:
        return SETTINGS[names.index(key)]
    nearest = difflib.get_close_matches(key.upper(), names, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "balena-migrate run --help lists all settings"
    raise ConfigError(f"unknown setting {key}", source=source, line=line, hint=hint)


def parse_value(setting: Setting, text: str, source: str, line: int = 0) -> Any:
    """The value of a setting. Raises ConfigError for an invalid one."""
    try:
        if "\0" in text:
            raise ValueError("contains a NUL byte")
        return setting.parse(text)
    except ValueError as error:
        raise ConfigError(f"{setting.key} {error}", source=source, line=line) from None


def read_config(system: System, file: str | None, flags: Mapping[str, Any]) -> Config:
    """Defaults, overridden by the settings file, then by flags (fields of Config or None); HOME_DIR becomes absolute.

    `file` is the settings file; by default, the first of CONFIG_FILES that exists, if any.
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
