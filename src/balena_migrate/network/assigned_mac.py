# SPDX-License-Identifier: Apache-2.0
"""Hardware addresses that are set outside of the profiles: by systemd's .link files and NetworkManager's defaults.

Source: systemd.link(5), MACAddress= and MACAddressPolicy=; NetworkManager.conf(5), [connection] with
ethernet.cloned-mac-address and wifi.cloned-mac-address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath

from balena_migrate.core.system import System
from balena_migrate.facts.network import Interface, InterfaceKind, NetworkFacts
from balena_migrate.network.by_interface import change_those_of
from balena_migrate.network.files.ini import Section, find_section
from balena_migrate.network.merge import fits
from balena_migrate.network.model import Match, Profile
from balena_migrate.network.networkmanager_defaults import default_of
from balena_migrate.network.reading import networkmanager_settings, read_layered, read_sections

RANDOM = "random"
"""NetworkManager's word for another address each time; so is systemd's."""

_LINK_FOLDERS = (
    "/etc/systemd/network",
    "/run/systemd/network",
    "/usr/local/lib/systemd/network",
    "/usr/lib/systemd/network",
    "/lib/systemd/network",
)
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_WITH_MAC = (InterfaceKind.ETHERNET, InterfaceKind.WIFI)


def with_assigned_macs(profiles: tuple[Profile, ...], network: NetworkFacts, system: System) -> tuple[Profile, ...]:
    """The profiles with the hardware address that general settings give their interface, as far as it is in use.

    A wired interface without a profile gets one. Raises nothing.
    """
    assigned = dict(_assigned(system))
    online = network.online()
    for interface in network.interfaces:
        if interface.mac_permanent or interface.kind not in _WITH_MAC:
            continue
        source = assigned.get(interface.mac.lower())
        if source:
            profiles = _assign(profiles, interface, network, str(source), interface.mac)
        elif interface == online:
            profiles = _by_rule(profiles, interface, network, system)
    return profiles


def _by_rule(
    profiles: tuple[Profile, ...], interface: Interface, network: NetworkFacts, system: System
) -> tuple[Profile, ...]:
    """The profiles where a rule, and not an address, is the reason for the one in force.

    What a rule makes of the machine's id, the new system would make another one of: so the address itself goes along.
    """
    value, source = default_of(networkmanager_settings(system), f"{interface.kind}.cloned-mac-address", interface)
    if value == RANDOM:
        return _assign(profiles, interface, network, source, RANDOM)
    if value.startswith("stable"):
        others = tuple(p for p in profiles if p.wifi and p.wifi.ssid != interface.ssid)
        mine = _assign(tuple(p for p in profiles if p not in others), interface, network, source, interface.mac)
        return (*mine, *(_assign(others, interface, network, source, value) if others else ()))
    policy, path = _policy(system, interface)
    if policy in ("persistent", RANDOM):
        mac = RANDOM if policy == RANDOM else interface.mac
        return _assign(profiles, interface, network, str(path), mac)
    return profiles


def _assign(
    profiles: tuple[Profile, ...], interface: Interface, network: NetworkFacts, source: str, mac: str
) -> tuple[Profile, ...]:
    def with_mac(profile: Profile) -> Profile:
        if profile.cloned_mac:
            return profile
        file = profile.keyfile
        file = file.with_raw(str(profile.kind), "cloned-mac-address", mac) if file is not None else None
        return replace(profile, cloned_mac=mac, keyfile=file)

    return change_those_of(profiles, interface, network, source, with_mac)


def _assigned(system: System) -> Iterator[tuple[str, PurePath]]:
    """Each address that general settings assign, with the file."""
    for path in read_layered(system, _LINK_FOLDERS, "*.link").values():
        yield from _macs(path, read_sections(system, path), "Link", "MACAddress")
    for path, sections in networkmanager_settings(system).items():
        for key in ("ethernet.cloned-mac-address", "wifi.cloned-mac-address"):
            yield from _macs(path, sections, "connection", key)


def _macs(path: PurePath, sections: tuple[Section, ...], name: str, key: str) -> Iterator[tuple[str, PurePath]]:
    """NetworkManager takes every section whose name starts with "connection"."""
    for section in sections:
        mac = section.value(key).lower().replace("-", ":")
        if section.name.startswith(name) and _MAC.fullmatch(mac):
            yield mac, path


def _policy(system: System, interface: Interface) -> tuple[str, PurePath]:
    """MACAddressPolicy= of the first .link file that fits the interface, and the file; systemd takes no other."""
    for path in read_layered(system, _LINK_FOLDERS, "*.link").values():
        sections = read_sections(system, path)
        if _fits_link(find_section(sections, "Match"), interface):
            return find_section(sections, "Link").value("MACAddressPolicy").lower(), path
    return "", PurePath()


def _fits_link(match: Section, interface: Interface) -> bool:
    """Whether a .link file is for the interface, whose name may be a new one; one with other conditions is not."""
    known = {"OriginalName", "Driver", "Path"}
    names = match.value("OriginalName").split()
    if not match.names() or not known.issuperset(match.names()):
        return False
    patterns = Match(drivers=tuple(match.value("Driver").split()), paths=tuple(match.value("Path").split()))
    return fits(patterns, interface) and (not names or "*" in names or fits(Match(names=tuple(names)), interface))
