# SPDX-License-Identifier: Apache-2.0
"""netplan: YAML in /etc/netplan, /run/netplan and /lib/netplan.

Source: netplan's YAML reference (netplan-yaml.md). Files are merged as by netplan: by name across all folders,
mappings key by key, lists appended. The mapping of its keys to keyfiles is that of its own NetworkManager renderer.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.core.system import System
from balena_migrate.network.addresses import (
    DEFAULT_DESTINATIONS,
    gateway_route,
    make_ip,
    parse_address,
    parse_cidr,
    parse_destination,
    servers_left_out,
)
from balena_migrate.network.files.keyfile import Keyfile, escape
from balena_migrate.network.files.number import find_number
from balena_migrate.network.files.yaml import Node, as_node, flag_of, items_of, parse_yaml, text_of, texts_of
from balena_migrate.network.keyfile_profile import make_profile
from balena_migrate.network.lease import Way, told_to_server, with_ways
from balena_migrate.network.model import (
    Eap,
    Ip,
    Kind,
    Match,
    Method,
    Problem,
    Profile,
    Reading,
    Route,
    Vlan,
)
from balena_migrate.network.reading import Collector, not_carried, read_config, read_layered
from balena_migrate.network.sources import Source
from balena_migrate.network.sources.netplan.parts import (
    POINT_KEYS,
    access_point,
    is_cdma,
    is_login,
    read_modem,
    wired_eap,
)
from balena_migrate.network.write.keyfile import named_certificates, write_keyfile

FOLDERS = ("/run/netplan", "/etc/netplan", "/lib/netplan")
"""A file in an earlier folder hides files of the same name in later ones."""
GENERATED = "/run/NetworkManager/system-connections"
FILE_LIMIT_BYTES = 1 << 17

_KINDS = {
    "ethernets": Kind.ETHERNET,
    "wifis": Kind.WIFI,
    "modems": Kind.GSM,
    "vlans": Kind.VLAN,
    "nm-devices": Kind.OTHER,
}
_NOT_CARRIED = {
    "bridges": "a bridge",
    "bonds": "a bond",
    "tunnels": "a tunnel",
    "vrfs": "a VRF",
    "dummy-devices": "a dummy device",
    "virtual-ethernets": "a pair of virtual devices",
}
_HARMLESS = """
    renderer optional optional-addresses critical ignore-carrier dhcp-identifier set-name emit-lldp
"""
"""Keys of a device that are irrelevant on the new system."""
_CARRIED = """
    match dhcp4 dhcp6 accept-ra addresses gateway4 gateway6 nameservers routes mtu macaddress auth access-points
    regulatory-domain networkmanager dhcp4-overrides dhcp6-overrides ra-overrides ipv6-privacy link-local
    activation-mode id link apn auto-config device-id network-id number password pin sim-id sim-operator-id username
    wakeonlan wakeonwlan
"""
_KNOWN = frozenset(f"{_HARMLESS} {_CARRIED}".split())
_OF_OVERRIDES = """
    use-dns use-domains use-routes route-metric hostname send-hostname use-ntp use-mtu use-hostname table
