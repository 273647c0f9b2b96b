# SPDX-License-Identifier: Apache-2.0
"""What the PC device types have in common."""

from __future__ import annotations

from balena_migrate.facts import Facts

X86_64 = ("x86_64",)
X86 = ("x86_64", "i386", "i486", "i586", "i686")


def is_64_bit_pc(facts: Facts) -> bool:
    """Whether this is a PC that can run a 64-bit kernel: it does, or its processor says so under a 32-bit one."""
    return facts.hardware.machine in X86_64 or (is_pc(facts) and facts.hardware.long_mode)


def is_pc(facts: Facts) -> bool:
    """Whether this is a PC, with a 32-bit or a 64-bit kernel."""
    return facts.hardware.machine in X86
