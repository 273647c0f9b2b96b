# SPDX-License-Identifier: Apache-2.0
"""The kit as one file that unpacks and starts itself: `sh FILE ARGUMENT...`.

It is a shell script (self_extracting.sh) with the kit's .tar.gz behind it. Its second line has the SHA-256 of all that
follows, so a file that was cut or damaged on its way to a device is found out before anything is unpacked.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from balena_migrate import VERSION
from balena_migrate.core.architectures import PLATFORMS
from balena_migrate.core.kit import Kit
from balena_migrate.core.paths import STATE_DIR
from balena_migrate.core.units import MIB
from balena_migrate.workstation.kit.archive import size_bytes

SCRIPT = Path(__file__).with_name("self_extracting.sh")


def write_self_extracting(kit: Kit, archive: Path, target: Path) -> None:
    """The target unpacks the kit's archive, a .tar.gz, and starts the kit. The same kit gives the same bytes."""
    # The group begins in line 2, so that no cut leaves comments only, which a shell would run with success.
    start, licence, summed, script = _script(kit).split("\n", 3)
    content = f"{licence}\n{script}".encode() + archive.read_bytes()
    summed = summed.replace("@SUM@", hashlib.sha256(content).hexdigest())
    target.write_bytes(f"{start}\n{summed}\n".encode() + content)
    target.chmod(0o755)


def _script(kit: Kit) -> str:
    text = SCRIPT.read_text("ascii")
    values = {
        "ARCHITECTURE": str(kit.architecture),
        "LINE": str(text.count("\n") + 1),
        "MACHINES": _machines(),
        "MIB": str(size_bytes(kit.path) // MIB + 1),
        "STATE_DIR": STATE_DIR,
        "VERSION": VERSION,
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def _machines() -> str:
    """What `uname -m` says, and the kit that it takes: MACHINE=ARCHITECTURE, separated by spaces."""
    return " ".join(
        f"{machine}={architecture}" for architecture, platform in PLATFORMS.items() for machine in platform.machines
    )
