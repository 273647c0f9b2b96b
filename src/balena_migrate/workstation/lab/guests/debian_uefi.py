# SPDX-License-Identifier: Apache-2.0
"""PCs with UEFI and a real Debian, started by the boot entry that Debian's own programs made."""

from __future__ import annotations

from dataclasses import replace

from balena_migrate.core.units import MIB
from balena_migrate.workstation.lab.disklayout import DiskLayout, Kind, Part, Table
from balena_migrate.workstation.lab.guests.debian_pc import CONSOLE, DEBIAN_12, DEBIAN_13, ROOT, ROOT_UUID
from balena_migrate.workstation.lab.machines.pc import Firmware

_ESP = Part(kind=Kind.ESP, size_bytes=256 * MIB, uuid="C1F4-29D7")
_FILES = {
    **DEBIAN_12.files,
    # On a busy workstation, the EFI partition may take minutes to appear, too.
    "etc/systemd/system.conf.d/lab.conf": "[Manager]\nDefaultTimeoutStartSec=30min\nDefaultDeviceTimeoutSec=30min\n",
}
_OTHER_PACKAGES = tuple(name for name in DEBIAN_12.packages if name != "grub-pc")
_GRUB = ("grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed", "efibootmgr", "dosfstools")
"""As Debian's installer has it: the signed shim is started whether or not Secure Boot is on."""

DEBIAN_12_UEFI = replace(
    DEBIAN_12,
    name="debian-12-uefi-amd64",
    firmware=Firmware.UEFI,
    boot_folder="boot/efi",
    packages=(*_OTHER_PACKAGES, *_GRUB),
    layout=DiskLayout(table=Table.GPT, table_id="7d2f6a31-0c8e-4b59-a1d4-3e97c05b8f26", parts=(_ESP, ROOT)),
    files={
        **_FILES,
        # GRUB's console is the firmware's, and OVMF has that on the first serial port.
        "etc/default/grub": (
            'GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_DISTRIBUTOR=Debian\nGRUB_CMDLINE_LINUX_DEFAULT=""\n'
            f'GRUB_CMDLINE_LINUX="{CONSOLE}"\nGRUB_TERMINAL=console\n'
        ),
    },
    commands=("grub-install", "update-grub"),
)
DEBIAN_13_UEFI = replace(DEBIAN_12_UEFI, name="debian-13-uefi-amd64", suite=DEBIAN_13.suite)
DEBIAN_12_SECURE_BOOT = replace(DEBIAN_12_UEFI, name="debian-12-secure-boot-amd64", firmware=Firmware.SECURE_BOOT)
DEBIAN_12_FULL_ESP = replace(
    DEBIAN_12_UEFI,
    name="debian-12-full-esp-amd64",
    layout=replace(DEBIAN_12_UEFI.layout, parts=(replace(_ESP, size_bytes=100 * MIB), ROOT)),
    # As where a vendor's update of the firmware was left there.
    commands=(*DEBIAN_12_UEFI.commands, "dd if=/dev/urandom of=/boot/efi/firmware.cap bs=1M count=80"),
)

_INSTALL_KERNEL = "kernel-install add $(uname -r) /boot/vmlinuz-$(uname -r) /boot/initrd.img-$(uname -r)"
DEBIAN_13_SYSTEMD_BOOT = replace(
    DEBIAN_13_UEFI,
    name="debian-13-systemd-boot-amd64",
    packages=(*_OTHER_PACKAGES, "systemd-boot", "efibootmgr", "dosfstools"),
    files={
        **_FILES,
        "etc/kernel/cmdline": f"root=UUID={ROOT_UUID} ro {CONSOLE}\n",
        "etc/kernel/entry-token": "debian\n",
    },
    commands=("bootctl install", _INSTALL_KERNEL),
)
