# SPDX-License-Identifier: Apache-2.0
"""Memory, from /proc/meminfo (the kernel's Documentation/filesystems/proc.rst: "kB" there is KiB)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from balena_migrate.core.system import System

_NUMBER = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, kw_only=True)
class MemoryFacts:
    """From /proc/meminfo, in bytes. Swap does not count: it is on the disk to be overwritten."""

    total_bytes: int
    available_bytes: int


def parse_meminfo(text: str) -> MemoryFacts:
    """Total and available memory.

    Before Linux 3.14 there is no MemAvailable. What is free and what the page cache holds of files is used instead.
    Not "Cached": that has every tmpfs in it, and so the initramfs itself and the files that stage 2 has loaded.
    """
    values: dict[str, int] = {}
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        words = rest.split()
        if words and _NUMBER.fullmatch(words[0]):
            values[key] = int(words[0]) * 1024
    guess = sum(values.get(key, 0) for key in ("MemFree", "Active(file)", "Inactive(file)"))
    return MemoryFacts(total_bytes=values.get("MemTotal", 0), available_bytes=values.get("MemAvailable", guess))


def read_memory(system: System) -> MemoryFacts:
    """The device's memory now."""
    return parse_meminfo(system.read_text("/proc/meminfo"))
