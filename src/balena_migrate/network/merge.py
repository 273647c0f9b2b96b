# SPDX-License-Identifier: Apache-2.0
"""Merges the profiles of all sources: joins addresses with their networks, and removes duplicates."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from balena_migrate.facts.network import Interface, InterfaceKind, NetworkFacts
from balena_migrate.network.model import Ip, Kind, Match, Method, Problem, Profile
from balena_migrate.network.names import is_wireless_name
from balena_migrate.network.validate import is_unmanaged

_PATTERN = re.compile(r"[*?\[!]")
_DEVICES = (InterfaceKind.ETHERNET, InterfaceKind.WIFI)
_KINDS = {Kind.LINK: _DEVICES, Kind.ETHERNET: (InterfaceKind.ETHERNET,), Kind.WIFI: (InterfaceKind.WIFI,)}
"""The interfaces that a profile of this kind may be for."""
_BUILT = (InterfaceKind.BRIDGE, InterfaceKind.BOND, InterfaceKind.VIRTUAL)
"""Interfaces that exist only because a profile creates them."""


def merge(
    profiles: list[Profile], network: NetworkFacts, works: Callable[[Profile], bool]
) -> tuple[tuple[Profile, ...], tuple[Problem, ...]]:
    """The profiles with their addresses and without duplicates, and those displaced by another one.

    One that does not work on the new system displaces none that does, and is kept for its own reason to be told.
    """
    profiles, unmatched = _expanded([_named(profile, network) for profile in profiles], network)
    profiles, unbound = _with_bound_logins(profiles, network)
    by_ssid: dict[bytes, list[Profile]] = {}
    for profile in profiles:
        if profile.kind is Kind.LINK and profile.wifi:
            by_ssid.setdefault(profile.wifi.ssid, []).append(profile)
    links = [p for p in profiles if p.kind is Kind.LINK and not p.wifi]
    wired = [replace(link, kind=Kind.ETHERNET) for link in links if not _is_wireless(link, network)]
    over_air, doubles = _without_duplicates([link for link in links if _is_wireless(link, network)], network, works)
    wireless = {link.interface: link for link in reversed(over_air)}
    of_programs = [p for p in profiles if p.kind is Kind.ETHERNET and not (p.eap or p.keyfile) and _is_addressed(p)]
    plain, outdone = _without_duplicates([*of_programs, *wired], network, works)
    by_interface = {link.interface: link for link in reversed(plain) if link.interface}
    others = [p for p in profiles if p.kind is not Kind.LINK]
    chosen = [_link_of(p, by_ssid, wireless, by_interface) for p in others]
    over_air = (*(links[-1] for links in by_ssid.values()), *wireless.values())
    taken = {place for link in chosen if link for place in _places(link)}
    unused = [_unused(link) for link in over_air if taken.isdisjoint(_places(link)) and _says_much(link, others)]
    placed, twins = _unique_wifis([_with_addresses(p, q) for p, q in zip(others, chosen, strict=True)], network, works)
    secured = {p.interface for p in placed if p.logs_in and p.keyfile is None and p.interface and works(p)}
    doubles += tuple(problem for problem in outdone if problem.subject in secured)
    single = [p for p in (*placed, *wired) if p.interface not in secured or p.logs_in or p.keyfile or p.wifi]
    kept, conflicts = _without_duplicates(single, network, works)
    return kept, (*unmatched, *unbound, *doubles, *twins, *conflicts, *unused)


def _named(profile: Profile, network: NetworkFacts) -> Profile:
    """A profile bound by hardware address, with the current name of that interface.

    An address that is not the device's own, such as the shared one of a bond's ports, identifies no interface.
    """
    if profile.kind not in (Kind.LINK, Kind.ETHERNET) or profile.interface or not profile.mac:
        return profile
    own = (i for i in network.interfaces if i.kind in _DEVICES and i.mac_permanent)
    device = next((i for i in own if i.mac.lower() == profile.mac.lower()), None)
    return replace(profile, interface=device.name) if device else profile


def each_once(profiles: list[Profile], problems: Sequence[Problem]) -> list[Profile]:
    """Without those that another source has read in the same file, too, and knows more of.

    wpa_supplicant's own file may be for any interface; ifupdown says for which one, and with which addresses, or that
    these cannot be carried over.
    """
    profiles = list(dict.fromkeys(profiles))
    networks = [p for p in profiles if p.interface and (p.wifi or p.eap)]
    bound = {_place(p) for p in (*networks, *(p.profile for p in problems if p.profile and p.profile.interface))}
    addressed = {(_place(p), p.interface) for p in networks if _is_addressed(p)}

    def is_known_better(profile: Profile) -> bool:
        if profile.kind is Kind.LINK or _is_addressed(profile):
            return False
        return (_place(profile), profile.interface) in addressed if profile.interface else _place(profile) in bound

    return [profile for profile in profiles if not is_known_better(profile)]


def _place(profile: Profile) -> Hashable:
    return profile.source, profile.kind, profile.autoconnect, _wifi_key(profile), _identity(profile)


def _is_addressed(profile: Profile) -> bool:
    return profile.ipv4 is not None or profile.ipv6 is not None


def _expanded(profiles: list[Profile], network: NetworkFacts) -> tuple[list[Profile], list[Problem]]:
    """A profile for every interface that fits a pattern such as "en*", since the new system may name them otherwise.

    A keyfile that fits none is carried over as it is, and so is a Wi-Fi network, for any device; both are told.
    """
    found: list[Profile] = []
    problems: list[Problem] = []
    for profile in profiles:
        match = profile.match or (Match(names=(profile.interface,)) if _PATTERN.search(profile.interface) else None)
        if match is None or profile.kind not in _KINDS:
            found.append(profile)
            continue
        fitting = [i for i in network.interfaces if i.kind in _KINDS[profile.kind] and fits(match, i)]
        made = _for_each(profile, _of_one(profile, fitting, network))
        kept = [] if made else _without_interface(profile)
        found += [*made, *kept]
        if not made:
            reason = f"no interface fits {match}"
            detail = Problem(source=profile.source, subject=profile.name, reason=reason, lost=False)
            problems.append(detail if kept else profile.as_lost(reason))
    return found, problems


def _of_one(profile: Profile, fitting: list[Interface], network: NetworkFacts) -> list[Interface]:
    """The interfaces for the profile. A keyfile is for one device at a time, and its fixed address for one alone:
    that which has it now, else the first.
    """
    fixed = set(_addresses(profile))
    if profile.keyfile is None or not fixed:
        return fitting
    users = {a.interface for a in network.addresses if a.address in fixed}
    return [i for i in fitting if i.name in users][:1] or fitting[:1]


def _for_each(profile: Profile, interfaces: list[Interface]) -> list[Profile]:
    """The profile for each of the interfaces by name; a UUID is for the first alone."""
    made = []
    for number, interface in enumerate(interfaces):
        file = profile.keyfile
        if file is not None:
            file = file.without("match").with_text("connection", "interface-name", interface.name)
            file = file.without("connection", "uuid") if number else file
        made.append(replace(profile, interface=interface.name, match=None, keyfile=file))
    return made


def _without_interface(profile: Profile) -> list[Profile]:
    """The profile, if it can go along though no interface fits it now."""
    if profile.keyfile is not None:
        return [profile]
    return [replace(profile, interface="", match=None)] if profile.wifi else []


def _with_bound_logins(profiles: list[Profile], network: NetworkFacts) -> tuple[list[Profile], list[Problem]]:
    """The profiles with each login for a wired port (802.1X) bound to it; those for no known port are problems.

    wpa_supplicant's file need not say for which one it is. For any port, NetworkManager would have the first one log
    in, and leave the others without a profile.
    """
    names = [interface.name for interface in network.of_kind(InterfaceKind.ETHERNET)]
    found: list[Profile] = []
    problems: list[Problem] = []
    for profile in profiles:
        if not profile.logs_in or profile.keyfile or profile.interface or profile.mac or not names:
            found.append(profile)
        elif len(names) == 1:
            found.append(replace(profile, interface=names[0]))
        else:
            reason = f"it is not known which of {', '.join(names)} logs in with it (802.1X)"
            problems.append(profile.as_lost(reason))
    return found, problems


def concerns(profile: Profile, interface: Interface) -> bool:
    """Whether a profile that is not carried over was for this interface, or for any; by its patterns, too."""
    match = profile.match or Match(names=(profile.interface,) if profile.interface else ())
    return fits(match, interface) and profile.mac.lower() in ("", interface.mac.lower())


def fits(match: Match, interface: Interface) -> bool:
    """Whether the interface fits all patterns (nm-settings(5), match)."""
    return (
        _fits_patterns(match.names, interface.name)
        and _fits_patterns(match.drivers, interface.driver)
        and _fits_patterns(match.paths, interface.path)
    )


def _fits_patterns(patterns: tuple[str, ...], value: str) -> bool:
    """One of the optional ones and all mandatory ones: "|" makes a pattern optional, "&" mandatory, "!" inverts it.

    Without a mark it is optional, and mandatory if inverted. An empty one says nothing.
    """
    optional: list[bool] = []
    mandatory: list[bool] = []
    for pattern in filter(None, patterns):
        mark = pattern[0] if pattern[0] in "|&" else "&" if pattern[0] == "!" else "|"
        rest = pattern.removeprefix(mark)
        inverted = rest.startswith("!")
        fitting = fnmatchcase(value, rest[inverted:].removeprefix("\\")) is not inverted
        (optional if mark == "|" else mandatory).append(fitting)
    return (any(optional) or not optional) and all(mandatory)


def _is_wireless(link: Profile, network: NetworkFacts) -> bool:
    interface = network.find_interface(link.interface)
    return interface.kind is InterfaceKind.WIFI if interface else is_wireless_name(link.interface)


# Addresses stored separately from their network ----------------------------------------------------------------------


def _link_of(
    profile: Profile, by_ssid: dict[bytes, list[Profile]], wireless: dict[str, Profile], wired: dict[str, Profile]
) -> Profile | None:
    """The link with the addresses of a wpa_supplicant network, which itself has none.

    `by_ssid` are links for one Wi-Fi network, `wireless` and `wired` those for an interface. A Wi-Fi network for any
    interface gets those of the first one.
    """
    if _is_addressed(profile):
        return None
    if profile.wifi is None:
        return wired.get(profile.interface) if profile.kind is Kind.ETHERNET else None
    anyone = None if profile.interface else next(iter(wireless.values()), None)
    own = (
        p for p in by_ssid.get(profile.wifi.ssid, []) if not profile.interface or p.interface in ("", profile.interface)
    )
    return next(own, None) or wireless.get(profile.interface) or anyone


def _places(link: Profile) -> Iterator[Hashable]:
    """The network and the interface for which a file has these addresses: the one that is left may be part of both."""
    if link.wifi:
        yield link.source, link.wifi.ssid
    if link.interface:
        yield link.source, link.interface


def _with_addresses(profile: Profile, link: Profile | None) -> Profile:
    if link is None:
        return profile
    mac = profile.cloned_mac or link.cloned_mac
    return replace(profile, ipv4=link.ipv4, ipv6=link.ipv6, mtu=link.mtu, cloned_mac=mac)


def _says_much(link: Profile, others: list[Profile]) -> bool:
    """Whether dropping a link for Wi-Fi loses anything: DHCP is the default anyway."""
    fixed = any(ip and ip.method is Method.MANUAL for ip in (link.ipv4, link.ipv6))
    return fixed or not any(profile.wifi for profile in others)


def _unused(link: Profile) -> Problem:
    reason = "has addresses, but no Wi-Fi network that takes them"
    return link.as_lost(reason)


# Duplicates ---------------------------------------------------------------------------------------------------------


def _unique_wifis(
    profiles: list[Profile], network: NetworkFacts, works: Callable[[Profile], bool]
) -> tuple[list[Profile], list[Problem]]:
    """One of each set of equal Wi-Fi networks, and those with different addresses that it displaces.

    Networks with the same SSID but different secrets are all kept: NetworkManager tries them one after the other.
    """
    names = {interface.name for interface in network.of_kind(InterfaceKind.WIFI)}
    in_use = {address.address for address in network.addresses if address.interface in names}
    kept: list[Profile] = []
    problems: list[Problem] = []
    places: dict[Hashable, list[int]] = {}
    for profile in profiles:
        twins = places.setdefault(_wifi_key(profile), []) if profile.wifi and works(profile) else []
        place = next((i for i in twins if _fit_together(profile, kept[i])), None)
        if place is None:
            twins.append(len(kept))
            kept.append(profile)
            continue
        best, other = _better(kept[place], profile, in_use)
        kept[place] = _joined(best, other)
        if not _is_same_link(kept[place], other):
            problems.append(_displaced(other, best))
    return kept, problems


def _wifi_key(profile: Profile) -> Hashable:
    wifi = profile.wifi
    return (wifi.ssid, wifi.bssid.lower(), wifi.security, wifi.secret, wifi.wep, _identity(profile)) if wifi else None


def _fit_together(one: Profile, other: Profile) -> bool:
    return not (one.interface and other.interface and one.interface != other.interface)


def _identity(profile: Profile) -> tuple[str, ...]:
    eap = profile.eap
    return (eap.identity, eap.password, *eap.methods) if eap else ()


def _better(first: Profile, second: Profile, in_use: set[str]) -> tuple[Profile, Profile]:
    """The twin to keep, and the other one. Kept is one that connects automatically or whose address is in use."""

    def rank(profile: Profile) -> tuple[bool, bool]:
        return profile.autoconnect, any(address in in_use for address in _addresses(profile))

    return (second, first) if rank(second) > rank(first) else (first, second)


def _joined(best: Profile, other: Profile) -> Profile:
    """The twin to keep, with the other's addresses if it has none; hidden if either of them is."""
    if not _is_addressed(best):
        best = replace(best, ipv4=other.ipv4, ipv6=other.ipv6)
    if best.wifi and other.wifi and other.wifi.hidden and not best.wifi.hidden:
        file = best.keyfile.with_raw("wifi", "hidden", "true") if best.keyfile else None
        best = replace(best, wifi=replace(best.wifi, hidden=True), keyfile=file)
    return best


