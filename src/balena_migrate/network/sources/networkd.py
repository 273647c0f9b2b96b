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
    servers_left_out,
)
from balena_migrate.network.files.ini import Section, find_section, parse_ini
from balena_migrate.network.lease import Options, Way, told_to_server, with_ways
from balena_migrate.network.model import Ip, Kind, Match, Method, Problem, Profile, Reading, Route, Vlan, Wifi
from balena_migrate.network.reading import Collector, is_masked, read_config, read_layered, read_sections
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
_LEASE_KEYS = "UseDNS UseDomains UseNTP UseSIP UseHostname UseCaptivePortal SendHostname Hostname"
_DHCP4_KEYS = f"""
    {_LEASE_KEYS} UseMTU UseTimezone UseRoutes UseGateway RouteMetric RouteTable VendorClassIdentifier ClientIdentifier
"""
_RA_KEYS = """
    UseDNS UseDomains UseGateway UseRoutePrefix RouteMetric RouteTable UseMTU UseNTP UseCaptivePortal UsePREF64
    UseHopLimit UseReachableTime UseRetransmissionTime UseICMP6RateLimit UseRedirect
"""
_PRIVACY = {"yes": "2", "true": "2", "prefer-public": "1", "no": "0", "false": "0"}
"""IPv6PrivacyExtensions= -> ip6-privacy."""
_KEYS = {
    "Match": "Name MACAddress PermanentMACAddress Driver Path Type SSID",
    "Link": "MTUBytes MACAddress Unmanaged RequiredForOnline RequiredFamilyForOnline ActivationPolicy",
    "Network": """
        Description DHCP Address Gateway DNS Domains VLAN IPv6AcceptRA LinkLocalAddressing LLMNR MulticastDNS LLDP
        EmitLLDP DNSSEC DNSOverTLS DNSDefaultRoute ConfigureWithoutCarrier IgnoreCarrierLoss KeepConfiguration NTP
        IPv6PrivacyExtensions
    """,
    "Address": """
        Address Label Broadcast Scope PreferredLifetime DuplicateAddressDetection AddPrefixRoute AutoJoin RouteMetric
    """,
    "DHCPv4": _DHCP4_KEYS,
    "DHCP": _DHCP4_KEYS,
    "DHCPv6": f"{_LEASE_KEYS} UseDelegatedPrefix RapidCommit",
    "IPv6AcceptRA": _RA_KEYS,
    "IPv6AcceptRouterAdvertisements": _RA_KEYS,
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
_CONF_FOLDERS = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd")
_DEFAULTS = {
    "Network": "IPv6PrivacyExtensions UseDomains",
    "DHCPv4": "UseDomains",
    "DHCPv6": "DUIDType DUIDRawData UseDomains",
    "IPv6AcceptRA": "UseDomains",
}
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
    if found.profiles:
        _tell_defaults(system, found)
    return found.reading()


def _tell_drop_ins_of_netplan(system: System, found: Collector) -> None:
    for path in [path for folder in FOLDERS for path in system.glob(f"{folder}/10-netplan-*.network.d/*.conf")]:
        reason = "changes what netplan has written, and is not carried over"
        found.problems.append(Problem(source=str(path), reason=reason))


def _tell_defaults(system: System, found: Collector) -> None:
    """What networkd.conf(5) says for all links, and a profile could have."""
    drop_ins = read_layered(system, [f"{folder}/networkd.conf.d" for folder in _CONF_FOLDERS], "*.conf").values()
    for path in (PurePath(_CONF_FOLDERS[0], "networkd.conf"), *drop_ins):
        for section in read_sections(system, path):
            keys = [key for key in section.names() if key in _DEFAULTS.get(section.name, "").split()]
            found.lose(path, "", (f"{section.name}.{key} for all interfaces is not carried over" for key in keys))


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
    ipv4, ipv6 = _ip(sections, 4, lost), _ip(sections, 6, lost)
    lost += servers_left_out((text for value in network.values("DNS") for text in value.split()), ipv4, ipv6)
    profile = Profile(
        kind=Kind.LINK,
        source=source,
        mtu=link.number("MTUBytes"),
        cloned_mac=link.value("MACAddress").lower().replace("-", ":"),
        ipv4=ipv4,
        ipv6=ipv6,
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
    quiet = network.value("LinkLocalAddressing").lower() in ("no", "false", "ipv4")
    dhcp = _DHCP.get(network.value("DHCP").lower(), (False, False))[0 if version == 4 else 1]
    ra = version == 6 and not quiet and network.flag("IPv6AcceptRA", default=True)
    dhcp &= version == 4 or not quiet  # DHCPv6 needs a link-local address (systemd, networkd-dhcp-common.c)
    ip = make_ip(
        version,
        automatic=dhcp or ra,
        addresses=[parse_cidr(address) for address in addresses if address],
        routes=routes,
        dns=[parse_address(server_host(text)) for value in network.values("DNS") for text in value.split()],
        search=[domain for value in network.values("Domains") for domain in value.split() if domain[0] != "~"],
        otherwise=Method.DISABLED if version == 4 or quiet else Method.LINK_LOCAL,
    )
    if version == 4:
        return _with_lease(ip, sections, lost) if dhcp else ip
    ip = replace(ip, method=Method.DHCP) if dhcp and not ra else ip
    return _with_advertised(ip, sections, lost, dhcp=dhcp, ra=ra) if dhcp or ra else ip


def _with_lease(ip: Ip, sections: Sections, lost: list[str]) -> Ip:
    """The settings of IPv4 with what [DHCPv4], or [DHCP] as it was called before, says of the lease."""
    lease = _joined("[DHCPv4]", find_section(sections, "DHCP"), find_section(sections, "DHCPv4"))
    routes = lease.flag("UseRoutes", default=True)
    gateway = lease.flag("UseGateway", default=routes)
    ip = with_ways(ip, [_way(lease)], lost, routes=routes, gateway=gateway)
    return replace(ip, metric=_metric(ip, lease, lost), options=(*_told(lease, 4, lost), *_table(lease, lost)))


def _with_advertised(ip: Ip, sections: Sections, lost: list[str], *, dhcp: bool, ra: bool) -> Ip:
    """The settings of IPv6 with what is used of router advertisements and DHCPv6.

    What [DHCP] says of name servers, domains and the metric counts here as well, unless the newer sections say
    otherwise (systemd, networkd-network-gperf.gperf).
    """
    old = find_section(sections, "DHCP")
    advertised = _joined(
        "router advertisements",
        _part(old, "RouteMetric"),
        find_section(sections, "IPv6AcceptRouterAdvertisements"),
        find_section(sections, "IPv6AcceptRA"),
    )
    lease = _joined("DHCPv6", _part(old, "UseDNS", "UseDomains"), find_section(sections, "DHCPv6"))
    ways = [_way(section) for section, used in ((advertised, ra), (lease, dhcp)) if used]
    routes = advertised.flag("UseRoutePrefix", default=True)
    ip = with_ways(ip, ways, lost, routes=routes, gateway=advertised.flag("UseGateway", default=True))
    privacy = _PRIVACY.get(find_section(sections, "Network").value("IPv6PrivacyExtensions").lower())
    options = (*_told(lease, 6, lost), *_table(advertised, lost))
    options = (*options, ("ip6-privacy", privacy)) if privacy else options
    return replace(ip, metric=_metric(ip, advertised, lost), options=options)


def _part(section: Section, *keys: str) -> Section:
    return replace(section, pairs=tuple(pair for pair in section.pairs if pair[0] in keys))


def _joined(name: str, *sections: Section) -> Section:
    """The sections as one; what a later one says counts."""
    return Section(name=name, pairs=tuple(pair for section in sections for pair in section.pairs))


def _way(section: Section) -> Way:
    domains = section.value("UseDomains").lower()
    told = "route" if domains == "route" else "yes" if section.flag("UseDomains") else "no"
    return Way(name=section.name, dns=section.flag("UseDNS", default=True), domains=told if domains else "")


def _told(section: Section, version: int, lost: list[str]) -> Options:
    return told_to_server(
        version,
        lost,
        sends_name=section.flag("SendHostname", default=True),
        name=section.value("Hostname"),
        vendor_class=section.value("VendorClassIdentifier"),
    )


def _metric(ip: Ip, section: Section, lost: list[str]) -> int | None:
    metric = section.number("RouteMetric")
    if metric is None and section.value("RouteMetric"):
        lost.append(f"the metric {section.value('RouteMetric')} of {section.name} is not carried over")
    return ip.metric if metric is None else metric


def _table(section: Section, lost: list[str]) -> Options:
    table = section.number("RouteTable")
    if table is None and section.value("RouteTable"):
        lost.append(f"the routing table {section.value('RouteTable')} of {section.name} is not carried over")
    return () if table is None else (("route-table", str(table)),)


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
