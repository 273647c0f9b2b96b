# SPDX-License-Identifier: Apache-2.0
"""What the new system must have, read from the old system's disk before the device is powered on.

Deliberately independent of the code that migrates, and simpler: it knows the forms that the virtual devices use.
Whatever else a user's own files contain is reported as not compared.
"""

from __future__ import annotations

import configparser
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from balena_migrate.core.system import System
from balena_migrate.settings import Config, read_config
from balena_migrate.workstation.lab.owner import WifiNetwork
from balena_migrate.workstation.lab.snapshot import file_hash, is_noise

WPA_SUPPLICANT = "etc/wpa_supplicant/wpa_supplicant.conf"
KEYFILES = "etc/NetworkManager/system-connections"
PLAIN_KINDS = {"", "WPA-PSK", "NONE"}
"""key_mgmt of networks that are fully described by a name and a passphrase."""


class UnforeseenError(ValueError):
    """A network of a form that is not supported here."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the settings ask for. `backup` is path -> SHA-256; None if its content is unknown or there is no plain
    backup. `unforeseen` names the networks that cannot be predicted."""

    config: Config
    networks: frozenset[WifiNetwork] = field(repr=False)
    backup: Mapping[str, str] | None
    unforeseen: tuple[str, ...] = ()


def read_expected(root: Path, script_folders: tuple[str, ...] = ()) -> Expected:
    """What a migration of the system below `root` must carry over. Raises ConfigError for invalid settings."""
    config = read_config(System(root), None, {})
    networks, unforeseen = _read_networks(root)
    if config.migrate_wifi_cfg:
        names = (root / config.in_home(config.migrate_wifi_cfg).lstrip("/")).read_text(errors="replace").splitlines()
        networks = [network for network in networks if network.ssid in names]
    elif not config.migrate_all_wifis:
        networks, unforeseen = [], []
    folders = script_folders if config.backup_script else config.backup_directories
    return Expected(
        config=config,
        networks=frozenset(networks),
        backup=_files_below(root, folders) if folders else None,
        unforeseen=tuple(unforeseen),
    )


def _read_networks(root: Path) -> tuple[list[WifiNetwork], list[str]]:
    """The system's Wi-Fi networks, and the places of those of an unsupported form."""
    known, unforeseen = [], []
    for place, read in _sources(root):
        try:
            known += list(filter(None, [read()]))
        except ValueError as error:
            unforeseen.append(f"{place}: {error}")
    return known, unforeseen


def _sources(root: Path) -> Iterator[tuple[str, Callable[[], WifiNetwork | None]]]:
    path = root / WPA_SUPPLICANT
    text = path.read_text(errors="surrogateescape") if path.is_file() else ""
    blocks = re.findall(r"^\s*network=\{\n(.*?)^\s*\}", text, re.DOTALL | re.MULTILINE)
    for number, block in enumerate(blocks, start=1):
        yield f"{WPA_SUPPLICANT}, network {number}", functools.partial(parse_block, block)
    for keyfile in sorted((root / KEYFILES).glob("*")):
        yield f"{KEYFILES}/{keyfile.name}", functools.partial(_read_keyfile, keyfile)


def _read_keyfile(path: Path) -> WifiNetwork | None:
    return parse_keyfile(path.read_text())


def parse_block(block: str) -> WifiNetwork:
    """A network={} block with a plain name; a key of 64 hexadecimal digits has no quotes. Raises UnforeseenError."""
    values = dict(re.findall(r"^\s*(\w+)=(.*?)\s*$", block, re.MULTILINE))
    name = re.fullmatch(r'"([^"]*)"', values.get("ssid", ""))
    if name is None or not name[1].isprintable():
        raise UnforeseenError("its SSID is not plain text")
    if values.get("key_mgmt", "") not in PLAIN_KINDS:
        raise UnforeseenError(f"key_mgmt={values['key_mgmt']}")
    return WifiNetwork(ssid=name[1], passphrase=values.get("psk", "").strip('"'))


def parse_keyfile(text: str) -> WifiNetwork | None:
    """The Wi-Fi network of a keyfile; None if it describes another kind of connection. Raises UnforeseenError."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    try:
        parser.read_string(text)
    except configparser.Error:
        raise UnforeseenError("not a supported keyfile") from None
    if not parser.has_option("wifi", "ssid"):
        return None
    if parser.has_section("802-1x"):
        raise UnforeseenError("802.1X")
    passphrase = parser.get("wifi-security", "psk", fallback="")
    return WifiNetwork(ssid=_read_ssid(parser["wifi"]["ssid"]), passphrase=passphrase.replace("\\;", ";"))


def _read_ssid(value: str) -> str:
    """Text, or decimal byte values, each followed by ";" (nm-settings-keyfile(5))."""
    if not re.fullmatch(r"([0-9]+;)+", value):
        return value
    try:
        return bytes(map(int, value.split(";")[:-1])).decode()
    except ValueError:
        raise UnforeseenError("its SSID is not plain text") from None


def _files_below(root: Path, folders: Iterable[str]) -> dict[str, str]:
    """Path -> SHA-256."""
    files: dict[str, str] = {}
    for folder in folders:
        files |= {
            str(path.relative_to(root)): file_hash(path)
            for path in (root / folder.lstrip("/")).rglob("*")
            if path.is_file() and not path.is_symlink()
        }
    return {path: digest for path, digest in files.items() if not is_noise(path)}