def _without_duplicates(
    profiles: list[Profile], network: NetworkFacts, works: Callable[[Profile], bool]
) -> tuple[tuple[Profile, ...], tuple[Problem, ...]]:
    """One wired profile for each interface, since only one can be active: of those that work the one with the
    interface's current address, else NetworkManager's active one, else the first.
    """
    active = {(interface.name, interface.connection) for interface in network.interfaces if interface.connection}
    in_use = {(address.interface, address.address) for address in network.addresses}

    def rank(profile: Profile) -> tuple[bool, bool]:
        has_address = any((profile.interface, address) in in_use for address in _addresses(profile))
        return has_address, (profile.interface, profile.uuid) in active

    groups: dict[Hashable, list[Profile]] = {}
    for number, profile in enumerate(profiles):
        device = profile.kind in (Kind.ETHERNET, Kind.VLAN, Kind.LINK) and (profile.interface or profile.mac)
        groups.setdefault((profile.kind, device) if device else number, []).append(profile)
    kept: list[Profile] = []
    problems: list[Problem] = []
    for group in groups.values():
        working = group if len(group) == 1 else [p for p in group if works(p)] or group
        best = max(working, key=rank)
        for profile in group:
            if profile.source == best.source or profile not in working:  # those of one file coexist on purpose
                kept.append(profile)
            elif not _is_same_link(profile, best):
                problems.append(_displaced(profile, best))
    return tuple(kept), tuple(problems)


