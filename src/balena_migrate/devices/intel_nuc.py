# SPDX-License-Identifier: Apache-2.0
"""Intel NUC and other 64-bit PCs: MBR images of the Yocto machine genericx86-64."""

from __future__ import annotations

from balena_migrate.devices import DeviceType
from balena_migrate.devices._pc import is_64_bit_pc
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="intel-nuc",
    name="Intel NUC (64-bit PC, MBR)",
    matches=is_64_bit_pc,
    firmware=(Firmware.BIOS, Firmware.UEFI),
    aliases=("nuc",),
    image_tags=("genericx86-64", "intel-nuc"),
    tested="QEMU q35, SeaBIOS, GRUB 2, Debian 12",
)
