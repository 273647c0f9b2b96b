# SPDX-License-Identifier: Apache-2.0
"""64-bit PCs with an MBR image whose root file systems are larger."""

from __future__ import annotations

from balena_migrate.devices import DeviceType
from balena_migrate.devices._pc import is_64_bit_pc
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="genericx86-64-ext",
    name="Generic x86_64 (legacy MBR)",
    matches=is_64_bit_pc,
    boot_entry="resinOS",
    firmware=(Firmware.BIOS, Firmware.UEFI),
    image_tags=("genericx86-64-ext",),
)
