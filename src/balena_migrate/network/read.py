# SPDX-License-Identifier: Apache-2.0
"""Reads the network settings from all sources."""

from __future__ import annotations

import contextlib
import re

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.facts.network import NetworkFacts
from balena_migrate.network.assigned_mac import with_assigned_macs
from balena_migrate.network.dhcp_identity import with_dhcp_identities
from balena_migrate.network.ipv6_off import with_ipv6_off
from balena_migrate.network.merge import each_once, merge, without_orphans
from balena_migrate.network.model import NetworkSettings, Problem, Profile
from balena_migrate.network.name_servers import read_name_servers, with_name_servers
from balena_migrate.network.networkmanager_defaults import with_defaults
from balena_migrate.network.proxy import read_proxy
from balena_migrate.network.sources import all_sources
from balena_migrate.network.validate import completed, find_fault
from balena_migrate.network.versions import find_refusal, fitted

_COUNTRY_PLACES = (
    ("/proc/cmdline", r"\bcfg80211\.ieee80211_regdom=([A-Za-z]{2})\b"),
    ("/etc/modprobe.d/*.conf", r"^options\s+cfg80211\s.*\bieee80211_regdom=([A-Za-z]{2})\b"),
    ("/etc/default/crda", r"^REGDOMAIN=[\"']?([A-Za-z]{2})\b"),
)


def read_network(system: System, facts: NetworkFacts, os_version: str | None = None) -> NetworkSettings:
    """Read the old system's network settings from every place that may contain them. Raises nothing.

    Duplicates are merged; addresses stored separately from their Wi-Fi network are joined with it; a fixed connection
    without name servers gets those of the whole system; a profile that cannot work on the new system becomes a Problem.
    `os_version` is the image's ("2.15.1+rev2", "" for unknown), whose NetworkManager and Wi-Fi have to take what is
    carried over; None if no image was looked at.
    """
    readings = [source.read(system) for source in all_sources()]
    problems = [problem for reading in readings for problem in reading.problems]
    profiles = each_once([profile for reading in readings for profile in reading.profiles], problems)
    countries = [
        country for country in (*(r.country for r in readings), _system_country(system), facts.country) if country
    ]
    merged, conflicts = merge(profiles, facts, lambda profile: not _refusal(profile, os_version))
    merged = with_name_servers(merged, read_name_servers(system, facts.name_servers), facts)
    merged = with_ipv6_off(with_assigned_macs(merged, facts, system), facts, system)
    merged, unlike = with_defaults(merged, facts, system)
    merged, unknown = with_dhcp_identities(merged, facts, system)
    usable, faults = _checked(merged, os_version)
    usable, orphans = without_orphans(usable, facts)
    proxy, lost = read_proxy(system)
    return NetworkSettings(
        profiles=usable,
        problems=tuple(
            {str(p): p for p in (*problems, *conflicts, *unlike, *unknown, *faults, *orphans, *lost)}.values()
        ),
        country=next((country for country in countries if re.fullmatch("[A-Z]{2}", country)), ""),
        proxy=proxy,
    )


def _system_country(system: System) -> str:
    """The system-wide Wi-Fi country: on the kernel command line (Raspberry Pi OS 12 and later), as a module option, or
    for crda (older Debian and Ubuntu).
    """
    for path, pattern in ((path, pattern) for place, pattern in _COUNTRY_PLACES for path in system.glob(place)):
        with contextlib.suppress(FileError):
            match = re.search(pattern, system.read_text(path), re.MULTILINE)
            if match:
                return match[1].upper()
    return ""


def _checked(profiles: tuple[Profile, ...], os_version: str | None) -> tuple[tuple[Profile, ...], tuple[Problem, ...]]:
    """The profiles that can work; the others become problems."""
    usable, problems = [], []
    for profile in profiles:
        refusal = _refusal(profile, os_version)
        if refusal:
            problems.append(profile.as_lost(refusal))
            continue
        complete, changes = completed(profile)
        if os_version is not None:
            complete, lost = fitted(complete, os_version)
            changes = (*changes, *lost)
        problems += [Problem(source=profile.source, subject=profile.name, reason=c, lost=False) for c in changes]
        usable.append(complete)
    return tuple(usable), tuple(problems)


def _refusal(profile: Profile, os_version: str | None) -> str:
    """Why the new system would not take the profile; "" if it does."""
    fault = find_fault(profile)
    return fault or ("" if os_version is None else find_refusal(completed(profile)[0], os_version))
