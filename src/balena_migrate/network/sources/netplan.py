"""netplan: YAML in /etc/netplan, /run/netplan and /lib/netplan.

Source: netplan's YAML reference (netplan-yaml.md). Files are merged as netplan does it: by name over all folders,
mappings key by key, lists one after the other. What netplan itself writes for its NetworkManager renderer says how
its words map to keyfiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from balena_migrate.errors import NetworkConfigError
from balena_migrate.network.addresses import gateway_route, make_ip, parse_address, parse_cidr, parse_destination
from balena_migrate.network.certificates import read_certificate
from balena_migrate.network.collect import Collector, read_config, read_layered
from balena_migrate.network.keyfile import Keyfile, escape
from balena_migrate.network.model import (
    Eap,
    Ip,
    Kind,
    Method,
    Mode,
    Modem,
    Problem,
    Profile,
    Reading,
    Route,
    Security,
    Vlan,
    Wifi,
)
from balena_migrate.network.sources import Source
from balena_migrate.network.sources.networkmanager import make_profile
from balena_migrate.network.writer import write_keyfile
from balena_migrate.network.yamlfile import parse_yaml
from balena_migrate.system import System

FOLDERS = ("/run/netplan", "/etc/netplan", "/lib/netplan")
"""A file in an earlier folder hides the file of that name in a later one."""
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
"""Keys of a device that the new system has no use for."""
_CARRIED = """
    match dhcp4 dhcp6 accept-ra addresses gateway4 gateway6 nameservers routes mtu macaddress auth access-points
    regulatory-domain networkmanager dhcp4-overrides dhcp6-overrides ipv6-privacy link-local activation-mode id link
    apn auto-config device-id network-id number password pin sim-id sim-operator-id username wakeonlan wakeonwlan
"""
_KNOWN = frozenset(f"{_HARMLESS} {_CARRIED}".split())
_SECURITY = {
    "none": Security.OPEN,
    "psk": Security.PSK,
    "psk-sha256": Security.PSK,
    "sae": Security.SAE,
    "eap": Security.EAP,
    "eap-sha256": Security.EAP,
    "eap-suite-b-192": Security.EAP_192,
    "802.1x": Security.DYNAMIC_WEP,
}
_BANDS = {"5GHz": "a", "5G": "a", "2.4GHz": "bg", "2.4G": "bg", "": ""}
_NULL = ("", "~", "null", "Null", "NULL")

Node = dict[str, Any]


def read(system: System) -> Reading:
    """All devices of the merged netplan files."""
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
        for name, device in _node(devices).items():
            source = origin.get((section, name), FOLDERS[0])
            with found.guard(source, name):
                _refuse(section, name, members)
                _read_device(system, merged, _KINDS[section], name, _node(device), source, found)
    domains = (_text(_node(d), "regulatory-domain") for d in _node(merged.get("wifis")).values())
    found.country = next((domain.upper() for domain in domains if domain), "")
    return found.reading()


def _network(document: Any) -> Node:
    if not isinstance(document, dict) or not isinstance(document.get("network"), dict):
        raise NetworkConfigError("has no network section")
    network: Node = document["network"]
    version = network.get("version", "2")
    if version != "2":
        raise NetworkConfigError(f"is of version {version}, and netplan knows only version 2")
    return network


def _merge(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            key: _merge(one[key], other[key]) if key in one and key in other else {**one, **other}[key]
            for key in {**one, **other}
        }
    if isinstance(one, list) and isinstance(other, list):
        return one + [item for item in other if item not in one]
    return other


def _members(network: Node) -> dict[str, str]:
    """The devices that belong to a bridge, bond or VRF, with its name."""
    owners = {**_node(network.get("bridges")), **_node(network.get("bonds")), **_node(network.get("vrfs"))}
    return {member: owner for owner, node in owners.items() for member in _texts(_node(node), "interfaces")}


def _refuse(section: str, name: str, members: dict[str, str]) -> None:
    if section not in _KINDS:
        raise NetworkConfigError(f"{_NOT_CARRIED.get(section, section)} cannot be carried over")
    if name in members:
        raise NetworkConfigError(f"belongs to {members[name]}, which cannot be carried over")
    if name == "lo":
        raise NetworkConfigError("addresses of the loopback interface cannot be carried over")


def _read_device(
    system: System, network: Node, kind: Kind, name: str, device: Node, source: str, found: Collector
) -> None:
    """The profile of a device, or those of its access points. Raises NetworkConfigError."""
    lost = [f"{key} is not carried over" for key in device if key not in _KNOWN]
    if _flag(device, "wakeonlan") or _texts(device, "wakeonwlan") not in ([], ["default"]):
        lost.append("to be woken over the network is not carried over")
    profile = _profile(system, kind, name, device, lost, source)
    if kind is Kind.VLAN:
        profile = _vlan(profile, network, device)
    if kind is not Kind.WIFI:
        found.add(*_passed_through(system, profile, device, name, lost))
        return
    for ssid, node in _node(device.get("access-points")).items():
        point = _node(node)
        with found.guard(source, ssid):
            lost_here = [*lost, *(f"{key} is not carried over" for key in point if key not in _POINT_KEYS)]
            wifi = _access_point(system, ssid, point, profile)
            found.add(*_passed_through(system, wifi, point, f"{name}-{ssid}", lost_here))


def _profile(system: System, kind: Kind, name: str, device: Node, lost: list[str], source: str) -> Profile:
    interface, mac = _match(name, device)
    auth = _node(device.get("auth"))
    mtu = _text(device, "mtu")
    modem = _modem(device) if kind is Kind.GSM else None
    return Profile(
        kind=Kind.CDMA if modem and _is_cdma(device) else kind,
        source=source,
        interface=interface,
        mac=mac,
        cloned_mac=_text(device, "macaddress"),
        autoconnect=_text(device, "activation-mode") not in ("manual", "off"),
        mtu=int(mtu) if mtu.isdigit() else None,
        eap=_wired_eap(system, auth) if auth else None,
        modem=modem,
        ipv4=_ip(device, 4, lost),
        ipv6=_ip(device, 6, lost),
    )


def _match(name: str, device: Node) -> tuple[str, str]:
    """The interface's name, which may be a pattern, and its hardware address. Raises NetworkConfigError."""
    if "match" not in device:
        return name, ""
    match = _node(device["match"])
    if _texts(match, "driver"):
        raise NetworkConfigError("settings for all devices of one driver cannot be carried over")
    mac = _text(match, "macaddress")
    return "" if mac else _text(match, "name"), mac


