"""All sources together: `read_network`."""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatch

from balena_migrate.facts.network import InterfaceKind, NetworkFacts, read_network_facts
from balena_migrate.network.model import Kind, NetworkSettings, Problem, Profile
from balena_migrate.network.proxy import read_proxy
from balena_migrate.network.rules import INNER_DEFAULT, find_fault, with_inner_method
from balena_migrate.network.sources import all_sources
from balena_migrate.system import System

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
    countries = [reading.country for reading in readings if re.fullmatch("[A-Z]{2}", reading.country)]
    merged, conflicts = merge(profiles, read_network_facts(system))
    usable, faults = _checked(merged)
    proxy, lost = read_proxy(system)
    return NetworkSettings(
        profiles=usable,
        problems=(*problems, *conflicts, *faults, *lost),
        country=countries[0] if countries else "",
        proxy=proxy,
    )


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
    links = [p for p in profiles if p.kind is Kind.LINK]
    wireless = [link for link in links if _is_wireless(link, network)]
    wired = [replace(link, kind=Kind.ETHERNET) for link in links if link not in wireless]
    placed = [_with_addresses(p, wireless, wired) for p in _unique_wifis([p for p in profiles if p not in links])]
    secured = [p.interface for p in placed if p.kind is Kind.ETHERNET and p.eap and p.interface]
    kept, conflicts = _without_duplicates([*placed, *(link for link in wired if link.interface not in secured)])
    return kept, (*unmatched, *conflicts)


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
    for profile in profiles:
        place = next((i for i, other in enumerate(kept) if _is_same_wifi(profile, other)), None)
        if place is None:
            kept.append(profile)
        elif kept[place].ipv4 is None and kept[place].ipv6 is None:
            kept[place] = replace(kept[place], ipv4=profile.ipv4, ipv6=profile.ipv6)
    return kept


def _is_same_wifi(one: Profile, other: Profile) -> bool:
    if one.wifi is None or other.wifi is None:
        return False
    if one.interface and other.interface and one.interface != other.interface:
        return False
    secrets = [(p.wifi.ssid, p.wifi.security, p.wifi.secret, p.wifi.wep) for p in (one, other) if p.wifi]
    return secrets[0] == secrets[1] and _identity(one) == _identity(other)


def _identity(profile: Profile) -> tuple[str, ...]:
    eap = profile.eap
    return (eap.identity, eap.password, *eap.methods) if eap else ()


def _with_addresses(profile: Profile, wireless: list[Profile], wired: list[Profile]) -> Profile:
    """A network of wpa_supplicant, which knows no addresses, gets those that its interface has elsewhere."""
    if profile.ipv4 is not None or profile.ipv6 is not None:
        return profile
    links = {Kind.WIFI: wireless, Kind.ETHERNET: wired}.get(profile.kind, [])
    link = next((k for k in links if _is_for(k, profile)), None)
    return replace(profile, ipv4=link.ipv4, ipv6=link.ipv6, mtu=link.mtu) if link else profile


def _is_for(link: Profile, profile: Profile) -> bool:
    if not profile.interface:
        return profile.kind is Kind.WIFI
    return profile.interface == link.interface


def _without_duplicates(profiles: list[Profile]) -> tuple[tuple[Profile, ...], tuple[Problem, ...]]:
    """Of several wired profiles for one interface the first, since only one can be up."""
    kept: list[Profile] = []
    problems: list[Problem] = []
    for profile in profiles:
        twin = next((other for other in kept if _is_same_device(profile, other)), None)
        if twin is None:
            kept.append(profile)
        elif not _is_same_link(profile, twin):
            reason = f"{twin.source} has other settings for it, which count"
            problems.append(Problem(source=profile.source, subject=profile.name, reason=reason))
    return tuple(kept), tuple(problems)


def _is_same_device(one: Profile, other: Profile) -> bool:
    """Profiles of one source file stand beside each other on purpose."""
    if one.kind is not other.kind or one.kind not in (Kind.ETHERNET, Kind.VLAN) or one.source == other.source:
        return False
    return (one.interface, one.mac) == (other.interface, other.mac) and bool(one.interface or one.mac)


def _is_same_link(one: Profile, other: Profile) -> bool:
    """Whether two profiles give an interface the same addresses."""
    mine, theirs = ([(ip.method, ip.addresses, ip.gateway) for ip in (p.ipv4, p.ipv6) if ip] for p in (one, other))
    return mine == theirs and _identity(one) == _identity(other)
