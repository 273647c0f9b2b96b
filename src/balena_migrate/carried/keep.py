# SPDX-License-Identifier: Apache-2.0
"""KEEP: the parts of this device's identity that its owner wants the new system to keep.

balenaOS reads most of it from config.json: hostname, os.sshKeys, ntpServers, dnsServers and country; the machine id
from a file in resin-state, which stage 2 writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import PurePath
from typing import Any, TypeVar

from balena_migrate.carried.config_json import HOST_NAME, ConfigJson
from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.devices import slug_of
from balena_migrate.settings import Config, Keep

T = TypeVar("T")

CHRONY_FILES = (
    "/etc/chrony/chrony.conf",
    "/etc/chrony.conf",
    "/etc/chrony/sources.d/*.sources",
    "/etc/chrony/conf.d/*.conf",
)
NTP_FILES = (
    "/etc/ntpsec/ntp.conf",
    "/etc/ntpsec/ntp.d/*.conf",
    "/etc/ntp.conf",
    "/etc/openntpd/ntpd.conf",
)
TIMESYNCD_FILES = ("/etc/systemd/timesyncd.conf", "/etc/systemd/timesyncd.conf.d/*.conf")
NETWORKD_FILES = tuple(f"{top}/systemd/network/*.network" for top in ("/etc", "/run"))
"""systemd-timesyncd asks the servers of each link as well (systemd.network(5), NTP=)."""
CONNMAN_FILES = ("/var/lib/connman/*/settings", "/var/lib/connman/*.config", "/etc/connman/main.conf")

VENDOR_POOLS = re.compile(
    r"(.*\.)?(debian|ubuntu|raspbian|centos|rhel|fedora)\.pool\.ntp\.org|(.*\.)?ntp(-bootstrap)?\.ubuntu\.com"
)
"""Default time servers of a distribution, reserved for its users (pool.ntp.org, vendor zones)."""

KEY_TYPES = re.compile(r"(?:^|\s)((?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+)\s+(AAAA[A-Za-z0-9+/]+={0,2})(?:\s|$)")
_COMMAND = re.compile(r'(?:^|,)command="', re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class PreservedSettings:
    """The settings that KEEP asks for; empty if one is not asked for or does not exist."""

    hostname: str = ""
    ssh_keys: tuple[str, ...] = ()
    """Lines of authorized_keys: public keys."""
    time_servers: tuple[str, ...] = ()
    dns_servers: tuple[str, ...] = ()
    country: str = ""
    machine_id: str = ""
    """32 hexadecimal digits; empty if it is not asked for."""
    problems: tuple[str, ...] = ()
    """What is asked for but cannot be kept, and why."""


def read_preserved(
    system: System, config: Config, *, user: str = "", country: str = "", name_servers: Sequence[str] = ()
) -> PreservedSettings:
    """What KEEP asks for, as it is on this device.

    `user` is who started us through sudo ("" for root alone): with root the only one whose SSH keys are taken,
    since a key opens the new system as root. `country` and `name_servers` come from the network settings.
    """
    problems: list[str] = []

    def asked(what: Keep, read: Callable[[], T], empty: T) -> T:
        if what not in config.keep:
            return empty
        try:
            return read()
        except (FileError, _NotKeptError) as error:
            problems.append(str(error))
            return empty

    return PreservedSettings(
        hostname=asked(Keep.HOSTNAME, lambda: _hostname(system), ""),
        ssh_keys=asked(Keep.SSH_KEYS, lambda: _ssh_keys(system, user, problems), ()),
        time_servers=asked(Keep.TIME_SERVERS, lambda: _time_servers(system, problems), ()),
        dns_servers=asked(Keep.DNS_SERVERS, lambda: _dns_servers(name_servers), ()),
        country=asked(Keep.COUNTRY, lambda: _country(country), ""),
        machine_id=asked(Keep.MACHINE_ID, lambda: _machine_id(system), ""),
        problems=tuple(problems),
    )


class _NotKeptError(Exception):
    """Something that is asked for does not exist, or not in a form that balenaOS accepts."""


def _country(country: str) -> str:
    if not country:
        raise _NotKeptError("no country is configured")
    return country


def config_edits(
    preserved: PreservedSettings, config: Config, config_json: ConfigJson | None, image_type: str
) -> dict[str, Any]:
    """The keys of config.json that we set: what is kept, and the device type where CHANGE_DEVICE_TYPE asks for it."""
    edits: dict[str, Any] = {}
    if config.change_device_type and image_type:
        edits["deviceType"] = slug_of(image_type)
    if preserved.hostname:
        edits["hostname"] = preserved.hostname
    if preserved.time_servers:
        edits["ntpServers"] = " ".join(preserved.time_servers)
    if preserved.dns_servers:
        edits["dnsServers"] = " ".join(preserved.dns_servers)
    if preserved.country:
        edits["country"] = preserved.country
    if preserved.ssh_keys:
        edits["os"] = {"sshKeys": list(dict.fromkeys((*_keys_of(config_json), *preserved.ssh_keys)))}
    return edits


def _keys_of(config_json: ConfigJson | None) -> tuple[str, ...]:
    system = config_json.values.get("os") if config_json else None
    keys = system.get("sshKeys") if isinstance(system, dict) else None
    return tuple(key for key in keys if isinstance(key, str)) if isinstance(keys, list) else ()


def _machine_id(system: System) -> str:
    text = (system.find_text("/etc/machine-id") or "").strip()
    if not re.fullmatch("[0-9a-f]{32}", text):
        raise _NotKeptError("/etc/machine-id does not contain a machine id")
    return text


# Host name ----------------------------------------------------------------------------------------------------------


def _hostname(system: System) -> str:
    name = parse_hostname(system.find_text("/etc/hostname") or "")
    if HOST_NAME.fullmatch(name) and len(name) < 64:
        return name
    raise _NotKeptError(f"balenaOS does not accept the host name {name[:64]!r}")


def parse_hostname(text: str) -> str:
    """The name in /etc/hostname: the first line that is not a comment (hostname(5))."""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


# SSH keys -----------------------------------------------------------------------------------------------------------


def _ssh_keys(system: System, user: str, problems: list[str]) -> tuple[str, ...]:
    homes = dict(_homes(system.find_text("/etc/passwd") or ""))
    found: list[str] = []
    for name in dict.fromkeys(("root", user)):
        if name not in homes:
            continue
        path = f"{homes[name]}/.ssh/authorized_keys"
        keys, refused = parse_authorized_keys(system.find_text(path) or "")
        found += keys
        if refused:
            problems.append(f"{path}: {refused} lines are not plain keys (forced commands, or no keys at all)")
    if not found:
        raise _NotKeptError("neither root nor the user who called sudo has authorized SSH keys")
    return tuple(dict.fromkeys(found))


def _homes(passwd: str) -> Iterator[tuple[str, str]]:
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[5].startswith("/"):
            yield fields[0], fields[5].rstrip("/")


def parse_authorized_keys(text: str) -> tuple[tuple[str, ...], int]:
    """The keys of an authorized_keys file with their options (sshd(8)), and how many lines were refused.

    A line with a forced command is refused: the command is one of the old system.
    """
    keys: list[str] = []
    refused = 0
    for line in (line.strip() for line in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        match = KEY_TYPES.search(line)
        if match is None or not line.isprintable() or _COMMAND.search(line[: match.start(1)]):
            refused += 1
        else:
            keys.append(line)
    return tuple(keys), refused


# Servers ------------------------------------------------------------------------------------------------------------


def _time_servers(system: System, problems: list[str]) -> tuple[str, ...]:
    found, refused = parse_ntp_conf(_joined(system, (*CHRONY_FILES, *NTP_FILES)))
    links = [parse_timesyncd_conf(_joined(system, (str(path), f"{path}.d/*.conf"))) for path in _paths(system)]
    of_links = "\n".join(f"NTP={host}" for hosts in links for host in hosts)
    found += parse_timesyncd_conf(f"{_joined(system, TIMESYNCD_FILES)}\n{of_links}")
    found += parse_connman(_joined(system, CONNMAN_FILES))
    problems += (
        f"the time server {host} has a port or a key of its own, for which config.json has no place" for host in refused
    )
    own = tuple(dict.fromkeys(name for name in found if not VENDOR_POOLS.fullmatch(name)))
    if not own and not refused:
        raise _NotKeptError(
            "only the distribution's default time servers are configured; they are reserved for its users"
        )
    return own


def _paths(system: System) -> Iterator[PurePath]:
    return (path for pattern in NETWORKD_FILES for path in system.glob(pattern))


def _joined(system: System, patterns: Sequence[str]) -> str:
    paths = (path for pattern in patterns for path in system.glob(pattern))
    return "\n".join(system.read_text(path) for path in paths)


def parse_ntp_conf(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The hosts of `server`, `servers` and `pool` in chrony.conf(5), ntp.conf(5) and OpenNTPD's ntpd.conf(5); and those
    that have a port or a key of their own, without which they do not answer. Local clocks are skipped."""
    found: list[str] = []
    refused: list[str] = []
    for words in (line.partition("#")[0].split() for line in text.splitlines()):
        if not words or words[0].lower() not in ("server", "servers", "pool"):
            continue
        # ntp.conf(5) has the address family before the host, chrony.conf(5) behind it.
        host, *options = [word for word in words[1:] if word not in ("-4", "-6")] or [""]
        if _is_server(host):
            (refused if {option.lower() for option in options} & {"port", "key"} else found).append(host)
    return tuple(found), tuple(refused)


