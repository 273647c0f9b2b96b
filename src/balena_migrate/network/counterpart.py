# SPDX-License-Identifier: Apache-2.0
"""Compares the connection in use with the profiles that are carried over for it, one address family after the other.

Source: nm-settings(5): `manual` takes no router advertisements, `auto` adds the fixed addresses to what it gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from balena_migrate.facts.network import Interface, InterfaceAddress, NetworkFacts
from balena_migrate.network.addresses import DEFAULT_DESTINATIONS
from balena_migrate.network.model import Ip, Method, Profile
from balena_migrate.network.name_servers import is_local

_LEASE = (Method.AUTO, Method.DHCP)
_ADVERTISED = (Method.AUTO, Method.IGNORE)
"""How IPv6 takes router advertisements. Where NetworkManager ignores it, the kernel follows them."""
_AUTOMATIC = {4: _LEASE, 6: (*_LEASE, Method.IGNORE)}
"""How an interface gets its addresses by itself."""
NOT_BY_ITSELF = "its settings say not to connect automatically"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`obstacle` is why the device would not come back, "" if it would; `losses` is what changes though it does.

    `no_dns` is why the name servers in use do not go along, "" if they do; `remedy` is that of the obstacle if it has
    one of its own; `versions` are the families compared; `new_duid` says whether a DHCPv6 server will be asked by
    another identifier than now.
    """

    obstacle: str = ""
    losses: tuple[str, ...] = ()
    no_dns: str = ""
    remedy: str = ""
    versions: tuple[int, ...] = ()
    by_lease: bool = False
    new_duid: bool = False


@dataclass(frozen=True, kw_only=True)
class _Now:
    """What the interface has now, of one family; `gateways` are those of its default routes, "" for one without."""

    version: int
    addresses: tuple[InterfaceAddress, ...]
    gateways: tuple[str, ...]


def compare(
    interface: Interface, network: NetworkFacts, fitting: Sequence[Profile], known: Mapping[str, str]
) -> Comparison:
    """How the profiles that fit the interface lead out, against how it does now; without any, it gets a lease.

    `known` are all fixed addresses of the old system's settings, each with its file. Several DHCP clients, and a lease
    without end, give an address no lifetime, so one that looks fixed is taken for a lease where the settings of the
    interface say DHCP, unless it is a fixed address of other settings: then those are in force.
    """
    usable = [profile for profile in fitting if profile.autoconnect]
    if fitting and not usable:
        return Comparison(obstacle=NOT_BY_ITSELF)
    families = _families(interface, network)
    in_force = _in_force(usable, families)
    obstacles = {now.version: _family_obstacle(now, _of_family(in_force, now.version), known) for now in families}
    first, *others = (now.version for now in families)
    return Comparison(
        obstacle=obstacles[first],
        losses=tuple(f"IPv{version}: {obstacles[version]}" for version in others if obstacles[version]),
        no_dns=_no_dns(network, in_force, [now for now in families if not obstacles[now.version]]),
        versions=tuple(obstacles),
        by_lease=not in_force or any(ip.method in _LEASE for v in obstacles for ip in _of_family(in_force, v)),
        new_duid=_is_by_dhcpv6(families) and not any(map(_has_duid, in_force)),
    )


def _is_by_dhcpv6(families: Iterable[_Now]) -> bool:
    """Whether an address is a single one with a lifetime, as DHCPv6 gives them."""
    return any(a.dynamic and a.address.endswith("/128") for now in families for a in now.addresses)


def _has_duid(profile: Profile) -> bool:
    if profile.keyfile is not None:
        return profile.keyfile.raw("ipv6", "dhcp-duid") is not None
    return profile.ipv6 is not None and "dhcp-duid" in dict(profile.ipv6.options)


def _families(interface: Interface, network: NetworkFacts) -> list[_Now]:
    """The families in use, the one that leads out first; IPv4 where both do, or none is known."""
    found = []
    for version in (4, 6):
        mine = [a for a in network.addresses if a.interface == interface.name and _version(a.address) == version]
        ways = [r for r in network.default_routes if r.interface == interface.name and _version(r.gateway) == version]
        now = _Now(version=version, addresses=tuple(mine), gateways=tuple(route.gateway for route in ways))
        if now.addresses or now.gateways:
            found.append(now)
    found.sort(key=lambda now: not now.gateways)
    return found or [_Now(version=4, addresses=(), gateways=())]


