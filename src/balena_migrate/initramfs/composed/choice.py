# SPDX-License-Identifier: Apache-2.0
"""Which kernel modules the initramfs gets, and what is wrong where one of them cannot be had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.facts import FAT
from balena_migrate.findings import BLOCKS, Code, Finding, blocker
from balena_migrate.initramfs import Module, Needs
from balena_migrate.initramfs.composed.drivers import drivers_of, loaded_in_folders, read_file_systems, read_loaded
from balena_migrate.initramfs.composed.kernel_modules import KernelModules, read_kernel_modules

CHARACTER_SETS = ("nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8")
"""What FAT shows file names with, by the usual configurations (FAT_DEFAULT_CODEPAGE, FAT_DEFAULT_IOCHARSET)."""

INSTALL = "install the running kernel's modules again, or reboot into the kernel whose modules are there"

CODES = (
    Code(
        "kernel-modules-gone",
        BLOCKS,
        "The running kernel's modules are not there: most often a newer kernel took their place since the last boot.",
        "Reboot into the new kernel.",
    ),
    Code(
        "kernel-module-missing",
        BLOCKS,
        "The file of a kernel module that stage 2 needs is missing.",
        "Install the running kernel's package again.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the initramfs gets."""

    modules: tuple[Module, ...] = ()
    """In an order in which they can be loaded."""
    findings: tuple[Finding, ...] = ()


def choose(system: System, needs: Needs) -> Choice:
    """The modules of the drivers on the way to each device, of the file systems, and of the watchdogs.

    What is built into the kernel needs no module. Reads only.
    """
    try:
        loaded = read_loaded(system)
        modules = read_kernel_modules(system, needs.kernel_release, needs.kernel_command_line)
        drivers = {name: drivers_of(system, name) for name in needs.devices}
        known = read_file_systems(system)
    except FileError as error:
        return Choice(findings=(blocker("kernel-module-missing", str(error), INSTALL),))
    if loaded and not modules.folder:
        cause = (
            f"the running kernel is {needs.kernel_release} and has loaded {len(loaded)} modules, but there is no"
            f" /lib/modules/{needs.kernel_release}: stage 2 would not find the disk"
        )
        return Choice(findings=(blocker("kernel-modules-gone", cause, "reboot, so that the installed kernel runs"),))
    wanted = {driver: f"drives {device}" for device, names in drivers.items() for driver in names if driver in loaded}
    wanted |= {name: f"{kind} is on it" for kind in needs.file_systems for name in _file_system(kind, loaded, known)}
    optional = (*loaded_in_folders(modules, loaded), *(CHARACTER_SETS if set(needs.file_systems) & set(FAT) else ()))
    names = [found for name in (*optional, *wanted) for found in modules.find(name)]
    taken = modules.closure(names)
    return Choice(modules=taken, findings=tuple(_missing(system, needs, modules, wanted, taken)))


def _file_system(kind: str, loaded: frozenset[str], known: frozenset[str]) -> tuple[str, ...]:
    """The file system's module; none where the kernel has the file system without one."""
    name = "vfat" if kind in FAT else kind
    return (name,) if name in loaded or name not in known else ()


def _missing(
    system: System, needs: Needs, modules: KernelModules, wanted: dict[str, str], taken: tuple[Module, ...]
) -> Iterator[Finding]:
    lost = {name: why for name, why in wanted.items() if not modules.find(name) and not modules.is_built_in(name)}
    gone = {module.name: f"{module.path} is missing" for module in taken if not system.is_file(module.path)}
    for name, why in (lost | gone).items():
        cause = f"the kernel {needs.kernel_release} has no file of the module {name}, which stage 2 needs: {why}"
        yield blocker("kernel-module-missing", cause, INSTALL)
