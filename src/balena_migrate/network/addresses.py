# SPDX-License-Identifier: Apache-2.0
"""Converts addresses, routes and name servers from the notations of the sources to that of the model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from balena_migrate.core.errors import NetworkConfigError
from balena_migrate.network.model import Ip, Method, Route

DEFAULT_DESTINATIONS = {4: "0.0.0.0/0", 6: "::/0"}
_WITH_ADDRESSES = (Method.AUTO, Method.DHCP, Method.MANUAL, Method.SHARED)


def parse_cidr(address: str, netmask: str = "") -> str:
    """An address in CIDR form; the prefix length may be separate, as a mask or number. Raises NetworkConfigError."""
    text = address if "/" in address or not netmask else f"{address}/{netmask}"
    try:
        return str(ip_interface(text.strip()))
    except ValueError:
        raise NetworkConfigError(f"{address!r} is not an address") from None


def mask_of_class(address: str) -> str:
    """The prefix length that ifupdown and dhcpcd assume for an IPv4 address without one: its class's (RFC 791)."""
    match = re.match(r"([0-9]{1,3})\.", address)
    if match is None:
        return ""
    return next(
        length for limit, length in ((128, "8"), (192, "16"), (224, "24"), (1000, "32")) if int(match[1]) < limit
    )


def parse_address(text: str) -> str:
    """A plain address. Raises NetworkConfigError."""
    try:
        return str(ip_address(text.strip()))
    except ValueError:
        raise NetworkConfigError(f"{text!r} is not an address") from None


def server_host(text: str) -> str:
    """A name server without its port, interface and TLS name ("[::1]:53%eth0#name")."""
    host = text.partition("#")[0].partition("%")[0]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host


def parse_destination(text: str, gateway: str = "", netmask: str = "") -> str:
    """A route's destination in CIDR form; "default" becomes that of the gateway's family. Raises NetworkConfigError."""
    if text == "default":
        return DEFAULT_DESTINATIONS[family(gateway) if gateway else 4]
    try:
        return str(ip_network(text if "/" in text or not netmask else f"{text}/{netmask}", strict=False))
    except ValueError:
        raise NetworkConfigError(f"{text!r} is not a destination") from None


def family(text: str) -> int:
    """4 or 6: the family of an address, with or without a prefix length. Raises NetworkConfigError."""
    try:
        return ip_interface(text).version
    except ValueError:
        raise NetworkConfigError(f"{text!r} is not an address") from None


def of_family(version: int, texts: Iterable[str]) -> tuple[str, ...]:
    """The addresses of this family, without duplicates."""
    return tuple(text for text in dict.fromkeys(texts) if family(text) == version)


def make_ip(
    version: int,
    *,
    otherwise: Method,
    automatic: bool = False,
    addresses: Iterable[str] = (),
    routes: Iterable[Route] = (),
    dns: Iterable[str] = (),
    search: Iterable[str] = (),
) -> Ip:
    """The settings of one family, from lists that may contain both.

    DHCP or router advertisements if `automatic`, else the addresses, else the method `otherwise`. The first default
    route becomes the gateway, which every version of NetworkManager supports; only newer ones support default routes
    among other routes.
    """
    mine = of_family(version, addresses)
    method = Method.AUTO if automatic else Method.MANUAL if mine else otherwise
    if method not in _WITH_ADDRESSES:
        return Ip(method=method)
    ip = Ip(method=method, addresses=mine, dns=of_family(version, dns), search=tuple(dict.fromkeys(search)))
    wanted = [route for route in routes if family(route.destination) == version]
    first = next((r for r in wanted if _is_gateway(r)), None) if mine else None
    if first is None:
        return replace(ip, routes=tuple(wanted))
    rest = tuple(route for route in wanted if route is not first)
    return replace(ip, gateway=first.gateway, metric=first.metric, routes=rest)


def servers_left_out(servers: Iterable[str], ipv4: Ip, ipv6: Ip) -> list[str]:
    """A reason for each family whose servers have no place, since NetworkManager takes none with its method."""
    given = [server_host(text) for text in servers]
    return [
        f"its name servers with IPv{version} addresses are not carried over, as IPv{version} is {ip.method}"
        for version, ip in ((4, ipv4), (6, ipv6))
        if ip.method not in _WITH_ADDRESSES and of_family(version, given)
    ]


def _is_gateway(route: Route) -> bool:
    return route.destination in DEFAULT_DESTINATIONS.values() and bool(route.gateway) and route.table is None


def gateway_route(gateway: str, metric: int | None = None) -> Route:
    """The default route via this gateway. Raises NetworkConfigError."""
    address = parse_address(gateway)
    return Route(destination=DEFAULT_DESTINATIONS[family(address)], gateway=address, metric=metric)
