"""All sources together: `read_network`."""

from __future__ import annotations

import re
from dataclasses import replace

from balena_migrate.network.model import Kind, NetworkSettings, Problem, Profile
from balena_migrate.network.rules import find_fault
from balena_migrate.network.sources import all_sources
from balena_migrate.system import System

_WIRELESS = re.compile(r"(wl|ra|ath|wifi|mlan)[a-z0-9]+")


def read_network(system: System) -> NetworkSettings:
    """What the old system knows of its networks, from every place where it may keep them. Raises nothing.

    Duplicates are merged; addresses that are kept apart from their Wi-Fi network are put to it; a profile that
    could not work on the new system is a Problem.
    """
    readings = [source.read(system) for source in all_sources()]
    profiles = [profile for reading in readings for profile in reading.profiles]
    problems = [problem for reading in readings for problem in reading.problems]
    country = next((r.country for r in readings if re.fullmatch("[A-Z]{2}", r.country)), "")
    wireless = frozenset(p.name for p in system.glob("/sys/class/net/*") if system.is_dir(p / "wireless"))
    merged, more = merge(profiles, wireless)
    usable, faults = _without_faults(merged)
    return NetworkSettings(profiles=usable, problems=(*problems, *more, *faults), country=country)


def _without_faults(profiles: tuple[Profile, ...]) -> tuple[tuple[Profile, ...], tuple[Problem, ...]]:
    faults = {id(profile): find_fault(profile) for profile in profiles}
    bad = [p for p in profiles if faults[id(p)]]
    return (
        tuple(p for p in profiles if not faults[id(p)]),
        tuple(Problem(source=p.source, subject=p.name, reason=faults[id(p)]) for p in bad),
    )


def merge(profiles: list[Profile], wireless: frozenset[str]) -> tuple[tuple[Profile, ...], tuple[Problem, ...]]:
    """The profiles without duplicates, of which the first counts, and with their addresses.

    `wireless` are the names of the Wi-Fi interfaces that there are.
    """
    links = [p for p in profiles if p.kind is Kind.LINK and _is_wireless(p.interface, wireless)]
    placed = [_with_kind(p) for p in profiles if not any(p is link for link in links)]
    return _without_duplicates([_with_addresses(p, links) for p in placed])


def _is_wireless(interface: str, wireless: frozenset[str]) -> bool:
    return interface in wireless or bool(_WIRELESS.fullmatch(interface))


def _with_kind(profile: Profile) -> Profile:
    return replace(profile, kind=Kind.ETHERNET) if profile.kind is Kind.LINK else profile


def _with_addresses(profile: Profile, links: list[Profile]) -> Profile:
    """A Wi-Fi network whose source says nothing about addresses gets those that its interface has elsewhere."""
    if profile.kind is not Kind.WIFI or profile.ipv4 is not None or profile.ipv6 is not None:
        return profile
    link = next((k for k in links if profile.interface in ("", k.interface)), None)
    return replace(profile, ipv4=link.ipv4, ipv6=link.ipv6, mtu=link.mtu) if link else profile


def _without_duplicates(profiles: list[Profile]) -> tuple[tuple[Profile, ...], tuple[Problem, ...]]:
    kept: list[Profile] = []
    problems: list[Problem] = []
    for profile in profiles:
        twin = next((other for other in kept if _same_place(profile, other)), None)
        if twin is None:
            kept.append(profile)
        elif not _same_meaning(profile, twin):
            reason = f"is also in {twin.source}, with other values, which count"
            problems.append(Problem(source=profile.source, subject=profile.name, reason=reason))
    return tuple(kept), tuple(problems)


def _same_place(one: Profile, other: Profile) -> bool:
    """Whether two profiles are for the same network, so that only one of them can count.

    Two networks of one SSID are legal within a source (another passphrase, another access point): both are kept.
    """
    if one.kind is not other.kind:
        return False
    if one.wifi and other.wifi:
        same = one.wifi.ssid == other.wifi.ssid and one.interface in ("", other.interface)
        return same and (one.source != other.source or _same_meaning(one, other))
    if one.kind is Kind.ETHERNET and one.source != other.source:
        return bool(one.interface) and one.interface == other.interface
    return one == other


def _same_meaning(one: Profile, other: Profile) -> bool:
    if one.wifi and other.wifi:
        return (one.wifi.security, one.wifi.secret, one.wifi.wep) == (
            other.wifi.security,
            other.wifi.secret,
            other.wifi.wep,
        ) and (one.eap is None) == (other.eap is None)
    return replace(one, source="", keyfile=None) == replace(other, source="", keyfile=None)
