# SPDX-License-Identifier: Apache-2.0
"""Name servers that are set for the whole system, and not for one connection.

Source: resolv.conf(5), resolved.conf(5), NetworkManager.conf(5) (global-dns, dns=none), resolvconf(8),
resolvconf.conf(5), dhcpcd.conf(5) and its hook 20-resolv.conf, dhclient.conf(5). A resolv.conf that a program has made
holds what it knows of all connections, so that program's own file is read instead. dhclient, udhcpc and pump leave no
mark in what they make: its servers then look as if they were written by hand. They never go to a connection with a
lease of its own, which brings them again, and where dhclient's leases show them, to none but the fixed one in use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from ipaddress import ip_address
from pathlib import PurePath

from balena_migrate.core.errors import FileError, NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.facts.network import NetworkFacts
from balena_migrate.network.addresses import DEFAULT_DESTINATIONS, of_family, server_host
from balena_migrate.network.by_interface import change_those_of, is_by_lease, those_of, with_method
from balena_migrate.network.dhclient import read_conf, read_leases
from balena_migrate.network.files.dhclient import parse_statements
from balena_migrate.network.files.ini import find_section
from balena_migrate.network.files.keyfile import Keyfile, join_list
from balena_migrate.network.forwarders import read_upstreams
from balena_migrate.network.model import Ip, Method, Profile
from balena_migrate.network.reading import networkmanager_settings, read_config, read_layered, read_sections
from balena_migrate.network.sources.dhcpcd import FILE as DHCPCD_FILE

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
_OF_LEASE = re.compile(r"option domain-name-servers ([^;]{0,400});")
_RESOLVED = {"127.0.0.53", "127.0.0.54"}
"""Where systemd-resolved is asked."""
_SYSTEMD_FOLDERS = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")


class BesideLease(Enum):
    """What the name servers of the whole system are to a connection that gets some with its lease."""

    UNUSED = auto()
    BEFORE = auto()
    INSTEAD = auto()


@dataclass(frozen=True, kw_only=True)
class NameServers:
    """Addresses of both families, and search domains."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    beside_lease: BesideLease = BesideLease.UNUSED
    from_lease: bool = False
    """Whether a lease has brought all of them."""


def is_local(text: str) -> bool:
    """Whether the name server is a forwarder on the device itself, or cannot be reached from another system."""
    try:
        address = ip_address(text)
    except ValueError:
        return True
    return address.is_loopback or address.is_link_local or address.is_unspecified


def read_name_servers(system: System, used: Sequence[str] = ()) -> NameServers:
    """The name servers of the whole system. Those on the device itself are left out. Raises nothing.

    What would count beside a lease, but is not among those in use, are settings of a program that is not in use.
    """
    ways = (_of_dhclient, _by_hand, _global_dns, _forwarded, _resolved, _beside_resolv_conf)
    asked = {server for server in used if not is_local(server)}
    for found in (way(system) for way in ways):
        stale = found.beside_lease is not BesideLease.UNUSED and asked and asked.isdisjoint(found.servers)
        if found.servers and not stale:
            return found
    return NameServers()


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


def _of_dhclient(system: System) -> NameServers:
    """Those that dhclient uses in place of what a lease brings, or before it."""
    said = parse_statements(read_conf(system)[1], "")
    for word, beside in (("supersede", BesideLease.INSTEAD), ("prepend", BesideLease.BEFORE)):
        found = _name_servers(_words(said.get((word, "domain-name-servers"), "")), ())
        if found.servers:
            return replace(found, beside_lease=beside)
    return NameServers()


def _by_hand(system: System) -> NameServers:
    """Those of a resolv.conf that no program has made, unless the client of a lease has without a mark."""
    text = _text(system, RESOLV_CONF)
    if _MADE.search(text) or _is_linked_to_run(system):
        return NameServers()
    found = _parse_resolv_conf(text)
    if _is_left_alone(system):
        return replace(found, beside_lease=BesideLease.INSTEAD)
    leased = {word for _, lease in read_leases(system) for line in _OF_LEASE.findall(lease) for word in _words(line)}
    return replace(found, from_lease=leased.issuperset(found.servers))


