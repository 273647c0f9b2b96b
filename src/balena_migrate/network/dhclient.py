# SPDX-License-Identifier: Apache-2.0
"""Where ISC's DHCP client has its settings and its leases, on Debian, older Debian and others."""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.core.system import System
from balena_migrate.network.reading import read_all

_CONFS = ("/etc/dhcp/dhclient.conf", "/etc/dhcp3/dhclient.conf", "/etc/dhclient.conf")
_LEASES = (
    "/var/lib/dhcp*/dhclient*.lease*",
    "/var/lib/dhclient/*.lease*",
    "/var/lib/NetworkManager/dhclient-*.lease",
)


def read_conf(system: System) -> tuple[str, str]:
    """The path and text of dhclient.conf; "" if there is none."""
    return next(((str(path), text) for path, text in read_all(system, _CONFS)), ("", ""))


def read_leases(system: System) -> Iterator[tuple[str, str]]:
    """The path and text of each file of leases."""
    return ((str(path), text) for path, text in read_all(system, _LEASES))
