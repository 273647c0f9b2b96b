# SPDX-License-Identifier: Apache-2.0
"""The checks of a UEFI firmware's boot entries: after stage 1, and once the new system has reported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from balena_migrate.core.paths import EFI_KERNEL_NAME, INITRAMFS_NAME
from balena_migrate.workstation.lab.disklayout import Table
from balena_migrate.workstation.lab.disks import read_table
from balena_migrate.workstation.lab.result import Check, same
from balena_migrate.workstation.lab.variables import BootEntry, BootVariables

LOADER = r"\EFI\BOOT\bootx64.efi"
ON_A_DISK = "HD("


STAGE2_KERNEL = f"\\{EFI_KERNEL_NAME}"
_INITRD = f"initrd=\\{INITRAMFS_NAME}"


def armed_checks(before: BootVariables, now: BootVariables, *, by_firmware: bool) -> Iterator[Check]:
    """After stage 1, BootNext names the kernel on the EFI partition; nothing has changed if that is not the way."""
    if not by_firmware:
        yield same("the firmware's boot entries after stage 1", before.lines(), now.lines())
        return
    entry = now.first if now.next is not None else None
    yield Check(
        name="what BootNext names",
        passed=entry is not None and _starts_stage2(entry),
        expected=f"{STAGE2_KERNEL}, with {_INITRD}",
        found=entry.line if entry else "nothing",
    )
    yield same("BootOrder after stage 1", before.order, now.order)
    others = [other.line for other in now.entries if other != entry]
    yield same("other boot entries after stage 1", [entry.line for entry in before.entries], others)


def _starts_stage2(entry: BootEntry) -> bool:
    return entry.path.endswith(f"/{STAGE2_KERNEL}") and _INITRD in entry.arguments.split()


def new_entry_checks(before: BootVariables, now: BootVariables, disk: Path, label: str, shown: str) -> Iterator[Check]:
    """The new system's entry has this label and is first, the old system's are gone, the others keep their order.

    `shown` is what the new system's efibootmgr printed.
    """
    wanted = f"{partition_path(disk, 1)}/{LOADER}"
    entry = now.find(label)
    found = entry.path if entry else "no such entry"
    passed = entry is not None and entry.bootable and entry.path.lower() == wanted.lower()
    yield Check(name="boot entry of the new system", passed=passed, expected=wanted, found=found)
    yield same("the first boot entry", label, now.first.label if now.first else "none")
    old = {item.path for item in before.entries if ON_A_DISK in item.path}
    left = [item.label for item in now.entries if item.path in old]
    yield same("boot entries of the old system that are left", [], left)
    both = {item.number for item in before.entries if item in now.entries}
    kept = [number for number in before.order if number in both]
    yield same("order of the other boot entries", kept, [number for number in now.order if number in both])
    yield from _shown_checks(now, label, shown)


def _shown_checks(now: BootVariables, label: str, shown: str) -> Iterator[Check]:
    """efibootmgr reads what this module reads from outside, and which entry the firmware started."""
    lines = shown.splitlines()
    order = "BootOrder: " + ",".join(f"{number:04X}" for number in now.order)
    yield same("order that the new system's efibootmgr shows", order, next((x for x in lines if "BootOrder" in x), ""))
    entry = now.find(label)
    current = f"BootCurrent: {entry.number:04X}" if entry else label
    yield same("entry that started the new system", current, next((x for x in lines if "BootCurrent" in x), ""))
    wanted = f"Boot{entry.number:04X}* {label}" if entry else label
    found = next((line for line in lines if line.startswith(wanted)), "")
    yield Check(
        name="boot entry that the new system's efibootmgr shows",
        passed=bool(entry) and LOADER.lower() in found.lower(),
        expected=f"{wanted} ... {LOADER}",
        found=found or shown,
    )


def partition_path(disk: Path, number: int) -> str:
    """A partition's part of a device path, as the boot entries here have it."""
    table = read_table(disk)
    part = table["partitions"][number - 1]
    kind, ident = ("GPT", part["uuid"].lower()) if table["label"] == Table.GPT else ("MBR", table["id"])
    return f"HD({number},{kind},{ident},0x{part['start']:x},0x{part['size']:x})"
