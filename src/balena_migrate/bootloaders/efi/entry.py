# SPDX-License-Identifier: Apache-2.0
"""The boot entry that starts stage 2: which partition, which file, which arguments."""

from __future__ import annotations

import re

from balena_migrate.bootloaders.arguments import choose_arguments, stage2_arguments
from balena_migrate.core.efi_variables import option_path
from balena_migrate.core.load_option import HardDrive, LoadOption, command_line, dump_option
from balena_migrate.core.paths import BOOT_ENTRY, EFI_KERNEL_NAME, INITRAMFS_NAME
from balena_migrate.facts import BlockDevice, EfiFacts, Facts, Mount
from balena_migrate.facts.efi import find_esps
from balena_migrate.settings import Config

FIRST_NUMBER = 0x00BA
"""Firmware numbers its own entries from 0 on; some, when they restart, take those again that are not in BootOrder."""


def find_esp(facts: Facts) -> tuple[Mount, BlockDevice] | None:
    """The EFI system partition that this system was started from, as far as the firmware says it, else the first."""
    efi, esps = facts.boot.efi, find_esps(facts.disks)
    started = efi.find_entry(efi.current) if efi else None
    same = (esp for esp in esps if started and started.partuuid == esp[1].partuuid)
    return next(same, next(iter(esps), None))


def partition_of(device: BlockDevice) -> HardDrive:
    """A partition of a disk as firmware knows it. Raises ValueError if it has no number or no PARTUUID."""
    number = re.search(r"([0-9]+)$", device.name)
    if number is None or not device.partuuid:
        raise ValueError(f"{device.path} has no PARTUUID")
    return HardDrive(
        number=int(number[1]),
        start_lba=device.start_bytes // device.sector_bytes,
        sectors=device.size_bytes // device.sector_bytes,
        partuuid=device.partuuid.lower(),
    )


def entry_number(efi: EfiFacts) -> int:
    """A number that no entry has."""
    used = {*efi.order, *(entry.number for entry in efi.entries)}
    return next(number for number in range(FIRST_NUMBER, 0x10000) if number not in used)


def entry_path(efi: EfiFacts) -> str:
    """The variable of the entry that starts stage 2."""
    return option_path(entry_number(efi))


def entry_option(config: Config, facts: Facts, device: BlockDevice) -> bytes:
    """The entry's value. The kernel takes `initrd=` from its own partition (Documentation/admin-guide/efi-stub.rst)."""
    arguments = choose_arguments(facts.boot.kernel_command_line)
    words = (f"initrd=\\{INITRAMFS_NAME}", *stage2_arguments(config, arguments))
    return dump_option(
        LoadOption(
            label=BOOT_ENTRY,
            hard_drive=partition_of(device),
            file=f"\\{EFI_KERNEL_NAME}",
            arguments=command_line(" ".join(words)),
        )
    )
