# SPDX-License-Identifier: Apache-2.0
"""The architectures of kits, by Debian's names, and the machines on which each runs.

The kernel decides, not user space: the 64-bit kit runs on a 64-bit kernel with 32-bit user space, because it has its
own libraries.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Architecture(StrEnum):
    AMD64 = "amd64"
    I386 = "i386"
    ARM64 = "arm64"
    ARMHF = "armhf"
    ARMEL = "armel"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The differences between the architectures."""

    triplet: str
    """The folder of libraries below usr/lib."""
    loader: str
    """The name of the dynamic loader."""
    machines: tuple[str, ...]
    """The output of `uname -m` on machines that run this kit. No machine runs two."""


PLATFORMS: dict[Architecture, Platform] = {
    Architecture.AMD64: Platform(triplet="x86_64-linux-gnu", loader="ld-linux-x86-64.so.2", machines=("x86_64",)),
    Architecture.I386: Platform(
        triplet="i386-linux-gnu", loader="ld-linux.so.2", machines=("i386", "i486", "i586", "i686")
    ),
    Architecture.ARM64: Platform(triplet="aarch64-linux-gnu", loader="ld-linux-aarch64.so.1", machines=("aarch64",)),
    # armv8l: what a 64-bit kernel reports to a process with the 32-bit personality.
    Architecture.ARMHF: Platform(
        triplet="arm-linux-gnueabihf", loader="ld-linux-armhf.so.3", machines=("armv7l", "armv8l")
    ),
    # Debian's armhf requires ARMv7, so ARMv6 boards use armel, whatever float ABI their own system uses.
    Architecture.ARMEL: Platform(triplet="arm-linux-gnueabi", loader="ld-linux.so.3", machines=("armv6l",)),
}
