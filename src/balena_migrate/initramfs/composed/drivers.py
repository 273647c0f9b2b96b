# SPDX-License-Identifier: Apache-2.0
"""Which kernel modules drive what stage 2 needs, as sysfs and /proc show it now.

Sources: the kernel's Documentation/admin-guide/sysfs-rules.rst, proc(5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System
from balena_migrate.initramfs.composed.kernel_modules import KernelModules

STORAGE = (
    *("ata", "block", "firewire", "hv", "message", "mmc", "nvme", "scsi", "ufs", "usb/host", "usb/storage"),
    *("virtio", "xen"),
)
"""Folders below kernel/drivers: what is loaded of them may be on the way to a disk, whatever sysfs says of that."""
SUPPLIERS = (
    *("bus", "clk", "dma", "firmware", "gpio", "hwspinlock", "i2c/busses", "interconnect", "iommu", "irqchip"),
    *("mailbox", "memory", "mfd", "nvmem", "pci/controller", "phy", "pinctrl", "pmdomain", "power", "pwm"),
    *("regulator", "remoteproc", "reset", "rpmsg", "soc", "spi", "spmi", "usb/phy", "usb/typec"),
)
"""What is loaded of these may give a controller its clock, its power or its pins: kernels before 5.13 show no links."""
WATCHDOGS = ("watchdog",)
TAKEN_FOLDERS = tuple(f"kernel/drivers/{name}/" for name in (*STORAGE, *SUPPLIERS, *WATCHDOGS))
NVME_SUBSYSTEMS = "/sys/devices/virtual/nvme-subsystem"


def read_loaded(system: System) -> frozenset[str]:
    """The names of all modules that are loaded; none with a kernel that knows no modules."""
    text = system.find_text("/proc/modules") or ""
    return frozenset(line.split(" ", 1)[0] for line in text.splitlines() if line)


def read_file_systems(system: System) -> frozenset[str]:
    """The file systems that the kernel knows now."""
    text = system.find_text("/proc/filesystems") or ""
    return frozenset(line.split("\t")[-1] for line in text.splitlines() if line)


def loaded_in_folders(modules: KernelModules, loaded: Iterable[str]) -> tuple[str, ...]:
    """The loaded modules that belong to storage, to what supplies it, and to watchdogs."""
    return tuple(sorted(n for n in loaded if modules.files.get(n, "").startswith(TAKEN_FOLDERS)))


def drivers_of(system: System, name: str) -> tuple[str, ...]:
    """The modules that drive a block device and all that it hangs on, the nearest first.

    A driver that is built in may be named, too. Raises FileError where sysfs cannot be read.
    """
    found: dict[str, None] = {}
    for device in _devices(system, name):
        for place in (device, *device.parents):
            link = system.find_link(place / "driver/module")
            if link is not None:
                found[link.name] = None
    return tuple(found)


def _devices(system: System, name: str) -> Iterator[PurePosixPath]:
    """Where sysfs has the device; NVMe with multipath shows it apart from its controllers."""
    link = system.find_link(f"/sys/class/block/{name}")
    if link is None:
        raise FileError(f"/sys/class/block/{name}", "is missing")
    path = _joined(PurePosixPath("/sys/class/block"), link)
    yield path
    if path.is_relative_to(NVME_SUBSYSTEMS):
        subsystem = PurePosixPath(NVME_SUBSYSTEMS) / path.relative_to(NVME_SUBSYSTEMS).parts[0]
        for controller in system.glob(f"{subsystem}/nvme*"):
            target = system.find_link(controller)
            if target is not None:
                yield _joined(subsystem, target)


def _joined(folder: PurePosixPath, link: PurePosixPath) -> PurePosixPath:
    """Where a link in sysfs leads: those are relative, and no folder above them is a link."""
    parts: list[str] = []
    for part in (folder / link).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return PurePosixPath(*parts)
