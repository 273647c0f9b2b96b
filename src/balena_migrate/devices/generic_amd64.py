# SPDX-License-Identifier: Apache-2.0
"""64-bit PCs with a GPT image, which starts through UEFI only."""

from __future__ import annotations

from balena_migrate.devices import DeviceType
from balena_migrate.devices._pc import is_64_bit_pc
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="generic-amd64",
    name="Generic x86_64 (GPT)",
    matches=is_64_bit_pc,
    firmware=(Firmware.UEFI,),
    image_tags=("generic-amd64",),
)
