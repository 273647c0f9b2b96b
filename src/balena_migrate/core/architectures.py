# SPDX-License-Identifier: Apache-2.0
"""The architectures that there are kits for, by Debian's names, and which machine runs which."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from balena_migrate.core.errors import MigrateError


class Architecture(StrEnum):
    AMD64 = "amd64"
    I386 = "i386"
    ARM64 = "arm64"
    ARMHF = "armhf"
    ARMEL = "armel"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What differs between the architectures: where Debian keeps libraries, the loader's name, and `uname -m`."""

    triplet: str
    loader: str
    machines: tuple[str, ...]


PLATFORMS: dict[Architecture, Platform] = {
    Architecture.AMD64: Platform(triplet="x86_64-linux-gnu", loader="ld-linux-x86-64.so.2", machines=("x86_64",)),
    Architecture.I386: Platform(
        triplet="i386-linux-gnu", loader="ld-linux.so.2", machines=("i386", "i486", "i586", "i686")
    ),
    Architecture.ARM64: Platform(triplet="aarch64-linux-gnu", loader="ld-linux-aarch64.so.1", machines=("aarch64",)),
    # armv8l: a 64-bit kernel that speaks to a process that asked for the 32-bit personality.
    Architecture.ARMHF: Platform(
        triplet="arm-linux-gnueabihf", loader="ld-linux-armhf.so.3", machines=("armv7l", "armv8l")
    ),
    # Debian's armhf needs ARMv7, so the ARMv6 boards take armel, whatever float ABI their own system has.
    Architecture.ARMEL: Platform(triplet="arm-linux-gnueabi", loader="ld-linux.so.3", machines=("armv6l",)),
}


def kit_architecture(machine: str) -> Architecture:
    """The kit for a machine that `uname -m` calls so.

    The kernel decides, not the system above it: a 64-bit kernel with 32-bit programs runs the 64-bit kit, which brings
    its own libraries. Raises MigrateError where there is no kit.
    """
    for architecture, platform in PLATFORMS.items():
        if machine in platform.machines:
            return architecture
    raise MigrateError(
        f"there is no kit for the machine {machine}", hint=f"there are kits for {', '.join(Architecture)}"
    )
