# SPDX-License-Identifier: Apache-2.0
"""64-bit PCs with a GPT image, which starts through UEFI only."""

from __future__ import annotations

from balena_migrate.devices import DeviceType, Tested
from balena_migrate.devices._pc import is_64_bit_pc
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="generic-amd64",
    name="Generic x86_64 (GPT)",
    matches=is_64_bit_pc,
    firmware=(Firmware.UEFI,),
    image_tags=("generic-amd64",),
    tested=(
        Tested(
            image="6.5 (GPT, with smaller root partitions)",
            machine="QEMU q35, x86-64, AHCI disk with a GPT",
            firmware="real OVMF; its BootNext starts stage 2",
            system="Debian 12 amd64 with GRUB 2.06",
            what=(
                "full migration, with the composed initramfs and with the device's own mkinitramfs, and with the boot"
                " entry that the new system's efibootmgr shows; NO_FLASH; undo; back in the old system by itself after"
                " a kernel that is gone, an initramfs that is gone, torn or empty, a stage 2 that is killed at its"
                " start or finds no Python, no library or no old root, and a power cut before the line, and after a"
                " power cycle where the kernel is torn; taken back: a stage 1 for which the variables have no room;"
                " refused: Secure Boot"
            ),
        ),
        Tested(
            image="6.5",
            machine="QEMU q35, x86-64, AHCI disk with a GPT",
            firmware="real OVMF; its BootNext starts stage 2",
            system="Debian 13 amd64, with GRUB 2.12 and with systemd-boot",
            what="full migration",
        ),
        Tested(
            image="6.5",
            machine="QEMU q35, x86-64, AHCI disk with a GPT",
            firmware="real OVMF; real GRUB 2.06 and 2.12 start stage 2",
            system="Debian 12 and 13 amd64",
            what=(
                "full migration, where the EFI system partition is full or not mounted, where the variables have room"
                " for one entry, and where they have none, so that the new system starts by the fallback path"
            ),
        ),
    ),
)