def _version(text: str) -> int:
    return 6 if ":" in text else 4


def _of_family(profiles: Iterable[Profile], version: int) -> list[Ip]:
    """Their settings of this family; where a source names none, NetworkManager's default."""
    return [(profile.ipv4 if version == 4 else profile.ipv6) or Ip() for profile in profiles]


def _in_force(usable: list[Profile], families: list[_Now]) -> list[Profile]:
    """The profiles that may be behind the connection now: those with one of its addresses, else all."""
    now = {a.address for family in families for a in family.addresses}
    fixed = [p for p in usable if any(not now.isdisjoint(ip.addresses) for ip in (p.ipv4, p.ipv6) if ip)]
    return fixed or usable


def _family_obstacle(now: _Now, settings: list[Ip], known: Mapping[str, str]) -> str:
    """Why the settings do not lead out as the interface does now."""
    carried = {address for ip in settings for address in ip.addresses}
    missing = [a.address for a in now.addresses if not a.dynamic and a.address not in carried]
    other = next((address for address in missing if address in known), "")
    if other:
        return f"its fixed address {other} is in {known[other]}, but not in the settings that would be used"
    if missing and not any(ip.method in _LEASE for ip in settings):
        return f"its fixed address {missing[0]} is in no settings that are carried over"
    automatic = not settings or any(ip.method in _AUTOMATIC[now.version] for ip in settings)
    if now.addresses and not automatic and not any(a.address in carried for a in now.addresses):
        return "its settings do not assign the address that it has now"
    if not now.addresses and not automatic and not carried:
        return "its settings assign no address"
    ways = _LEASE if now.version == 4 else _ADVERTISED  # DHCPv6 brings no gateway
    return _gateway_obstacle(now, settings, automatic=not settings or any(ip.method in ways for ip in settings))


def _gateway_obstacle(now: _Now, settings: list[Ip], *, automatic: bool) -> str:
    """Why the settings have no way out like those that the interface has now."""
    gateways = [gateway for gateway in now.gateways if gateway]
    ways_out = {ip.gateway for ip in settings} | {
        r.gateway for ip in settings for r in ip.routes if r.destination in DEFAULT_DESTINATIONS.values()
    }
    if not now.gateways or not settings or not ways_out.isdisjoint(gateways):
        return ""
    if all(ip.never_default or ip.ignore_auto_routes for ip in settings):
        return "its settings take no default route, and it has one now"
    advertised = [gateway for gateway in gateways if ip_address(gateway).is_link_local]
    if automatic and (now.version == 4 or advertised or not gateways):
        return ""  # a lease or an advertisement brings it; the latter always comes from a link-local address (RFC 4861)
    if advertised:
        return f"its gateway {advertised[0]} came by router advertisement, which its settings do not take"
    return f"its gateway {gateways[0]} is in no settings that are carried over" if gateways else ""


def _no_dns(network: NetworkFacts, in_force: list[Profile], families: list[_Now]) -> str:
    """Why the name servers in use do not go along; whether those that a lease brings are the same is not known."""
    used = [server for server in network.name_servers if not is_local(server)]
    settings = [(now.version, ip) for now in families for ip in _of_family(in_force, now.version)]
    advertised = any(":" in server for server in used)
    if not in_force or any(
        ip.method in _LEASE and not ip.ignore_auto_dns and (version == 4 or advertised) for version, ip in settings
    ):
        return ""
    carried = [server for _, ip in settings for server in ip.dns]
    if not carried and network.name_servers and not used:
        return (
            f"it asks a forwarder on the device itself ({network.name_servers[0]}), whose servers are in no settings "
            "that are read, so the new system would ask 8.8.8.8"
        )
    if not carried:
        return "its settings are fixed and name no name server, so the new system would ask 8.8.8.8"
    if used and set(used).isdisjoint(carried):
        return f"it uses the name server {used[0]}, and its settings name {carried[0]}"
    return ""
