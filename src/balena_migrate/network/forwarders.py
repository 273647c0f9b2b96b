# SPDX-License-Identifier: Apache-2.0
"""The name servers behind a forwarder on the device itself, where resolv.conf names only that.

Source: dnsmasq(8), unbound.conf(5), named.conf(5), pdnsd.conf(5), and Pi-hole's pihole.toml. A server on a port of its
own, or one that is asked over TLS, cannot be asked by the new system and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address

from balena_migrate.core.errors import FileError, NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.network.reading import read_config

_DNSMASQ = ("/etc/dnsmasq.conf", "/etc/dnsmasq.d/*", "/etc/NetworkManager/dnsmasq.d/*")
_UNBOUND = ("/etc/unbound/unbound.conf", "/etc/unbound/*.d/*.conf")
_BIND = ("/etc/bind/named.conf*", "/etc/named.conf")
_PDNSD = ("/etc/pdnsd.conf",)
_PIHOLE = ("/etc/pihole/pihole.toml",)
_NOT_READ = re.compile(r".*(~|\.(bak|dpkg-[a-z]+|ucf-[a-z]+))")
_COMMENT = re.compile(r"(?:^|(?<=\s))(?:#|//)[^\n]*", re.MULTILINE)
_DNS_PORT = "53"


def read_upstreams(system: System) -> tuple[str, ...]:
    """The servers that the forwarders on this device ask for any name. Raises nothing."""
    places: tuple[tuple[tuple[str, ...], Callable[[str], Iterator[str]]], ...] = (
        (_PIHOLE, _of_pihole),
        (_DNSMASQ, _of_dnsmasq),
        (_UNBOUND, _of_unbound),
        (_BIND, _of_bind),
        (_PDNSD, _of_pdnsd),
    )
    found = (
        server
        for patterns, servers_of in places
        for pattern in patterns
        for path in system.glob(pattern)
        if not _NOT_READ.fullmatch(path.name)
        for server in servers_of(_text(system, str(path)))
    )
    return tuple(dict.fromkeys(found))


def _text(system: System, path: str) -> str:
    """The file without its comments, and that which it names with resolv-file=; nothing where it cannot be read."""
    try:
        text = read_config(system, path)
        named = re.search(r"(?m)^[ \t]*resolv-file\s*=\s*(/\S+)", text)
        text += f"\n{read_config(system, named[1])}" if named else ""
    except (FileError, NetworkConfigError):
        return ""
    return _COMMENT.sub("", _without_blocks(text))


def _without_blocks(text: str) -> str:
    """The text without what stands between "/*" and "*/"; a folder with a pattern is no comment."""
    first, *others = re.split(r"(?:^|(?<=\s))/\*", text, flags=re.MULTILINE)
    return first + "".join(other.partition("*/")[2] for other in others)


def _plain(text: str, separator: str) -> Iterator[str]:
    """The address of a server that is asked on the usual port; `separator` is what precedes another one."""
    host, _, port = text.strip(" \t\"'").partition(separator)
    try:
        address = ip_address(host)
    except ValueError:
        return
    if port.partition("#")[0] in ("", _DNS_PORT):
        yield str(address)


def _of_dnsmasq(text: str) -> Iterator[str]:
    """Those of server= without a domain, and of the file resolv-file=."""
    for value in re.findall(r"(?m)^[ \t]*(?:server\s*=|nameserver\s)\s*([^/\s]+)\s*$", text):
        yield from _plain(value.partition("@")[0], "#")


def _of_unbound(text: str) -> Iterator[str]:
    """Those of the forward-zone for all names."""
    for zone in re.split(r"(?m)^[ \t]*[a-z-]+:\s*$", text):
        if re.search(r'(?m)^[ \t]*name:\s*"?\."?\s*$', zone) and not re.search(r"forward-tls-upstream:\s*yes", zone):
            for value in re.findall(r"(?m)^[ \t]*forward-addr:\s*(\S+)", zone):
                yield from _plain(value.partition("#")[0], "@")


def _of_bind(text: str) -> Iterator[str]:
    """Those of the option forwarders."""
    options = re.search(r"\boptions\s*\{(?:[^{}]|\{[^{}]*\})*?\bforwarders\s*\{([^{}]*)\}", text)
    for value in options[1].split(";") if options else ():
        yield from _plain(value, " port ")


def _of_pdnsd(text: str) -> Iterator[str]:
    """Those of each section server."""
    for section in re.findall(r"\bserver\s*\{([^{}]*)\}", text):
        if not re.search(r"\bport\s*=", section):
            for value in re.findall(r"\bip\s*=\s*([^;]{0,400});", section):
                for part in value.split(","):
                    yield from _plain(part, "#")


def _of_pihole(text: str) -> Iterator[str]:
    """Those of dns.upstreams."""
    match = re.search(r"(?m)^[ \t]*upstreams\s*=\s*\[([^\]]{0,4000})\]", text)
    for value in re.findall(r'"([^"]*)"', match[1]) if match else ():
        yield from _plain(value, "#")
