# SPDX-License-Identifier: Apache-2.0
"""Name servers that are set for the whole system, and not for one connection.

Source: resolv.conf(5), resolved.conf(5), NetworkManager.conf(5) (global-dns), resolvconf(8), resolvconf.conf(5) and
dhcpcd's hook 20-resolv.conf. A resolv.conf that a program has made holds what it knows of all connections, so that
program's own file is read instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import PurePath

from balena_migrate.core.errors import FileError, NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.network.addresses import DEFAULT_DESTINATIONS, of_family, server_host
from balena_migrate.network.files.ini import find_section
from balena_migrate.network.files.keyfile import Keyfile, join_list
from balena_migrate.network.model import Ip, Method, Profile
from balena_migrate.network.reading import networkmanager_settings, read_config, read_layered, read_sections

RESOLV_CONF = "/etc/resolv.conf"
_BESIDE_RESOLV_CONF = (
    "/etc/resolvconf/resolv.conf.d/head",
    "/etc/resolvconf/resolv.conf.d/base",
    "/etc/resolvconf/resolv.conf.d/tail",
    "/etc/resolv.conf.head",
    "/etc/resolv.conf.tail",
)
"""What resolvconf and dhcpcd put into the file that they make."""
_OPENRESOLV = "/etc/resolvconf.conf"
_MADE = re.compile(r"^[#;].*(?:generated|managed) by", re.IGNORECASE | re.MULTILINE)
"""In the first lines of what NetworkManager, resolvconf, systemd-resolved, dhcpcd and ConnMan write."""
_SYSTEMD_FOLDERS = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")


@dataclass(frozen=True, kw_only=True)
class NameServers:
    """Addresses of both families, and search domains."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


def is_local(text: str) -> bool:
    """Whether the name server is a forwarder on the device itself, or cannot be reached from another system."""
    try:
        address = ip_address(text)
    except ValueError:
        return True
    return address.is_loopback or address.is_link_local or address.is_unspecified


def read_name_servers(system: System) -> NameServers:
    """The name servers of the whole system. Those on the device itself are left out. Raises nothing."""
    ways = (_by_hand, _global_dns, _resolved, _beside_resolv_conf)
    return next((found for found in (way(system) for way in ways) if found.servers), NameServers())


def _text(system: System, path: PurePath | str) -> str:
    try:
        return read_config(system, path)
    except (FileError, NetworkConfigError):
        return ""


def _name_servers(servers: Iterable[str], search: Iterable[str]) -> NameServers:
    return NameServers(
        servers=tuple(dict.fromkeys(server for server in servers if not is_local(server))),
        search=tuple(dict.fromkeys(search)),
    )


def _by_hand(system: System) -> NameServers:
    """Those of a resolv.conf that no program has made; the client of a lease leaves no sign that it has."""
    text = _text(system, RESOLV_CONF)
    made = _MADE.search(text) or _is_linked_to_run(system)
    return NameServers() if made else _parse_resolv_conf(text)


def _is_linked_to_run(system: System) -> bool:
    try:
        link = system.find_link(RESOLV_CONF)
    except FileError:
        return False
    return link is not None and str(link).lstrip("./").startswith("run/")


def _parse_resolv_conf(text: str) -> NameServers:
    """Of several lines `search` or `domain`, the last one counts (resolv.conf(5))."""
    servers, search = [], list[str]()
    for words in (line.split() for line in text.splitlines()):
        if len(words) > 1 and words[0] == "nameserver":
            servers.append(words[1])
        elif len(words) > 1 and words[0] in ("search", "domain"):
            search = words[1:]
    return _name_servers(servers, search)


def _global_dns(system: System) -> NameServers:
    """Those in NetworkManager's configuration, which count for all connections."""
    sections = tuple(section for found in networkmanager_settings(system).values() for section in found)
    servers = find_section(sections, "global-dns-domain-*").value("servers")
    return _name_servers(re.split("[,; ]+", servers), _words(find_section(sections, "global-dns").value("searches")))


def _resolved(system: System) -> NameServers:
    """Those in systemd-resolved's configuration; FallbackDNS= counts where nothing else is known."""
    drop_ins = read_layered(system, [f"{folder}/resolved.conf.d" for folder in _SYSTEMD_FOLDERS], "*.conf").values()
    files: list[PurePath | str] = ["/etc/systemd/resolved.conf", *drop_ins]
    resolve = find_section(tuple(section for path in files for section in read_sections(system, path)), "Resolve")
    named = resolve.values("DNS") or resolve.values("FallbackDNS")
    domains = _words(" ".join(resolve.values("Domains")))
    servers = (server_host(word) for value in named for word in value.split())
    return _name_servers(servers, (domain for domain in domains if not domain.startswith("~")))


def _words(text: str) -> list[str]:
    return [word for word in re.split("[,; ]+", text) if word]


def _beside_resolv_conf(system: System) -> NameServers:
    """Those that resolvconf, openresolv and dhcpcd add to the resolv.conf that they make."""
    found = _parse_resolv_conf("\n".join(_text(system, path) for path in _BESIDE_RESOLV_CONF))
    text = _text(system, _OPENRESOLV)
    values = dict(re.findall(r"""^(name_servers|search_domains)=["']?([^"'\n]*)""", text, re.MULTILINE))
    servers, search = (values.get(key, "").split() for key in ("name_servers", "search_domains"))
    return _name_servers((*found.servers, *servers), (*found.search, *search))


def with_name_servers(profile: Profile, found: NameServers) -> Profile:
    """The profile with the system's name servers where it leads out by fixed addresses and names none of its own.

    A fixed IPv6 address may have its way out by router advertisement.
    """
    ip4, ip6 = profile.ipv4 or Ip(), profile.ipv6 or Ip()
    if ip4.dns or ip6.dns or not found.servers or ip4.method in (Method.AUTO, Method.DHCP, Method.SHARED):
        return profile
    leads_out = ip4.gateway or any(route.destination == DEFAULT_DESTINATIONS[4] for route in ip4.routes)
    groups = [("ipv4", 4, ip4)] if ip4.method is Method.MANUAL and leads_out else []
    if ip6.addresses:
        groups.append(("ipv6", 6, ip6))
    for group, version, ip in groups:
        servers = of_family(version, found.servers)
        if servers:
            filled = replace(ip, dns=servers, search=ip.search or found.search)
            file = _in_keyfile(profile.keyfile, group, filled) if profile.keyfile else None
            profile = replace(profile, keyfile=file)
            profile = replace(profile, ipv4=filled) if version == 4 else replace(profile, ipv6=filled)
    return profile


def _in_keyfile(file: Keyfile, group: str, ip: Ip) -> Keyfile:
    file = file.with_raw(group, "dns", join_list(ip.dns))
    if not ip.search or file.raw(group, "dns-search"):
        return file
    return file.with_raw(group, "dns-search", join_list(ip.search))
