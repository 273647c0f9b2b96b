# SPDX-License-Identifier: Apache-2.0
"""Programs whose settings are not supported: they are reported before the migration, not missed after it."""

from __future__ import annotations

from balena_migrate.core.system import System
from balena_migrate.network.model import Eap, Kind, Problem, Profile, Reading
from balena_migrate.network.reading import Collector
from balena_migrate.network.sources import Source

PLACES = (
    ("/etc/hostapd/*.conf", "an access point of hostapd"),
    ("/var/lib/iwd/ap/*.ap", "an access point of iwd"),
    ("/etc/wireguard/*.conf", "a VPN of wg-quick"),
    ("/etc/openvpn/*.conf", "a VPN of OpenVPN"),
    ("/etc/openvpn/client/*.conf", "a VPN of OpenVPN"),
    ("/etc/ppp/peers/*", "a connection of pppd (modem, PPPoE)"),
    ("/etc/wvdial.conf", "a modem connection of wvdial"),
    ("/var/lib/ead/*.8021x", "a login for wired ports (802.1X) of iwd's ead"),
)
LOGINS = "/var/lib/ead"
EXAMPLE = "/etc/ppp/peers/provider"
"""Shipped by Debian's package ppp, and rarely used."""


def read(system: System) -> Reading:
    """Report a problem for every file that one of these programs would read; there are no profiles."""
    found = Collector()
    for pattern, what in PLACES:
        for path in system.glob(pattern):
            if system.is_file(path) and str(path) != EXAMPLE:
                login = Profile(kind=Kind.ETHERNET, source=str(path), eap=Eap()) if str(path.parent) == LOGINS else None
                found.problems.append(Problem(source=str(path), reason=f"{what} is not carried over", profile=login))
    return found.reading()


SOURCE = Source(name="others", precedence=90, read=read)