def _displaced(profile: Profile, best: Profile) -> Problem:
    reason = f"{best.source} has other settings for it, which count"
    return profile.as_lost(reason)


def _addresses(profile: Profile) -> Iterator[str]:
    for ip in (profile.ipv4, profile.ipv6):
        yield from ip.addresses if ip else ()


def _is_same_link(one: Profile, other: Profile) -> bool:
    """Whether two profiles give an interface the same addresses; unspecified means DHCP."""

    def meaning(profile: Profile) -> list[tuple[Method, tuple[str, ...], str]]:
        return [(ip.method, ip.addresses, ip.gateway) for ip in (profile.ipv4 or Ip(), profile.ipv6 or Ip())]

    return meaning(one) == meaning(other) and _identity(one) == _identity(other)


# Ports and VLANs ----------------------------------------------------------------------------------------------------


def without_orphans(
    profiles: tuple[Profile, ...], network: NetworkFacts
) -> tuple[tuple[Profile, ...], tuple[Problem, ...]]:
    """The profiles without the ports and VLANs of a bridge or bond that is not carried over; these become problems.

    A port waiting for its bridge would keep the interface from getting a lease.
    """
    made = {name for p in profiles if p.kind is Kind.OTHER for name in (p.interface, p.uuid) if name}
    kept: list[Profile] = []
    problems: list[Problem] = []
    for profile in profiles:
        below = _stands_on(profile, network)
        if below and below not in made:
            reason = f"it belongs to {below}, which is not carried over"
            problems.append(profile.as_lost(reason))
        else:
            kept.append(profile)
    return tuple(kept), tuple(problems)


def _stands_on(profile: Profile, network: NetworkFacts) -> str:
    """The name or UUID of the bridge or bond that the profile depends on, or ""."""
    if profile.master or profile.vlan is None:
        return profile.master
    parent = network.find_interface(profile.vlan.parent)
    built = parent.kind in _BUILT if parent else is_unmanaged(profile.vlan.parent)
    return profile.vlan.parent if built else ""
