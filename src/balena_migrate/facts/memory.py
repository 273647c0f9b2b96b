"""Memory, from /proc/meminfo (the kernel's Documentation/filesystems/proc.rst: "kB" there is KiB)."""

from __future__ import annotations

from balena_migrate.facts import MemoryFacts
from balena_migrate.system import System


def parse_meminfo(text: str) -> MemoryFacts:
    """Total and available memory. Before Linux 3.14 there is no MemAvailable: then free plus page cache is taken."""
    values: dict[str, int] = {}
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            values[key] = int(words[0]) * 1024
    guess = values.get("MemFree", 0) + values.get("Cached", 0)
    return MemoryFacts(total_bytes=values.get("MemTotal", 0), available_bytes=values.get("MemAvailable", guess))


def read_memory(system: System) -> MemoryFacts:
    """The device's memory now."""
    return parse_meminfo(system.read_text("/proc/meminfo"))
