# SPDX-License-Identifier: Apache-2.0
"""Debian's NetworkManager, as a folder in resin-rootA: it reports how it understands a device's profiles.

The folder has only its programs, D-Bus and their libraries. What else it needs from a system is below: settings, a bus
without restrictions, and a single user.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from balena_migrate.workstation.cache import cached
from balena_migrate.workstation.debian import SUITE
from balena_migrate.workstation.lab.lookalike.sources import copy_program, unpack_packages

FOLDER = "network-manager"
"""Its folder in resin-rootA."""

_ARCHITECTURE = "amd64"
_PACKAGES = ("network-manager", "dbus-daemon", "libc-bin")
_PROGRAMS = ("usr/bin/dbus-daemon", "usr/sbin/NetworkManager", "usr/bin/nmcli")
_LOCALE = "usr/lib/locale/C.utf8"
"""In any other locale, nmcli would alter the names of networks."""
_MOUNT_POINTS = ("dev", "etc/NetworkManager/system-connections", "proc", "run", "sys", "tmp", "var")
_BUS = """\
<busconfig>
  <type>system</type>
  <listen>unix:path=/var/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
_FILES = {
    "etc/NetworkManager/NetworkManager.conf": "[main]\nplugins=keyfile\ndhcp=internal\nauth-polkit=false\n",
    "etc/dbus.conf": _BUS,
    "etc/group": "root:x:0:\n",
    "etc/machine-id": "6d1e0f5a9b3c4e7f8a2b1c0d9e8f7a6b\n",
    "etc/passwd": "root:x:0:0:root:/:/bin/sh\n",
}


def fetch_network_manager(cache_dir: Path) -> Path:
    """The root folder in which NetworkManager runs, fetched once and kept in the cache."""
    recipe = (SUITE, _ARCHITECTURE, _PACKAGES, _PROGRAMS, _LOCALE, _MOUNT_POINTS, _FILES)
    return cached(cache_dir, f"lookalike-{FOLDER}", recipe, _make) / "root"


def _make(folder: Path) -> None:
    root = folder / "root"
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        unpack_packages(_ARCHITECTURE, _PACKAGES, Path(work))
        for name in _PROGRAMS:
            copy_program(Path(work, "all"), Path(work, "all", name), root)
        shutil.copytree(Path(work, "all", _LOCALE), root / _LOCALE)
    for name in _MOUNT_POINTS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, text in _FILES.items():
        (root / name).write_text(text)


def add_network_manager(root_a: Path, cache_dir: Path) -> None:
    """Add NetworkManager to the folder `root_a`, where the look-alike's /init looks for it."""
    shutil.copytree(fetch_network_manager(cache_dir), root_a / FOLDER)