"""
_KNOWN_OVERRIDES = frozenset(_OF_OVERRIDES.split())
"""Keys of the overrides that are carried over, or that are irrelevant on the new system."""


def read(system: System) -> Reading:
    """Read all devices in the merged netplan files."""
    found = Collector()
    merged: Node = {}
    origin: dict[tuple[str, str], str] = {}
    for path in read_layered(system, FOLDERS, "*.yaml").values():
        with found.guard(path):
            network = _network(parse_yaml(read_config(system, path, limit_bytes=FILE_LIMIT_BYTES)))
            origin.update({(k, name): str(path) for k, v in network.items() if isinstance(v, dict) for name in v})
            merged = _merge(merged, network)
    members = _members(merged)
    for section, devices in merged.items():
        if section == "openvswitch":
            found.problems.append(Problem(source=FOLDERS[1], subject=section, reason="cannot be carried over"))
            continue
        for name, device in as_node(devices).items():
            source = origin.get((section, name), FOLDERS[0])
            if name == "renderer" or _is_generated(
                system, name
            ):  # the word stands beside the devices (netplan, parse.c)
                continue
            with found.guard(source, name, _outline(section, name, as_node(device), source)):
                _refuse(section, name, members)
                _read_device(system, merged, _KINDS[section], name, as_node(device), source, found)
    domains = (text_of(as_node(d), "regulatory-domain") for d in as_node(merged.get("wifis")).values())
    found.country = next((domain.upper() for domain in domains if domain), "")
    return found.reading()


def _is_generated(system: System, name: str) -> bool:
    """Whether netplan has written the device as a keyfile to /run, which the source NetworkManager reads."""
    base = f"{GENERATED}/netplan-{glob.escape(name)}"
    return bool(system.glob(f"{base}.nmconnection") or system.glob(f"{base}-*.nmconnection"))


def _network(document: Any) -> Node:
    if not isinstance(document, dict) or not isinstance(document.get("network"), dict):
        raise NetworkConfigError("has no network section")
    network: Node = document["network"]
    version = network.get("version", "2")
    if version != "2":
        raise NetworkConfigError(f"has version {version}, but netplan supports only version 2")
    return network


def _merge(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        both = {**one, **other}
        return {key: _merge(one[key], value) if key in one and key in other else value for key, value in both.items()}
    if isinstance(one, list) and isinstance(other, list):
        return one + [item for item in other if item not in one]
    return other


def _members(network: Node) -> dict[str, str]:
    """The devices that belong to a bridge, bond or VRF -> its name."""
    owners = {**as_node(network.get("bridges")), **as_node(network.get("bonds")), **as_node(network.get("vrfs"))}
    return {member: owner for owner, node in owners.items() for member in texts_of(as_node(node), "interfaces")}


def _refuse(section: str, name: str, members: dict[str, str]) -> None:
    if section not in _KINDS:
        raise NetworkConfigError(f"{_NOT_CARRIED.get(section, section)} cannot be carried over")
    if name in members:
        raise NetworkConfigError(f"belongs to {members[name]}, which cannot be carried over")
    if name == "lo":
        raise NetworkConfigError("addresses of the loopback interface cannot be carried over")


def _outline(section: str, name: str, device: Node, source: str) -> Profile:
    """What is lost with a device that cannot be carried over."""
    interface, mac, match = _match(name, device)
    login = section == "ethernets" and is_login(as_node(device.get("auth")))
    return Profile(
        kind=_KINDS.get(section, Kind.OTHER),
        source=source,
        interface=interface,
        mac=mac.lower(),
        match=match,
        eap=Eap() if login else None,
        ipv4=Ip(method=Method.MANUAL, addresses=tuple(_addresses(device))),
    )


def _read_device(
    system: System, network: Node, kind: Kind, name: str, device: Node, source: str, found: Collector
) -> None:
    """The profile of a device, or those of its access points. Raises NetworkConfigError."""
    lost = not_carried(key for key in device if key not in _KNOWN)
    for overrides in ("dhcp4-overrides", "dhcp6-overrides", "ra-overrides"):
        unknown = (key for key in as_node(device.get(overrides)) if key not in _KNOWN_OVERRIDES)
        lost += [f"{overrides}: {reason}" for reason in not_carried(unknown)]
    if flag_of(device, "wakeonlan") or texts_of(device, "wakeonwlan") not in ([], ["default"]):
        lost.append("Wake-on-LAN is not carried over")
    by_networkd = _is_by_networkd(network, kind, device)
    profile = _profile(system, kind, name, device, lost, source, by_networkd=by_networkd)
    if kind is Kind.VLAN:
        profile = _vlan(profile, network, device)
    if kind is not Kind.WIFI:
        found.add(*_passed_through(system, profile, device, name, lost))
        return
    for ssid, node in as_node(device.get("access-points")).items():
        point = as_node(node)
        with found.guard(source, ssid):
            lost_here = [*lost, *not_carried(key for key in point if key not in POINT_KEYS)]
            wifi = access_point(system, ssid, point, profile)
            found.add(*_passed_through(system, wifi, point, f"{name}-{ssid}", lost_here))


def _is_by_networkd(network: Node, kind: Kind, device: Node) -> bool:
    """Whether systemd-networkd, which is the default, has the device; a renderer may be named at three places."""
    section = next((as_node(network.get(name)) for name, its in _KINDS.items() if its is kind), {})
    named = next((text for node in (device, section, network) if (text := text_of(node, "renderer"))), "networkd")
    return named == "networkd"


def _profile(
    system: System, kind: Kind, name: str, device: Node, lost: list[str], source: str, *, by_networkd: bool
) -> Profile:
    interface, mac, match = _match(name, device)
    auth = as_node(device.get("auth"))
    mtu = text_of(device, "mtu")
    modem = read_modem(device) if kind is Kind.GSM else None
    ipv4, ipv6 = _ip(device, 4, lost), _ip(device, 6, lost, by_networkd=by_networkd)
    lost += servers_left_out(texts_of(as_node(device.get("nameservers")), "addresses"), ipv4, ipv6)
    return Profile(
        kind=Kind.CDMA if modem and is_cdma(device) else kind,
        source=source,
        interface=interface,
        mac=mac,
        match=match,
        cloned_mac=text_of(device, "macaddress"),
        autoconnect=text_of(device, "activation-mode") not in ("manual", "off"),
        mtu=find_number(mtu),
        eap=wired_eap(system, auth, by_networkd=by_networkd) if is_login(auth) else None,
        modem=modem,
        ipv4=ipv4,
        ipv6=ipv6,
    )


def _match(name: str, device: Node) -> tuple[str, str, Match | None]:
    """The interface's name, which may be a pattern, its hardware address, and the patterns if it has a driver's."""
    if "match" not in device:
        return name, "", None
    match = as_node(device["match"])
    mac = text_of(match, "macaddress")
    name = text_of(device, "set-name") or text_of(match, "name")
    drivers = tuple(texts_of(match, "driver"))
    if mac or not drivers:
        return "" if mac else name, mac, None
    return "", "", Match(names=(name,) if name else (), drivers=drivers)


def _ip(device: Node, version: int, lost: list[str], *, by_networkd: bool = False) -> Ip:
    servers = as_node(device.get("nameservers"))
    routes = [_route(as_node(route), lost) for route in items_of(device, "routes")]
    gateway = text_of(device, f"gateway{version}")
    if gateway:
        routes.insert(0, gateway_route(gateway))
    dhcp = flag_of(device, f"dhcp{version}")
    ra = version == 6 and _takes_advertisements(device, routes, by_networkd=by_networkd)
    ip = make_ip(
        version,
        automatic=dhcp or ra,
        addresses=[parse_cidr(address) for address in _addresses(device)],
        routes=routes,
        dns=[parse_address(text) for text in texts_of(servers, "addresses")],
        search=texts_of(servers, "search"),
        otherwise=Method.LINK_LOCAL if version == 4 else _without_ipv6(device, by_networkd=by_networkd),
    )
    if by_networkd and dhcp and _refuses(device, "accept-ra"):
        ip = replace(ip, method=Method.DHCP)
    return _with_overrides(ip, device, version, lost, ra=ra) if dhcp or ra else _with_metric(ip, device, version)


def _has_no_link_local(device: Node) -> bool:
    return "link-local" in device and "ipv6" not in texts_of(device, "link-local")


def _takes_advertisements(device: Node, routes: list[Route], *, by_networkd: bool) -> bool:
    """Whether IPv6 comes by router advertisement, too.

    Unless accept-ra says otherwise, systemd-networkd takes the gateway of a fixed address from there, where IPv6 has
    link-local addresses (systemd.network(5), IPv6AcceptRA=). NetworkManager does not.
    """
    if "accept-ra" in device:
        return flag_of(device, "accept-ra")
    has_address = any(":" in address for address in _addresses(device))
    has_gateway = any(route.destination == DEFAULT_DESTINATIONS[6] for route in routes)
    wanted = (has_address and not has_gateway) or flag_of(device, "ipv6-privacy")
    return by_networkd and wanted and not _has_no_link_local(device)


def _without_ipv6(device: Node, *, by_networkd: bool) -> Method:
    """What IPv6 without addresses is: left to the kernel, which takes router advertisements as systemd-networkd does,
    unless the device keeps that from doing so."""
    if by_networkd and _has_no_link_local(device):
        return Method.DISABLED
    return Method.LINK_LOCAL if by_networkd and _refuses(device, "accept-ra") else Method.IGNORE


def _with_overrides(ip: Ip, device: Node, version: int, lost: list[str], *, ra: bool) -> Ip:
    """The settings with what is used of the lease and of router advertisements, and what the DHCP server is told."""
    overrides, advertised = as_node(device.get(f"dhcp{version}-overrides")), as_node(device.get("ra-overrides"))
    ways = [_way(f"dhcp{version}-overrides", overrides)] if flag_of(device, f"dhcp{version}") else []
    if ra or (version == 6 and advertised):
        ways.append(_way("ra-overrides", advertised))
    used = not _refuses(overrides, "use-routes")
    ip = with_ways(ip, ways, lost, routes=used, gateway=used)
    options = told_to_server(
        version,
        lost,
        sends_name=not _refuses(overrides, "send-hostname"),
        name=text_of(overrides, "hostname"),
    )
    table = find_number(text_of(advertised, "table")) if version == 6 else None
    if table is not None:
        options = (*options, ("route-table", str(table)))
    if version == 6 and flag_of(device, "ipv6-privacy"):
        options = (*options, ("ip6-privacy", "2"))
    return _with_metric(replace(ip, options=options), device, version)


def _with_metric(ip: Ip, device: Node, version: int) -> Ip:
    metric = find_number(text_of(as_node(device.get(f"dhcp{version}-overrides")), "route-metric"))
    return ip if metric is None else replace(ip, metric=metric)


def _way(name: str, overrides: Node) -> Way:
    told = text_of(overrides, "use-domains")
    domains = "route" if told == "route" else "yes" if flag_of(overrides, "use-domains") else "no"
    return Way(name=name, dns=not _refuses(overrides, "use-dns"), domains=domains if told else "")


def _refuses(node: Node, key: str) -> bool:
    """Whether a flag is set to false, and not only missing."""
    return bool(text_of(node, key)) and not flag_of(node, key)


def _addresses(device: Node) -> Iterator[str]:
    """An entry is an address, or a mapping from the address to its options."""
    for item in items_of(device, "addresses"):
        if isinstance(item, dict):
            yield from map(str, item)
        elif isinstance(item, str):
            yield item


def _route(route: Node, lost: list[str]) -> Route:
    gateway = text_of(route, "via")
    target = text_of(route, "to")
    metric, table, mtu = (text_of(route, key) for key in ("metric", "table", "mtu"))
    lost += [f"a route's {key} is not carried over" for key in route if key not in _ROUTE_KEYS]
    return Route(
        destination=parse_destination(target, gateway),
        gateway=parse_address(gateway) if gateway else "",
        metric=find_number(metric),
        table=find_number(table),
        mtu=find_number(mtu),
        on_link=flag_of(route, "on-link"),
        source=text_of(route, "from"),
        kind=text_of(route, "type") or "unicast",
    )


_ROUTE_KEYS = frozenset({"to", "via", "metric", "table", "mtu", "on-link", "from", "type", "scope"})


def _vlan(profile: Profile, network: Node, device: Node) -> Profile:
    """The VLAN with its parent, by name or hardware address; `link` is the parent's id in the file."""
    number, link = find_number(text_of(device, "id")), text_of(device, "link")
    section, parent = next(((s, as_node(d)[link]) for s, d in network.items() if link in as_node(d)), ("", {}))
    if section in _NOT_CARRIED:
        raise NetworkConfigError(f"is on top of {link}, {_NOT_CARRIED[section]}, which cannot be carried over")
    name, mac, match = _match(link, as_node(parent))
    if match:
        raise NetworkConfigError(f"is on top of {link}, which is bound by its driver, and cannot be carried over")
    vlan = Vlan(id=-1 if number is None else number, parent="" if mac else name)
    return replace(profile, vlan=vlan, mac=mac)