def parse_timesyncd_conf(text: str) -> tuple[str, ...]:
    """The hosts of NTP= in a timesyncd.conf(5) with its drop-ins; an empty value discards those before it. Without any,
    those of FallbackNTP=."""
    hosts: dict[str, list[str]] = {"NTP": [], "FallbackNTP": []}
    for line in text.splitlines():
        key, mark, value = line.strip().partition("=")
        if mark and key.strip() in hosts:
            hosts[key.strip()] = [*hosts[key.strip()], *value.split()] if value.strip() else []
    return tuple(host for host in hosts["NTP"] or hosts["FallbackNTP"] if _is_server(host))


def parse_connman(text: str) -> tuple[str, ...]:
    """The hosts of Timeservers= of ConnMan's services, and of FallbackTimeservers= in connman.conf(5)."""
    values = re.findall(r"(?m)^[ \t]*(?:Fallback)?Time[sS]ervers[ \t]*=(.*)$", text)
    return tuple(host for value in values for host in re.split(r"[;,\s]+", value) if _is_server(host))


def _dns_servers(name_servers: Sequence[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(server for server in name_servers if _is_dns_server(server)))
    if not found:
        raise _NotKeptError("this device uses no name server that another system could use")
    return found


def _is_dns_server(text: str) -> bool:
    return _is_address(text) and not ip_address(text).is_loopback and not ip_address(text).is_link_local


def _is_server(host: str) -> bool:
    """Whether it is another machine, and one that the new system can name: ntp.conf names clocks in this one
    127.127.x.y, and fe80::1%eth0 has this system's name of an interface."""
    if _is_address(host):
        return not ip_address(host).is_loopback and not ip_address(host).is_link_local
    return HOST_NAME.fullmatch(host) is not None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
