# SPDX-License-Identifier: Apache-2.0
"""Hardware addresses that are set outside of the profiles: by systemd's .link files and NetworkManager's defaults.

Source: systemd.link(5), MACAddress=; NetworkManager.conf(5), [connection] with ethernet.cloned-mac-address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath

from balena_migrate.core.system import System
from balena_migrate.facts.network import Interface, InterfaceKind, NetworkFacts
from balena_migrate.network.files.ini import Section
from balena_migrate.network.model import Kind, Profile
from balena_migrate.network.reading import networkmanager_settings, read_layered, read_sections

_LINK_FOLDERS = ("/etc/systemd/network", "/run/systemd/network", "/usr/local/lib/systemd/network")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_KINDS = {InterfaceKind.ETHERNET: Kind.ETHERNET, InterfaceKind.WIFI: Kind.WIFI}


def with_assigned_macs(profiles: tuple[Profile, ...], network: NetworkFacts, system: System) -> tuple[Profile, ...]:
    """The profiles with the hardware address that general settings give their interface, as far as it is in use.

    A wired interface without a profile gets one. Raises nothing.
    """
    assigned = dict(_assigned(system))
    for interface in network.interfaces:
        source = assigned.get(interface.mac.lower())
        if source and not interface.mac_permanent and interface.kind in _KINDS:
            profiles = _assign(profiles, interface, network, str(source))
    return profiles


def _assign(
    profiles: tuple[Profile, ...], interface: Interface, network: NetworkFacts, source: str
) -> tuple[Profile, ...]:
    alone = len(network.of_kind(interface.kind)) == 1
    kind = _KINDS[interface.kind]
    mine = [p for p in profiles if p.kind is kind and (p.interface == interface.name or (alone and not p.interface))]
    if not mine and kind is Kind.ETHERNET:
        new = Profile(kind=kind, source=source, interface=interface.name, cloned_mac=interface.mac)
        return (*profiles, new)
    return tuple(_with_mac(p, interface.mac) if p in mine and not cloned_mac(p) else p for p in profiles)


def cloned_mac(profile: Profile) -> str:
    """The hardware address that the profile sets, or a word for it such as "stable"; "" if it leaves it alone."""
    if profile.keyfile is None:
        return profile.cloned_mac
    return profile.keyfile.text(str(profile.kind), "cloned-mac-address")


def _with_mac(profile: Profile, mac: str) -> Profile:
    file = profile.keyfile
    file = file.with_raw(str(profile.kind), "cloned-mac-address", mac) if file is not None else None
    return replace(profile, cloned_mac=mac, keyfile=file)


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