def _ip(device: Node, version: int, lost: list[str]) -> Ip:
    overrides = _node(device.get(f"dhcp{version}-overrides"))
    servers = _node(device.get("nameservers"))
    routes = [_route(_node(route), lost) for route in _list(device, "routes")]
    gateway = _text(device, f"gateway{version}")
    if gateway:
        routes.insert(0, gateway_route(gateway))
    ip = make_ip(
        version,
        automatic=_flag(device, f"dhcp{version}") or (version == 6 and _flag(device, "accept-ra")),
        addresses=[parse_cidr(address) for address in _addresses(device)],
        routes=routes,
        dns=[parse_address(text) for text in _texts(servers, "addresses")],
        search=_texts(servers, "search"),
        otherwise=Method.LINK_LOCAL if version == 4 else Method.IGNORE,
    )
    return _with_overrides(ip, device, overrides, version)


def _with_overrides(ip: Ip, device: Node, overrides: Node, version: int) -> Ip:
    metric = _text(overrides, "route-metric")
    if version == 6 and _flag(device, "ipv6-privacy") and ip.method is not Method.IGNORE:
        ip = replace(ip, options=(("ip6-privacy", "2"),))
    return replace(
        ip,
        metric=int(metric) if metric.isdigit() else ip.metric,
        ignore_auto_dns=_text(overrides, "use-dns") in ("false", "no", "off", "n"),
        never_default=_text(overrides, "use-routes") in ("false", "no", "off", "n") and not ip.gateway,
    )


def _addresses(device: Node) -> Iterator[str]:
    """An entry is an address, or a mapping from the address to its options."""
    for item in _list(device, "addresses"):
        if isinstance(item, dict):
            yield from map(str, item)
        elif isinstance(item, str):
            yield item


def _route(route: Node, lost: list[str]) -> Route:
    gateway = _text(route, "via")
    target = _text(route, "to")
    metric, table, mtu = (_text(route, key) for key in ("metric", "table", "mtu"))
    lost += [f"a route's {key} is not carried over" for key in route if key not in _ROUTE_KEYS]
    return Route(
        destination=parse_destination(target, gateway),
        gateway=parse_address(gateway) if gateway else "",
        metric=int(metric) if metric.isdigit() else None,
        table=int(table) if table.isdigit() else None,
        mtu=int(mtu) if mtu.isdigit() else None,
        on_link=_flag(route, "on-link"),
        source=_text(route, "from"),
        kind=_text(route, "type") or "unicast",
    )


_ROUTE_KEYS = frozenset({"to", "via", "metric", "table", "mtu", "on-link", "from", "type", "scope"})


