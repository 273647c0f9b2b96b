# SPDX-License-Identifier: Apache-2.0
"""64-bit PCs with an MBR image, built for the Yocto machine genericx86-64."""

from __future__ import annotations

from balena_migrate.devices import DeviceType, Tested
from balena_migrate.devices._pc import is_64_bit_pc
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="intel-nuc",
    name="Intel NUC (64-bit PC, MBR)",
    matches=is_64_bit_pc,
    boot_entry="resinOS",
    firmware=(Firmware.BIOS, Firmware.UEFI),
    aliases=("nuc",),
    image_tags=("genericx86-64", "intel-nuc"),
    tested=(
        Tested(
            image="2.82 (ships its boot loader)",
            machine="QEMU q35, x86-64, AHCI disk",
            firmware="real SeaBIOS, real GRUB 2.06",
            system="Debian 12 amd64",
            what=(
                "full migration, with the composed initramfs and with the device's own mkinitramfs; with a separate"
                " /usr; with a flasher image as input; with a 240 MiB backup, for which stage 2 grew resin-data;"
                " NO_FLASH with either initramfs, and with a separate /usr; back in the old system by itself after too"
                " little memory in stage 2, an initramfs that is gone, torn or empty, and a stage 2 that is killed at"
                " its start or finds no Python, no library, no driver or no old root; refused: a truncated image, a"
                " wrong image, too little memory"
            ),
        ),
        Tested(
            image="2.82",
            machine="QEMU q35, x86-64, AHCI disk",
            firmware="real SeaBIOS, real GRUB 2.06 and 2.12",
            system="Debian 11 and 13 amd64; Debian 13 with dracut",
            what="full migration",
        ),
        Tested(
            image="2.82",
            machine="QEMU q35, x86-64, AHCI disk with a GPT",
            firmware="real SeaBIOS, real GRUB 2.06",
            system="Debian 12 amd64",
            what=(
                "full migration, with GRUB on a bios_grub partition, a separate /boot, and a swap partition and a swap"
                " file in use; no old GPT is left"
            ),
        ),
        Tested(
            image="2.82",
            machine="QEMU q35, x86-64, two disks of the same size and model, on AHCI and on virtio",
            firmware="real SeaBIOS, real GRUB 2.06",
            system="Debian 12 amd64",
            what="full migration; the other disk stayed the same to the byte",
        ),
        Tested(
            image="2.82",
            machine="QEMU q35, x86-64, disk on NVMe, virtio or USB, or a memory card",
            firmware="real SeaBIOS, real GRUB 2.06",
            system="Debian 12 amd64",
            what="full migration",
        ),
        Tested(
            image="2.82",
            machine="QEMU q35, x86-64, AHCI disk with a GPT",
            firmware="real OVMF; its BootNext starts stage 2",
            system="Debian 12 amd64 with GRUB 2.06",
            what="full migration, from a GPT to the image's MBR and its loader for UEFI",
        ),
        Tested(
            image="2.15 (ships no boot loader for BIOS)",
            machine="QEMU q35, x86-64, AHCI disk",
            firmware="real SeaBIOS, real GRUB 2.06",
            system="Debian 12 amd64",
            what="full migration",
        ),
        Tested(
            image="with NetworkManager",
            machine="QEMU q35, x86-64, AHCI disk",
            firmware="real SeaBIOS, real GRUB 2.06",
            system="Debian 12 amd64",
            what=(
                "full migration with network settings from four sources, a proxy, two volumes, a plain backup and"
                " everything `KEEP` supports; NetworkManager 1.42 on the new system loads every profile"
            ),
        ),
    ),
)
