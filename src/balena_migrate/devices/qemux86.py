# SPDX-License-Identifier: Apache-2.0
"""QEMU's 32-bit PC; its images start through BIOS only."""

from __future__ import annotations

from balena_migrate.devices import DeviceType
from balena_migrate.devices._pc import is_pc
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="qemux86",
    name="QEMU x86",
    matches=is_pc,
    firmware=(Firmware.BIOS,),
    image_tags=("qemux86",),
)
