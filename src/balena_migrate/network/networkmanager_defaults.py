# SPDX-License-Identifier: Apache-2.0
"""What NetworkManager's general settings say for connections that do not say it themselves.

Source: NetworkManager.conf(5), "connection section" and "device section": a [connection...] section counts before
[connection], and only for the devices of its match-device. balenaOS has settings of its own there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import PurePath

from balena_migrate.core.system import System
from balena_migrate.facts.network import Interface, InterfaceKind, NetworkFacts
from balena_migrate.network.by_interface import those_of, with_method, with_options
from balena_migrate.network.files.ini import Section
from balena_migrate.network.files.keyfile import escape
from balena_migrate.network.model import Kind, Problem, Profile
from balena_migrate.network.reading import networkmanager_settings

Settings = Mapping[PurePath, tuple[Section, ...]]
"""Of `networkmanager_settings`."""

_CARRIED = {
    "ipv4": "dhcp-client-id dhcp-iaid dhcp-vendor-class-identifier route-metric route-table",
    "ipv6": "addr-gen-mode dhcp-duid dhcp-iaid ip6-privacy route-metric route-table",
    "ethernet": "mtu",
    "wifi": "mtu",
}
"""Group -> the keys that decide by what a server knows the device, or how its packets leave it."""
_OF_THIS_SYSTEM = {
    ("ipv4", "dhcp-client-id"): ("stable", "duid", "ipv6-duid"),
    ("ipv6", "dhcp-duid"): ("lease", "stable-ll", "stable-llt", "stable-uuid"),
}
"""Values from which NetworkManager makes an id with a key or an id of this system, which the new one does not have."""
_RANDOM_SCAN = "wifi.scan-rand-mac-address"
_KNOWN = frozenset(
    {
        *(f"{group}.{key}" for group, keys in _CARRIED.items() for key in keys.split()),
        *("ethernet.cloned-mac-address", "wifi.cloned-mac-address", "match-device", "stop-match"),
    }
)
_SHIPPED = "default-wifi-powersave-on.conf"
"""Ubuntu's, from its package network-manager; what it sets is the driver's own default mostly."""


def default_of(settings: Settings, key: str, interface: Interface | None) -> tuple[str, str]:
    """The value of such a key for the interface, and the file that has it; "" if it is not set."""
    found = [
        (section, str(path))
        for path, sections in settings.items()
        for section in sections
        if section.name.startswith("connection") and section.value(key) and _counts_for(section, interface)
    ]
    named = [pair for pair in found if pair[0].name != "connection"]
    best = named[:1] or found[-1:]
    return (best[0][0].value(key), best[0][1]) if best else ("", "")


def _counts_for(section: Section, interface: Interface | None) -> bool:
    """Whether match-device fits; what is not known here does not (NetworkManager.conf(5), device list format)."""
    specs = [spec for spec in re.split("[,; ]+", section.value("match-device")) if spec]
    if not specs:
        return True
    if interface is None:
        return False
    excluded = [spec.removeprefix("except:") for spec in specs if spec.startswith("except:")]
    wanted = [spec for spec in specs if not spec.startswith("except:")] or ["*"]
    return _is_one_of(interface, wanted) and not _is_one_of(interface, excluded)


def _is_one_of(interface: Interface, specs: list[str]) -> bool:
    own = {
        "interface-name": interface.name,
        "type": str(interface.kind),
        "driver": interface.driver,
        "mac": interface.mac.lower(),
    }
    pairs = [spec.partition(":")[::2] for spec in specs]
    return any(
        kind == "*" or (kind in own and fnmatchcase(own[kind], value.lstrip("=").lower())) for kind, value in pairs
    )


def with_defaults(
    profiles: tuple[Profile, ...], network: NetworkFacts, system: System
) -> tuple[tuple[Profile, ...], tuple[Problem, ...]]:
    """NetworkManager's own profiles with the defaults that they rely on, and what cannot go along. Raises nothing."""
    settings = networkmanager_settings(system)
    made = tuple(_with_defaults(p, network, settings) if p.keyfile is not None else p for p in profiles)
    made = (*made, *_of_no_profile(made, network, settings))
    problems = [
        Problem(source=p.source, subject=p.name, reason=reason, lost=False) for p in made for reason in _another_id(p)
    ]
    return made, (*problems, *_lost(network, settings))


def _of_no_profile(profiles: tuple[Profile, ...], network: NetworkFacts, settings: Settings) -> Iterator[Profile]:
    """A profile for the wired interface in use that has none, if NetworkManager gives its own one a client id."""
    online = network.online()
    value, source = default_of(settings, "ipv4.dhcp-client-id", online)
    if online and online.kind is InterfaceKind.ETHERNET and value and not those_of(profiles, online, network):
        plain = Profile(kind=Kind.ETHERNET, source=source, interface=online.name)
        yield with_options(plain, 4, {"dhcp-client-id": escape(value)})


def _with_defaults(profile: Profile, network: NetworkFacts, settings: Settings) -> Profile:
    file = profile.keyfile
    interface = network.find_interface(profile.interface)
    for group, keys in _CARRIED.items():
        is_other = group in ("ethernet", "wifi") and group != str(profile.kind)
        if file is None or is_other or (profile.is_port and group in ("ipv4", "ipv6")):
            continue
        for key in keys.split():
            value, _ = default_of(settings, f"{group}.{key}", interface)
            if value and file.raw(group, key) is None:
                ip = profile.ipv4 if group == "ipv4" else profile.ipv6 if group == "ipv6" else None
                file = with_method(file, group, ip.method) if ip else file
                file = file.with_text(group, key, value)
    return replace(profile, keyfile=file)


def _another_id(profile: Profile) -> Iterator[str]:
    """The ids that become others although their settings go along."""
    for (group, key), words in _OF_THIS_SYSTEM.items():
        value = profile.keyfile.text(group, key) if profile.keyfile else ""
        if value in words:
            yield f"{group}.{key}={value} makes another id on the new system, so its lease may change"


def _lost(network: NetworkFacts, settings: Settings) -> Iterator[Problem]:
    """The defaults of this device that are not carried over; and that Wi-Fi drivers which fail with random addresses
    are kept from them."""
    own = [(p, s) for p, found in settings.items() if str(p).startswith("/etc") and p.name != _SHIPPED for s in found]
    for path, section in own:
        if section.name.startswith("connection"):
            for key in dict.fromkeys(key for key in section.names() if key not in _KNOWN):
                yield Problem(
                    source=str(path), reason=f"{key}, a default for all connections, is not carried over", lost=False
                )
        value = section.value(_RANDOM_SCAN)
        if section.name.startswith("device") and value.lower() in ("no", "false", "0", "off"):
            for interface in network.of_kind(InterfaceKind.WIFI):
                if _counts_for(section, interface):
                    reason = f"{_RANDOM_SCAN}={value} is not carried over"
                    yield Problem(source=str(path), subject=interface.name, reason=reason, lost=False)
