# SPDX-License-Identifier: Apache-2.0
"""What has to be on the new system, read from the old one's disk before the device is switched on.

Written apart from the code that migrates, on purpose, and simpler: it knows the forms that the virtual devices use.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from balena_migrate.core.system import System
from balena_migrate.settings import Config, read_config
from balena_migrate.workstation.lab.owner import WifiNetwork
from balena_migrate.workstation.lab.snapshot import file_hash, is_noise

WPA_SUPPLICANT = "etc/wpa_supplicant/wpa_supplicant.conf"
KEYFILES = "etc/NetworkManager/system-connections"


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the settings ask for. `backup` is path -> SHA-256; None where there is no plain one, or another
    program decides what is in it."""

    config: Config
    networks: frozenset[WifiNetwork] = field(repr=False)
    backup: Mapping[str, str] | None


def read_expected(root: Path) -> Expected:
    """What a migration of the system below `root` has to bring along. Raises ConfigError for bad settings."""
    config = read_config(System(root), None, {})
    return Expected(config=config, networks=frozenset(_wanted(root, config)), backup=_backup_files(root, config))


def _wanted(root: Path, config: Config) -> Iterator[WifiNetwork]:
    """The Wi-Fi networks to take along: all, those that a file names, or none (the first description's settings)."""
    known = {network.ssid: network for network in (*_from_wpa_supplicant(root), *_from_keyfiles(root))}
    if config.migrate_wifi_cfg:
        names = (root / config.in_home(config.migrate_wifi_cfg).lstrip("/")).read_text().splitlines()
        yield from (known[name] for name in names if name in known)
    elif config.migrate_all_wifis:
        yield from known.values()


def _from_wpa_supplicant(root: Path) -> Iterator[WifiNetwork]:
    """The networks with a plain name; a key of 64 hexadecimal digits stands without quotes."""
    path = root / WPA_SUPPLICANT
    text = path.read_text(errors="replace") if path.is_file() else ""
    for block in re.findall(r"^\s*network=\{\n(.*?)^\s*\}", text, re.DOTALL | re.MULTILINE):
        ssid = re.search(r'^\s*ssid="([^"\n]*)"', block, re.MULTILINE)
        psk = re.search(r'^\s*psk="?([^"\n]*)"?', block, re.MULTILINE)
        if ssid:
            yield WifiNetwork(ssid=ssid[1], passphrase=psk[1] if psk else "")


def _from_keyfiles(root: Path) -> Iterator[WifiNetwork]:
    for path in sorted((root / KEYFILES).glob("*")):
        if network := parse_keyfile(path.read_text()):
            yield network


def parse_keyfile(text: str) -> WifiNetwork | None:
    """The Wi-Fi network of a keyfile, if it is one of these."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.read_string(text)
    if not parser.has_option("wifi", "ssid"):
        return None
    passphrase = parser.get("wifi-security", "psk", fallback="")
    return WifiNetwork(ssid=_read_ssid(parser["wifi"]["ssid"]), passphrase=passphrase.replace("\\;", ";"))


def _read_ssid(value: str) -> str:
    """Text, or the numbers of its bytes, each with a ";" behind it (nm-settings-keyfile(5))."""
    if re.fullmatch(r"([0-9]+;)+", value):
        return bytes(map(int, value.split(";")[:-1])).decode()
    return value


def _backup_files(root: Path, config: Config) -> dict[str, str] | None:
    if config.backup_script or not config.backup_directories:
        return None
    files: dict[str, str] = {}
    for folder in config.backup_directories:
        files |= {
            str(path.relative_to(root)): file_hash(path)
            for path in (root / folder.lstrip("/")).rglob("*")
            if path.is_file() and not path.is_symlink()
        }
    return {path: digest for path, digest in files.items() if not is_noise(path)}
