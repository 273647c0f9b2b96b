# SPDX-License-Identifier: Apache-2.0
"""Changes the profiles of one interface, where something outside of them counts for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from balena_migrate.facts.network import Interface, InterfaceKind, NetworkFacts
from balena_migrate.network.files.keyfile import Keyfile
from balena_migrate.network.model import Ip, Kind, Method, Profile

KINDS = {InterfaceKind.ETHERNET: Kind.ETHERNET, InterfaceKind.WIFI: Kind.WIFI, InterfaceKind.VLAN: Kind.VLAN}

Change = Callable[[Profile], Profile]


def change_those_of(
    profiles: tuple[Profile, ...], interface: Interface, network: NetworkFacts, source: str, change: Change
) -> tuple[Profile, ...]:
    """The profiles, those of the interface changed. A wired interface without any gets one, named after `source`."""
    mine = those_of(profiles, interface, network)
    if not mine and interface.kind is InterfaceKind.ETHERNET:
        return (*profiles, change(Profile(kind=Kind.ETHERNET, source=source, interface=interface.name)))
    return tuple(change(profile) if profile in mine else profile for profile in profiles)


def those_of(profiles: tuple[Profile, ...], interface: Interface, network: NetworkFacts) -> list[Profile]:
    """The profiles that name the interface; if it is the only one of its kind, also those that name none."""
    kind = KINDS.get(interface.kind)
    alone = len(network.of_kind(interface.kind)) == 1
    return [p for p in profiles if p.kind is kind and (p.interface == interface.name or (alone and not p.interface))]


def with_options(profile: Profile, version: int, options: dict[str, str]) -> Profile:
    """The profile with these raw values in [ipv4] or [ipv6], for the keys that it does not have."""
    group = f"ipv{version}"
    ip = (profile.ipv4 if version == 4 else profile.ipv6) or Ip()
    file = profile.keyfile
    known = dict(ip.options) if file is None else file.keys(group)
    new = {key: value for key, value in options.items() if key not in known}
    if file is not None:
        for key, value in new.items():
            file = with_method(file, group, ip.method).with_raw(group, key, value)
        return replace(profile, keyfile=file)
    ip = replace(ip, options=(*ip.options, *new.items()))
    return replace(profile, ipv4=ip) if version == 4 else replace(profile, ipv6=ip)


def with_method(file: Keyfile, group: str, method: Method) -> Keyfile:
    """The keyfile with a method in this group, which NetworkManager wants there as soon as the group is not empty."""
    return file if file.raw(group, "method") else file.with_raw(group, "method", str(method))


def is_by_lease(ip: Ip | None) -> bool:
    """Whether this family gets its addresses from a server; it does where a profile says nothing of it."""
    return (ip or Ip()).method in (Method.AUTO, Method.DHCP)
