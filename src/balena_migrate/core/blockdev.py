# SPDX-License-Identifier: Apache-2.0
"""Block devices as reported by the kernel and blkid, in both stages."""

from __future__ import annotations

from dataclasses import dataclass

from balena_migrate.core.errors import FileError
from balena_migrate.core.system import System


@dataclass(frozen=True, kw_only=True)
class Probe:
    """blkid's output for one device."""

    path: str
    values: dict[str, str]


def parse_blkid(text: str) -> tuple[Probe, ...]:
    """The devices in the output of `blkid -o export`: blocks of KEY=value lines, each followed by an empty line."""
    probes = []
    for block in text.split("\n\n"):
        pairs = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        path = pairs.pop("DEVNAME", "")
        if path:
            probes.append(Probe(path=path, values=pairs))
    return tuple(probes)


def read_probes(system: System) -> tuple[Probe, ...]:
    """All devices with a file system or partition table, read from the devices, not from blkid's cache."""
    return parse_blkid(system.run(["blkid", "-c", "/dev/null", "-o", "export"], ok=(0, 2)).text)


def read_number(system: System, path: str) -> int:
    """The number in the file; 0 where there is none."""
    try:
        return int(system.read_text(path))
    except (FileError, ValueError):
        return 0


def read_serial(system: System, name: str) -> str:
    """The disk's serial number as reported by the kernel, which needs no udev; "" if there is none.

    Of an SD card, an NVMe or a virtual disk that is a number; SATA, SAS and most USB disks have a world-wide id
    (Linux, drivers/scsi/scsi_sysfs.c: wwid).
    """
    folder = f"/sys/class/block/{name}"
    for path in (f"{folder}/device/serial", f"{folder}/serial", f"{folder}/device/wwid"):
        try:
            text = system.find_text(path)
        except FileError:
            continue
        if text and text.strip():
            return text.strip()
    return ""


def find_kernel_name(system: System, number: str) -> str:
    """The kernel's name, "sda1", of the block device with this major and minor number, "8:1"; "" if there is none."""
    try:
        link = system.find_link(f"/sys/dev/block/{number}")
    except FileError:
        return ""
    return link.name if link else ""


def device_node(name: str) -> str:
    """Where the node of the block device with this name of the kernel's is: of cciss!c0d0, /dev/cciss/c0d0."""
    return f"/dev/{name.replace('!', '/')}"


def whole_disks(system: System) -> tuple[str, ...]:
    """The kernel's names of all disks: no partitions, and no devices built on others."""
    names = [path.name for path in system.glob("/sys/class/block/*")]
    return tuple(
        name
        for name in names
        if not system.exists(f"/sys/class/block/{name}/partition")
        and not name.startswith(("loop", "ram", "zram", "dm-", "md", "sr", "fd"))
    )
