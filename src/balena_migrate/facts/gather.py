# SPDX-License-Identifier: Apache-2.0
"""Gathers all facts of the device that we run on. Reads only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from balena_migrate.core.memory import read_memory
from balena_migrate.core.system import System
from balena_migrate.facts import DiskFacts, Facts
from balena_migrate.facts.boot import read_boot
from balena_migrate.facts.clock import read_clock
from balena_migrate.facts.disks import read_disks
from balena_migrate.facts.hardware import read_hardware
from balena_migrate.facts.network import read_network_facts
from balena_migrate.facts.os import read_os

COMMON_PROGRAMS = ("mkinitramfs", "systemctl", "reboot", "dpkg")


class BootFiles(Protocol):
    """What a boot loader wants to know of a device: its own programs, and the texts of its configuration files."""

    @property
    def programs(self) -> tuple[str, ...]: ...
    def files(self, disks: DiskFacts) -> tuple[str, ...]: ...
    def named_files(self, disks: DiskFacts, files: Mapping[str, str]) -> tuple[str, ...]: ...


def read_programs(system: System, names: Iterable[str]) -> dict[str, str]:
    """Name -> path of those programs that are there."""
    found = {name: system.find_program(name) for name in names}
    return {name: argv[-1] for name, argv in found.items() if argv is not None}


def _named_files(loaders: Sequence[BootFiles], disks: DiskFacts, files: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(path for loader in loaders for path in loader.named_files(disks, files))


def read_facts(system: System, loaders: Sequence[BootFiles]) -> Facts:
    """All facts. Raises FileError or CommandError where the kernel's own files or lsblk cannot be read."""
    hardware = read_hardware(system)
    disks = read_disks(system)
    patterns = [pattern for loader in loaders for pattern in loader.files(disks)]
    wanted = {*COMMON_PROGRAMS, *(program for loader in loaders for program in loader.programs)}
    return Facts(
        os=read_os(system),
        hardware=hardware,
        disks=disks,
        boot=read_boot(system, hardware, disks, patterns, partial(_named_files, loaders, disks)),
        memory=read_memory(system),
        programs=read_programs(system, sorted(wanted)),
        uid=os.geteuid(),
        network=read_network_facts(system),
        clock=read_clock(system),
    )
