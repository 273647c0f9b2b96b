# SPDX-License-Identifier: Apache-2.0
"""Selects the profiles for the new system, and makes the files that stage 1 puts into resin-boot.

Source: meta-balena, balena-net-config (copies system-connections/* at every boot) and balena-proxy-config;
file names as in the project's first description, with two digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from balena_migrate.core.balena import CONNECTIONS_FOLDER
from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.facts.network import Interface, InterfaceKind, NetworkFacts
from balena_migrate.images.boot_file import BootFile
from balena_migrate.network.model import Ip, Kind, Method, NetworkSettings, Profile, Proxy
from balena_migrate.network.proxy import proxy_files
from balena_migrate.network.write.keyfile import PRIORITY_LIMIT, certificate_files, write_keyfile
from balena_migrate.settings import Config

IMAGE_WIFIS = tuple(f"{CONNECTIONS_FOLDER}/{name}" for name in ("resin-wifi-01", "resin-wifi01", "resin-wifi"))
"""Files that the image already contains if HAS_WIFI_CFG is set; the last name is that of balena's own programs."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is carried over to the new system.

    `profiles` get a file each; `automatic` need none, since NetworkManager creates a DHCP profile for every wired
    device by itself; `left_out` are Wi-Fi networks that the settings do not select; `unknown` are names in
    MIGRATE_WIFI_CFG for which the old system has no network.
    """

    profiles: tuple[Profile, ...] = ()
    automatic: tuple[Profile, ...] = ()
    left_out: tuple[Profile, ...] = ()
    unknown: tuple[str, ...] = ()
    proxy: Proxy | None = None


def select_profiles(config: Config, settings: NetworkSettings, system: System) -> Selection:
    """The profiles that the settings select.

    Wi-Fi: those named in the file MIGRATE_WIFI_CFG, else all with MIGRATE_ALL_WIFIS, else none. All other profiles are
    always selected. Raises FileError if MIGRATE_WIFI_CFG names a file that cannot be read.
    """
    wanted = _wanted_ssids(config, system)
    chosen: list[Profile] = []
    left_out: list[Profile] = []
    for profile in settings.profiles:
        if profile.wifi is None:
            continue
        take = profile.wifi.ssid in wanted if config.migrate_wifi_cfg else config.migrate_all_wifis
        (chosen if take else left_out).append(profile)
    others = [p for p in settings.profiles if p.wifi is None]
    known = {p.wifi.ssid for p in settings.profiles if p.wifi}
    return Selection(
        profiles=(*chosen, *(p for p in others if not is_automatic(p))),
        automatic=tuple(p for p in others if is_automatic(p)),
        left_out=tuple(left_out),
        unknown=tuple(ssid.decode("utf-8", "replace") for ssid in wanted if ssid not in known),
        proxy=settings.proxy,
    )


def _wanted_ssids(config: Config, system: System) -> dict[bytes, None]:
    """The lines of MIGRATE_WIFI_CFG, without duplicates; a line is an SSID, spaces included."""
    if not config.migrate_wifi_cfg:
        return {}
    try:
        lines = system.read_bytes(config.in_home(config.migrate_wifi_cfg)).split(b"\n")
    except FileError as error:
        hint = "MIGRATE_WIFI_CFG has to name a file in HOME_DIR"
        raise FileError(error.path, error.reason, hint=hint) from None
    return dict.fromkeys(line.removesuffix(b"\r") for line in lines if line.strip())


def is_automatic(profile: Profile) -> bool:
    """Whether NetworkManager's own profile for wired devices (DHCP, router advertisements) is equivalent."""
    plain = replace(profile, source="", interface="", mac="", match=None, ipv4=None, ipv6=None)
    return (
        plain == Profile(kind=Kind.ETHERNET, source="")
        and profile.ipv4 in (None, Ip())
        and profile.ipv6 in (None, Ip(), Ip(method=Method.IGNORE))
    )