def _passed_through(
    system: System, profile: Profile, node: Node, name: str, lost: list[str]
) -> tuple[Profile, list[str]]:
    """The profile with the keyfile values under `networkmanager`, if any."""
    extra = as_node(node.get("networkmanager"))
    values = as_node(extra.get("passthrough"))
    uuid = text_of(extra, "uuid")
    if not values and not uuid and profile.kind is not Kind.OTHER:
        return profile, lost
    file = write_keyfile(profile, name)
    for key, certificate in named_certificates(profile.eap).items():
        file = file.with_text("802-1x", key, certificate.path)
    if profile.kind is Kind.OTHER:
        file = file.without("connection", "type")
    if uuid:
        file = file.with_raw("connection", "uuid", uuid)
    for key, value in values.items():
        file = _with_passthrough(file, key, value, lost)
    made, more = make_profile(system, file, profile.source)
    return made, [*lost, *more]


def _with_passthrough(file: Keyfile, key: str, value: Any, lost: list[str]) -> Keyfile:
    if "." not in key or not isinstance(value, str):
        lost.append(f"the passthrough value {key} names no group")
        return file
    group, _, name = key.rpartition(".") if key.startswith("wireguard-peer.") else key.partition(".")
    return file if name == "_" else file.with_raw(group, name, escape(value))


SOURCE = Source(name="netplan", precedence=20, read=read)
