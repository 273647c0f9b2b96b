# SPDX-License-Identifier: Apache-2.0
"""What is used of a lease and of router advertisements, and what a DHCP server is told, for the sources that say so.

Source: nm-settings(5): ignore-auto-dns, ignore-auto-routes and never-default count for all that a family gets by
itself; an explicit gateway replaces the others (NetworkManager, nm-device.c, _dev_l3_get_config_settings).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from balena_migrate.network.addresses import DEFAULT_DESTINATIONS
from balena_migrate.network.files.keyfile import escape
from balena_migrate.network.model import Ip

Options = tuple[tuple[str, str], ...]
"""Further keys of [ipv4] or [ipv6] with their raw values."""

_VENDOR_CLASS = re.compile(r"[ -\[\]-~]{1,255}")
"""What NetworkManager takes as it is; a backslash would start an escape (nm_utils_validate_dhcp4_vendor_class_id)."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way by which a family gets name servers, DHCP or router advertisements, and whether these are used.

    `name` is for messages. `domains` is "" where the source does not mention the search domains, else "yes", "no" or
    "route".
    """

    name: str
    dns: bool = True
    domains: str = ""


def with_ways(ip: Ip, ways: Sequence[Way], lost: list[str], *, routes: bool = True, gateway: bool = True) -> Ip:
    """The settings of a family that gets some by itself, with what of these is used; `routes` are all but the gateway.

    What NetworkManager cannot tell apart is added to `lost`.
    """
    no_dns = bool(ways) and not any(way.dns for way in ways)
    lost += _taken_otherwise(ways, no_dns=no_dns)
    own = bool(ip.gateway) or any(route.destination in DEFAULT_DESTINATIONS.values() for route in ip.routes)
    no_routes = not routes and not gateway
    if own and routes and not gateway:
        lost.append("the routes that come with the gateway are left out with it")
        no_routes = True
    if gateway and not routes:
        lost.append("the routes that come with the gateway are used, too")
    return replace(ip, ignore_auto_dns=no_dns, ignore_auto_routes=no_routes, never_default=not gateway and not own)


def _taken_otherwise(ways: Sequence[Way], *, no_dns: bool) -> Iterator[str]:
    for way in ways:
        if not (no_dns or way.dns):
            yield f"the name servers from {way.name} are used, too"
        if not no_dns and way.domains in ("no", "route"):
            yield f"the domains from {way.name} are used for search"
        if no_dns and way.domains in ("yes", "route"):
            yield f"the domains from {way.name} are left out with its name servers"


def told_to_server(
    version: int, lost: list[str], *, sends_name: bool = True, name: str = "", vendor_class: str = ""
) -> Options:
    """The keys of a family for what its DHCP server is told: the host's name, the vendor class; "" for the default."""
    options = []
    if not sends_name:
        options.append(("dhcp-send-hostname", "false"))
    elif name:
        options.append(("dhcp-hostname", escape(name)))
    if vendor_class and version == 4 and _VENDOR_CLASS.fullmatch(vendor_class):
        options.append(("dhcp-vendor-class-identifier", escape(vendor_class)))
    elif vendor_class:
        lost.append("the vendor class that the DHCP server is told is not carried over")
    return tuple(options)
