# SPDX-License-Identifier: Apache-2.0
"""32-bit PCs, as the first description names them; there is no public image for them today."""

from __future__ import annotations

from balena_migrate.devices import DeviceType
from balena_migrate.devices._pc import is_pc
from balena_migrate.facts import Firmware

DEVICE_TYPE = DeviceType(
    slug="intel-core2-32",
    name="Intel 32-bit PC",
    matches=is_pc,
    firmware=(Firmware.BIOS,),
    image_tags=("intel-core2-32",),
)