def _access_point(system: System, ssid: str, point: Node, device: Profile) -> Profile:
    auth = _node(point.get("auth"))
    password = _text(point, "password")
    management = _text(auth, "key-management") or ("psk" if password or _text(auth, "password") else "none")
    if management not in _SECURITY:
        raise NetworkConfigError(f"key-management {management} is not known")
    security = _SECURITY[management]
    mode = _text(point, "mode") or "infrastructure"
    if mode not in set(Mode):
        raise NetworkConfigError({"ap": "access point"}.get(mode, mode) + " mode cannot be carried over")
    channel = _text(point, "channel")
    band = _BANDS.get(_text(point, "band"), "")
    wifi = Wifi(
        ssid=ssid.encode("utf-8", "surrogateescape"),
        security=security,
        mode=Mode(mode),
        hidden=_flag(point, "hidden"),
        bssid=_text(point, "bssid"),
        band=band,
        channel=int(channel) if channel.isdigit() and band else 0,
        secret=_text(auth, "password") or password if security in (Security.PSK, Security.SAE) else "",
    )
    eap = _eap(system, auth) if security in (Security.EAP, Security.EAP_192, Security.DYNAMIC_WEP) else None
    return replace(device, wifi=wifi, eap=eap)


_POINT_KEYS = frozenset({"auth", "password", "mode", "channel", "band", "hidden", "bssid", "networkmanager"})


def _wired_eap(system: System, auth: Node) -> Eap | None:
    management = _text(auth, "key-management") or "802.1x"
    if management == "none":
        return None
    if management not in ("802.1x", "eap"):
        raise NetworkConfigError(f"key-management {management} is not for wired devices")
    return _eap(system, auth)


def _eap(system: System, auth: Node) -> Eap:
    def certificate(key: str) -> Any:
        path = _text(auth, key)
        return read_certificate(system, path, key) if path else None

    return Eap(
        methods=(_text(auth, "method"),),
        identity=_text(auth, "identity"),
        anonymous_identity=_text(auth, "anonymous-identity"),
        password=_text(auth, "password"),
        ca_cert=certificate("ca-certificate"),
        client_cert=certificate("client-certificate"),
        private_key=certificate("client-key"),
        private_key_password=_text(auth, "client-key-password"),
        inner=_text(auth, "phase2-auth").lower(),
    )


def _vlan(profile: Profile, network: Node, device: Node) -> Profile:
    """The VLAN with its parent, which `link` names by its id in the file: by its real name or hardware address."""
    number, link = _text(device, "id"), _text(device, "link")
    parent: Node = next((_node(devices)[link] for devices in network.values() if link in _node(devices)), {})
    name, mac = _match(link, _node(parent))
    name = _text(_node(parent), "set-name") or name
    vlan = Vlan(id=int(number) if number.isdigit() else -1, parent="" if mac else name)
    return replace(profile, vlan=vlan, mac=mac)


def _modem(device: Node) -> Modem:
    return Modem(
        apn=_text(device, "apn"),
        number=_text(device, "number"),
        username=_text(device, "username"),
        password=_text(device, "password"),
        pin=_text(device, "pin"),
        network_id=_text(device, "network-id"),
        device_id=_text(device, "device-id"),
        sim_id=_text(device, "sim-id"),
        sim_operator_id=_text(device, "sim-operator-id"),
        auto_config=_flag(device, "auto-config") or not any(key in device for key in ("apn", "number", "username")),
    )


def _is_cdma(device: Node) -> bool:
    """As netplan tells them apart: CDMA has a number and nothing that only GSM has."""
    gsm = ("apn", "auto-config", "device-id", "network-id", "pin", "sim-id", "sim-operator-id")
    return "number" in device and not any(key in device for key in gsm)


def _passed_through(
    system: System, profile: Profile, node: Node, name: str, lost: list[str]
) -> tuple[Profile, list[str]]:
    """The profile with the keyfile values that stand under `networkmanager`, if any."""
    extra = _node(node.get("networkmanager"))
    values = _node(extra.get("passthrough"))
    uuid = _text(extra, "uuid")
    if not values and not uuid and profile.kind is not Kind.OTHER:
        return profile, lost
    file = write_keyfile(profile, name)
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


def _node(value: Any) -> Node:
    """A mapping; anything else, such as the null of an empty section, is an empty one."""
    return value if isinstance(value, dict) else {}


def _list(node: Node, key: str) -> list[Any]:
    value = node.get(key)
    return value if isinstance(value, list) else []


def _texts(node: Node, key: str) -> list[str]:
    """A list of texts; a single text is a list of one."""
    value = node.get(key)
    if isinstance(value, str):
        return [] if value in _NULL else [value]
    return [item for item in _list(node, key) if isinstance(item, str)]


def _text(node: Node, key: str) -> str:
    value = node.get(key, "")
    return value if isinstance(value, str) and value not in _NULL else ""


def _flag(node: Node, key: str) -> bool:
    return _text(node, key).lower() in ("true", "yes", "on", "y", "1")


SOURCE = Source(name="netplan", precedence=20, read=read)
