# SPDX-License-Identifier: Apache-2.0
"""wpa_supplicant: /etc/wpa_supplicant/*.conf, one file for all interfaces or one for each."""

from __future__ import annotations

from balena_migrate.core.system import System
from balena_migrate.network.model import (
    Reading,
)
from balena_migrate.network.reading import Collector
from balena_migrate.network.sources import Source
from balena_migrate.network.wpa_profiles import read_file

FILES = (
    "/etc/wpa_supplicant/*.conf",
    "/etc/wpa_supplicant.conf",
    "/boot/wpa_supplicant.conf",
    "/boot/firmware/wpa_supplicant.conf",
)
"""Raspberry Pi OS would move the last two to /etc on the next boot."""


def read(system: System) -> Reading:
    """Read the networks in all of wpa_supplicant's files."""
    found = Collector()
    for path in [path for pattern in FILES for path in system.glob(pattern)]:
        found.include(read_file(system, path))
    return found.reading()


SOURCE = Source(name="wpa_supplicant", precedence=40, read=read)