def _is_left_alone(system: System) -> bool:
    """Whether NetworkManager or dhcpcd has been told not to write resolv.conf."""
    sections = tuple(section for found in networkmanager_settings(system).values() for section in found)
    main = find_section(sections, "main")
    if main.value("dns") == "none" or main.value("rc-manager") == "unmanaged":
        return True
    return bool(re.search(r"(?m)^[ \t]*nohook[ \t][^#\n]*\bresolv\.conf\b", _text(system, DHCPCD_FILE)))


def _forwarded(system: System) -> NameServers:
    """Those behind a forwarder that resolv.conf names alone; systemd-resolved has settings of its own."""
    text = _text(system, RESOLV_CONF)
    asked = set(re.findall(r"(?m)^[ \t]*nameserver[ \t]+(\S+)", text))
    if not asked or not all(map(is_local, asked)) or asked & _RESOLVED:
        return NameServers()
    return _name_servers(read_upstreams(system), _parse_resolv_conf(text).search)


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
    """Those in NetworkManager's configuration, which count for all connections, in place of all others."""
    sections = tuple(section for found in networkmanager_settings(system).values() for section in found)
    servers = find_section(sections, "global-dns-domain-*").value("servers")
    found = _name_servers(_words(servers), _words(find_section(sections, "global-dns").value("searches")))
    return replace(found, beside_lease=BesideLease.INSTEAD)


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


def with_name_servers(profiles: tuple[Profile, ...], found: NameServers, network: NetworkFacts) -> tuple[Profile, ...]:
    """The profiles with the system's name servers: those that lead out by fixed addresses and name none of their own,
    and those with a lease where the system uses its own servers beside that. What a lease brings goes to that in use.

    The wired interface in use gets a profile for the latter if it has none.
    """
    online = network.online()
    if not found.servers:
        return profiles
    if online and found.beside_lease is not BesideLease.UNUSED:
        profiles = change_those_of(profiles, online, network, RESOLV_CONF, lambda profile: profile)
    takers: Sequence[Profile] = profiles
    if online and found.from_lease:
        takers = [*those_of(profiles, online, network), *(p for p in profiles if p.interface == online.name)]
    return tuple(_with_servers(profile, found) if profile in takers else profile for profile in profiles)


def _with_servers(profile: Profile, found: NameServers) -> Profile:
    """One that NetworkManager has is overruled by what counts in place of all others."""
    ips = {4: profile.ipv4 or Ip(), 6: profile.ipv6 or Ip()}
    overruled = profile.keyfile is not None and found.beside_lease is BesideLease.INSTEAD
    if profile.is_port or (any(ip.dns for ip in ips.values()) and not overruled):
        return profile
    leased = [v for v, ip in ips.items() if is_by_lease(ip) and found.beside_lease is not BesideLease.UNUSED]
    versions = [v for v in (leased or _fixed(ips)) if of_family(v, found.servers)]
    instead = leased if versions and found.beside_lease is BesideLease.INSTEAD else []
    for version in dict.fromkeys((*versions, *instead)):
        ip = ips[version]
        filled = replace(
            ip,
            dns=of_family(version, found.servers),
            search=ip.search or found.search,
            ignore_auto_dns=ip.ignore_auto_dns or version in instead,
        )
        file = _in_keyfile(profile.keyfile, f"ipv{version}", filled) if profile.keyfile else None
        profile = replace(profile, keyfile=file)
        profile = replace(profile, ipv4=filled) if version == 4 else replace(profile, ipv6=filled)
    return profile


def _fixed(ips: dict[int, Ip]) -> list[int]:
    """The families that lead out by fixed addresses; that of IPv6 may have its way out by router advertisement."""
    ip4, ip6 = ips[4], ips[6]
    if ip4.method in (Method.AUTO, Method.DHCP, Method.SHARED):
        return []
    leads_out = ip4.gateway or any(route.destination == DEFAULT_DESTINATIONS[4] for route in ip4.routes)
    return [*([4] if ip4.method is Method.MANUAL and leads_out else []), *([6] if ip6.addresses else [])]


def _in_keyfile(file: Keyfile, group: str, ip: Ip) -> Keyfile:
    file = with_method(file, group, ip.method)
    if ip.dns:
        file = file.with_raw(group, "dns", join_list(ip.dns))
    if ip.ignore_auto_dns:
        file = file.with_raw(group, "ignore-auto-dns", "true")
    if not ip.search or file.raw(group, "dns-search"):
        return file
    return file.with_raw(group, "dns-search", join_list(ip.search))
