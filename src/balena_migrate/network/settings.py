"""All sources together: `read_network`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Hashable, Iterator
from dataclasses import replace
from fnmatch import fnmatch

from balena_migrate.errors import FileError
from balena_migrate.facts.network import InterfaceKind, NetworkFacts, read_network_facts
from balena_migrate.network.model import Kind, NetworkSettings, Problem, Profile
from balena_migrate.network.proxy import read_proxy
from balena_migrate.network.rules import INNER_DEFAULT, find_fault, with_inner_method
from balena_migrate.network.sources import all_sources
from balena_migrate.system import System

_COUNTRY_PLACES = (
    ("/proc/cmdline", r"\bcfg80211\.ieee80211_regdom=([A-Za-z]{2})\b"),
    ("/etc/default/crda", r"^REGDOMAIN=[\"']?([A-Za-z]{2})\b"),
)
_PATTERN = re.compile(r"[*?\[!]")
_DEVICES = (InterfaceKind.ETHERNET, InterfaceKind.WIFI)
_WIRELESS = re.compile(r"(wl|ra|ath|mlan)[a-z0-9]+")
"""How Wi-Fi interfaces are called where there is no such interface to ask."""


def read_network(system: System) -> NetworkSettings:
    """What the old system knows of its networks, from every place where it may keep them. Raises nothing.

    Duplicates are merged; addresses that are kept apart from their Wi-Fi network are put to it; a profile that
    could not work on the new system is a Problem.
    """
    readings = [source.read(system) for source in all_sources()]
    profiles = [profile for reading in readings for profile in reading.profiles]
    problems = [problem for reading in readings for problem in reading.problems]
    countries = [country for country in (*(r.country for r in readings), _system_country(system)) if country]
    merged, conflicts = merge(profiles, read_network_facts(system))
    usable, faults = _checked(merged)
    proxy, lost = read_proxy(system)
    return NetworkSettings(
        profiles=usable,
        problems=(*problems, *conflicts, *faults, *lost),
        country=next((country for country in countries if re.fullmatch("[A-Z]{2}", country)), ""),
        proxy=proxy,
    )


def _system_country(system: System) -> str:
    """The country for Wi-Fi that is set for the whole system: on the kernel's command line (Raspberry Pi OS from 12
    on), or for crda (Debian and Ubuntu before).
    """
    for path, pattern in _COUNTRY_PLACES:
        with contextlib.suppress(FileError):
            match = re.search(pattern, system.read_text(path), re.MULTILINE)
            if match:
                return match[1].upper()
    return ""


def _checked(profiles: tuple[Profile, ...]) -> tuple[tuple[Profile, ...], tuple[Problem, ...]]:
    """The profiles that can work, and the others as problems."""
    usable, problems = [], []
    for profile in profiles:
        fault = find_fault(profile)
        if fault:
            problems.append(Problem(source=profile.source, subject=profile.name, reason=fault))
            continue
        complete = with_inner_method(profile)
        if complete != profile:
            reason = f"names no inner method of 802.1X, which NetworkManager needs; {INNER_DEFAULT} is taken"
            problems.append(Problem(source=profile.source, subject=profile.name, reason=reason, lost=False))
        usable.append(complete)
    return tuple(usable), tuple(problems)


def merge(profiles: list[Profile], network: NetworkFacts) -> tuple[tuple[Profile, ...], tuple[Problem, ...]]:
    """The profiles with their addresses and without duplicates, and those that another one displaces."""
    profiles, unmatched = _expanded(profiles, network)
    wireless: dict[str, Profile] = {}
    wired: list[Profile] = []
    for link in (p for p in profiles if p.kind is Kind.LINK):
        if _is_wireless(link, network):
            wireless.setdefault(link.interface, link)
        else:
            wired.append(replace(link, kind=Kind.ETHERNET))
    others = _unique_wifis([p for p in profiles if p.kind is not Kind.LINK])
    by_interface = {link.interface: link for link in reversed(wired)}
    placed = [_with_addresses(p, wireless, by_interface) for p in others]
    secured = {p.interface for p in placed if p.kind is Kind.ETHERNET and p.eap and p.interface}
    links = [link for link in wired if link.interface not in secured]
    in_use = frozenset((address.interface, address.address) for address in network.addresses)
    kept, conflicts = _without_duplicates([*placed, *links], in_use)
    unused = [] if any(p.wifi for p in kept) else list(wireless.values())
    return kept, (*unmatched, *conflicts, *(_unused(link) for link in unused))


def _unused(link: Profile) -> Problem:
    return Problem(source=link.source, subject=link.interface, reason="has addresses, but no Wi-Fi network")


def _expanded(profiles: list[Profile], network: NetworkFacts) -> tuple[list[Profile], list[Problem]]:
    """A profile for every interface that a pattern such as "en*" names, since NetworkManager knows none."""
    found: list[Profile] = []
    problems: list[Problem] = []
    for profile in profiles:
        if profile.kind not in (Kind.LINK, Kind.ETHERNET) or not _PATTERN.search(profile.interface):
            found.append(profile)
            continue
        names = [i.name for i in network.interfaces if fnmatch(i.name, profile.interface) and i.kind in _DEVICES]
        found += [replace(profile, interface=name) for name in names]
        if not names:
            reason = "no interface has such a name"
            problems.append(Problem(source=profile.source, subject=profile.interface, reason=reason))
    return found, problems


def _is_wireless(link: Profile, network: NetworkFacts) -> bool:
    for interface in network.interfaces:
        if interface.name == link.interface or (link.mac and interface.mac.lower() == link.mac):
            return interface.kind is InterfaceKind.WIFI
    return bool(_WIRELESS.fullmatch(link.interface))


def _unique_wifis(profiles: list[Profile]) -> list[Profile]:
    """Of equal Wi-Fi networks the first, with the addresses that any of them has.

    Two networks of one name but with other secrets are both kept: NetworkManager tries them one after the other.
    """
    kept: list[Profile] = []
    places: dict[Hashable, list[int]] = {}
    for profile in profiles:
        twins = places.setdefault(_wifi_key(profile), [])
        place = next((i for i in twins if _fit_together(profile, kept[i])), None) if profile.wifi else None
        if place is None:
            twins.append(len(kept))
            kept.append(profile)
        elif kept[place].ipv4 is None and kept[place].ipv6 is None:
            kept[place] = replace(kept[place], ipv4=profile.ipv4, ipv6=profile.ipv6)
    return kept


def _wifi_key(profile: Profile) -> Hashable:
    wifi = profile.wifi
    return (wifi.ssid, wifi.security, wifi.secret, wifi.wep, _identity(profile)) if wifi else None


def _fit_together(one: Profile, other: Profile) -> bool:
    return not (one.interface and other.interface and one.interface != other.interface)


def _identity(profile: Profile) -> tuple[str, ...]:
    eap = profile.eap
    return (eap.identity, eap.password, *eap.methods) if eap else ()


def _with_addresses(profile: Profile, wireless: dict[str, Profile], wired: dict[str, Profile]) -> Profile:
    """A network of wpa_supplicant, which knows no addresses, gets those that its interface has elsewhere.

    `wireless` and `wired` are links by interface. A Wi-Fi network for any interface gets those of the first.
    """
    if profile.ipv4 is not None or profile.ipv6 is not None:
        return profile
    links = {Kind.WIFI: wireless, Kind.ETHERNET: wired}.get(profile.kind, {})
    link = links.get(profile.interface)
    if link is None and profile.kind is Kind.WIFI and not profile.interface:
        link = next(iter(wireless.values()), None)
    return replace(profile, ipv4=link.ipv4, ipv6=link.ipv6, mtu=link.mtu) if link else profile


def _without_duplicates(
    profiles: list[Profile], in_use: frozenset[tuple[str, str]]
) -> tuple[tuple[Profile, ...], tuple[Problem, ...]]:
    """Of several wired profiles for one interface one, since only one can be up: the one with the address that the
    interface has now, else the first. `in_use` are pairs of interface and address.
    """
    groups: dict[Hashable, list[Profile]] = {}
    for number, profile in enumerate(profiles):
        bound = profile.kind in (Kind.ETHERNET, Kind.VLAN) and (profile.interface or profile.mac)
        groups.setdefault((profile.kind, profile.interface, profile.mac) if bound else number, []).append(profile)
    kept: list[Profile] = []
    problems: list[Problem] = []
    for group in groups.values():
        best = next((p for p in group if any((p.interface, a) in in_use for a in _addresses(p))), group[0])
        for profile in group:
            if profile.source == best.source:  # those of one file stand beside each other on purpose
                kept.append(profile)
            elif not _is_same_link(profile, best):
                reason = f"{best.source} has other settings for it, which count"
                problems.append(Problem(source=profile.source, subject=profile.name, reason=reason))
    return tuple(kept), tuple(problems)


def _addresses(profile: Profile) -> Iterator[str]:
    for ip in (profile.ipv4, profile.ipv6):
        yield from ip.addresses if ip else ()


def _is_same_link(one: Profile, other: Profile) -> bool:
    """Whether two profiles give an interface the same addresses."""
    mine, theirs = ([(ip.method, ip.addresses, ip.gateway) for ip in (p.ipv4, p.ipv6) if ip] for p in (one, other))
    return mine == theirs and _identity(one) == _identity(other)
