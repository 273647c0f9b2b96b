# SPDX-License-Identifier: Apache-2.0
"""IPv6 that the kernel is kept from using, by sysctl or by its command line.

Source: Linux, ip-sysctl (disable_ipv6), and kernel-parameters (ipv6.disable=1, which leaves no settings of IPv6).
NetworkManager switches IPv6 on by itself, unless a profile says `disabled`. In a network where IPv6 leads nowhere,
which may be why it was switched off, the new system would try it first.
"""

from __future__ import annotations

from dataclasses import replace

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.facts.network import Interface, NetworkFacts
from balena_migrate.network.by_interface import KINDS, change_those_of
from balena_migrate.network.model import Ip, Method, Profile

_SETTINGS = "/proc/sys/net/ipv6"
_BY_ITSELF = (Method.AUTO, Method.DHCP, Method.IGNORE, Method.LINK_LOCAL)


def with_ipv6_off(profiles: tuple[Profile, ...], network: NetworkFacts, system: System) -> tuple[Profile, ...]:
    """The profiles of the interfaces in use, without IPv6 where the kernel has none. Raises nothing.

    NetworkManager's own profiles say themselves whether they use it, and it then overrules the kernel's setting.
    """
    in_use = {address.interface for address in network.addresses}
    for interface in network.interfaces:
        if interface.kind in KINDS and interface.name in in_use and _is_off(interface, system):
            profiles = change_those_of(profiles, interface, network, _SETTINGS, _without_ipv6)
    return profiles


def _is_off(interface: Interface, system: System) -> bool:
    if system.exists("/proc/sys/net/ipv4") and not system.exists(_SETTINGS):
        return True
    try:
        return system.read_text(f"{_SETTINGS}/conf/{interface.name}/disable_ipv6").strip() == "1"
    except FileError:
        return False


def _without_ipv6(profile: Profile) -> Profile:
    ip = profile.ipv6 or Ip()
    if profile.keyfile is not None or ip.method not in _BY_ITSELF or ip.addresses:
        return profile
    return replace(profile, ipv6=Ip(method=Method.DISABLED))
