# SPDX-License-Identifier: Apache-2.0
"""systemd-networkd: .network files, their drop-ins, and the .netdev files of VLANs.

Source: systemd.network(5) and systemd.netdev(5). Files that netplan writes for networkd (10-netplan-*) are left to
the source netplan, and those in /usr/lib are the distribution's defaults, which are not specific to this device.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.network.addresses import (
    gateway_route,
    make_ip,
    parse_address,
    parse_cidr,
    parse_destination,
    server_host,
)
from balena_migrate.network.files.ini import Section, find_section, parse_ini
from balena_migrate.network.model import Ip, Kind, Match, Method, Problem, Profile, Reading, Route, Vlan, Wifi
from balena_migrate.network.reading import Collector, is_masked, read_config, read_layered
from balena_migrate.network.sources import Source

FOLDERS = ("/etc/systemd/network", "/run/systemd/network", "/usr/local/lib/systemd/network")
"""A file in an earlier folder hides files of the same name in later ones."""

_DHCP = {
    "yes": (True, True),
    "true": (True, True),
    "both": (True, True),
    "ipv4": (True, False),
    "v4": (True, False),
    "ipv6": (False, True),
    "v6": (False, True),
}
_KEYS = {
    "Match": "Name MACAddress PermanentMACAddress Driver Path Type SSID",
    "Link": "MTUBytes MACAddress Unmanaged RequiredForOnline RequiredFamilyForOnline ActivationPolicy",
    "Network": """
        Description DHCP Address Gateway DNS Domains VLAN IPv6AcceptRA LinkLocalAddressing LLMNR MulticastDNS LLDP
        EmitLLDP DNSSEC DNSOverTLS DNSDefaultRoute ConfigureWithoutCarrier IgnoreCarrierLoss KeepConfiguration NTP
    """,
    "Address": """
        Address Label Broadcast Scope PreferredLifetime DuplicateAddressDetection AddPrefixRoute AutoJoin RouteMetric
    """,
    "DHCPv4": "UseDNS UseNTP UseSIP UseMTU UseHostname UseDomains UseRoutes UseTimezone SendHostname RouteMetric",
    "DHCP": "UseDNS UseNTP UseSIP UseMTU UseHostname UseDomains UseRoutes UseTimezone SendHostname RouteMetric",
}
"""Keys that are carried over, or that are irrelevant on the new system."""
_SECTIONS = frozenset(
    {
        "Match",
        "Link",
        "Network",
        "Address",
        "Route",
        "DHCP",
        "DHCPv4",
        "DHCPv6",
        "IPv6AcceptRA",
        "IPv6AcceptRouterAdvertisements",
    }
)
_OWNERS = ("Bridge", "Bond", "VRF", "BatmanAdvanced")

Sections = tuple[Section, ...]


def read(system: System) -> Reading:
    """Read the links in all .network files, and the VLANs in all .netdev files."""
    found = Collector()
    networks = dict(_parsed(system, "*.network", found))
    devices = dict(_parsed(system, "*.netdev", found))
    vlans = _vlans(devices, networks, found)
    others = {find_section(sections, "NetDev").value("Name") for sections in devices.values()} - set(vlans)
    for path, sections in networks.items():
        with found.guard(path):
            for profile, lost in _profiles(path, sections):
                if profile.interface in others:
                    raise NetworkConfigError(f"is for the device {profile.interface}, which cannot be carried over")
                found.add(_as_vlan(profile, vlans), lost)
    _tell_drop_ins_of_netplan(system, found)
    return found.reading()


def _tell_drop_ins_of_netplan(system: System, found: Collector) -> None:
    for path in [path for folder in FOLDERS for path in system.glob(f"{folder}/10-netplan-*.network.d/*.conf")]:
        reason = "changes what netplan has written, and is not carried over"
        found.problems.append(Problem(source=str(path), reason=reason))


def _parsed(system: System, pattern: str, found: Collector) -> Iterator[tuple[str, Sections]]:
    """The path and sections of every effective file, sorted by name."""
    for name, path in read_layered(system, FOLDERS, pattern).items():
        if name.startswith("10-netplan-") or is_masked(system, path):
            continue
        with found.guard(path):
            sections = parse_ini(_with_drop_ins(system, path))
            if sections:  # an empty file masks those of its name, as a link to /dev/null does
                yield str(path), sections


def _with_drop_ins(system: System, path: PurePath) -> str:
    drop_ins = read_layered(system, [f"{folder}/{path.name}.d" for folder in FOLDERS], "*.conf").values()
    parts = [path, *(drop_in for drop_in in drop_ins if not is_masked(system, drop_in))]
    return "\n".join(read_config(system, part) for part in parts)


def _vlans(devices: dict[str, Sections], networks: dict[str, Sections], found: Collector) -> dict[str, Profile]:
    """Name -> a profile with the VLAN and its parent: the interface whose .network names the VLAN."""
    parents: dict[str, tuple[str, str]] = {}
    for sections in networks.values():
        macs, names = _matched(find_section(sections, "Match"))
        owner = ("", macs[0]) if macs else (names[0] if names else "", "")
        vlans = [vlan for value in find_section(sections, "Network").values("VLAN") for vlan in value.split()]
        parents |= dict.fromkeys(vlans, owner)
    made = {}
    for path, sections in devices.items():
        device = find_section(sections, "NetDev")
        name, kind = device.value("Name"), device.value("Kind")
        if kind != "vlan":
            reason = f"a device of kind {kind} cannot be carried over"
            found.problems.append(Problem(source=path, subject=name, reason=reason))
            continue
        number = find_section(sections, "VLAN").number("Id")
        parent, mac = parents.get(name, ("", ""))
        vlan = Vlan(id=-1 if number is None else number, parent=parent)
        made[name] = Profile(kind=Kind.VLAN, source=path, interface=name, mac=mac, vlan=vlan)
    return made


def _as_vlan(profile: Profile, vlans: dict[str, Profile]) -> Profile:
    made = vlans.get(profile.interface)
    return replace(profile, kind=Kind.VLAN, vlan=made.vlan, mac=made.mac) if made else profile


def _matched(match: Section) -> tuple[list[str], list[str]]:
    """The hardware addresses and names, which may be patterns, that a file matches."""
    values = (*match.values("MACAddress"), *match.values("PermanentMACAddress"))
    macs = [mac.lower().replace("-", ":") for value in values for mac in value.split()]
    names = _words(match, "Name")
    if not names and not macs:
        names = ["wl*"] if match.value("Type") == "wlan" else ["e*"] if match.value("Type") == "ether" else []
    return macs, names


def _words(match: Section, key: str) -> list[str]:
    return [word for value in match.values(key) for word in value.split()]


def _patterns(match: Section, names: list[str]) -> Match | None:
    """What an interface has to fit besides a name without "!"; None if there is nothing."""
    drivers, paths = _words(match, "Driver"), _words(match, "Path")
    if not drivers and not paths and not "".join(names).startswith("!"):
        return None
    return Match(names=_each_marked(names), drivers=_each_marked(drivers), paths=_each_marked(paths))


def _each_marked(words: list[str]) -> tuple[str, ...]:
    """networkd's "!" before the first pattern counts for all of them, NetworkManager's for one."""
    if not words or not words[0].startswith("!"):
        return tuple(words)
    return tuple(f"!{word.removeprefix('!')}" for word in words)


def _wifis(match: Section) -> list[Wifi | None]:
    """The Wi-Fi networks that a file is limited to; None means all. Raises NetworkConfigError."""
    words = _words(match, "SSID")
    if any(re.search(r"[*?\[!]", word) for word in words):
        raise NetworkConfigError("Match.SSID with a pattern cannot be carried over")
    return [Wifi(ssid=word.encode("utf-8", "surrogateescape")) for word in words] or [None]


def _profiles(source: str, sections: Sections) -> Iterator[tuple[Profile, list[str]]]:
    """One profile for each interface that the file matches. Raises NetworkConfigError."""
    link, network = find_section(sections, "Link"), find_section(sections, "Network")
    if link.flag("Unmanaged"):
        return
    for key in _OWNERS:
        if network.value(key):
            raise NetworkConfigError(f"a member of {key} {network.value(key)} cannot be carried over")
    lost = _unknown(sections)
    match = find_section(sections, "Match")
    macs, names = _matched(match)
    if names == ["lo"]:
        raise NetworkConfigError("addresses of the loopback interface cannot be carried over")
    patterns = _patterns(match, names)
    if not names and not macs and not patterns:
        raise NetworkConfigError("matches by none of name, hardware address, driver and path")
    profile = Profile(
        kind=Kind.LINK,
        source=source,
        mtu=link.number("MTUBytes"),
        cloned_mac=link.value("MACAddress"),
        ipv4=_ip(sections, 4, lost),
        ipv6=_ip(sections, 6, lost),
    )
    for wifi in _wifis(match):
        for mac in macs:
            yield replace(profile, mac=mac, wifi=wifi), lost
        if patterns and not macs:
            yield replace(profile, match=patterns, wifi=wifi), lost
        for name in () if macs or patterns else names:
            yield replace(profile, interface=name, wifi=wifi), lost


def _unknown(sections: Sections) -> list[str]:
    """Describe the sections and keys that are not carried over."""
    names = [name for name in dict.fromkeys(s.name for s in sections) if name not in _SECTIONS]
    keys = [
        f"{name}.{key}"
        for name, known in _KEYS.items()
        for key in find_section(sections, name).names()
        if key not in known.split()
    ]
    return [f"{what} is not carried over" for what in (*(f"[{name}]" for name in names), *keys)]


def _ip(sections: Sections, version: int, lost: list[str]) -> Ip:
    network = find_section(sections, "Network")
    addresses = [*network.values("Address"), *(s.value("Address") for s in sections if s.name == "Address")]
    routes = [gateway_route(g) for g in network.values("Gateway") if not g.startswith("_")]
    for section in (section for section in sections if section.name == "Route"):
        if section.value("Gateway").startswith("_"):
            lost.append(f"a route by the gateway {section.value('Gateway')} is not carried over")
        else:
            routes.append(_route(section, lost))
    dhcp = _DHCP.get(network.value("DHCP").lower(), (False, False))[0 if version == 4 else 1]
    quiet = network.value("LinkLocalAddressing").lower() in ("no", "false", "ipv4")
    ra = version == 6 and not quiet and network.flag("IPv6AcceptRA", default=True)
    ip = make_ip(
        version,
        automatic=dhcp or ra,
        addresses=[parse_cidr(address) for address in addresses if address],
        routes=routes,
        dns=[parse_address(server_host(text)) for value in network.values("DNS") for text in value.split()],
        search=[domain for value in network.values("Domains") for domain in value.split() if domain[0] != "~"],
        otherwise=Method.DISABLED if version == 4 else Method.IGNORE,
    )
    options = find_section(sections, *(("DHCPv4", "DHCP") if version == 4 else ("IPv6AcceptRA", "DHCPv6")))
    metric = options.number("RouteMetric")
    return replace(
        ip,
        metric=ip.metric if metric is None else metric,
        ignore_auto_dns=not options.flag("UseDNS", default=True),
        never_default=not options.flag("UseRoutes", default=True) and not ip.gateway,
    )


def _route(section: Section, lost: list[str]) -> Route:
    gateway = section.value("Gateway")
    known = (
        "Gateway",
        "Destination",
        "Metric",
        "Table",
        "GatewayOnLink",
        "GatewayOnlink",
        "PreferredSource",
        "MTUBytes",
        "Type",
        "Scope",
        "Protocol",
    )
    lost += [f"Route.{key} is not carried over" for key in section.names() if key not in known]
    return Route(
        destination=parse_destination(section.value("Destination") or "default", gateway),
        gateway=parse_address(gateway) if gateway else "",
        metric=section.number("Metric"),
        table=section.number("Table"),
        mtu=section.number("MTUBytes"),
        on_link=section.flag("GatewayOnLink") or section.flag("GatewayOnlink"),
        source=section.value("PreferredSource"),
        kind=section.value("Type") or "unicast",
    )


SOURCE = Source(name="systemd-networkd", precedence=30, read=read)