def boot_files(config: Config, selection: Selection, network: NetworkFacts) -> tuple[BootFile, ...]:
    """The files for resin-boot: a keyfile for each profile, its certificates, and the proxy."""
    files: list[BootFile] = []
    priorities = fitting_priorities(profile.priority for profile in selection.profiles)
    for name, profile in named_profiles(config, selection):
        bound = replace(bind(profile, network), priority=priorities[profile.priority])
        text = write_keyfile(bound, name).dump().encode("utf-8", "surrogateescape")
        files.append(BootFile(path=f"{CONNECTIONS_FOLDER}/{name}", content=text))
        certificates = dict(certificate_files(bound, name).values())
        files += [
            BootFile(path=f"{CONNECTIONS_FOLDER}/{file}", content=content) for file, content in certificates.items()
        ]
    return (*files, *proxy_files(selection.proxy))


def fitting_priorities(values: Iterable[int]) -> dict[int, int]:
    """The priorities within NetworkManager's range; if one is out of range, all are replaced by their ranks."""
    distinct = sorted(set(values))
    if all(abs(value) <= PRIORITY_LIMIT for value in distinct):
        return {value: value for value in distinct}
    above = [value for value in distinct if value > 0]
    below = [value for value in reversed(distinct) if value < 0]
    ranks = {value: rank for rank, value in enumerate(above, start=1)} | {0: 0}
    return ranks | {value: -rank for rank, value in enumerate(below, start=1)}


def named_profiles(config: Config, selection: Selection) -> Iterator[tuple[str, Profile]]:
    """Each selected profile with the name of its file: resin-wifi-01 and so on, numbered for each kind.

    With HAS_WIFI_CFG, the image's own resin-wifi-01 is not overwritten: ours start at 02. The names are valid on FAT
    and for NetworkManager.
    """
    counts: dict[Kind, int] = {Kind.WIFI: 1} if config.has_wifi_cfg else {}
    for profile in selection.profiles:
        counts[profile.kind] = counts.get(profile.kind, 0) + 1
        yield f"resin-{profile.kind}-{counts[profile.kind]:02}", profile


def bind(profile: Profile, network: NetworkFacts) -> Profile:
    """The profile bound to its device by hardware address, since the new system may name interfaces differently.

    A Wi-Fi profile is not bound if there is only one Wi-Fi device. A VLAN is bound by its parent's address.
    """
    if profile.kind is Kind.VLAN:
        return _with_parent(profile, network)
    kind = {Kind.WIFI: InterfaceKind.WIFI, Kind.ETHERNET: InterfaceKind.ETHERNET}.get(profile.kind)
    if kind is None or not profile.interface:
        return profile
    devices = network.of_kind(kind)
    device = next((d for d in devices if d.name == profile.interface), None)
    if device and _is_bindable(device, devices):
        return _rebound(profile, str(profile.kind), device.mac)
    if len(devices) == 1 and device:
        return _rebound(profile, str(profile.kind), "")
    return profile


def _with_parent(profile: Profile, network: NetworkFacts) -> Profile:
    parent = network.find_interface(profile.vlan.parent) if profile.vlan else None
    if profile.vlan is None or parent is None or not (parent.mac and parent.mac_permanent):
        return profile
    file = profile.keyfile
    if file is not None:
        file = file.without("vlan", "parent").with_raw("ethernet", "mac-address", parent.mac)
    return replace(profile, mac=parent.mac, vlan=replace(profile.vlan, parent=""), keyfile=file)


def _is_bindable(device: Interface, devices: tuple[Interface, ...]) -> bool:
    alone = device.kind is InterfaceKind.WIFI and len(devices) == 1
    return bool(device.mac) and device.mac_permanent and not alone


def _rebound(profile: Profile, group: str, mac: str) -> Profile:
    file = profile.keyfile
    if file is not None:
        file = file.without("connection", "interface-name")
        file = file.with_raw(group, "mac-address", mac) if mac else file
    return replace(profile, interface="", mac=mac or profile.mac, keyfile=file)
