# SPDX-License-Identifier: Apache-2.0
"""The buses on which a virtual PC's disks can hang. SeaBIOS starts from each of them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from balena_migrate.workstation.lab.faulty_disk import plain_nodes
from balena_migrate.workstation.lab.recording import recorded


class Bus(StrEnum):
    SATA = "sata"
    """sda, sdb ..."""
    NVME = "nvme"
    """nvme0n1, nvme1n1 ..."""
    VIRTIO = "virtio"
    """vda, vdb ..."""
    USB = "usb"
    """sda, sdb ..."""
    MMC = "mmc"
    """mmcblk0, one card on a PC's own controller; QEMU has no eMMC before 9.1. Its size must be a power of two."""


_CONTROLLERS = {Bus.USB: "qemu-xhci,id=usb", Bus.MMC: "sdhci-pci"}
_DISKS = {
    Bus.SATA: "ide-hd,bus=ide.{port}",
    Bus.NVME: "nvme",
    Bus.VIRTIO: "virtio-blk-pci",
    Bus.USB: "usb-storage,bus=usb.0,port={plug}",
    Bus.MMC: "sd-card",
}


def attached(
    drives: Sequence[Path], bus: Bus, *, boot_disk_last: bool = False, ranked: bool = True, log: Path | None = None
) -> list[str]:
    """QEMU's arguments for these disks, all of one model; the first one boots.

    It is also the first in the order of plugs, unless it is plugged in behind the others. A BIOS learns from QEMU which
    one is first (`ranked`); UEFI has its own order, which QEMU would change.

    The disk's writes are not flushed to the host's disk: when QEMU is killed they are still in the host's page cache,
    so nothing that the device wrote is lost, and a rehearsal does not wait for the host's disk. With a `log`, a new
    file, all that the device asks of its boot disk is recorded there.
    """
    controller = _CONTROLLERS.get(bus)
    arguments = ["-device", controller] if controller else []
    ports = [*range(1, len(drives)), 0] if boot_disk_last else range(len(drives))
    for port, index in enumerate(ports):
        disk = _DISKS[bus].format(port=port, plug=port + 1) + f",drive=disk{index}"
        if bus is not Bus.MMC:
            disk += f",serial=LAB{index + 1:04}" + (f",bootindex={index + 1}" if ranked else "")
        arguments += recorded(drives[0], log, "disk0") if log and index == 0 else _plain(drives[index], f"disk{index}")
        arguments += ["-device", disk]
    return arguments


def _plain(drive: Path, name: str) -> tuple[str, str]:
    return "-drive", f"if=none,id={name},{plain_nodes(drive, name)}"
