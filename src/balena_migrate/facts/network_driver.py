# SPDX-License-Identifier: Apache-2.0
"""Where the driver of a network interface comes from: what is not of the kernel's own tree, another kernel may lack.

Sources: Linux, admin-guide/tainted-kernels for the letters, ABI/testing/sysfs-module for a module's taint.
"""

from __future__ import annotations

import os
import re

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System

FOREIGN = {
    "O": "was built out of the kernel's tree",
    "P": "is proprietary",
    "F": "was loaded by force, so it is another kernel's",
    "C": "is from the kernel's staging tree, which other kernels leave out or replace",
}
"""Staging: the driver of the Raspberry Pi's own USB stick did not work in balenaOS (meta-balena issue 2257)."""
UNSIGNED = "E"
"""Says something only where the kernel's own modules have signatures; some drivers claim to be of its tree."""
FOLDERS = ("updates", "extra", "dkms")
"""Below the modules of a release; DKMS and vendors install there, and depmod.d(5) prefers it."""
_SHORT = 4
"""Characters of a module's name that may end a driver's by chance."""


def find_foreign(system: System, interface: str, driver: str) -> str:
    """Why another kernel may lack the driver of an interface; "" where nothing says so, or its module is unknown."""
    module = _module(system, interface, driver)
    if not module:
        return ""
    taint = _taint(system, module) or ""
    for letter, what in FOREIGN.items():
        if letter in taint:
            return f"its module {module} {what} (taint {taint})"
    if UNSIGNED in taint and _has_signed_modules(system):
        return f"its module {module} has no signature, as the kernel's own have (taint {taint})"
    file = re.compile(rf"{re.escape(module).replace('_', '[-_]')}\.ko(\.(gz|xz|zst))?")
    for top in FOLDERS:
        folder = f"/lib/modules/{os.uname().release}/{top}"
        found = next((path for path in system.files_below(folder) if file.fullmatch(path.name)), None)
        if found:
            return f"its module is {found}, which does not come with the kernel"
    return ""


def _taint(system: System, module: str) -> str | None:
    """The letters of a loaded module; None of what is built in, and where the kernel is too old to tell."""
    try:
        return system.read_text(f"/sys/module/{module}/taint").strip()
    except FileError:
        return None


def _has_signed_modules(system: System) -> bool:
    taints = (_taint(system, path.name) for path in system.glob("/sys/module/*"))
    return any(UNSIGNED not in taint for taint in taints if taint is not None)


def _module(system: System, interface: str, driver: str) -> str:
    """The module's name; drivers are often called after it, with another case or a prefix (rtl88XXau of 88XXau)."""
    link = system.find_link(f"/sys/class/net/{interface}/device/driver/module")
    if link:
        return link.name
    names = [path.name for path in system.glob("/sys/module/*")]
    wanted = driver.lower().replace("-", "_")
    return next((name for name in names if name.lower() == wanted), "") or next(
        (name for name in names if len(name) > _SHORT and wanted.endswith(name.lower())), ""
    )
